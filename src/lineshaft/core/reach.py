"""What lineshaft's own code reaches through imports inside functions: files, and the distributions that they import.

The stages are imported where they are used, so that a command pays for what it needs. To follow such an import as a
user's is followed would load the stage, and torch with it, only to name a step that is known already. So it is named
by the bytes of every file that it can lead to, found by reading the import statements::

    run/jobs.py  def check(...): from lineshaft.verify.check import check      ─► verify/check.py
                                                                                  ├─► verify/schema.py ─► ...
                                                                                  └─► pyarrow 26.0
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from lineshaft.core.owner import OWN, PYTHON, owner_unimported

_ROOT = Path(__file__).resolve().parent.parent
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)|import[ \t]+([^\n#]+))", re.MULTILINE
)
_NAME = re.compile(r"[\w.]+")


@functools.cache
def reached(module: str) -> str:
    """Return a digest of all that a module of lineshaft's can lead to, itself included; nothing is imported for it."""
    seen: dict[str, str] = {}
    others: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or (path := _file(name)) is None:
            continue
        content = path.read_bytes()
        seen[name] = hashlib.sha256(content).hexdigest()
        for found in _imports(content.decode()):
            waiting.append(found) if found.partition(".")[0] == OWN else others.add(found.partition(".")[0])
    owners = {owned for other in others if (owned := owner_unimported(other)) not in {None, PYTHON}}
    return hashlib.sha256(repr((sorted(seen.items()), sorted(map(str, owners)))).encode()).hexdigest()


def _file(module: str) -> Path | None:
    """Find the file of one of lineshaft's modules; the package itself gives names lazily and leads anywhere."""
    path = _ROOT.joinpath(*module.split(".")[1:])
    if path == _ROOT:
        return None
    found = path.with_suffix(".py")
    found = found if found.is_file() else path / "__init__.py"
    return found if found.is_file() else None


def _imports(text: str) -> Iterator[str]:
    """Yield the modules that import statements name, and those that they may name."""
    for origin, names, plain in _IMPORT.findall(text):
        if origin:
            yield origin
            yield from (f"{origin}.{name}" for name in _NAME.findall(names))
        else:
            yield from (match.group() for part in plain.split(",") if (match := _NAME.search(part)))
