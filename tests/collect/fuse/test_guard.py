"""The guard: what the votes decide, what gold overrules, and what it never looks at."""

import json
from dataclasses import replace

import numpy as np
import pytest
from generated import one_sided_rules, rules

from lineshaft.collect.fuse import guard
from lineshaft.collect.fuse.checks import gold_of, matrix
from lineshaft.collect.fuse.em import Fit
from lineshaft.collect.fuse.guard import judge
from lineshaft.collect.fuse.label_model import CANDIDATES
from lineshaft.collect.fuse.patterns import prepared


def fit_of(q, converged=True):
    """A fit that says ``q`` ([rows, k]) whatever it is given."""
    q = np.asarray(q, float).T
    return Fit(np.zeros((1, 2, 2)), np.zeros(2), np.zeros(2), np.full(2, 0.5), q, np.zeros(1, bool), 1, converged)


def problem_of(L, gold=None, k=2):
    L = np.asarray(L)
    return prepared(matrix(L, k), k, ["rule"] * L.shape[1], gold_of(gold, len(L), k))


def decide(weighted, equal, L=None, gold=None, floor=0.9, silence=None):
    L = [[0]] * len(weighted) if L is None else L
    found = problem_of(L, gold)
    fits = {"weighted": fit_of(weighted), "silence": silence or fit_of(equal), "equal": fit_of(equal)}
    return judge(found, found, {name: lambda part, fit=fit: fit for name, fit in fits.items()}, floor)


def test_agreement_counts_the_callers_rows():
    L = np.array([[0]] * 18 + [[1]] * 2)  # two distinct rows, of eighteen and two
    found = problem_of(L)
    assert found.counts.tolist() == [18, 2]
    said, contrary = found.said().T, np.array([[1, 0], [1, 0]])
    fits = {"weighted": fit_of(contrary), "equal": fit_of(said), "silence": fit_of(said)}
    fitters = {name: lambda part, fit=fit: fit for name, fit in fits.items()}
    verdict = judge(found, found, fitters, 0.95)
    assert verdict.agreement == pytest.approx(0.9) and verdict.choice == "equal"
    assert "90.0% of rows, the floor is 95.0%" in verdict.reason
    assert judge(found, found, fitters, 0.9).choice == "weighted"


def test_either_side_of_a_tie_agrees():
    assert decide([[0.9, 0.1]], [[0.5, 0.5]]).agreement == 1
    assert decide([[0.1, 0.9]], [[0.5, 0.5]]).agreement == 1
    assert decide([[0.1, 0.9]], [[0.6, 0.4]]).agreement == 0


def test_rows_without_a_vote_take_no_part_in_agreement():
    found = problem_of([[0]] * 4 + [[-1]] * 6)
    weighted = fit_of(np.where(found.given[:, None] > 0, [1.0, 0.0], [0.0, 1.0]))
    equal = fit_of(np.tile([1.0, 0.0], (len(found.counts), 1)))
    fits = {"weighted": weighted, "equal": equal, "silence": equal}
    assert judge(found, found, {name: lambda part, fit=fit: fit for name, fit in fits.items()}).agreement == 1


def real(L, gold=None, k=2, **changed):
    """Judge by the fits that the label model uses, noting each."""
    found, seen = problem_of(L, gold, k), []

    def watched(name):
        def fit(part):
            seen.append((name, part))
            return (changed.get(name) or CANDIDATES[name])(part)

        return fit

    return judge(found, found, {name: watched(name) for name in CANDIDATES}), seen, found


def test_independent_rules_are_weighed_with_their_silence():
    verdict, _, _ = real(one_sided_rules(0)[0])
    assert verdict.choice == "silence" and verdict.pairs == 66 and verdict.strain < 1
    assert "as if rules were independent" in verdict.reason


def test_silence_that_did_not_converge_or_contradicts_the_majority_is_not_believed():
    L, _ = one_sided_rules(0)

    def unfinished(part):
        return replace(CANDIDATES["silence"](part), converged=False)

    def contrary(part):
        fit = CANDIDATES["silence"](part)
        wrong = np.where(np.arange(fit.q.shape[1]) % 4, fit.q, fit.q[::-1])
        return replace(fit, q=np.where(part.given > 0, wrong, fit.q))

    for broken in (unfinished, contrary):
        verdict, _, _ = real(L, silence=broken)
        assert verdict.choice in {"equal", "weighted"}
        assert verdict.choice == "equal" or verdict.strain > guard.STRAIN


def test_rules_that_copy_are_weighed_if_they_keep_to_the_majority():
    sound, _, _ = real(rules(1, (0.5, 0.5), copies=True, m=10)[0])
    assert sound.strain > guard.STRAIN and sound.agreement >= guard.FLOOR and sound.choice == "weighted"
    collapsed, _, _ = real(rules(1, (0.9, 0.1), copies=True)[0])
    assert collapsed.strain > guard.STRAIN and collapsed.agreement < guard.FLOOR and collapsed.choice == "equal"


def test_too_few_meetings_leave_silence_unfitted():
    L = np.full((60, 12), -1)
    L[np.arange(60), np.arange(60) % 12] = np.arange(60) % 2
    verdict, seen, _ = real(L)
    assert verdict.choice == "weighted" and verdict.pairs == 0
    assert [name for name, _ in seen] == ["equal", "weighted"]


def test_gold_is_never_judged_by_a_fit_that_saw_it():
    L, y = one_sided_rules(0, n=400)
    gold = np.where(np.arange(400) < 50, y, -1)
    verdict, seen, found = real(L, gold)
    covered = (L[:50] >= 0).any(axis=1).sum()
    assert verdict.gold_rows == covered
    folds = [part for _, part in seen if (part.gold < found.gold).any() and part.known.size]
    assert len(folds) == 15
    for part in folds:
        hidden = (found.gold >= 0) & (part.gold < 0)
        assert found.counts[hidden].sum() == 10 and len(set(found.fold[hidden])) == 1


def test_a_few_gold_rows_decide_nothing_and_cost_nothing():
    L, y = one_sided_rules(0)
    covered = np.flatnonzero((L >= 0).any(axis=1))
    gold = np.full(len(y), -1)
    gold[covered[: guard.FEWEST - 1]] = y[covered[: guard.FEWEST - 1]]
    verdict, seen, _ = real(L, gold)
    assert verdict.gold_rows == guard.FEWEST - 1 and verdict.gold_difference == 0
    assert len(seen) == 3


def test_gold_overrules_only_what_is_clearly_worse():
    right, wrong, half = [[1, 0]], [[0, 1]], [[0.5, 0.5]]
    n, gold = 30, [0] * 30
    found = problem_of([[0]] * n, gold)
    p = len(found.counts)

    def choose(weighted, equal):
        fits = {"weighted": weighted * p, "equal": equal * p, "silence": wrong * p}
        return judge(found, found, {name: lambda part, q=q: fit_of(q) for name, q in fits.items()}, 0.0)

    assert choose(right, wrong).choice == "weighted"
    overruled = choose(wrong, right)
    assert overruled.choice == "equal" and overruled.gold_difference == 1 and overruled.gold_error == 0
    assert overruled.reason == "equal is 100.0% more accurate on 30 gold rows"
    assert choose(half, half).choice == "weighted" and choose(half, half).gold_difference == 0


def test_a_difference_within_its_error_leaves_the_choice():
    gold = np.array([0] * 16 + [1] * 14)
    L = np.where(gold == 0, 0, 1)[:, None]
    found = problem_of(L, gold)
    truth = found.gold
    always = np.tile([1.0, 0.0], (len(truth), 1))
    never = np.tile([0.0, 1.0], (len(truth), 1))
    fits = {"weighted": never, "equal": always, "silence": never}
    verdict = judge(found, found, {name: lambda part, q=q: fit_of(q) for name, q in fits.items()}, 0.0)
    assert verdict.gold_difference == pytest.approx(2 / 30) and verdict.gold_error > 0.1
    assert verdict.choice == "weighted"


def test_it_looks_at_a_bounded_number_of_rows(monkeypatch):
    monkeypatch.setattr(guard, "ROWS", 200)
    L = np.random.default_rng(0).integers(-1, 2, (3000, 14))
    verdict, seen, found = real(L)
    assert len(found.counts) == 3000
    assert all(len(part.counts) <= 200 for _, part in seen)
    assert verdict.choice in {"weighted", "silence", "equal"}


def test_no_rows_agree_with_everything():
    verdict, _, _ = real(np.zeros((0, 3), int))
    assert verdict.choice == "weighted" and verdict.agreement == 1


def test_facts_are_json():
    facts = real(one_sided_rules(0)[0])[0].facts()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert set(facts) >= {"choice", "reason", "agreement", "pairs", "strain", "gold_rows"}
