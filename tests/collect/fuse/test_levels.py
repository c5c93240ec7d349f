"""Levels of confidence: every vote stays, in one level of its source; what a level is worth is learnt."""

import numpy as np
import pytest
from generated import one_sided_rules
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.fuse import levels
from lineshaft.collect.fuse.checks import matrix
from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.levels import Levels

KINDS = ["model", "rule", "model"]


@st.composite
def soft_votes(draw):
    n = draw(st.integers(0, 40))
    L = draw(hnp.arrays(np.int64, (n, 3), elements=st.integers(-1, 2)))
    soft = draw(hnp.arrays(float, (n, 3), elements=st.sampled_from([np.nan, 0.2, 0.4, 0.6, 0.8, 1.0])))
    return matrix(L, 3), soft


@settings(max_examples=100, deadline=None)
@given(soft_votes(), st.integers(1, 5))
def test_every_vote_is_in_one_level_of_its_source(case, fewest):
    L, soft = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "FEWEST", fewest)
        found = Levels.of(L, KINDS, soft, 3)
    spread = found.spread(L, soft)
    assert spread.shape == (len(L), len(found.source)) and len(found.sure) == len(found.source)
    for j in range(3):
        own = spread[:, found.source == j].astype(int)
        assert ((own >= 0).sum(axis=1) == (L[:, j] >= 0)).all()
        assert (own.max(axis=1, initial=-1) == L[:, j]).all()
    assert (found.source == 1).sum() == 1  # a rule has no levels


@settings(max_examples=50, deadline=None)
@given(soft_votes())
def test_a_surer_vote_is_never_in_a_lower_level(case):
    L, soft = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "FEWEST", 2)
        found = Levels.of(L, KINDS, soft, 3)
    level = (found.spread(L, soft)[:, found.source == 0] >= 0).argmax(axis=1)
    graded = (L[:, 0] >= 0) & ~np.isnan(soft[:, 0])
    order = np.argsort(soft[graded, 0], kind="stable")
    assert (np.diff(level[graded][order]) >= 0).all()


def test_terms_of_levels_add_up_to_those_of_their_source():
    found = Levels((np.array([0.7, 0.9]), np.empty(0)), np.ones(4))
    terms = np.array([[1.0, 2.0, 4.0, 8.0, 16.0]])
    assert found.gather(terms).tolist() == [[7, 8, 16]]


def test_a_level_is_as_sure_as_its_votes_say_up_to_a_plain_vote():
    L, soft = matrix(np.zeros((300, 1), int), 2), np.repeat([0.5, 0.65, 0.99], 100)[:, None]
    found = Levels.of(L, ["model"], soft, 2)
    assert found.sure == pytest.approx([0, np.log(0.65 / 0.35) / np.log(4), 1])
    assert Levels.of(L, ["rule"], soft, 2).sure.tolist() == [1]


def test_what_a_level_is_worth_is_learnt_and_not_believed():
    L, y = one_sided_rules(0, n=6000)
    random = np.random.default_rng(0)
    claimed = np.where(random.random(6000) < 0.5, 0.9, 0.7)
    vote = np.where(random.random(6000) < np.where(claimed == 0.9, 0.6, 0.9), y, 1 - y)
    vote[random.random(6000) < 0.6] = -1
    votes, soft = np.column_stack([vote, L]), np.full((6000, 13), np.nan)
    soft[:, 0] = claimed
    model = LabelModel(2).fit(votes, ["model"] + ["rule"] * 12, confidence=soft)
    row = np.array([1] + [-1] * 12)
    low, high = (model.explain(row, 1, np.array([p] + [np.nan] * 12))[0] for p in (0.7, 0.9))
    assert low > high + 0.5


def test_a_model_that_speaks_of_one_class_above_all_is_believed_where_it_speaks():
    L, y = one_sided_rules(1, n=6000)
    random = np.random.default_rng(1)
    speaks = random.random(6000) < np.where(y == 1, 0.5, 0.1)
    vote = np.where(speaks, np.where(random.random(6000) < 0.97, 1, 0), -1)
    votes, soft = np.column_stack([vote, L]), np.full((6000, 13), np.nan)
    soft[:, 0] = np.where(vote >= 0, random.uniform(0.7, 0.9, 6000), np.nan)
    model = LabelModel(2).fit(votes, ["model"] + ["rule"] * 12, confidence=soft)
    alone = (vote == 1) & (L < 0).all(axis=1)
    assert model.predict_proba(votes, soft)[alone, 1].mean() == pytest.approx(y[alone].mean(), abs=0.1)
