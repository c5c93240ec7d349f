"""The user's script as a module: under one stable name, wherever it is loaded, and from allowed places only.

A model says ``builder: lineshaft_script_reviews:head``. The name leads to a path that this home has run before; code
never comes from anywhere else. ``main()`` is never called by loading.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from lineshaft.core import source
from lineshaft.core.owner import owner, owner_of_file
from lineshaft.errors import Refused, UsageError

PREFIX = "lineshaft_script_"
_allowed: dict[str, str] = {}


def module_name(path: str | Path) -> str:
    """Return the stable module name of a script: ``reviews.py`` is always ``lineshaft_script_reviews``."""
    return PREFIX + re.sub(r"\W", "_", Path(path).stem)


def load(path: str | Path) -> ModuleType:
    """Load a script as a module; its folder can be imported from, as when Python runs it.

    Raises
    ------
    UsageError
        The file is not there, or another script of the same name is loaded.

    """
    file = Path(path).resolve()
    if not file.is_file():
        raise UsageError(f"there is no script {str(path)!r}")
    name = module_name(file)
    allow(name, str(file))
    if name in sys.modules:
        loaded = Path(getattr(sys.modules[name], "__file__", "") or "").resolve()
        if loaded != file:
            raise UsageError(f"two scripts are called {file.name}: {loaded} and {file}; rename one of them")
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file.name} is not a Python file")
    _import_from(file.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    source.remember(str(file))
    try:
        with _remembered():
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _remembered() -> Iterator[None]:
    """Keep the files of the user's modules that the block imports, as they are now."""
    before = set(sys.modules)
    yield
    for other in set(sys.modules) - before:
        if _is_users(helper := getattr(sys.modules[other], "__file__", None)):
            source.remember(str(helper))


def _import_from(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _is_users(file: str | None) -> bool:
    """Whether a file is the user's own code; a quick look first, for a script may load thousands of modules."""
    return file is not None and file.endswith(".py") and "site-packages" not in file and owner_of_file(file) is None


def reference(value: Any) -> dict[str, str]:
    """Name a function, class or decorated function so that another process can find it: its module and its place in it.

    Raises
    ------
    UsageError
        It lives inside a function or in an interactive session, where no other process can reach it.

    """
    function = getattr(value, "function", value)
    module = str(
        getattr(value, "__module__", None) if isinstance(value, type) else getattr(function, "__module__", None)
    )
    qualname = str(getattr(function, "__qualname__", ""))
    if module == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        if file is None:
            raise UsageError(
                f"{qualname} was defined in an interactive session, where a server cannot find it; put it in a file"
            )
        module = module_name(file)
        allow(module, str(Path(file).resolve()))
    elif owner(module, getattr(sys.modules.get(module), "__file__", None)) is None:
        allow(module, str(getattr(sys.modules.get(module), "__file__", "") or ""))
    if "<" in qualname or not qualname:
        raise UsageError(
            f"{qualname or value!r} has no place of its own in {module}; define it at the top level of a file"
        )
    return {"module": module, "qualname": qualname}


def allow(module: str, path: str) -> None:
    """Permit models to name what this module defines."""
    _allowed[module] = path


def allowed() -> dict[str, str]:
    """Return the modules that models may name, with their files."""
    return dict(_allowed)


def in_use(modules: Iterable[str]) -> dict[str, str]:
    """Return those of some modules that this process has loaded from the user's files, with their files."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    files = {} if main is None else {module_name(main): main}
    files |= {name: file for name in modules if (file := getattr(sys.modules.get(name), "__file__", None))}
    return {name: str(Path(file).resolve()) for name, file in files.items() if _is_users(file)}


def resolve(module: str, qualname: str) -> Any:
    """Find what `reference` named.

    Raises
    ------
    Refused
        The module was never run or trained with in this home, so its code is not trusted; it cannot be loaded from
        where it lay then; or it lacks the name.

    """
    if module not in _allowed:
        raise Refused(
            f"the model names code in module {module!r}, which no run of this home has used; "
            f"known: {', '.join(sorted(_allowed)) or 'none'}. Run its script here first"
        )
    try:
        value: Any = load(_allowed[module]) if module.startswith(PREFIX) else _helper(module, _allowed[module])
    except (ImportError, SyntaxError) as error:
        raise Refused(
            f"{_allowed[module] or module}, where the model's {qualname} is defined, cannot be loaded: {error}; put "
            "back what is missing, or run its script here again"
        ) from error
    for part in qualname.split("."):
        if not hasattr(value, part):
            raise Refused(
                f"{qualname} is no longer defined in {Path(_allowed[module]).name}; the model was built with it"
            )
        value = getattr(value, part)
    return value


def _helper(module: str, path: str) -> ModuleType:
    """Load a module that a script imported: by its own name, from the file that it had in the run and no other.

    Raises
    ------
    ImportError
        The file is gone, or the name leads to another one.

    """
    file = Path(path).resolve()
    if module not in sys.modules and file.is_file():
        _import_from(_root(module, file))
    known = sys.modules.get(module)
    found = getattr(known, "__file__", None) if known is not None else _origin(module)
    if path and (found is None or Path(found).resolve() != file):  # before any code of another file runs
        raise ImportError(f"{module} is {found or 'nowhere'} now")
    with _remembered():
        return importlib.import_module(module)


def _root(module: str, file: Path) -> Path:
    """Return the folder from which a file is imported under a name: ``/a`` for ``b.c`` in ``/a/b/c.py``."""
    levels = module.count(".") + (file.stem == "__init__")
    return file.parents[min(levels, len(file.parents) - 1)]


def _origin(module: str) -> str | None:
    spec = importlib.util.find_spec(module)
    return None if spec is None else spec.origin
