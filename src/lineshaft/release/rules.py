"""Rules of release: what a model must show before it may be published."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lineshaft.errors import UsageError
from lineshaft.release.metrics import METRICS, higher_is_better

if TYPE_CHECKING:
    from lineshaft.release.evaluate import Report


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a model.

    Attributes
    ----------
    rule
        The rule, in words.
    passed
        Whether the model keeps it.
    seen, wanted
        The two values; ``wanted`` is None where there is nothing to compare with.

    """

    rule: str
    passed: bool
    seen: float | None
    wanted: float | None

    def __str__(self) -> str:
        mark = "passed" if self.passed else "FAILED"
        wanted = "nothing to compare with" if self.wanted is None else f"wanted {self.wanted:.4f}"
        seen = "undefined" if self.seen is None else f"{self.seen:.4f}"
        return f"{mark}: {self.rule}: {seen}, {wanted}"

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as JSON facts."""
        return {"rule": self.rule, "passed": self.passed, "seen": self.seen, "wanted": self.wanted}


class Rule(Protocol):
    """What release asks of a rule."""

    @property
    def baseline(self) -> str | None:
        """The published name that the model is compared with, if any."""

    def judge(self, report: Report, baseline: Report | None) -> Verdict:
        """Judge a model's report, beside the baseline's on the same rows."""


@dataclass(frozen=True)
class Bound:
    """A metric must not lie beyond a value.

    Attributes
    ----------
    metric, value, where
        What, how much, and in which slice (None: overall).
    floor
        Whether the value is the least allowed, else the most.
    sure
        Judge the end of the 95 % interval nearer to the bound instead of the value itself.

    """

    metric: str
    value: float
    where: str | None = None
    floor: bool = True
    sure: bool = False

    @property
    def baseline(self) -> None:
        """No other model is needed."""

    def judge(self, report: Report, baseline: Report | None) -> Verdict:  # noqa: ARG002 - a bound needs no other model
        """Compare the metric with the bound."""
        found = report.metric(self.metric, self.where)
        seen = found[("low" if self.floor else "high") if self.sure else "value"]
        passed = seen is not None and (seen >= self.value if self.floor else seen <= self.value)
        end = (" (lower end)" if self.floor else " (upper end)") if self.sure else ""
        place = f" in {self.where}" if self.where else ""
        return Verdict(
            f"{self.metric}{end}{place} {'at least' if self.floor else 'at most'} {self.value:g}",
            passed,
            seen,
            self.value,
        )


@dataclass(frozen=True)
class NoWorse:
    """A metric must not be worse than that of a published model on the same rows.

    Attributes
    ----------
    baseline
        The published name. While nothing is published there, and where it is the model itself, the rule passes.
    metric, where
        What, and in which slice.
    slack
        By how much it may be worse all the same.

    """

    baseline: str
    metric: str
    where: str | None = None
    slack: float = 0.0

    def judge(self, report: Report, baseline: Report | None) -> Verdict:
        """Compare with the baseline's report."""
        place = f" in {self.where}" if self.where else ""
        rule = f"{self.metric}{place} no worse than {self.baseline}"
        seen = report.metric(self.metric, self.where)["value"]
        if baseline is None:
            return Verdict(rule, passed=True, seen=seen, wanted=None)
        other = baseline.metric(self.metric, self.where)["value"]
        if seen is None or other is None:
            return Verdict(rule, passed=False, seen=seen, wanted=other)
        up = higher_is_better(self.metric)
        wanted = other - self.slack if up else other + self.slack
        return Verdict(rule, passed=seen >= wanted if up else seen <= wanted, seen=seen, wanted=wanted)


def at_least(metric: str, value: float, where: str | None = None, *, sure: bool = False) -> Bound:
    """Require a metric to reach a value, overall or in a slice; ``sure``: with the lower end of its 95 % interval."""
    return Bound(_known(metric), _number(value), where, floor=True, sure=sure)


def at_most(metric: str, value: float, where: str | None = None, *, sure: bool = False) -> Bound:
    """Require a metric not to pass a value; ``sure``: with the upper end of its 95 % interval."""
    return Bound(_known(metric), _number(value), where, floor=False, sure=sure)


def no_worse_than(name: str, metric: str, where: str | None = None, slack: float = 0.0) -> NoWorse:
    """Require a metric to be no worse than that of the model published under a name, on the same rows."""
    return NoWorse(name, _known(metric), where, _number(slack))


def _known(metric: str) -> str:
    if metric not in METRICS:
        raise UsageError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
    return metric


def _number(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"a rule compares with a finite number, not {value!r}")
    return float(value)
