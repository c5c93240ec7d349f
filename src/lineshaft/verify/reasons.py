"""Why data does not fit a schema: every reason, what it is about, and what TensorFlow Data Validation calls it.

A reason about *rows* names the rows that break a rule: quarantine takes them out, and the request check can find it in
a single row. A reason about a *column* or the *data set* concerns all rows together and rejects none of them. Reasons
about a column that a single row can show as well (a missing column, another type) are found by the request check too.
"""

from __future__ import annotations

from dataclasses import dataclass

ROWS, COLUMN, DATASET = "rows", "column", "data set"


@dataclass(frozen=True)
class Reason:
    """One reason.

    Attributes
    ----------
    name
        The name that reports carry and that ``severity`` tables in a schema use.
    about
        ``"rows"``, ``"column"`` or ``"data set"``.
    meaning
        A sentence for people.
    tfdv
        The corresponding reasons of TensorFlow Data Validation.

    """

    name: str
    about: str
    meaning: str
    tfdv: tuple[str, ...] = ()


_LOW_NUMBER, _HIGH_NUMBER = "FEATURE_TYPE_LOW_NUMBER_VALUES", "FEATURE_TYPE_HIGH_NUMBER_VALUES"
_NOT_PRESENT, _LOW_FRACTION = "FEATURE_TYPE_NOT_PRESENT", "FEATURE_TYPE_LOW_FRACTION_PRESENT"
_BOOL = ("BOOL_TYPE_SMALL_INT", "BOOL_TYPE_BIG_INT", "BOOL_TYPE_UNEXPECTED_FLOAT", "BOOL_TYPE_UNEXPECTED_STRING")
_ENUM = ("ENUM_TYPE_UNEXPECTED_STRING_VALUES",)

_TABLE = (
    Reason("data_missing", DATASET, "there are no rows"),
    Reason("too_few_rows", DATASET, "fewer rows than min_rows", ("DATASET_LOW_NUM_EXAMPLES",)),
    Reason("too_many_rows", DATASET, "more rows than max_rows", ("DATASET_HIGH_NUM_EXAMPLES",)),
    Reason("missing_column", COLUMN, "the data lack a column that must be there", ("SCHEMA_MISSING_COLUMN",)),
    Reason("new_column", COLUMN, "the schema does not know the column", ("SCHEMA_NEW_COLUMN",)),
    Reason("not_in_environment", COLUMN, "the column must not be there in this environment", ("SCHEMA_NEW_COLUMN",)),
    Reason("type_changed", COLUMN, "another type", ("UNEXPECTED_DATA_TYPE", "VALUE_NESTEDNESS_MISMATCH")),
    Reason("never_present", COLUMN, "no row has a value", (_NOT_PRESENT,)),
    Reason("low_count", COLUMN, "fewer values than min_count", ("FEATURE_TYPE_LOW_NUMBER_PRESENT",)),
    Reason("low_fraction", COLUMN, "a smaller share of rows has a value than min_fraction", (_LOW_FRACTION,)),
    Reason("missing_value", ROWS, "null where a value is required", (_LOW_FRACTION, _NOT_PRESENT)),
    Reason("missing_element", ROWS, "null inside a list", ("INVALID_FEATURE_SHAPE",)),
    Reason("too_few_values", ROWS, "a list shorter than its valency allows", (_LOW_NUMBER,)),
    Reason("too_many_values", ROWS, "a list longer than its valency allows", (_HIGH_NUMBER,)),
    Reason("invalid_utf8", ROWS, "text that is not UTF-8", ("ENUM_TYPE_INVALID_UTF8",)),
    Reason(
        "not_an_integer", ROWS, "not a whole number of 64 bits", ("INT_TYPE_NOT_INT_STRING", "UNEXPECTED_DATA_TYPE")
    ),
    Reason("not_a_number", ROWS, "text that does not read as a number", ("FLOAT_TYPE_STRING_NOT_FLOAT",)),
    Reason("has_nan", ROWS, "NaN", ("FLOAT_TYPE_HAS_NAN",)),
    Reason("has_inf", ROWS, "an infinity", ("FLOAT_TYPE_HAS_INF",)),
    Reason("out_of_range_low", ROWS, "below the range", ("INT_TYPE_SMALL_INT", "FLOAT_TYPE_SMALL_FLOAT")),
    Reason("out_of_range_high", ROWS, "above the range", ("INT_TYPE_BIG_INT", "FLOAT_TYPE_BIG_FLOAT")),
    Reason("not_bool", ROWS, "neither true nor false", _BOOL),
    Reason("unexpected_value", ROWS, "a value outside the list of values", _ENUM),
    Reason("low_domain_mass", COLUMN, "too many values outside the list of values", _ENUM),
    Reason("too_short", ROWS, "shorter than length allows"),
    Reason("too_long", ROWS, "longer than length allows"),
    Reason("pattern_mismatch", ROWS, "text that does not match the pattern"),
    Reason("duplicate_value", ROWS, "a value that an earlier row has already"),
    Reason("too_few_distinct", COLUMN, "fewer different values than distinct allows", ("FEATURE_TYPE_LOW_UNIQUE",)),
    Reason("too_many_distinct", COLUMN, "more different values than distinct allows", ("FEATURE_TYPE_HIGH_UNIQUE",)),
    Reason("rule_broken", ROWS, "the rule is false"),
)

REASONS = {reason.name: reason for reason in _TABLE}
