"""Vectorised sources: keywords, regular expressions and expressions, a whole column at a time; nulls abstain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.collect.sources.base import Ballot, Label, Source, caller, fixed_label, slug
from lineshaft.core.expression import parse
from lineshaft.core.expression.rows import compiled
from lineshaft.errors import DataError, ExpressionError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_IN_WORD, _OFF_WORD, _SPACE = r"[\p{L}\p{M}\p{N}_]", r"[^\p{L}\p{M}\p{N}_]", r"[\s\p{Z}]"


@dataclass(frozen=True, repr=False)
class PatternSource(Source):
    """Votes for one class wherever an RE2 pattern is found in a text column.

    Attributes
    ----------
    column, pattern, label
        Where, what, and the class.
    words
        The keywords that the pattern was made of; none for a plain regular expression.

    """

    column: str
    pattern: str
    label: Label
    words: tuple[str, ...] = ()

    def ballot(self, batch: pa.RecordBatch, classes: Sequence[str] | None) -> Ballot:
        """Search the column."""
        import pyarrow.compute as pc

        label = fixed_label(self.name, self.label, classes)
        return _one_class(pc.match_substring_regex(self._texts(batch), pattern=self.pattern), label)

    def _texts(self, batch: pa.RecordBatch) -> pa.Array:
        import pyarrow as pa

        array = batch.column(self.column)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_null(array.type):
            return array.cast(pa.string())
        if not (
            pa.types.is_string(array.type)
            or pa.types.is_large_string(array.type)
            or pa.types.is_string_view(array.type)
        ):
            raise DataError(f"source {self.name} searches text, but {self.column!r} is {array.type}; use an expression")
        return array.cast(pa.large_string())

    def __repr__(self) -> str:
        what = f"keywords {', '.join(self.words)}" if self.words else f"regex {self.pattern}"
        return f"{what} in {self.column} -> {self.label} ({self.name}, {self.where})"


@dataclass(frozen=True, repr=False)
class ExpressionSource(Source):
    """Votes for one class wherever an expression is true.

    Attributes
    ----------
    text, label
        The expression, and the class.

    """

    text: str
    label: Label

    def ballot(self, batch: pa.RecordBatch, classes: Sequence[str] | None) -> Ballot:
        """Evaluate the expression; null abstains."""
        import pyarrow as pa

        answer = parse(self.text).evaluate(batch)
        if not (pa.types.is_boolean(answer.type) or pa.types.is_null(answer.type)):
            raise ExpressionError(
                f"source {self.name}: {self.text!r} gives {answer.type}, not true or false; compare it"
            )
        return _one_class(answer.cast(pa.bool_()), fixed_label(self.name, self.label, classes))

    def __repr__(self) -> str:
        return f"expression {self.text} -> {self.label} ({self.name}, {self.where})"


def keywords(
    column: str,
    words: Sequence[str],
    label: Label,
    *,
    name: str | None = None,
    kind: str = "rule",
    case: bool = False,
    whole: bool = True,
) -> PatternSource:
    """Vote for ``label`` where one of the words stands in a text column.

    Parameters
    ----------
    column, label
        The text, and the class name or number.
    words
        Words or phrases; any white space matches a space in a phrase.
    name
        Default: made of the label and the first words.
    kind
        rule, model, person or expert.
    case
        Whether capitals matter.
    whole
        Whole words only: "art" is not found in "party". Letters of every script count.

    """
    if isinstance(words, str) or not words or not all(isinstance(word, str) and _parts(word) for word in words):
        raise UsageError(f"keywords takes a list of words that are not empty, got {words!r}")
    pattern = ("" if case else "(?i)") + (
        _whole_words(words) if whole else "|".join(_phrase(_parts(word)) for word in words)
    )
    chosen = name or slug(f"keywords {label} {' '.join(words)}", 48)
    return PatternSource(chosen, kind, (column,), column, pattern, label, tuple(words), where=caller())


def regex(
    column: str, pattern: str, label: Label, *, name: str | None = None, kind: str = "rule", case: bool = True
) -> PatternSource:
    """Vote for ``label`` where an RE2 pattern is found in a text column; ``case=False`` ignores capitals."""
    whole = pattern if case else f"(?i){pattern}"
    try:
        compiled(whole)
    except ValueError as error:
        hint = "patterns are RE2: no look-around and no back-references"
        raise UsageError(f"the pattern {pattern!r} does not compile: {error}; {hint}") from error
    chosen = name or slug(f"regex {label} {pattern}", 48)
    return PatternSource(chosen, kind, (column,), column, whole, label, where=caller())


def expression(text: str, label: Label, *, name: str | None = None, kind: str = "rule") -> ExpressionSource:
    """Vote for ``label`` where an expression is true: ``ls.expression("length(text) < 40", label="rotten")``.

    See `lineshaft.core.expression` for the language.
    """
    columns = parse(text).columns
    chosen = name or slug(f"expression {label} {text}", 48)
    return ExpressionSource(chosen, kind, columns, text, label, where=caller())


def _parts(word: str) -> list[str]:
    return [str(part) for part in compiled(f"{_SPACE}+").split(word) if part]


def _phrase(parts: Sequence[str]) -> str:
    import re2

    return f"{_SPACE}+".join(str(re2.escape(part)) for part in parts)


def _whole_words(words: Sequence[str]) -> str:
    """Ask for a word's edge on each side where a keyword itself begins or ends within a word.

    Keywords with the same edges share them: a class of all letters is a large piece of automaton.
    """
    begins, ends, groups = compiled(f"^{_IN_WORD}"), compiled(f"{_IN_WORD}$"), dict[tuple[bool, bool], list[str]]()
    for word in dict.fromkeys(words):
        parts = _parts(word)
        edges = begins.search(parts[0]) is not None, ends.search(parts[-1]) is not None
        groups.setdefault(edges, []).append(_phrase(parts))
    return "|".join(
        (f"(?:^|{_OFF_WORD})" if left else "") + f"(?:{'|'.join(same)})" + (f"(?:{_OFF_WORD}|$)" if right else "")
        for (left, right), same in groups.items()
    )


def _one_class(found: Any, label: int) -> Ballot:
    import pyarrow.compute as pc

    rows = np.flatnonzero(pc.fill_null(found, False).to_numpy(zero_copy_only=False)).astype(np.int64)
    return Ballot(rows, np.full(len(rows), label, np.int16))
