"""Links lead somewhere: to a page or file that exists, and to a heading on it."""

import re

import pytest
from pages import DOCS, ROOT, TEXTS, anchors, links


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_links_resolve(text):
    lost = []
    for target in links(text.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        place = (text.parent / name).resolve() if name else text
        if not place.exists() or (anchor and anchor not in anchors(place.read_text(encoding="utf-8"))):
            lost.append(target)
    assert lost == []


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for target in links(page.read_text(encoding="utf-8")):
            place = (page.parent / target.partition("#")[0]).resolve()
            if place.suffix == ".md" and place.exists() and place not in reached:
                waiting.append(place)
    assert set(DOCS.glob("*.md")) <= reached


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_files_that_pages_name_exist(text):
    named = re.findall(r"`((?:src|tests|bench|examples|tools|docs)/[\w./-]+)`", text.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_anchors_are_made_as_readers_of_markdown_make_them():
    assert anchors("# Limits on what comes in\n## Offline: `ls.score`\n## `ls.train.fit`: the loop") == {
        "limits-on-what-comes-in", "offline-lsscore", "lstrainfit-the-loop",
    }  # fmt: skip
    assert links("see [a](b.md#c) and\n```\n[not](this.md)\n```\n") == ["b.md#c"]
