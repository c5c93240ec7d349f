"""Where code stands in its file: syntax trees without docstrings, comments or layout."""

from __future__ import annotations

import ast
import functools
import linecache
import sys
import types
from pathlib import Path
from typing import Any

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef


def find(code: types.CodeType) -> Definition | None:
    """Return the definition that a code object was compiled from, None if its source is gone."""
    tree = _tree(code.co_filename)
    if tree is None:
        return None
    found = [
        node for node in tree.functions if _first_line(node) == code.co_firstlineno and _name(node) == code.co_name
    ]
    if len(found) > 1:
        found = [node for node in found if _spans(node, code)] or found
    return found[0] if found else None


def find_class(kind: type) -> ast.ClassDef | None:
    """Return the definition of a class, None if its source is gone."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    tree = _tree(file) if file else None
    if tree is None:
        return None
    return tree.classes.get(kind.__qualname__)


def dump(node: ast.AST) -> str:
    """Write a tree without positions and docstrings: equal for code that differs in layout alone."""
    return ast.dump(_Bare().visit(_copy(node)))


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


def file_dump(file: str) -> str | None:
    """Write the tree of a whole file, None if it cannot be read."""
    tree = _tree(file)
    return None if tree is None else dump(tree.root)


def rebound(file: str) -> dict[str, str]:
    """Map each name that some function of the file rebinds with ``global`` to the source of its bindings at top level.

    Such a name's value changes as the program runs, so its value at any one moment does not say what it means.
    """
    tree = _tree(file)
    return {} if tree is None else tree.rebound


class _File:
    """A parsed file and what is looked up in it."""

    def __init__(self, content: str) -> None:
        self.root = ast.parse(content)
        self.lines = content.splitlines(keepends=True)
        self.functions = [
            n for n in ast.walk(self.root) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        ]
        self.classes: dict[str, ast.ClassDef] = {}
        self._collect_classes(self.root, "")
        names = {name for node in ast.walk(self.root) if isinstance(node, ast.Global) for name in node.names}
        self.rebound = {name: self._bindings(name) for name in sorted(names)}

    def _collect_classes(self, node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                self.classes[prefix + child.name] = child
                self._collect_classes(child, f"{prefix}{child.name}.")
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._collect_classes(child, f"{prefix}{child.name}.<locals>.")
            else:
                self._collect_classes(child, prefix)

    def _bindings(self, name: str) -> str:
        def binds(statement: ast.stmt) -> bool:
            targets = (n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            return any(target.id == name for target in targets) or getattr(statement, "name", None) == name

        return " ".join(dump(statement) for statement in self.root.body if binds(statement))


class _Bare(ast.NodeTransformer):
    """Takes docstrings away."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        ):
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _copy(node: Any) -> Any:
    """Copy a tree; `_Bare` edits in place and the parsed file is kept."""
    if isinstance(node, ast.AST):
        return type(node)(**{name: _copy(value) for name, value in ast.iter_fields(node)})
    if isinstance(node, list):
        return [_copy(item) for item in node]
    return node


def _tree(file: str) -> _File | None:
    if file.startswith("<") and not file.startswith("<ipython"):
        return None
    try:
        stamp = Path(file).stat().st_mtime_ns
    except OSError:
        stamp = len(linecache.getlines(file))  # a notebook cell: kept by linecache alone
    return _parsed(file, stamp)


@functools.lru_cache(maxsize=512)
def _parsed(file: str, stamp: int) -> _File | None:  # noqa: ARG001 - the stamp is part of the cache's key
    try:
        content = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        content = "".join(linecache.getlines(file))
    if not content:
        return None
    try:
        return _File(content)
    except SyntaxError:
        return None


def _first_line(node: Any) -> int:
    """Return the line that ``co_firstlineno`` gives: that of the first decorator, where there is one."""
    return min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", ()))])


def _name(node: Any) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else str(node.name)


def _spans(node: Any, code: types.CodeType) -> bool:
    """Tell lambdas of one line apart: all instructions of the code lie inside the right one's body."""
    body = node.body if isinstance(node, ast.Lambda) else node
    first, last = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
    for line, end_line, column, end_column in code.co_positions():
        if None in {line, end_line, column, end_column} or (line, column) == (code.co_firstlineno, 0):
            continue
        if not (first <= (line, column) and (end_line, end_column) <= last):
            return False
    return True
