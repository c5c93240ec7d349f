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

import builtins
import collections
import copyreg
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib
import importlib.util
import inspect
import itertools
import logging
import re
import reprlib
import sys
import threading
import types
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lineshaft.core import source
from lineshaft.core.owner import OWN, PYTHON, owner, owner_unimported
from lineshaft.core.reach import reached
from lineshaft.errors import FingerprintError

_LANGUAGE = (PYTHON, sys.flags.optimize)  # -O takes assertions away
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event, threading.Semaphore)
_SKIPPED = (
    *_LOCKS, threading.local, logging.Logger, logging.LoggerAdapter, logging.Handler,
    weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet,
)  # fmt: skip
_CACHED = type(functools.cache(len))
_PLAIN = {type(None), bool, int, float, complex, str, bytes, bytearray, type(Ellipsis), type(NotImplemented)}
_FILLED = (list, dict, set, itertools.count)
_CONTAINERS = (list, tuple, dict, set, frozenset, str, bytes, int, float)
_CLASS_NOISE = {
    "__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__firstlineno__", "__static_attributes__",
    "__annotate__", "__annotate_func__", "__annotations_cache__", "__abstractmethods__", "_abc_impl",
    "__parameters__", "__orig_bases__", "__match_args__", "__dataclass_params__", "__slots__",
    "__slotnames__",  # which copying writes
}  # fmt: skip
_PLACE = {  # says where code lies, not what it does
    "__name__", "__file__", "__spec__", "__loader__", "__package__", "__path__", "__cached__", "__builtins__",
}  # fmt: skip
_MODULE_NOISE = {*_PLACE, "__doc__", "__annotations__"}
_DYNAMIC = {"globals", "eval", "exec", "vars", "__import__"}  # built-ins that can reach any global of the file
_NUMBER = re.compile(r"\('(again|code)', \d+")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 200
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = _BRIEF.maxfrozenset = 20


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


def brief(value: Any) -> str:
    """Show a value to people: shortened, without addresses, which differ from run to run."""
    try:
        text = _ADDRESS.sub("", _BRIEF.repr(value))
    except ValueError:  # Python does not write very long integers
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 200 else f"{text[:197]}..."


class _Walk:
    """One walk; what is met again is written as a back-reference, so cycles end.

    Functions and classes wait in a queue instead of being entered at once: however long the chain of calls, the depth
    of the recursion is that of the data alone.
    """

    def __init__(self, parent: _Walk | None = None) -> None:
        self.ingredients: dict[str, Ingredient] = {} if parent is None else parent.ingredients
        self._met: dict[int, int] = {} if parent is None else dict(parent._met)  # noqa: SLF001
        self._path: list[str] = [] if parent is None else list(parent._path)  # noqa: SLF001
        self._alive: list[Any] = []  # keeps what was met alive: an id must not be given out twice
        self._waiting: collections.deque[tuple[Any, list[str]]] = collections.deque()

    def digest(self, value: Any, name: str) -> str:
        self._path.append(name)
        described = [self._describe(value)]
        while self._waiting:
            code, self._path = self._waiting.popleft()
            described.append(self._users_class(code) if isinstance(code, type) else self._users_function(code))
        return hashlib.sha256(repr(described).encode()).hexdigest()

    def _later(self, code: Any) -> Any:
        self._waiting.append((code, list(self._path)))
        return ("code", self._met[id(code)], code.__qualname__)

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
            return (type(value).__name__, *sorted(self._set_member(item) for item in value))
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, _CACHED):  # its cache is skipped
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

    def _set_member(self, item: Any) -> str:
        """Describe a member apart from the others: the order in which a set gives them means nothing."""
        return repr(self._describe(item)) if type(item) in _PLAIN else _Walk(self).digest(item, "member")

    def _special(self, value: Any) -> Any:
        """Describe arrays by bytes, built-ins by owner, everything else by class and state."""
        kind = type(value)
        package = kind.__module__.partition(".")[0]
        if isinstance(value, (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)):
            return self._builtin(value)
        if package == "numpy" and hasattr(value, "dtype") and hasattr(value, "tobytes"):
            return self._array(value)
        if kind.__module__ == "torch" and kind.__name__ in {"dtype", "device", "layout", "memory_format"}:
            return ("torch", repr(value))
        if (torch := sys.modules.get("torch")) is not None and isinstance(value, torch.Tensor):
            return self._tensor(value, torch)
        if package == "pyarrow" and hasattr(value, "to_pylist"):
            return self._arrow(value)
        if kind.__name__ == "ForwardRef" and owner(kind.__module__) == PYTHON:  # keeps compiled code and what it found
            return ("forward", value.__forward_arg__)
        if isinstance(value, enum.Enum):
            return ("enum", self._describe(kind), value.name, self._describe(value.value))
        return self._object(value)

    def _array(self, value: Any) -> Any:
        facts = ("array", type(value).__name__, str(value.dtype), value.shape)
        if type(value).__name__ == "MaskedArray":
            return (*facts, self._describe([value.data, value.mask]))
        if value.dtype.hasobject:
            return (*facts, self._describe(value.tolist()))
        return (*facts, hashlib.sha256(value.tobytes()).hexdigest())

    def _tensor(self, value: Any, torch: Any) -> Any:
        try:
            flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().view(-1).view(torch.uint8)
        except (RuntimeError, NotImplementedError) as error:  # sparse, quantised, without storage
            raise self._unnameable(value) from error
        facts = (str(value.dtype), str(value.device), tuple(value.shape), value.requires_grad)
        return ("tensor", self._describe(type(value)), facts, self._array(flat.numpy()))

    def _arrow(self, value: Any) -> Any:
        if hasattr(value, "schema"):
            columns = [column.to_pylist() for column in value.columns]
            return ("arrow", value.schema.to_string(truncate_metadata=False), self._describe(columns))
        return ("arrow", str(value.type), self._describe(value.to_pylist()))

    def _builtin(self, value: Any) -> Any:
        bound = getattr(value, "__self__", getattr(value, "__objclass__", None))
        if bound is not None and not isinstance(bound, types.ModuleType):
            return ("builtin", value.__qualname__, self._describe(bound))
        module = value.__module__ if bound is None else bound.__name__
        return ("builtin", module, value.__qualname__, self._compiled(module or "builtins", value))

    def _compiled(self, module: str, value: Any) -> str:
        """Name compiled code: by its owner, else by the bytes of the user's own extension module."""
        file = getattr(sys.modules.get(module), "__file__", None)
        if (owned := owner(module, file)) is not None:
            return owned
        if file is None or not Path(file).is_file():
            raise self._unnameable(value)
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        self._note(f"file {Path(file).name}", digest, Path(file).name, "")
        return digest

    def _function(self, function: types.FunctionType) -> Any:
        module = function.__module__ or ""
        if (owned := owner(module, function.__code__.co_filename)) is not None:
            return self._owned_function(owned, function)
        if _is_own(module) and function.__closure__ is None:
            return self._our_own(function, f"{module}.{function.__qualname__}")
        return self._later(function)

    def _owned_function(self, owned: str, function: types.FunctionType) -> Any:
        """Name a library's function; a wrapper that a library made of the user's function also holds that function."""
        code = function.__code__
        if function.__closure__ is None and "<" not in code.co_qualname and not hasattr(function, "__wrapped__"):
            return self._owned(owned, f"{function.__module__}.{function.__qualname__}")
        line = code.co_firstlineno if "<lambda>" in code.co_qualname else 0  # all lambdas of a place bear one name
        return (
            *self._owned(owned, f"{Path(code.co_filename).stem}.{code.co_qualname}"), line, *self._closure(function),
            self._describe(function.__defaults__), self._describe(function.__kwdefaults__),
            self._describe(vars(function)),
        )  # fmt: skip

    def _users_function(self, function: types.FunctionType) -> Any:
        name = f"{function.__module__}.{function.__qualname__}"
        file = source.file_of(function.__code__, function.__globals__)
        node = source.find(function.__code__, function.__globals__)
        if node is None:
            raise FingerprintError(
                f"{self._trail()} leads to {name}, whose source cannot be read or was edited after it was loaded "
                f"({Path(file).name}); define it in a file and start anew, or name this step with version="
            )
        tree = source.dump(node)
        self._note(f"function {name}", tree, source.where(file, node), source.text(file, node))
        self._path.append(function.__qualname__)
        return (
            "function", _LANGUAGE, tree, self._describe(function.__defaults__), self._describe(function.__kwdefaults__),
            *self._closure(function), *self._names(function, file), self._describe(vars(function)),
        )  # fmt: skip

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

    def _names(self, function: types.FunctionType, file: str) -> list[Any]:
        """Describe every global that the code uses, nested code too; what only a parameter has is not followed."""
        used, imports = _used(function.__code__)
        space = function.__globals__
        parts: list[Any] = [(chain, self._global(chain, space, file, function.__module__)) for chain in used]
        parts += [(module, *names, self._import(module, names, level, space)) for module, names, level in imports]
        return parts

    def _global(self, chain: tuple[str, ...], space: dict[str, Any], file: str, module: str) -> Any:
        first = chain[0]
        if first in _PLACE:
            return "of the module"
        rebound = source.rebound(file, space)
        if first in rebound:
            return self._rebound(first, rebound, space, module)
        if _is_own(module) and first.islower() and isinstance(space.get(first), _FILLED):
            return "state"  # a register or counter of lineshaft's own, filled while it works; tables are in capitals
        if first in space:
            self._path.append(".".join(chain))
            described = self._chain(space[first], chain, module)
            self._path.pop()
            return described
        if first in _DYNAMIC:
            return ("dynamic", self._held(space, file, module))
        return ("builtin", PYTHON) if hasattr(builtins, first) else "missing"

    def _rebound(self, name: str, rebound: source.Bindings, space: Mapping[str, Any], module: str) -> Any:
        """Describe a name that some function rebinds by the source of its first value and by what that uses."""
        tree, names = rebound[name]
        used = [(other, self._value(other, space[other], module)) for other in names if other in space]
        return ("rebound", tree, used)

    def _chain(self, value: Any, chain: tuple[str, ...], module: str) -> Any:
        """Follow ``a.b.c`` through modules to its leaf."""
        taken = 1
        while isinstance(value, types.ModuleType) and taken < len(chain):
            name, space, file = chain[taken], vars(value), getattr(value, "__file__", None) or ""
            if (owned := owner(value.__name__, file or None)) is not None:
                return self._owned(owned, ".".join([value.__name__, *chain[taken:]]))
            if name not in space and "__getattr__" in space and value.__name__ != OWN:
                return self._file(file, value.__name__, space)
            if name in (rebound := source.rebound(file, space)):
                return self._rebound(name, rebound, space, value.__name__)
            if not hasattr(value, name) and not _imported(value, name):
                return ("missing", name)
            module, value = value.__name__, getattr(value, name)
            taken += 1
        return self._value(".".join(chain[:taken]), value, module)

    def _value(self, name: str, value: Any, holder: str) -> Any:
        """Describe a named value, and note it as an ingredient where it is data rather than code."""
        described = self._describe(value)
        code = isinstance(value, (types.FunctionType, type, types.ModuleType, types.MethodType))
        if not code and described[0] not in {"again", "skipped"}:
            self._note(f"constant {holder}.{name}", _NUMBER.sub(r"('\1'", repr(described)), "", brief(value))
        return described

    def _import(self, module: str, names: tuple[str, ...], level: int, space: Mapping[str, Any]) -> Any:
        """Describe an import inside a function; only the user's own modules are really imported for it."""
        if not module and not level:
            return self._import_of_what_is_computed(str(space.get("__name__", "")))
        if level:
            module = importlib.util.resolve_name("." * level + module, space.get("__package__") or "")
        if (owned := owner_unimported(module)) is not None:
            return self._owned(owned, module)
        if _is_own(module) and module != OWN:
            return ("own", module, *(reached(f"{module}.{name}") for name in names), reached(module))
        try:
            loaded = importlib.import_module(module)
        except ImportError:
            return ("missing", module)
        if names:
            return tuple(self._chain(loaded, (module, name), module) for name in names)
        packages = [module.rsplit(".", count)[0] for count in range(module.count(".") + 1)]
        return tuple(self._describe(sys.modules[name]) for name in packages)  # ``import a.b`` binds a

    def _import_of_what_is_computed(self, by: str) -> Any:
        if _is_own(by):
            return "computed"
        raise FingerprintError(
            f"{self._trail()} imports a module whose name it computes, so its code cannot be named; import it by a "
            "constant name, or name this step with version="
        )

    def _module(self, module: types.ModuleType) -> Any:
        """Describe a module used as a value: by owner, else by all that it holds, a package by all its files too."""
        space, file = vars(module), getattr(module, "__file__", None) or ""
        if (owned := owner(module.__name__, file or None)) is not None:
            return self._owned(owned, module.__name__)
        if _is_own(module.__name__) or "__getattr__" in space:
            return self._file(file, module.__name__, space)
        parts = [path for folder in space.get("__path__", ()) for path in _code_in(folder)]
        files = [self._file(str(path), path.stem, {}) for path in parts]
        return ("module", files, self._held(space, file, module.__name__))

    def _held(self, space: Mapping[str, Any], file: str, module: str) -> Any:
        """Describe all that a module holds but its submodules: which of these are loaded depends on who else asked."""
        rebound = source.rebound(file, space)
        return [
            (key, self._rebound(key, rebound, space, module) if key in rebound else self._value(key, value, module))
            for key, value in sorted(space.items())
            if key not in _MODULE_NOISE
            if not (isinstance(value, types.ModuleType) and value.__name__ == f"{module}.{key}")
        ]

    def _class(self, kind: type) -> Any:
        name = f"{kind.__module__}.{kind.__qualname__}"
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        made_here = kind.__module__ == "types" and not hasattr(types, kind.__name__)  # types.new_class, make_dataclass
        if not made_here and (owned := owner(kind.__module__, file)) is not None:
            return self._owned(owned, name)
        if _is_own(kind.__module__):
            return self._our_own(kind, name)
        return self._later(kind)

    def _users_class(self, kind: type) -> Any:
        module = sys.modules.get(kind.__module__)
        file = getattr(module, "__file__", None) or ""
        node = source.find_class(kind)
        tree = source.dump(node) if node is not None else ""
        if node is not None:
            name = f"class {kind.__module__}.{kind.__qualname__}"
            self._note(name, tree, source.where(file, node), source.text(file, node))
        self._path.append(kind.__qualname__)
        parts: list[Any] = ["class", kind.__qualname__, tree, *(self._describe(base) for base in kind.__bases__)]
        if type(kind) is not type:
            parts.append(self._describe(type(kind)))
        if "__getattr__" in vars(kind) or "__getattribute__" in vars(kind):
            parts.append(self._file(file, kind.__qualname__, vars(module) if module else {}))
        parts += [(key, self._member(value, kind, node is not None)) for key, value in sorted(_members(kind))]
        return tuple(parts)

    def _member(self, value: Any, kind: type, has_source: bool) -> Any:
        """Describe what stands in a class body; what was generated (dataclass methods) follows from the rest."""
        inner = getattr(value, "__func__", value)
        inner = inspect.unwrap(inner) if isinstance(inner, types.FunctionType) else inner  # a dataclass wraps its repr
        follows = has_source or dataclasses.is_dataclass(kind) or hasattr(kind, "_field_defaults")
        if follows and isinstance(inner, types.FunctionType) and inner.__code__.co_filename.startswith("<"):
            return ("generated", repr(getattr(kind, "__dataclass_params__", "")))
        if isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
            return ("slot",)
        if isinstance(value, dataclasses.Field):
            facts = [value.name, value.init, value.compare, value.default, value.default_factory, value.metadata]
            return self._describe(facts)
        return self._describe(value)

    def _object(self, value: Any) -> Any:
        """Describe an object by its class and state, as copying would see them; locks and caches are left out."""
        kind = type(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, _CONTAINERS):
            return ("dataclass", self._describe(kind), self._state(value))
        reduced = self._reduced(value)
        if isinstance(reduced, str):
            return self._by_name(value, reduced)
        maker, arguments, *rest = reduced
        state = rest[0] if rest else None
        items = [list(part) if part is not None else None for part in rest[1:3]]
        made = "new" if getattr(maker, "__module__", None) == "copyreg" else self._describe(maker)
        return (
            "object",
            self._describe(kind),
            made,
            self._describe(arguments),
            self._describe((_lasting(value, state) or None) if isinstance(state, dict) else state),
            self._describe(items),
        )

    def _reduced(self, value: Any) -> Any:
        """Ask how a copy would be made. The answer is the object's own code, which may fail in its own ways."""
        known = copyreg.dispatch_table.get(type(value))  # how re.Pattern and others are copied
        try:
            return known(value) if known is not None else value.__reduce_ex__(4)
        except (TypeError, AttributeError, RuntimeError, ValueError, LookupError, OSError) as error:
            raise self._unnameable(value) from error

    def _by_name(self, value: Any, name: str) -> Any:
        """Describe what copying would only look up: a library's by that place, the user's by class and state."""
        kind = type(value)
        if owner(kind.__module__) is None and not hasattr(value, "__name__"):
            return ("global", self._describe(kind), self._state(value))
        module = getattr(value, "__module__", None) or _home_of(value, name) or kind.__module__
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not value:
            raise self._unnameable(value)
        if kind.__module__ == "typing":
            return ("global", name, self._state(value))
        return ("global", module, name, self._compiled(module, value))

    def _state(self, value: Any) -> Any:
        """Describe what an object holds."""
        held = object.__getstate__(value)
        held, slots = held if isinstance(held, tuple) else (held, None)
        return self._describe(_lasting(value, {**(held or {}), **(slots or {})}))

    def _owned(self, owned: str, name: str) -> Any:
        if owned != PYTHON:
            self._note(f"distribution {owned.partition(' ')[0]}", owned, "", owned)
        return ("owned", owned, name)

    def _our_own(self, value: Any, name: str) -> Any:
        """Name lineshaft's own code by all that its module can lead to, which is quick to tell."""
        digest = reached(value.__module__)
        self._note(f"built-in {name}", digest, "", "")
        return ("own", name, digest)

    def _file(self, path: str, name: str, space: Mapping[str, Any]) -> Any:
        tree = source.file_dump(path, space)
        if tree is None:
            raise FingerprintError(
                f"{self._trail()} leads to {name}, whose attributes are computed and whose file cannot be "
                f"read; give version="
            )
        self._note(f"file {Path(path).name}", tree, Path(path).name, "")
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
            f"{self._trail()} holds a {kind.__module__}.{kind.__qualname__}, which has no value, source or "
            f"distribution to name it by; build it inside the function, or name this step yourself with version="
        )


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == OWN


def _members(kind: type) -> list[tuple[str, Any]]:
    members = []
    for key, value in vars(kind).items():
        if key == "__dataclass_fields__":
            members += [(f"field {name}", item) for name, item in value.items()]
        elif key not in _CLASS_NOISE and not isinstance(value, (types.GetSetDescriptorType,)):
            members.append((key, value))
    return members


def _lasting(value: Any, state: dict[Any, Any]) -> dict[Any, Any]:
    """Drop what counts for nothing: cached properties, fields that lineshaft's own classes do not compare."""
    ours = dataclasses.is_dataclass(value) and _is_own(type(value).__module__)
    left_out = {item.name for item in dataclasses.fields(value) if not item.compare} if ours else set()
    cached = functools.cached_property
    return {
        key: item
        for key, item in state.items()
        if key not in left_out and not isinstance(getattr(type(value), str(key), None), cached)
    }


def _home_of(value: Any, name: str) -> str | None:
    """Find the module that an object without one can be looked up in."""
    for module, loaded in sorted(sys.modules.items()):
        if isinstance(loaded, types.ModuleType) and vars(loaded).get(name) is value:
            return module
    return None


def _imported(package: types.ModuleType, name: str) -> bool:
    """Import a submodule that nobody has asked for yet, if there is one."""
    if not hasattr(package, "__path__"):
        return False
    try:
        importlib.import_module(f"{package.__name__}.{name}")
    except ModuleNotFoundError:
        return False
    return hasattr(package, name)


def _code_in(folder: str) -> list[Path]:
    root = Path(folder)
    found = (path for path in root.rglob("*.py"))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts))


def _used(code: types.CodeType) -> tuple[list[tuple[str, ...]], list[tuple[str, tuple[str, ...], int]]]:
    """List the chains ``a.b.c`` that start at a global, and the imports, in the code and all code nested in it."""
    chains: set[tuple[str, ...]] = set()
    imports: set[tuple[str, tuple[str, ...], int]] = set()
    for part in source.nested(code):
        chain: list[str] = []
        constants: list[Any] = []
        for step in dis.get_instructions(part):
            if step.opname == "EXTENDED_ARG":
                continue
            if step.opname in {"LOAD_ATTR", "LOAD_METHOD"} and chain:
                chain.append(str(step.argval))
                continue
            if chain:
                chains.add(tuple(chain))
                if chain[-1] == "import_module":
                    named = step.argval if step.opname == "LOAD_CONST" and isinstance(step.argval, str) else ""
                    imports.add((named, (), 0))
                chain = []
            if step.opname in {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}:
                chain = [str(step.argval)]
            elif step.opname in {"LOAD_CONST", "LOAD_SMALL_INT"}:
                constants = [*constants[-1:], step.argval]
            elif step.opname == "IMPORT_NAME":
                level, names = constants
                imports.add((str(step.argval), tuple(names or ()), int(level)))
        if chain:
            chains.add(tuple(chain))
    return sorted(chains), sorted(imports)
