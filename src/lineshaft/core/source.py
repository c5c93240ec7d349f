"""Where code stands in its file: syntax trees without docstrings, comments or layout.

A file is read once and kept as it was then: what is edited while a run goes on has no part in that run. A reloaded
module is read again, and a function is only ever taken for what its own code was compiled from.
"""

from __future__ import annotations

import ast
import functools
import linecache
import sys
import tokenize
import types
from collections.abc import Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
Space = Mapping[str, Any]  # a module's globals
Bindings = Mapping[str, tuple[str, tuple[str, ...]]]  # name to source and the names used there
_LAYOUT = {"ctx", "kind", "type_comment", "type_ignores"}  # fields that say nothing, or nothing new, of the meaning


def find(code: types.CodeType, space: Space) -> Definition | None:
    """Return the definition that a code object was compiled from, None if its source is gone or was edited since."""
    tree = _tree(file_of(code, space), space)
    if tree is None:
        return None
    node = tree.locate(code)
    return node if node is not None and (not _compiled_plainly(code, space) or tree.compiles_to(code)) else None


def file_of(code: types.CodeType, space: Space) -> str:
    """Return the file of a code object; one that was given as a relative path may have another folder by now."""
    file, whole = code.co_filename, str(space.get("__file__") or "")
    return whole if Path(whole).name == file.rpartition("/")[2] else file


def find_class(kind: type) -> ast.ClassDef | None:
    """Return the definition of a class, None if its source is gone."""
    space = vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}
    tree = _tree(str(space.get("__file__") or ""), space)
    return None if tree is None else tree.classes.get(kind.__qualname__)


@functools.lru_cache(maxsize=8192)
def dump(node: ast.AST) -> str:
    """Write a tree without positions and docstrings: equal for code that differs in layout alone."""
    return _write(node)


def where(file: str, node: ast.AST) -> str:
    """Say where a definition stands: ``reviews.py:12``."""
    return f"{Path(file).name}:{getattr(node, 'lineno', 0)}"


def text(file: str, node: ast.AST) -> str:
    """Return the source of a definition, decorators too."""
    tree = _tree(file)
    if tree is None:
        return ""
    first = _first_line(node) if isinstance(node, Definition) else getattr(node, "lineno", 1)
    return "".join(tree.lines[first - 1 : getattr(node, "end_lineno", first)])


def file_dump(file: str, space: Space) -> str | None:
    """Write the tree of a whole file, None if it cannot be read."""
    tree = _tree(file, space)
    return None if tree is None else dump(tree.root)


def rebound(file: str, space: Space) -> Bindings:
    """Map each name that some function of the file rebinds with ``global`` to its bindings at top level.

    Such a name's value changes as the program runs, so its value at any one moment does not say what it means. Given
    are the source of the bindings and the names that they use.
    """
    tree = _tree(file, space)
    return {} if tree is None else tree.rebound


def remember(file: str) -> None:
    """Keep a file as it is now, for it is being loaded."""
    if (content := _read(file)) is not None:
        _files[file] = _File(file, content)


class _File:
    """A file as it was when it was read, and what is looked up in it."""

    def __init__(self, file: str, content: str) -> None:
        self.name = file
        self.content = content
        self.spec: Any = None  # that of the module loaded from it; reloading makes another

    @functools.cached_property
    def root(self) -> ast.Module:
        return ast.parse(self.content)

    @functools.cached_property
    def lines(self) -> list[str]:
        return [f"{line}\n" for line in self.content.split("\n")]

    @functools.cached_property
    def functions(self) -> dict[tuple[int, str], list[Any]]:
        found: dict[tuple[int, str], list[Any]] = {}
        for node in ast.walk(self.root):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                found.setdefault((_first_line(node), _name(node)), []).append(node)
        return found

    @functools.cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return dict(_classes(self.root, ""))

    @functools.cached_property
    def rebound(self) -> Bindings:
        names = {name for node in ast.walk(self.root) if isinstance(node, ast.Global) for name in node.names}
        return {name: self._bindings(name) for name in sorted(names)}

    @functools.cached_property
    def codes(self) -> dict[tuple[int, str], list[types.CodeType]]:
        found: dict[tuple[int, str], list[types.CodeType]] = {}
        for code in nested(compile(self.content, self.name, "exec", dont_inherit=True)):
            found.setdefault((code.co_firstlineno, code.co_name), []).append(code)
        return found

    def locate(self, code: types.CodeType) -> Definition | None:
        found = self.functions.get((code.co_firstlineno, code.co_name), [])
        if len(found) > 1:  # lambdas of one line: the innermost that holds all of the code
            found = sorted((node for node in found if _spans(node, code)), key=_start)
        return found[-1] if found else None

    def compiles_to(self, code: types.CodeType) -> bool:
        return code in self.codes.get((code.co_firstlineno, code.co_name), ())

    def _bindings(self, name: str) -> tuple[str, tuple[str, ...]]:
        def binds(statement: ast.stmt) -> bool:
            targets = (n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            return any(target.id == name for target in targets) or getattr(statement, "name", None) == name

        bindings = [statement for statement in self.root.body if binds(statement)]
        plain = [statement for statement in bindings if not isinstance(statement, Definition)]
        loads = (n for statement in plain for n in ast.walk(statement) if isinstance(n, ast.Name))
        used = {n.id for n in loads if isinstance(n.ctx, ast.Load)} - {name}
        return " ".join(dump(statement) for statement in bindings), tuple(sorted(used))


def nested(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object and all code that stands inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from nested(constant)


_files: dict[str, _File] = {}


def _tree(file: str, space: Space | None = None) -> _File | None:
    if not file or (file.startswith("<") and not file.startswith("<ipython")):
        return None
    spec = None if space is None else space.get("__spec__")
    kept = _files.get(file)
    if kept is None or (spec is not None and kept.spec is not None and kept.spec is not spec):
        if (content := _read(file)) is None:
            return None
        kept = _files[file] = _File(file, content)
    kept.spec = spec or kept.spec
    try:
        kept.root  # noqa: B018 - parses
    except (SyntaxError, ValueError):
        return None
    return kept


def _read(file: str) -> str | None:
    try:
        with tokenize.open(file) as stream:
            return stream.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return "".join(linecache.getlines(file)) or None  # a notebook cell is kept by linecache alone


def _compiled_plainly(code: types.CodeType, space: Space) -> bool:
    """Whether the file's own text was compiled: import hooks may rewrite it; lineshaft's is not edited meanwhile."""
    if str(space.get("__name__", "")).startswith("lineshaft."):
        return False
    return type(space.get("__loader__")) is SourceFileLoader and file_of(code, space) == space.get("__file__")


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(child, ast.ClassDef):
            yield prefix + child.name, child
            inner = f"{prefix}{child.name}."
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = f"{prefix}{child.name}.<locals>."
        yield from _classes(child, inner)


def _write(value: Any) -> str:
    if isinstance(value, ast.AST):
        fields = (f"{name}={_write(item)}" for name, item in _fields(value))
        return f"{type(value).__name__}({','.join(fields)})"
    if isinstance(value, list):
        return f"[{','.join(map(_write, value))}]"
    return repr(value)


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    for name, item in ast.iter_fields(node):
        if name == "body" and isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield name, (item[1:] or [ast.Pass()]) if _is_docstring(item) else item
        elif name not in _LAYOUT:
            yield name, item


def _is_docstring(body: list[Any]) -> bool:
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _first_line(node: Any) -> int:
    """Return the line that ``co_firstlineno`` gives: that of the first decorator, where there is one."""
    lines: list[int] = [node.lineno, *(item.lineno for item in getattr(node, "decorator_list", ()))]
    return min(lines)


def _name(node: Any) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else str(node.name)


def _start(node: Any) -> tuple[int, int]:
    return (node.lineno, node.col_offset)


def _spans(node: Any, code: types.CodeType) -> bool:
    """Tell lambdas of one line apart: all instructions of the code lie inside the right one's body."""
    body = node.body if isinstance(node, ast.Lambda) else node
    first, last, known = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset), False
    for line, end_line, column, end_column in code.co_positions():
        if None in {line, end_line, column, end_column} or (line, column) == (code.co_firstlineno, 0) == (
            line,
            end_column,
        ):
            continue
        known = True
        if not (first <= (line, column) and (end_line, end_column) <= last):
            return False
    return known
