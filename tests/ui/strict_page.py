"""Reading a page strictly: tags that match, what they hold, what they would load."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

EMPTY = {"meta", "br"}


@dataclass
class Page:
    tags: list[tuple[str, dict]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)  # the tag around it, the text

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag):
        return [text for name, text in self.texts if name == tag]

    @property
    def whole(self):
        return " ".join(text for _, text in self.texts)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.page, self.open = Page(), []

    def handle_starttag(self, tag, attrs):
        self.page.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.page.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if data.strip():
            self.page.texts.append((self.open[-1] if self.open else "", data.strip()))


def read(html: str) -> Page:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [], f"left open: {reader.open}"
    return reader.page


def assert_self_contained(page: Page) -> None:
    """Nothing is loaded from anywhere, nothing runs."""
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "a", "use", "image"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            assert name not in {"href", "src", "xlink:href", "action", "data", "srcset", "style"}, name
            assert "url(" not in (value or "").lower()
            assert "javascript:" not in (value or "").lower()
    for text in page.text("style"):
        assert "@import" not in text and "url(" not in text
