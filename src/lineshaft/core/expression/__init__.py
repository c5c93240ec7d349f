r"""The one expression language: small formulas over columns that give the same answer in bulk and row by row.

::

    length(text) < 40 and not matches(text, '(?i)\bgood\b')     rules, labeling expressions, slices
    price between 0 and 1000 or currency in ('JPY', 'KRW')
    `unit price` * amount >= coalesce(minimum, 0)

===========  =======================================================================================================
literals     ``12``, ``1.5e3``, ``'it''s'`` or ``"text"`` (a quote inside is doubled, a backslash is a backslash),
             ``true``, ``false``, ``null``
columns      bare names; odd ones in backticks
arithmetic   ``+ - * /``: integers stay 64-bit integers but for ``/``, whose result is always a float
comparison   ``= != < <= > >=`` of like with like, ``in (..)``, ``between .. and ..``, ``is null``, ``is not null``
logic        ``and``, ``or``, ``not``, three-valued as in SQL
text         ``length`` (characters), ``words``, ``lower``, ``upper``; ``contains``, ``starts_with``, ``ends_with``,
             ``count`` (of a substring) and ``matches`` (RE2, anywhere in the text) with a quoted second argument
numbers      ``abs``, ``round`` (half to even), ``min``, ``max`` (of their arguments, NaN aside), ``is_nan``
any          ``coalesce`` (of numbers: a float)
===========  =======================================================================================================

Null in gives null out, but for ``and``, ``or``, ``is null`` and ``coalesce``. Division by zero and integer overflow
are null. NaN equals nothing and is not null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lineshaft.core.expression.grammar import Node, columns_of, parse_nodes

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Expression:
    """A parsed expression; equal where the text is equal.

    Attributes
    ----------
    text
        What the user wrote.
    root
        Its tree.

    """

    text: str
    root: Node = field(compare=False, repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads, in the order of first mention."""
        return columns_of(self.root)

    def evaluate(self, data: pa.Table | pa.RecordBatch) -> pa.Array:
        """Compute the whole column: booleans, int64, float64 or strings, one per row, null where unknown.

        Raises
        ------
        ExpressionError
            A column is missing, or of a type that its operation does not take.

        """
        from lineshaft.core.expression.columns import evaluate

        return evaluate(self.root, data, self.text)

    def row(self, values: Mapping[str, Any]) -> Any:
        """Compute the answer for one row: the same as `evaluate` gives for it, None where unknown.

        Raises
        ------
        ExpressionError
            As `evaluate`, judged by the row's own values.

        """
        from lineshaft.core.expression.rows import evaluate

        return evaluate(self.root, values, self.text)

    def __str__(self) -> str:
        return self.text


def parse(text: str) -> Expression:
    """Parse an expression.

    Raises
    ------
    ExpressionError
        The text does not parse; the message quotes it with a caret below the place.

    """
    return Expression(text, parse_nodes(text))
