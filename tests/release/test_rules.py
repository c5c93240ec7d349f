"""Rules: what passes, by how much, and with nothing to compare."""

import pytest

import lineshaft as ls
from lineshaft.errors import UsageError
from lineshaft.release.evaluate import Report
from lineshaft.release.rules import Verdict


def report(value=0.8, low=0.7, high=0.9, **slices):
    def part(v, lo, hi):
        names = ("accuracy", "balanced_accuracy", "f1", "log_loss", "brier", "ece")
        return {"rows": 10, "metrics": {name: {"value": v, "low": lo, "high": hi} for name in names}}

    return Report({**part(value, low, high), "slices": {name: part(*given) for name, given in slices.items()}})


@pytest.mark.parametrize(("bound", "passed"), [(0.79, True), (0.8, True), (0.81, False)])
def test_at_least(bound, passed):
    verdict = ls.at_least("accuracy", bound).judge(report(), None)
    assert verdict == Verdict(f"accuracy at least {bound:g}", passed, 0.8, bound)


@pytest.mark.parametrize(("bound", "passed"), [(0.79, False), (0.8, True), (0.81, True)])
def test_at_most(bound, passed):
    assert ls.at_most("log_loss", bound).judge(report(), None).passed is passed


def test_being_sure_means_the_end_of_the_interval():
    assert ls.at_least("f1", 0.75).judge(report(), None).passed
    verdict = ls.at_least("f1", 0.75, sure=True).judge(report(), None)
    assert (verdict.passed, verdict.seen, verdict.rule) == (False, 0.7, "f1 (lower end) at least 0.75")
    assert ls.at_most("ece", 0.85).judge(report(), None).passed
    verdict = ls.at_most("ece", 0.85, sure=True).judge(report(), None)
    assert (verdict.passed, verdict.seen, verdict.rule) == (False, 0.9, "ece (upper end) at most 0.85")


def test_a_rule_about_a_slice_judges_the_slice():
    both = report(short=(0.4, 0.3, 0.5))
    assert ls.at_least("accuracy", 0.6).judge(both, None).passed
    verdict = ls.at_least("accuracy", 0.6, where="short").judge(both, None)
    assert (verdict.passed, verdict.seen) == (False, 0.4)
    assert verdict.rule == "accuracy in short at least 0.6"
    with pytest.raises(UsageError, match="no slice 'long'; there are short"):
        ls.at_least("accuracy", 0.6, where="long").judge(both, None)


@pytest.mark.parametrize("rule", [ls.at_least("f1", 0.0), ls.at_most("f1", 9.0), ls.no_worse_than("m@live", "f1")])
def test_what_is_undefined_passes_no_bound(rule):
    nothing = report(None, None, None)
    verdict = rule.judge(nothing, nothing)
    assert not verdict.passed
    assert "undefined" in str(verdict)


@pytest.mark.parametrize(
    ("metric", "own", "live", "slack", "passed"),
    [
        ("accuracy", 0.80, 0.80, 0.0, True),
        ("accuracy", 0.79, 0.80, 0.0, False),
        ("accuracy", 0.79, 0.80, 0.02, True),
        ("accuracy", 0.90, 0.80, -0.05, True),  # at least so much better
        ("accuracy", 0.82, 0.80, -0.05, False),
        ("log_loss", 0.79, 0.80, 0.0, True),
        ("log_loss", 0.81, 0.80, 0.0, False),
        ("log_loss", 0.81, 0.80, 0.02, True),
    ],
)
def test_no_worse_than_knows_which_way_is_good(metric, own, live, slack, passed):
    verdict = ls.no_worse_than("m@live", metric, slack=slack).judge(report(own), report(live))
    assert verdict.passed is passed
    assert verdict.seen == own


def test_no_worse_in_a_slice():
    rule = ls.no_worse_than("m@live", "f1", where="short")
    assert not rule.judge(report(short=(0.4, 0.3, 0.5)), report(short=(0.5, 0.4, 0.6))).passed
    assert rule.judge(report(0.1, short=(0.5, 0.3, 0.5)), report(0.9, short=(0.5, 0.4, 0.6))).passed


def test_while_nothing_is_published_there_is_nothing_to_be_worse_than():
    verdict = ls.no_worse_than("m@live", "accuracy").judge(report(), None)
    assert (verdict.passed, verdict.seen, verdict.wanted) == (True, 0.8, None)
    assert str(verdict) == "passed: accuracy no worse than m@live: 0.8000, nothing to compare with"


def test_only_a_comparison_names_a_baseline():
    assert ls.no_worse_than("m@live", "accuracy").baseline == "m@live"
    assert ls.at_least("accuracy", 0.5).baseline is None


def test_verdicts_read_as_sentences_and_go_through_json():
    verdict = ls.at_least("accuracy", 0.9).judge(report(), None)
    assert str(verdict) == "FAILED: accuracy at least 0.9: 0.8000, wanted 0.9000"
    assert Verdict(**verdict.as_json()) == verdict


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.7", None, True, [0.7]])
def test_a_bound_is_a_finite_number(value):
    for make in (lambda: ls.at_least("accuracy", value), lambda: ls.at_most("ece", value)):
        with pytest.raises(UsageError, match="a rule compares with a finite number"):
            make()
    with pytest.raises(UsageError):
        ls.no_worse_than("m@live", "accuracy", slack=value)


def test_a_mistyped_metric_is_found_before_anything_is_trained():
    for make in (
        lambda: ls.at_least("acuracy", 0.7),
        lambda: ls.at_most("loss", 0.7),
        lambda: ls.no_worse_than("m@live", "Accuracy"),
    ):
        with pytest.raises(UsageError, match=r"there is no metric '.*'; there are accuracy, balanced_accuracy, f1"):
            make()


def test_rules_count_in_the_key_of_a_blessing():
    from lineshaft.core.fingerprint import fingerprint

    rules = [ls.at_least("f1", 0.5), ls.at_least("f1", 0.6), ls.at_most("f1", 0.5), ls.at_least("f1", 0.5, sure=True),
             ls.at_least("f1", 0.5, where="a"), ls.no_worse_than("a", "f1"), ls.no_worse_than("b", "f1")]  # fmt: skip
    digests = {fingerprint(rule).digest for rule in rules}
    assert len(digests) == len(rules)
    assert fingerprint(ls.at_least("f1", 0.5)).digest in digests
