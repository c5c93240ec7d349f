"""Who owns code: the Python minor, an installed distribution with its version, or the user, who is named by source."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
import sysconfig
from pathlib import Path

PYTHON = f"python {sys.version_info.major}.{sys.version_info.minor}"
OWN = "lineshaft"


def owner(module: str, file: str | None = None) -> str | None:
    """Name the owner of a module's code, None where that is the user.

    The file decides where there is one: a user's ``statistics.py`` may stand before the standard one. A distribution
    owns what lies in a site-packages folder; an editable installation is the user's own code, and so is lineshaft: its
    steps are named by their source.
    """
    top = module.partition(".")[0]
    if top == OWN:
        return None
    if file is None or file.startswith("<"):  # generated or frozen code belongs to its module
        file = getattr(sys.modules.get(module), "__file__", None)
    if file is not None and not file.startswith("<"):
        return owner_of_file(file)
    if top in sys.stdlib_module_names and top != "__main__":
        return PYTHON
    return None if top in {"__main__", ""} else distribution(top)


def owner_unimported(module: str) -> str | None:
    """Name the owner of a module without importing it."""
    if module in sys.modules:
        return owner(module)
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or top == OWN:
        return None
    file = spec.origin if spec.has_location else None
    return owner(top, file or next(iter(spec.submodule_search_locations or ()), None))


@functools.cache
def owner_of_file(file: str) -> str | None:
    """Name the owner of a file, None where that is the user."""
    path = Path(file).resolve()
    site = [Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")]
    site += [parent for parent in path.parents if parent.name in {"site-packages", "dist-packages"}]
    for root in site:
        if root in path.parents:
            top = path.relative_to(root).parts[0].partition(".")[0]
            return None if top == OWN else distribution(top) or f"{top} of unknown version"
    standard = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")]
    return PYTHON if any(root in path.parents for root in standard) else None


@functools.cache
def distribution(package: str) -> str | None:
    """Return ``"name version"`` of the installed distribution(s) that own a top-level package, None if none does."""
    try:
        return _version(importlib.metadata.distribution(package))
    except importlib.metadata.PackageNotFoundError:
        return (
            " ".join(sorted({_version(item) for item in importlib.metadata.distributions() if _holds(item, package)}))
            or None
        )


def _version(installed: importlib.metadata.Distribution) -> str:
    """Return name and version; what was built from a folder changes without a new version, so its files count too."""
    name = f"{installed.metadata['Name']} {installed.version}"
    if '"file://' not in (installed.read_text("direct_url.json") or ""):
        return name
    return f"{name} {hashlib.sha256((installed.read_text('RECORD') or '').encode()).hexdigest()[:16]}"


def _holds(installed: importlib.metadata.Distribution, package: str) -> bool:
    files = "\n" + (installed.read_text("RECORD") or installed.read_text("installed-files.txt") or "")
    return f"\n{package}/" in files or f"\n{package}.py," in files
