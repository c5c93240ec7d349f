"""From text to tree: the tokens, the grammar by binding power, and errors that point at the user's own text.

::

    or  <  and  <  not  <  = != < <= > >= in is between  <  + -  <  * /  <  unary -

Trees are at most `MAX_DEPTH` deep, so that no text can exhaust the interpreter's stack; ``and`` and ``or`` take any
number of arguments and do not deepen it.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from lineshaft.core.expression.kinds import complaint, literal_kind
from lineshaft.core.expression.rows import compiled
from lineshaft.errors import ExpressionError

MAX_TEXT = 20_000  # characters
MAX_DEPTH = 60
_INT64 = 2**63

_TOKENS = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<column>`[^`]+`)
      | (?P<name>[^\W\d]\w*)
      | (?P<symbol><=|>=|!=|<>|==|&&|\|\||[-+*/(),<>=%!\[\].])""",
    re.VERBOSE,
)
_WORDS = {"and", "or", "not", "in", "is", "null", "between", "true", "false"}
_COMPARISONS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN = range(1, 8)

# name: (fewest arguments, most arguments, whether the last one is a quoted constant)
FUNCTIONS = {
    **dict.fromkeys(["length", "words", "lower", "upper", "abs", "round", "is_nan"], (1, 1, False)),
    **dict.fromkeys(["contains", "starts_with", "ends_with", "count", "matches"], (2, 2, True)),
    **dict.fromkeys(["min", "max", "coalesce"], (2, 100, False)),
}
_HINTS = {
    "&&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "[": "write lists in round brackets: x in (1, 2)",
    ".": "methods are functions here: lower(text); a column with a dot in its name stands in backticks",
    "%": "there is no remainder",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of the tree.

    Attributes
    ----------
    op
        ``literal``, ``column``, an operator or a function.
    args
        The operations it works on.
    value
        The literal, the column's name, the items of ``in``, or the quoted constant of a text function.
    at
        Where it stands in the text, for errors.
    depth
        Levels below and including it.

    """

    op: str
    args: tuple[Node, ...] = ()
    value: Any = None
    at: int = 0
    depth: int = 1


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, string, column, name, word, symbol, end
    text: str
    at: int


def parse_nodes(text: str) -> Node:
    """Parse a whole expression into its tree."""
    if not isinstance(text, str):
        raise ExpressionError(f"an expression is a string, got {type(text).__name__}")
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"the expression has {len(text)} characters, at most {MAX_TEXT} are read; split it")
    return _Parser(text).whole()


def columns_of(root: Node) -> tuple[str, ...]:
    """Return the columns that a tree reads, in the order of first mention."""
    found: dict[str, None] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.op == "column":
            found[node.value] = None
        waiting.extend(reversed(node.args))
    return tuple(found)


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            quoted = text[at] in "'\"`"
            message = f"a {text[at]} that is never closed" if quoted else f"{text[at]!r} means nothing here"
            raise ExpressionError(complaint(text, at, message))
        kind, found = str(match.lastgroup), match.group()
        if kind == "name" and found.lower() in _WORDS:
            kind, found = "word", found.lower()
        if kind != "space":
            tokens.append(_Token(kind, found, at))
        at = match.end()
    return [*tokens, _Token("end", "", len(text))]


class _Parser:
    """Recursive descent over the tokens, one level of calls per level of the tree."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.next = 0
        self.level = 0

    def whole(self) -> Node:
        root = self.expression(0)
        if self.token.kind != "end":
            self.unexpected("the expression ends before this")
        return root

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def take(self) -> _Token:
        token = self.token
        self.next += token.kind != "end"
        return token

    def accept(self, *texts: str) -> _Token | None:
        """Take the next token if it is one of these words or symbols."""
        return self.take() if self.token.kind in {"word", "symbol"} and self.token.text in texts else None

    def expect(self, text: str) -> None:
        if self.accept(text) is None:
            self.unexpected(f"expected {text!r}")

    def fail(self, message: str, at: int, hint: str = "") -> NoReturn:
        raise ExpressionError(complaint(self.text, at, message, hint))

    def unexpected(self, message: str) -> NoReturn:
        token = self.token
        found = f"found {token.text!r}" if token.kind != "end" else "the text ends"
        self.fail(f"{message}, {found}", token.at, _HINTS.get(token.text, "") if token.kind == "symbol" else "")

    def node(self, op: str, args: tuple[Node, ...], at: int, value: Any = None) -> Node:
        depth = 1 + max((arg.depth for arg in args), default=0)
        if depth > MAX_DEPTH:
            self.fail(f"the expression is more than {MAX_DEPTH} levels deep", at, "split it into several")
        return Node(op, args, value, at, depth)

    def expression(self, power: int) -> Node:
        """Parse operators that bind more tightly than ``power``."""
        self.level += 1
        if self.level > MAX_DEPTH:
            self.fail(f"the expression is more than {MAX_DEPTH} levels deep", self.token.at, "split it into several")
        left = self.prefix()
        while (longer := self.infix(left, power)) is not None:
            left = longer
        self.level -= 1
        return left

    def infix(self, left: Node, power: int) -> Node | None:
        """Extend ``left`` by the next operator, or return None where that binds too loosely."""
        token = self.token
        if token.kind not in {"word", "symbol"}:
            return None
        for word, own in (("or", _OR), ("and", _AND)):
            if token.text == word and power < own:
                return self.chain(left, word, own)
        for symbols, own in (("+-", _SUM), ("*/", _PRODUCT)):
            if token.text in symbols and power < own:
                self.take()
                return self.node(token.text, (left, self.expression(own)), token.at)
        if power < _COMPARE and token.text in {*_COMPARISONS, "in", "is", "between", "not"}:
            return self.comparison(left)
        return None

    def chain(self, left: Node, word: str, power: int) -> Node:
        at, args = self.token.at, [left]
        while self.accept(word):
            args.append(self.expression(power))
        return self.node(word, tuple(args), at)

    def comparison(self, left: Node) -> Node:
        """Parse one comparison; a second one after it is refused, ``a < b < c`` means different things elsewhere."""
        negated = self.accept("not")
        token = self.take()
        if negated and token.text not in {"in", "between"}:
            self.fail("after 'not' here comes 'in' or 'between'", token.at)
        if token.text == "is":
            found = self.is_null(left, token)
        elif token.text == "in":
            found = self.node("in", (left,), token.at, self.items())
        elif token.text == "between":
            low = self.expression(_COMPARE)
            self.expect("and")
            high = self.expression(_COMPARE)
            bounds = (self.node(">=", (left, low), token.at), self.node("<=", (left, high), token.at))
            found = self.node("and", bounds, token.at)
        else:
            found = self.compare(left, token)
        if self.token.kind == "symbol" and self.token.text in _COMPARISONS:
            self.fail("comparisons do not chain", self.token.at, "write a < b and b < c")
        return self.node("not", (found,), token.at) if negated else found

    def compare(self, left: Node, token: _Token) -> Node:
        right = self.expression(_COMPARE)
        if any(side.op == "literal" and side.value is None for side in (left, right)):
            self.fail("comparing with null is never true", token.at, "write 'is null' or 'is not null'")
        return self.node(_COMPARISONS[token.text], (left, right), token.at)

    def is_null(self, left: Node, token: _Token) -> Node:
        negated = self.accept("not")
        self.expect("null")
        found = self.node("is null", (left,), token.at)
        return self.node("not", (found,), token.at) if negated else found

    def items(self) -> tuple[Any, ...]:
        """Parse the literals of ``in (..)``."""
        self.expect("(")
        items: list[Any] = []
        while True:
            at, item = self.token.at, self.expression(_COMPARE)
            if item.op != "literal" or item.value is None:
                self.fail("the list of 'in' holds literals other than null", at, "compare with columns by '=' and 'or'")
            if items and literal_kind(items[0]) != literal_kind(item.value):
                self.fail("the list of 'in' mixes kinds of values", at)
            items.append(item.value)
            if not self.accept(","):
                break
        self.expect(")")
        return tuple(float(item) for item in items) if any(isinstance(item, float) for item in items) else tuple(items)

    def prefix(self) -> Node:
        """Parse a literal, a column, a call, a sign, ``not`` or brackets."""
        token = self.token
        if token.kind == "name" and self.tokens[self.next + 1].text == "(":
            return self.call(self.take())
        if self.accept("("):
            inner = self.expression(0)
            self.expect(")")
            return inner
        if self.accept("not"):
            return self.node("not", (self.expression(_NOT),), token.at)
        if self.accept("-"):
            return self.negative(token)
        if self.accept("true", "false"):
            return self.node("literal", (), token.at, token.text == "true")
        if self.accept("null"):
            return self.node("literal", (), token.at)
        if token.kind not in {"number", "string", "name", "column"}:
            self.unexpected("expected a value")
        return self.atom(self.take())

    def negative(self, token: _Token) -> Node:
        """Parse what a minus stands before; -2**63 is a number although 2**63 is not."""
        if self.token.kind == "number":
            return self.node("literal", (), token.at, -self.number(self.take(), _INT64))
        return self.node("negate", (self.expression(_SIGN),), token.at)

    def atom(self, token: _Token) -> Node:
        if token.kind == "name":
            return self.node("column", (), token.at, token.text)
        if token.kind == "column":
            return self.node("column", (), token.at, token.text[1:-1])
        if token.kind == "string":
            quote = token.text[0]
            return self.node("literal", (), token.at, self.quoted(token.text[1:-1].replace(quote * 2, quote), token))
        return self.node("literal", (), token.at, self.number(token))

    def quoted(self, value: str, token: _Token) -> str:
        if any("\ud800" <= char <= "\udfff" for char in value):
            self.fail("half of a surrogate pair is not text", token.at)
        return value

    def number(self, token: _Token, most: int = _INT64 - 1) -> int | float:
        if not token.text.isdecimal():
            return float(token.text)
        if len(token.text) > 100 or int(token.text) > most:
            self.fail("the number does not fit 64 bits", token.at, "write it as a float, with a point")
        return int(token.text)

    def call(self, name: _Token) -> Node:
        function = name.text.lower()
        if function not in FUNCTIONS:
            near = difflib.get_close_matches(function, FUNCTIONS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(FUNCTIONS))}"
            self.fail(f"there is no function {name.text!r}", name.at, hint)
        fewest, most, constant = FUNCTIONS[function]
        args = self.arguments()
        if not fewest <= len(args) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} or more"
            self.fail(f"{function} takes {wanted} argument{'s' * (wanted != '1')}, got {len(args)}", name.at)
        if not constant:
            return self.node(function, tuple(args), name.at)
        return self.node(function, tuple(args[:-1]), name.at, self.constant(function, args[-1]))

    def arguments(self) -> list[Node]:
        self.expect("(")
        if self.accept(")"):
            return []
        args = [self.expression(0)]
        while self.accept(","):
            args.append(self.expression(0))
        self.expect(")")
        return args

    def constant(self, function: str, node: Node) -> str:
        """Check the quoted constant of a text function; a pattern must compile."""
        if node.op != "literal" or not isinstance(node.value, str):
            self.fail(f"{function} takes a quoted text as its second argument", node.at)
        if function == "count" and not node.value:
            self.fail("count needs something to count", node.at)
        if function == "matches":
            try:
                compiled(node.value)
            except ValueError as error:
                hint = "patterns are RE2: no look-around and no back-references"
                self.fail(f"the pattern does not compile: {error}", node.at, hint)
        return node.value
