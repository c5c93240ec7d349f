"""Additive models: prediction row by row, explanations that add up, and what a fitted model refuses."""

import numpy as np
import pytest
from generated import people, two_sided_rules
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.fuse import additive
from lineshaft.collect.fuse.additive import Additive, Scores
from lineshaft.collect.fuse.dawid_skene import DawidSkene
from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.rates import Rates
from lineshaft.errors import DataError, UsageError


@st.composite
def models(draw):
    """A model with any scores, and votes for it."""
    k, m = draw(st.integers(2, 4)), draw(st.integers(1, 4))
    numbers = st.floats(-6, 6)
    scores = Scores(
        np.array(draw(st.permutations(range(m)))),
        draw(hnp.arrays(float, (m, k, k), elements=numbers)),
        draw(hnp.arrays(float, k, elements=numbers)),
        draw(hnp.arrays(float, k, elements=numbers)),
        (shares := draw(hnp.arrays(float, k, elements=st.floats(0.01, 1)))) / shares.sum(),
        draw(hnp.arrays(bool, m)),
    )
    model = Additive(k)
    model._fitted = scores
    n = draw(st.integers(1, 6))
    L = draw(hnp.arrays(np.int64, (n, m), elements=st.integers(-1, k - 1)))
    return model, L


def by_hand(model, row):
    """The sums of one row, vote by vote."""
    s = model.fitted
    total = s.prior.copy() if (row[s.informed] >= 0).any() else s.otherwise.copy()
    for j, c in enumerate(row):
        if c >= 0:
            total += s.scores[j, c]
    return total


@settings(max_examples=100, deadline=None)
@given(models())
def test_probabilities_are_the_softmax_of_the_votes_scores(case):
    model, L = case
    q = model.predict_proba(L)
    assert q.flags["C_CONTIGUOUS"]
    for i, row in enumerate(L):
        if (row < 0).all():
            assert (q[i] == model.fitted.balance).all()
        else:
            raised = np.exp(by_hand(model, row))
            assert q[i] == pytest.approx(raised / raised.sum())


@settings(max_examples=100, deadline=None)
@given(models())
def test_what_each_source_adds_sums_to_the_log_odds(case):
    model, L = case
    for cls in range(model.k):
        terms = model.explain_all(L, np.full(len(L), cls))
        p = model.predict_proba(L)[:, cls]
        assert 1 / (1 + np.exp(-terms.sum(axis=1))) == pytest.approx(p, rel=1e-6)
        assert (terms[:, :-1][L < 0] == 0).all()


@settings(max_examples=100, deadline=None)
@given(models())
def test_one_row_is_explained_as_among_many(case):
    model, L = case
    answers = model.predict_proba(L).argmax(axis=1)
    many = model.explain_all(L, answers)
    for i, row in enumerate(L):
        alone = model.explain(row)
        assert set(alone) == {*np.flatnonzero(row >= 0).tolist(), "prior"}
        assert [alone.get(j, 0.0) for j in range(L.shape[1])] + [alone["prior"]] == pytest.approx(many[i], abs=1e-12)
        assert alone == model.explain(row, int(answers[i]))


def test_slices_do_not_change_a_bit(monkeypatch):
    L, _ = two_sided_rules(0, (0.6, 0.4), n=500, m=6)
    model = LabelModel(2).fit(L)
    whole = model.predict_proba(L)
    monkeypatch.setattr(additive, "SLICE", 7)
    assert model.predict_proba(L).tobytes() == whole.tobytes()
    rows = np.concatenate([model.predict_proba(L[i : i + 1]) for i in range(20)])
    assert rows.tobytes() == whole[:20].tobytes()


def test_two_classes_leave_no_entropy_to_the_prior():
    L, _ = two_sided_rules(0, (0.5, 0.5), n=400, m=5)
    model = Rates(2).fit(L)
    assert all(model.explain(row)["prior"] == 0 for row in L[model.covered(L)][:50])


def test_a_row_without_a_vote_is_explained_by_the_balance():
    y = (np.random.default_rng(0).random(500) < 0.2).astype(int)
    model = DawidSkene(2).fit(people(y, 2, 5, 0))
    q = model.fitted.balance
    assert model.explain([-1] * 5) == {"prior": pytest.approx(np.log(q[0] / q[1]))}
    assert model.explain([-1] * 5, cls=1) == {"prior": pytest.approx(np.log(q[1] / q[0]))}


@pytest.mark.parametrize("model", [LabelModel(2), Rates(2), DawidSkene(2)])
def test_an_unfitted_model_says_what_to_do(model):
    for ask in (model.predict, model.predict_proba, model.explain):
        with pytest.raises(UsageError, match=rf"{type(model).__name__} was not fitted; call fit\(L\) first"):
            ask([[0]])


def test_a_model_knows_its_columns_and_classes():
    model = LabelModel(2).fit([[0, 1], [1, 1]])
    for rows in ([[0, 1, 1]], [[0]], np.zeros((3, 0))):
        with pytest.raises(DataError, match=r"\d columns of votes for a model of 2"):
            model.predict(rows)
    with pytest.raises(DataError, match="a vote of 2 among 2"):
        model.predict([[0, 2]])
    with pytest.raises(DataError, match="confidences of shape"):
        model.predict_proba([[0, 1]], confidence=[[0.5]])
    with pytest.raises(DataError, match="one row, got 2"):
        model.explain([[0, 1], [1, 1]])
    with pytest.raises(DataError, match="one row, got 0"):
        model.explain(np.zeros((0, 2)))
    for cls in (2, -1):
        with pytest.raises(DataError, match=f"class {cls} of 2"):
            model.explain([0, 1], cls=cls)
    assert model.predict_proba(np.zeros((0, 2))).shape == (0, 2)


def test_fitting_again_forgets_what_was_learnt():
    L, _y = two_sided_rules(1, (0.5, 0.5), n=300, m=4)
    model = LabelModel(2).fit(L)
    first = model.fitted.scores.copy()
    assert (model.fit(1 - L.clip(0)).fitted.scores != first).any()
    assert (model.fit(L).fitted.scores == first).all()
