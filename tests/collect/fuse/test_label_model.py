"""The default label model: the guard, gold, kinds, explanations, and what must not matter."""

import json

import numpy as np
import pytest
from generated import one_sided_rules, people, pooled
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.fuse.dawid_skene import DawidSkene
from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.majority import MajorityVote
from lineshaft.collect.fuse.rates import Rates
from lineshaft.errors import DataError, UsageError


@st.composite
def fitted(draw, least_classes=2):
    """A fitted model with its votes and confidences: any kinds, some gold."""
    k, n, m = draw(st.integers(least_classes, 4)), draw(st.integers(0, 25)), draw(st.integers(0, 5))
    L = draw(hnp.arrays(np.int64, (n, m), elements=st.integers(-1, k - 1)))
    gold = draw(hnp.arrays(np.int64, n, elements=st.integers(-1, k - 1)))
    kinds = draw(st.lists(st.sampled_from(["rule", "model", "person", "expert"]), min_size=m, max_size=m))
    soft = draw(hnp.arrays(np.float64, (n, m), elements=st.sampled_from([np.nan, 0.5, 0.9, 1.0])))
    soft[:, [kind != "model" for kind in kinds]] = np.nan
    return LabelModel(k).fit(L, kinds, gold, soft), L, kinds, gold, soft


@settings(max_examples=150, deadline=None)
@given(fitted())
def test_rows_sum_to_one_and_uncovered_rows_get_the_balance(case):
    model, L, _, _, soft = case
    q = model.predict_proba(L, soft)
    assert q.shape == (len(L), model.k)
    assert np.abs(q.sum(axis=1) - 1).max(initial=0) < 1e-9
    assert (q >= 0).all()
    bare = ~model.covered(L)
    assert (q[bare] == model.fitted.balance).all()
    assert (model.predict(L, abstain=True, confidence=soft)[bare] == -1).all()
    json.dumps(model.report, allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(fitted())
def test_an_explanation_sums_to_the_log_odds_exactly(case):
    model, L, _, _, soft = case
    q = model.predict_proba(L, soft)
    for row in range(min(len(L), 5)):
        for cls in (None, *range(model.k)):
            terms = model.explain(L[row], cls, soft[row])
            target = int(q[row].argmax()) if cls is None else cls
            p = q[row, target]
            if 1e-9 < p < 1 - 1e-7:
                assert sum(terms.values()) == pytest.approx(np.log(p / (1 - p)), abs=1e-6)
            assert set(terms) - {"prior"} == {int(j) for j in np.flatnonzero(L[row] >= 0)}


@settings(max_examples=80, deadline=None)
@given(fitted(), st.randoms(use_true_random=False))
def test_the_order_of_the_sources_does_not_change_a_bit(case, random):
    model, L, kinds, gold, soft = case
    shuffle = list(range(L.shape[1]))
    random.shuffle(shuffle)
    other = LabelModel(model.k).fit(L[:, shuffle], [kinds[j] for j in shuffle], gold, soft[:, shuffle])
    assert other.predict_proba(L[:, shuffle], soft[:, shuffle]).tobytes() == model.predict_proba(L, soft).tobytes()
    assert other.report == model.report


@settings(max_examples=40, deadline=None)
@given(fitted())
def test_fitting_again_gives_the_same_bits(case):
    model, L, kinds, gold, soft = case
    again = LabelModel(model.k, random_state=7).fit(L, kinds, gold, soft)
    assert again.predict_proba(L, soft).tobytes() == model.predict_proba(L, soft).tobytes()


@pytest.mark.parametrize("m", [0, 1, 2])
@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("kind", ["rule", "person", "model", "expert"])
def test_few_sources_and_few_rows_are_fine(n, m, kind):
    L = np.full((n, m), 1)
    model = LabelModel(3).fit(L, kind)
    assert (model.predict(L) == (1 if m else 0)).all()
    assert LabelModel(3).fit(np.full((n, m), -1), kind).predict_proba(np.full((n, m), -1)).shape == (n, 3)


def test_rules_alone_are_rates_and_people_alone_are_dawid_skene():
    L, y = one_sided_rules(0)
    assert (LabelModel(2).fit(L).predict_proba(L) == Rates(2).fit(L).predict_proba(L)).all()
    P = people(y[:500], 2, 10, 0)
    model = LabelModel(2).fit(P, "person")
    assert (model.predict_proba(P) == DawidSkene(2).fit(P).predict_proba(P)).all()
    assert model.report["choice"] == "people"


@pytest.mark.parametrize("share", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_under_skew_it_stays_with_the_majority(share):
    differences = []
    for seed in range(8):
        L, y = one_sided_rules(seed, share)
        model, majority = LabelModel(2).fit(L), MajorityVote(2).fit(L)
        covered = model.covered(L)
        q = majority.predict_proba(L)[covered]
        fair = np.where(q.max(axis=1) == q.min(axis=1), 0.5, q.argmax(axis=1) == y[covered]).mean()
        differences.append((model.predict(L) == y)[covered].mean() - fair)
    assert np.mean(differences) > -0.01
    assert min(differences) > -0.04


def test_the_report_says_what_the_guard_saw():
    sound, collapsed = (LabelModel(2).fit(one_sided_rules(0, share)[0]).report for share in (0.5, 0.9))
    assert (sound["choice"], collapsed["choice"]) == ("weighted", "equal")
    assert sound["guard"]["agreement"] > 0.97
    assert collapsed["guard"]["agreement"] < 0.9
    assert "floor" in collapsed["guard"]["reason"]
    assert sound["kinds"] == {"rule": 12} and sound["converged"] and sound["rounds"] > 1
    assert sum(sound["balance"]) == pytest.approx(1, abs=1e-5)


def test_gold_overrules_agreement_both_ways():
    L, y = one_sided_rules(0, 0.9)
    gold = np.where(np.arange(len(y)) < 300, y, -1)
    refused = LabelModel(2, floor=0.0).fit(L, gold=gold)
    assert refused.report["choice"] == "equal" and "less accurate on" in refused.report["guard"]["reason"]
    L, y = one_sided_rules(1)
    gold = np.where(np.arange(len(y)) < 1500, y, -1)
    kept = LabelModel(2, floor=1.01).fit(L, gold=gold)
    assert kept.report["choice"] == "weighted" and "more accurate on" in kept.report["guard"]["reason"]


def test_gold_is_clamped_while_fitting_and_only_then():
    L = np.array([[0, 0]] * 50 + [[0, -1]] * 50)
    gold = np.full(100, 1)
    model = LabelModel(2, floor=0).fit(L, gold=np.where(np.arange(100) < 60, gold, -1))
    assert model.fitted.balance[1] > 0.6
    assert model.report["gold_rows"] == 60
    assert 0 < model.predict_proba(L)[0, 0] < 1


def test_a_rule_silent_means_nothing_and_a_person_brings_the_balance():
    y = (np.random.default_rng(0).random(3000) < 0.1).astype(int)
    P = people(y, 2, 5, 0, answers=3, skill=(0.8, 0.9))
    model = LabelModel(2).fit(P, "person")
    one = np.array([-1, -1, -1, -1, 1])
    assert "prior" in model.explain(one) and model.explain(one, 1)["prior"] < -1.5
    L, _ = one_sided_rules(0)
    assert LabelModel(2).fit(L).explain(L[LabelModel(2).fit(L).covered(L)][0])["prior"] == pytest.approx(0, abs=1e-9)


def test_rules_and_people_together_beat_either_alone():
    L, y = one_sided_rules(2, n=3000)
    P = people(y, 2, 20, 0, answers=2, skill=(0.6, 0.9))
    both, kinds = np.hstack([L, P]), ["rule"] * 12 + ["person"] * 20
    ours = (LabelModel(2).fit(both, kinds).predict(both) == y).mean()
    covered = LabelModel(2).fit(L).covered(L)
    assert ours > (LabelModel(2).fit(P, "person").predict(P) == y).mean()
    assert ours > (LabelModel(2).fit(L).predict(L) == y)[covered].mean()
    assert ours > (MajorityVote(2).fit(both).predict(both) == y).mean()


def test_a_surer_model_counts_more():
    L, y = one_sided_rules(1, n=3000)
    random = np.random.default_rng(1)
    sure = random.uniform(0.5, 1, 3000)
    vote = np.where(sure > 0.8, np.where(random.random(3000) < sure, y, 1 - y), -1)
    votes, kinds = np.column_stack([vote, L]), ["model"] + ["rule"] * 12
    soft = np.full(votes.shape, np.nan)
    soft[:, 0] = np.where(vote >= 0, sure, np.nan)
    plain, graded = LabelModel(2).fit(votes, kinds), LabelModel(2).fit(votes, kinds, confidence=soft)
    covered = plain.covered(votes)
    accuracy = [
        (plain.predict(votes) == y)[covered].mean(),
        (graded.predict(votes, confidence=soft) == y)[covered].mean(),
    ]
    assert accuracy[1] > accuracy[0] - 0.005
    row = np.array([1] + [-1] * 12)
    terms = [graded.explain(row, 1, np.array([p] + [np.nan] * 12))[0] for p in (0.6, 0.8, 1.0)]
    assert terms[0] < terms[1] < terms[2]


def test_confidences_of_rules_and_people_are_ignored():
    L, _ = one_sided_rules(0, n=500)
    soft = np.where(L >= 0, 0.6, np.nan)
    assert (LabelModel(2).fit(L, confidence=soft).fitted.scores == LabelModel(2).fit(L).fitted.scores).all()


def test_an_expert_outvotes_everyone_and_two_who_differ_leave_it_to_the_rest():
    rules = np.tile([0, 0, 0, -1, -1], (30, 1))
    rules[:10, 3] = 1
    rules[10:20, 3:] = [1, 0]
    model = LabelModel(2).fit(rules, ["rule"] * 3 + ["expert"] * 2)
    assert model.predict(rules).tolist() == [1] * 10 + [0] * 20
    assert model.predict_proba(rules)[0, 1] > 0.99
    assert model.report["expert_conflicts"] == 10


def test_a_model_knows_its_columns_and_classes():
    model = LabelModel(2).fit([[0, 1], [1, 1]])
    with pytest.raises(DataError, match="3 columns of votes for a model of 2"):
        model.predict([[0, 1, 1]])
    with pytest.raises(DataError, match="one row"):
        model.explain([[0, 1], [1, 1]])
    with pytest.raises(DataError, match="class 2 of 2"):
        model.explain([0, 1], cls=2)
    with pytest.raises(UsageError, match=r"call fit\(L\) first"):
        LabelModel(2).predict([[0]])
    for k in (1, 0, True, "2"):
        with pytest.raises(UsageError, match="two or more"):
            LabelModel(k)


@pytest.mark.needs_shared
@pytest.mark.parametrize(("name", "accuracy"), [("youtube", 87.67), ("semeval", 84.21), ("trec", 59.31)])
def test_the_guard_leaves_reference_rules_alone(shared, name, accuracy):
    L, y, k = pooled(shared, name)
    for gold in (None, np.where(np.arange(len(y)) % 20 == 0, y, -1)):
        model = LabelModel(k).fit(L, gold=gold)
        covered = model.covered(L)
        assert model.report["choice"] == "weighted"
        assert (model.predict(L) == y)[covered].mean() * 100 > accuracy - 0.3


@pytest.mark.needs_shared
def test_reference_rules_with_people_reach_the_joint_figures(shared):
    found = []
    for name in ("youtube", "semeval", "trec"):
        L, y, k = pooled(shared, name)
        P = people(y, k, 40, 0, answers=2)
        votes = np.hstack([L, P])
        model = LabelModel(k).fit(votes, ["rule"] * L.shape[1] + ["person"] * 40)
        found.append((model.predict(votes) == y).mean() * 100)
    assert abs(np.mean(found) - 90.2) < 0.7
