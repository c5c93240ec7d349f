"""What one of lineshaft's own modules can lead to: files, and the distributions that they import.

The stages are imported where they are used, so that a command pays for what it needs. To follow such an import as a
user's is followed would load the stage, and torch with it, only to name a step that is known already. So lineshaft's
own code is named by the bytes of every file that it can lead to, found by reading the import statements::

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
        if name in seen or (read := _read(name)) is None:
            continue
        seen[name], own, foreign = read
        waiting += own
        others |= foreign
    owners = {owned for other in others if (owned := _owner(other)) not in {None, PYTHON}}
    return hashlib.sha256(repr((sorted(seen.items()), sorted(map(str, owners)))).encode()).hexdigest()


_owner = functools.cache(owner_unimported)


@functools.cache
def _read(module: str) -> tuple[str, tuple[str, ...], frozenset[str]] | None:
    """Return the digest of a module's file, lineshaft's modules and the other packages that it may import."""
    if (path := _file(module)) is None:
        return None
    content = path.read_bytes()
    found = set(_imports(content.decode()))
    own = tuple(sorted(name for name in found if name.partition(".")[0] == OWN))
    return hashlib.sha256(content).hexdigest(), own, frozenset(name.partition(".")[0] for name in found.difference(own))


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
