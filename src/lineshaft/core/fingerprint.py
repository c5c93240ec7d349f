"""What a value means: a digest that changes when, and only when, what the value does may change.

One walk over everything a value can reach::

    fingerprint(head) ─► function head     AST without docstrings, defaults, closure
                          ├─ WIDTH         a module constant: by value
                          ├─ helper        a function of the user: walked in turn
                          ├─ np.tanh       owned by a distribution: ("numpy", "2.4.6", "numpy.tanh")
                          └─ json.dumps    the standard library: the Python minor

Each function, class and global on the way is one *ingredient*, kept so that a later run can say which one changed.
What cannot be named by value, source or distribution is refused: a wrong name would reuse a stale result.
"""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import sys
import sysconfig
import threading
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lineshaft.core import source
from lineshaft.errors import FingerprintError

PYTHON = f"python {sys.version_info.major}.{sys.version_info.minor}"
_OWN = "lineshaft"
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event, threading.Semaphore)
_SKIPPED = (
    *_LOCKS, threading.local, logging.Logger, logging.LoggerAdapter, logging.Handler,
    weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet,
)  # fmt: skip
_PLAIN = {type(None), bool, int, float, complex, str, bytes, bytearray, type(Ellipsis), type(NotImplemented)}
_CLASS_NOISE = {
    "__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__firstlineno__", "__static_attributes__",
    "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__abstractmethods__", "_abc_impl",
    "__parameters__", "__orig_bases__", "__match_args__", "__dataclass_params__", "__slots__",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """One named thing that a fingerprint covers.

    Attributes
    ----------
    name
        What people call it: ``function reviews.head``, ``constant reviews.WIDTH``.
    digest
        Changes with it.
    where
        ``file.py:line`` for code, else empty.
    text
        Its source, or its value for people; shortened.

    """

    name: str
    digest: str
    where: str = ""
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """The digest of a value's meaning and the ingredients it was made of."""

    digest: str
    ingredients: tuple[Ingredient, ...] = ()


def fingerprint(value: Any, name: str = "value") -> Fingerprint:
    """Name what a value means.

    Raises
    ------
    FingerprintError
        Something reachable cannot be named: an open file, a generator, a compiled object without state. The message
        leads to it and asks for ``version=``.

    """
    walk = _Walk()
    try:
        digest = walk.digest(value, name)
    except RecursionError:
        raise FingerprintError(f"{name} is nested too deeply to be named by value; give version=") from None
    return Fingerprint(digest, tuple(walk.ingredients.values()))


@functools.cache
def distribution(package: str) -> str | None:
    """Return ``"name version"`` of the installed distribution(s) that own a top-level package, None if none does."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        owners = sorted(set(_distributions().get(package, ())))
        return " ".join(f"{owner} {importlib.metadata.version(owner)}" for owner in owners) or None


@functools.cache
def _distributions() -> Any:
    return importlib.metadata.packages_distributions()


def owner(module: str, file: str | None = None) -> str | None:
    """Say who owns code: the Python minor, a distribution with its version, or None: the user, who is named by source.

    A distribution owns what lies in a site-packages folder; an editable installation is the user's own code, and so is
    lineshaft: its steps are named by their source.
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return PYTHON
    if top == _OWN:
        return None
    file = file or getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return None if top in {"__main__", ""} else distribution(top)
    return _owner_of_file(file)


@functools.cache
def _owner_of_file(file: str) -> str | None:
    path = Path(file).resolve()
    site = [Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")]
    site += [parent for parent in path.parents if parent.name in {"site-packages", "dist-packages"}]
    for root in site:
        if root in path.parents:
            top = path.relative_to(root).parts[0].partition(".")[0]
            return None if top == _OWN else distribution(top) or f"{top} of unknown version"
    standard = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")]
    return PYTHON if any(root in path.parents for root in standard) else None


@functools.cache
def _own_digest(value: Any) -> str:
    """Name one of lineshaft's own functions or classes; its source cannot change while the process lives."""
    return _Walk(inside=value).digest(value, "lineshaft")


class _Walk:
    """One depth-first walk; objects met again are written as back-references, so cycles end."""

    def __init__(self, inside: Any = None) -> None:
        self.ingredients: dict[str, Ingredient] = {}
        self._met: dict[int, int] = {}
        self._alive: list[Any] = []  # keeps what was met alive: an id must not be given out twice
        self._path: list[str] = []
        self._inside = inside  # set while one of lineshaft's own objects is walked

    def digest(self, value: Any, name: str) -> str:
        self._path.append(name)
        found = hashlib.sha256(repr(self._describe(value)).encode()).hexdigest()
        self._path.pop()
        return found

    def _describe(self, value: Any) -> Any:
        """Turn a value into nested tuples of strings that stand for its meaning."""
        if type(value) is int:
            return ("int", hex(value))  # repr refuses very long integers
        if type(value) in _PLAIN:
            return (type(value).__name__, repr(value))
        if isinstance(value, _SKIPPED):
            return ("skipped",)
        if id(value) in self._met:
            return ("again", self._met[id(value)])
        if type(value) not in {tuple, frozenset}:  # equal constants may or may not be one object
            self._met[id(value)] = len(self._met)
            self._alive.append(value)
        return self._describe_new(value)

    def _describe_new(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)) and type(value) in {list, tuple}:
            return (type(value).__name__, *(self._describe(item) for item in value))
        if type(value) is dict or isinstance(value, types.MappingProxyType):
            return ("dict", *((self._describe(key), self._describe(item)) for key, item in value.items()))
        if type(value) in {set, frozenset}:
            return (type(value).__name__, *sorted(_Walk(self._inside).digest(item, "member") for item in value))
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if hasattr(value, "cache_info") and hasattr(value, "__wrapped__"):  # functools.cache: the cache is skipped
            return ("cached", self._describe(value.__wrapped__))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.MethodType):
            return ("method", self._describe(value.__func__), self._describe(value.__self__))
        if isinstance(value, functools.partial):
            return ("partial", self._describe(value.func), self._describe(value.args), self._describe(value.keywords))
        if isinstance(value, (staticmethod, classmethod)):
            return (type(value).__name__, self._describe(value.__func__))
        if isinstance(value, property):
            return ("property", *(self._describe(part) for part in (value.fget, value.fset, value.fdel)))
        if isinstance(value, functools.cached_property):
            return ("cached_property", self._describe(value.func))
        return self._special(value)

    def _special(self, value: Any) -> Any:
        """Describe arrays by bytes, built-ins by owner, everything else by class and state."""
        kind = type(value)
        if isinstance(value, (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)):
            return self._builtin(value)
        if kind.__module__ == "numpy" and hasattr(value, "dtype") and hasattr(value, "tobytes"):
            return self._array(value)
        if kind.__module__ == "torch" and kind.__name__ in {"dtype", "device", "layout", "memory_format"}:
            return ("torch", repr(value))
        if (torch := sys.modules.get("torch")) is not None and isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
            return ("tensor", str(value.dtype), tuple(value.shape), value.requires_grad, self._array(flat.numpy()))
        if kind.__module__.startswith("pyarrow") and hasattr(value, "to_pylist"):
            return (
                "arrow",
                str(value.type) if hasattr(value, "type") else str(value.schema),
                self._describe(value.to_pylist()),
            )
        if isinstance(value, enum.Enum):
            return ("enum", self._describe(kind), value.name, self._describe(value.value))
        return self._object(value)

    def _array(self, value: Any) -> Any:
        if value.dtype.hasobject:
            return ("array", value.shape, self._describe(value.tolist()))
        return ("array", str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest())

    def _builtin(self, value: Any) -> Any:
        name = f"{getattr(value, '__module__', None) or ''}.{value.__qualname__}"
        bound = getattr(value, "__self__", None)
        if bound is not None and not isinstance(bound, types.ModuleType):
            return ("builtin", name, self._describe(bound))
        return ("builtin", name, owner(getattr(value, "__module__", None) or "builtins"))

    def _function(self, function: types.FunctionType) -> Any:
        module = function.__module__ or ""
        name = f"{module}.{function.__qualname__}"
        if (owned := owner(module, function.__code__.co_filename)) is not None and function.__closure__ is None:
            return self._owned(owned, name)
        if owned is not None:
            return ("owned", owned, name, *self._closure(function), self._describe(function.__defaults__))
        if module.partition(".")[0] == _OWN and self._inside is None:
            return self._our_own(function, name)
        return self._users_function(function, name)

    def _users_function(self, function: types.FunctionType, name: str) -> Any:
        code = function.__code__
        node = source.find(code)
        if node is None:
            raise FingerprintError(
                f"{self._trail()} leads to {name}, whose source cannot be read ({code.co_filename}); "
                f"define it in a file, or name this step with version="
            )
        tree = source.dump(node)
        self._note(f"function {name}", tree, source.where(code.co_filename, node), source.text(code.co_filename, node))
        self._path.append(function.__qualname__)
        parts = (
            "function", tree, self._describe(function.__defaults__), self._describe(function.__kwdefaults__),
            *self._closure(function), *self._names(function),
            self._describe({key: value for key, value in vars(function).items() if key != "__wrapped__"}),
        )  # fmt: skip
        self._path.pop()
        return parts

    def _closure(self, function: types.FunctionType) -> Iterator[Any]:
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                yield (free, "empty")
            else:
                self._path.append(free)
                yield (free, self._value(free, value, function.__qualname__))
                self._path.pop()

    def _names(self, function: types.FunctionType) -> list[Any]:
        """Describe every global that the code uses, nested code too; what only a parameter has is not followed."""
        used, imports = _used(function.__code__)
        space, parts = function.__globals__, []
        rebound = source.rebound(function.__code__.co_filename)
        for chain in used:
            if chain[0].startswith("__") and chain[0].endswith("__"):
                parts.append((chain, "of the module"))  # __file__ and __name__ say where code lies, not what it does
            elif chain[0] in rebound:
                parts.append((chain, "rebound", rebound[chain[0]]))
            elif chain[0] in space:
                self._path.append(".".join(chain))
                parts.append((chain, self._chain(space[chain[0]], chain, function.__module__)))
                self._path.pop()
            else:
                parts.append((chain, "builtin or missing"))
        parts += [(module, *names, self._import(module, names, level, function)) for module, names, level in imports]
        return parts

    def _chain(self, value: Any, chain: tuple[str, ...], module: str) -> Any:
        """Follow ``a.b.c`` through modules to its leaf."""
        taken = 1
        while isinstance(value, types.ModuleType) and taken < len(chain):
            if (owned := owner(value.__name__, getattr(value, "__file__", None))) is not None:
                return self._owned(owned, ".".join([value.__name__, *chain[taken:]]))
            if chain[taken] not in vars(value) and hasattr(value, "__getattr__") and value.__name__ != _OWN:
                return self._file(value.__file__ or "", value.__name__)
            if not hasattr(value, chain[taken]):
                return ("missing", chain[taken])
            module, value = value.__name__, getattr(value, chain[taken])
            taken += 1
        return self._value(".".join(chain[:taken]), value, module)

    def _value(self, name: str, value: Any, holder: str) -> Any:
        """Describe a named value, and note it as an ingredient where it is data rather than code."""
        described = self._describe(value)
        if not isinstance(value, (types.FunctionType, type, types.ModuleType, types.MethodType)):
            self._note(f"constant {holder}.{name}", repr(described), "", _shorten(value))
        return described

    def _import(self, module: str, names: tuple[str, ...], level: int, function: types.FunctionType) -> Any:
        """Describe an import inside a function; only the user's own modules are really imported for it."""
        if level:
            package = function.__globals__.get("__package__") or ""
            module = importlib.util.resolve_name("." * level + module, package)
        owned = self._owner_unimported(module)
        if owned is not None:
            return self._owned(owned, module)
        if module.partition(".")[0] == _OWN and self._inside is not None:
            return ("own", module)
        try:
            loaded = importlib.import_module(module)
        except ImportError:
            return ("missing", module)
        if not names:
            return self._describe(loaded)
        return tuple(self._chain(loaded, (module, name), module) for name in names if name != "*") or self._describe(
            loaded
        )

    def _owner_unimported(self, module: str) -> str | None:
        if module in sys.modules:
            return owner(module)
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names:
            return PYTHON
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        if spec is None or top == _OWN:
            return None
        file = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        return owner(top, file)

    def _module(self, module: types.ModuleType) -> Any:
        """Describe a module used as a value: by owner, else by all that it holds."""
        owned = owner(module.__name__, getattr(module, "__file__", None))
        if owned is not None:
            return self._owned(owned, module.__name__)
        if module.__name__.partition(".")[0] == _OWN or hasattr(module, "__getattr__"):
            return self._file(module.__file__ or "", module.__name__)
        held = {key: value for key, value in sorted(vars(module).items()) if not key.startswith("__")}
        return ("module", self._describe(held))

    def _class(self, kind: type) -> Any:
        name = f"{kind.__module__}.{kind.__qualname__}"
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if (owned := owner(kind.__module__, file)) is not None:
            return self._owned(owned, name)
        if kind.__module__.partition(".")[0] == _OWN and self._inside is None:
            return self._our_own(kind, name)
        node = source.find_class(kind)
        tree = source.dump(node) if node is not None else ""
        if node is not None and file is not None:
            self._note(f"class {name}", tree, source.where(file, node), source.text(file, node))
        parts: list[Any] = ["class", name if node is None else kind.__qualname__, tree]
        self._path.append(kind.__qualname__)
        parts += [self._describe(base) for base in kind.__bases__]
        if type(kind) is not type:
            parts.append(self._describe(type(kind)))
        if "__getattr__" in vars(kind) or "__getattribute__" in vars(kind):
            parts.append(self._file(file or "", name))
        parts += [(key, self._member(value, node is not None)) for key, value in sorted(_members(kind))]
        self._path.pop()
        return tuple(parts)

    def _member(self, value: Any, has_source: bool) -> Any:
        """Describe what stands in a class body; what was generated (dataclass methods) follows from its source."""
        if isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith("<") and has_source:
            return ("generated",)
        if isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
            return ("slot",)
        if isinstance(value, dataclasses.Field):
            return self._describe([value.name, value.init, value.compare, value.default, value.default_factory])
        return self._describe(value)

    def _object(self, value: Any) -> Any:
        """Describe an object by its class and state, as copying would see them; locks and caches are left out."""
        kind = type(value)
        if dataclasses.is_dataclass(value):
            fields = {
                item.name: getattr(value, item.name, "unset") for item in dataclasses.fields(value) if item.compare
            }
            return ("dataclass", self._describe(kind), self._describe(fields))
        try:
            reduced = value.__reduce_ex__(4)
        except (TypeError, AttributeError, RuntimeError, NotImplementedError) as error:
            raise self._unnameable(value) from error
        if isinstance(reduced, str):
            return ("global", kind.__module__, reduced, owner(kind.__module__))
        maker, arguments, *rest = reduced
        state = self._state(value, rest[0] if rest else None)
        items = [list(part) if part is not None else None for part in rest[1:3]]
        made = "new" if maker.__module__ == "copyreg" else self._describe(maker)
        return (
            "object",
            self._describe(kind),
            made,
            self._describe(arguments),
            self._describe(state),
            self._describe(items),
        )

    def _state(self, value: Any, state: Any) -> Any:
        """Drop cached properties from an object's state."""
        if not isinstance(state, dict):
            return state
        cached = functools.cached_property
        return {
            key: item for key, item in state.items() if not isinstance(getattr(type(value), str(key), None), cached)
        }

    def _owned(self, owned: str, name: str) -> Any:
        if owned != PYTHON:
            self._note(f"distribution {owned.partition(' ')[0]}", owned, "", owned)
        return ("owned", owned, name)

    def _our_own(self, value: Any, name: str) -> Any:
        digest = _own_digest(value)
        self._note(f"built-in {name}", digest, "", "")
        return ("own", digest)

    def _file(self, path: str, name: str) -> Any:
        tree = source.file_dump(path)
        if tree is None:
            raise FingerprintError(
                f"{self._trail()} leads to {name}, whose attributes are computed and whose file cannot be "
                f"read; give version="
            )
        self._note(f"file {Path(path).name}", tree, path, "")
        return ("file", tree)

    def _note(self, name: str, content: str, where: str, text: str) -> None:
        digest = hashlib.sha256(content.encode()).hexdigest()[:32]
        if name in self.ingredients and self.ingredients[name].digest != digest:  # a wrapper bears its function's name
            name = f"{name} ({where})"
        self.ingredients[name] = Ingredient(name, digest, where, text)

    def _trail(self) -> str:
        return " > ".join(self._path)

    def _unnameable(self, value: Any) -> FingerprintError:
        kind = type(value)
        return FingerprintError(
            f"{self._trail()} holds a {kind.__module__}.{kind.__qualname__}, which has no value, source or distribution "
            f"to name it by; build it inside the function, or name this step yourself with version="
        )


def _members(kind: type) -> list[tuple[str, Any]]:
    members = []
    for key, value in vars(kind).items():
        if key == "__dataclass_fields__":
            members += [(f"field {name}", item) for name, item in value.items()]
        elif key not in _CLASS_NOISE and not isinstance(value, (types.GetSetDescriptorType,)):
            members.append((key, value))
    return members


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _used(code: types.CodeType) -> tuple[list[tuple[str, ...]], list[tuple[str, tuple[str, ...], int]]]:
    """List the chains ``a.b.c`` that start at a global, and the imports, in the code and all code nested in it."""
    chains: set[tuple[str, ...]] = set()
    imports: set[tuple[str, tuple[str, ...], int]] = set()
    for part in _nested(code):
        chain: list[str] = []
        constants: list[Any] = []
        for step in dis.get_instructions(part):
            if step.opname in {"LOAD_ATTR", "LOAD_METHOD"} and chain:
                chain.append(str(step.argval))
                continue
            if chain:
                chains.add(tuple(chain))
                chain = []
            if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
                chain = [str(step.argval)]
            elif step.opname in {"LOAD_CONST", "LOAD_SMALL_INT"}:
                constants = [*constants[-1:], step.argval]
            elif step.opname == "IMPORT_NAME":
                level, names = constants
                imports.add((str(step.argval), tuple(names or ()), int(level)))
        if chain:
            chains.add(tuple(chain))
    return sorted(chains), sorted(imports)


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)
