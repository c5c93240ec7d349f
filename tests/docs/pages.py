"""Pages as data: their code blocks, links and headings, and how a page's code is run."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_TITLE = re.compile(r'title="([^"]+)"')
_MARK = "=== end of block ==="


@dataclass(frozen=True)
class Block:
    """A fenced block: language, words behind it, the file that it is or adds to, the text and where it stands."""

    language: str
    options: tuple[str, ...]
    title: str | None
    text: str
    start: int
    end: int


def blocks(text):
    """Return the fenced blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(text):
        language, _, options = match["info"].strip().partition(" ")
        title = _TITLE.search(options)
        name = title[1] if title else None
        found.append(Block(language, tuple(options.split()), name, match["text"], match.start(), match.end()))
    return found


def prose(text):
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", text)


def links(text):
    """Return the targets of a page's links."""
    return _LINK.findall(prose(text))


def anchors(text):
    """Return the names under which a page's headings can be linked to."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(prose(text)))
    return {heading.strip().replace(" ", "-") for heading in plain}


def outputs(text):
    """Pair each python block that is run with what the page shows as its output (None: nothing is shown)."""
    listed, pairs = blocks(text), []
    for place, block in enumerate(listed):
        if block.language != "python" or block.title is not None:
            continue
        after = listed[place + 1] if place + 1 < len(listed) else None
        shown = after is not None and after.language == "text" and not text[block.end : after.start].strip()
        pairs.append((block, after.text if shown else None))
    return pairs


def run_page(page, folder):
    """Run a page's python blocks as one script; return (block, shown output, real output) for each."""
    pairs = outputs(page.read_text(encoding="utf-8"))
    script = folder / f"{page.stem.replace('-', '_')}_page.py"
    script.write_text("".join(f"{block.text}\nprint({_MARK!r})\n" for block, _ in pairs), encoding="utf-8")
    done = command([sys.executable, script.name], folder)
    assert done.returncode == 0, f"{page.name} does not run:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    real = done.stdout.split(f"{_MARK}\n")
    return [(block, shown, said) for (block, shown), said in zip(pairs, real, strict=False)]


def write(block, folder):
    """Write a block that is a file, or the end of one."""
    with (folder / block.title).open("a" if "add" in block.options else "w", encoding="utf-8") as stream:
        stream.write(block.text)


def command(words, folder, **options):
    """Run a command in a folder, with a home of its own and this environment's ``lineshaft`` on the path."""
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.run(words, cwd=folder, env=environment(folder), check=False, **given)


def environment(folder):
    """Return the environment of a page's commands."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {"PATH": path, "LINESHAFT_HOME": str(folder / ".lineshaft"), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return {**os.environ, **own}
