"""The default label model: the guard, gold, kinds, explanations, and what must not matter."""

import json
import tracemalloc

import numpy as np
import pytest
from generated import credit, one_sided_rules, people, pooled, rules, two_sided_rules
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


def test_each_choice_is_the_model_that_it_names():
    copying, _ = rules(1, (0.5, 0.5), copies=True)
    model = LabelModel(2).fit(copying)
    assert model.report["choice"] == "weighted"
    assert (model.predict(copying) == Rates(2).fit(copying).predict(copying)).mean() > 0.9
    skewed, _ = rules(1, (0.9, 0.1), copies=True)
    model, majority = LabelModel(2).fit(skewed), MajorityVote(2).fit(skewed)
    clear = model.covered(skewed) & ~majority.tied(skewed)
    assert model.report["choice"] == "equal"
    assert (model.predict(skewed) == majority.predict(skewed))[clear].all()
    P = people(np.arange(500) % 2, 2, 10, 0)
    model = LabelModel(2).fit(P, "person")
    assert model.report["choice"] == "people"
    assert (model.predict_proba(P) == DawidSkene(2).fit(P).predict_proba(P)).all()
    assert LabelModel(2).fit(P, "expert").report["choice"] == "empty"
    assert LabelModel(2).fit(np.zeros((5, 0), int)).report["choice"] == "empty"


def test_independent_rules_reach_what_knowing_them_would():
    L, y = two_sided_rules(0, (0.7, 0.3), n=20_000, m=20, coverage=1.0)
    model = LabelModel(2).fit(L)
    log = np.log(np.array([(y == c).mean() for c in range(2)]))[None].repeat(len(L), axis=0)
    for column in L.T:
        log += np.log(np.stack([np.bincount(column[y == c], minlength=2) / (y == c).sum() for c in range(2)]))[
            :, column
        ].T
    assert model.report["choice"] == "silence"
    assert (model.predict(L) == y).mean() > credit(log, y).mean() - 0.001


def test_the_report_says_what_the_guard_saw():
    sound, collapsed = (
        LabelModel(2).fit(rules(1, shares, copies=True)[0]).report for shares in ((0.5, 0.5), (0.9, 0.1))
    )
    assert sound["guard"]["agreement"] > 0.97
    assert collapsed["guard"]["agreement"] < 0.9
    assert sound["guard"]["choice"] == sound["choice"] == "weighted"
    assert "floor" in collapsed["guard"]["reason"]
    assert sound["kinds"] == {"rule": 12} and sound["converged"] and sound["rounds"] > 1
    assert sum(sound["balance"]) == pytest.approx(1, abs=1e-5)
    assert sound["patterns"] < 4000 and sound["gold_rows"] == sound["expert_conflicts"] == 0


def test_a_floor_that_nothing_reaches_leaves_the_majority():
    L, _ = rules(1, (0.5, 0.5), copies=True)
    assert LabelModel(2, floor=1.01).fit(L).report["choice"] == "equal"
    assert LabelModel(2, floor=0.0).fit(rules(1, (0.9, 0.1), copies=True)[0]).report["choice"] == "weighted"


def test_gold_overrules_what_the_votes_chose():
    L, y = rules(1, (0.9, 0.1), copies=True)
    gold = np.where(np.arange(len(y)) < 400, y, -1)
    refused = LabelModel(2, floor=0.0).fit(L, gold=gold).report
    assert refused["choice"] != "weighted" and "more accurate on" in refused["guard"]["reason"]
    assert refused["guard"]["gold_difference"] > refused["guard"]["gold_error"] > 0
    free = np.arange(len(y)) >= 400
    ours, blind = LabelModel(2, floor=0.0).fit(L, gold=gold), LabelModel(2, floor=0.0).fit(L)
    assert (ours.predict(L) == y)[free].mean() > (blind.predict(L) == y)[free].mean() + 0.1


@pytest.mark.parametrize("seed", range(3))
def test_gold_that_contradicts_every_vote_turns_the_answers(seed):
    L, y = rules(seed, (0.5, 0.5), n=1500)
    model = LabelModel(2).fit(L, gold=np.where(np.arange(1500) < 900, 1 - y, -1))
    free = (np.arange(1500) >= 900) & (np.abs((L == 1).sum(axis=1) - (L == 0).sum(axis=1)) > 1)
    assert (model.predict(L) != y)[free].mean() > 0.8
    assert np.isfinite(model.predict_proba(L)).all()


def test_gold_that_knows_nothing_changes_nothing():
    L, _ = rules(0, (0.5, 0.5), n=800)
    plain, known = LabelModel(2).fit(L), LabelModel(2).fit(L, gold=np.full(800, -1))
    assert plain.predict_proba(L).tobytes() == known.predict_proba(L).tobytes() and plain.report == known.report


def test_gold_is_clamped_while_fitting_and_only_then():
    L = np.array([[0, 0]] * 50 + [[0, -1]] * 50)
    gold = np.full(100, 1)
    model = LabelModel(2, floor=0).fit(L, gold=np.where(np.arange(100) < 60, gold, -1))
    assert model.fitted.balance[1] > 0.6
    assert model.report["gold_rows"] == 60
    assert 0 < model.predict_proba(L)[0, 0] < 1


def test_a_person_brings_the_balance_and_a_weighted_rule_does_not():
    y = (np.random.default_rng(0).random(3000) < 0.1).astype(int)
    model = LabelModel(2).fit(people(y, 2, 5, 0, answers=3, skill=(0.8, 0.9)), "person")
    one = np.array([-1, -1, -1, -1, 1])
    assert "prior" in model.explain(one) and model.explain(one, 1)["prior"] < -1.5
    L, _ = rules(1, (0.5, 0.5), copies=True)
    model = LabelModel(2).fit(L)
    assert model.explain(L[model.covered(L)][0])["prior"] == 0


@pytest.mark.parametrize("copies", [False, True])
def test_rules_beside_people_are_judged_by_the_rules_alone(copies):
    L, y = rules(1, (0.5, 0.5), copies=copies)
    both, kinds = np.hstack([L, people(y, 2, 6, 0, answers=1)]), ["rule"] * 12 + ["person"] * 6
    alone, joined = LabelModel(2).fit(L).report, LabelModel(2).fit(both, kinds).report
    assert joined["choice"] == alone["choice"] == ("weighted" if copies else "silence")
    assert joined["guard"]["agreement"] == alone["guard"]["agreement"]
    assert joined["guard"]["strain"] == alone["guard"]["strain"]


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
    terms = [graded.explain(row, 1, np.array([p] + [np.nan] * 12))[0] for p in (0.81, 0.99)]
    assert terms[0] < terms[1]


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


@pytest.mark.parametrize("only", [0, 2])
@pytest.mark.parametrize("kind", ["rule", "person", "model", "expert"])
def test_one_class_voted_for_by_all(only, kind):
    L = np.where(np.random.default_rng(0).random((60, 4)) < 0.5, only, -1)
    model = LabelModel(3).fit(L, kind)
    q = model.predict_proba(L)
    assert (q.argmax(axis=1) == only)[model.covered(L)].all() and np.isfinite(q).all()


def test_copies_and_opposites_of_a_rule_do_no_harm():
    L, y = rules(2, (0.5, 0.5), n=2000, m=6)
    base = (LabelModel(2).fit(L).predict(L) == y)[(L >= 0).any(axis=1)].mean()
    doubled = np.hstack([L, L[:, [0]], L[:, [0]]])
    assert np.isfinite(LabelModel(2).fit(doubled).predict_proba(doubled)).all()
    opposed = np.hstack([L, np.where(L[:, [0]] >= 0, 1 - L[:, [0]], -1)])
    model = LabelModel(2).fit(opposed)
    assert (model.predict(opposed) == y)[(L >= 0).any(axis=1)].mean() > base - 0.12


def test_two_rules_that_always_contradict_each_other_leave_it_open():
    L = np.array([[0, 1], [1, 0]] * 50)
    q = LabelModel(2).fit(L).predict_proba(L)
    assert np.abs(q - 0.5).max() < 0.05


def test_any_order_of_the_rows_gives_the_same_answers():
    L, y = rules(3, (0.6, 0.4), n=1000)
    gold = np.where(np.arange(1000) % 7 == 0, y, -1)
    shuffle = np.random.default_rng(0).permutation(1000)
    for known in (None, gold):
        model = LabelModel(2).fit(L, gold=known)
        other = LabelModel(2).fit(L[shuffle], gold=None if known is None else known[shuffle])
        assert other.report["choice"] == model.report["choice"]
        assert np.abs(other.predict_proba(L) - model.predict_proba(L)).max() < 1e-6


def test_rows_written_twice_weigh_twice_and_change_nothing_else():
    L, _ = rules(1, (0.5, 0.5), n=1200, copies=True)
    twice = LabelModel(2).fit(np.vstack([L, L]))
    assert twice.report["patterns"] == LabelModel(2).fit(np.vstack([L, L, L])).report["patterns"]
    assert twice.report["choice"] == "weighted"


def test_the_callers_arrays_stay_as_they_were():
    L, y = rules(0, (0.5, 0.5), n=300)
    L, gold, soft = L.astype(np.int8), np.where(y < 2, -1, y), np.full(L.shape, np.nan)
    before = L.copy(), gold.copy(), soft.copy()
    model = LabelModel(2).fit(L, gold=gold, confidence=soft)
    model.predict_proba(L, soft)
    assert (L == before[0]).all() and (gold == before[1]).all() and np.isnan(soft).all()


def test_lists_and_any_whole_numbers_are_the_same_votes():
    L, _ = rules(0, (0.5, 0.5), n=200, m=4)
    expected = LabelModel(2).fit(L).predict_proba(L)
    for form in (L.tolist(), L.astype(np.int8), L.astype(float), np.asfortranarray(L), L[::1]):
        assert LabelModel(2).fit(form).predict_proba(form).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"L": [0, 1]}, "rows x sources"),
        ({"L": [[0, 2]]}, "a vote of 2 among 2"),
        ({"L": [[0, np.nan]]}, "NaN"),
        ({"L": [["a", "b"]]}, "class names"),
        ({"kinds": ["rule"]}, "1 kinds for 2"),
        ({"kinds": "human"}, "not a kind"),
        ({"gold": [0]}, "gold of shape"),
        ({"gold": [0, 5]}, "among 2 classes"),
        ({"confidence": [[0.5]]}, "confidences of shape"),
        ({"confidence": [[2.0, 0.5], [0.5, 0.5]]}, "probabilities"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_learnt(arguments, message):
    model = LabelModel(2).fit([[0, 1], [1, 1]])
    kept = model.fitted
    with pytest.raises((DataError, UsageError), match=message):
        model.fit(**({"L": [[0, 1], [1, 0]]} | arguments))
    assert model.fitted is kept


def test_fitting_makes_no_dense_one_hot():
    L, _ = two_sided_rules(0, (0.5, 0.5), n=150_000, m=20, coverage=1.0)
    L = L.astype(np.int8)
    tracemalloc.start()
    LabelModel(2).fit(L)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150_000 * 20 * 2 * 8  # one float64 for each vote and class


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
    assert np.mean(found) > 90.2
