from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineshaft.core.codec import decode, encode
from lineshaft.errors import UsageError
from lineshaft.train.select import Halving, Selection, Trial, expand, rungs_to, search

SPACE = {"model.width": [64, 256], "model.depth": [1, 4], "optimizer.lr": [1e-3, 1e-2]}
SPACES = st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1)


def test_a_grid_is_all_combinations():
    candidates = expand(SPACE)
    assert len(candidates) == 8
    assert candidates[0] == {"model.depth": 1, "model.width": 64, "optimizer.lr": 1e-3}
    assert candidates[1] == {"model.depth": 1, "model.width": 64, "optimizer.lr": 1e-2}
    assert all(set(candidate) == set(SPACE) for candidate in candidates)


@given(SPACES)
def test_no_two_candidates_are_alike(space):
    keys = [json.dumps(candidate) for candidate in expand(space)]
    assert len(set(keys)) == len(keys) == math.prod(len(set(values)) for values in space.values())


@given(SPACES, st.integers(1, 30), st.integers(0, 5))
def test_random_draws_from_the_grid_without_putting_back(space, n, seed):
    grid = expand(space)
    drawn = expand(space, "random", n=n, seed=seed)
    keys = [json.dumps(candidate) for candidate in drawn]
    assert len(set(keys)) == len(keys) == min(n, len(grid))
    assert all(candidate in grid for candidate in drawn)
    assert drawn == expand(dict(reversed(space.items())), "random", n=n, seed=seed)


def test_another_seed_draws_others():
    space = {"a": list(range(100)), "b": list(range(100))}
    assert expand(space, "random", n=5, seed=1) != expand(space, "random", n=5, seed=2)


def test_a_space_too_large_to_write_down():
    space = {f"p{number}": list(range(50)) for number in range(12)}
    assert len(expand(space, "random", n=7)) == 7


def test_values_of_other_types_are_other_values():
    assert [c["a"] for c in expand({"a": [1, True, 1.0, 1, "1", None]})] == [1, True, 1.0, "1", None]
    assert [c["a"] for c in expand({"a": [[1, 2], [1, 2], {"x": 1}]})] == [[1, 2], {"x": 1}]


@pytest.mark.parametrize(
    ("space", "options"),
    [
        ({"a": []}, {}), ({"a": "xyz"}, {}), ({"a": 3}, {}), ({"a": {1, 2}}, {}), (SPACE, {"how": "bayes"}),
        (SPACE, {"how": "random"}), (SPACE, {"how": "random", "n": 0}), (SPACE, {"n": 3}),
    ],
)  # fmt: skip
def test_wrong_use(space, options):
    with pytest.raises(UsageError):
        expand(space, **options)


def test_the_best_third_goes_on():
    policy = Halving((1, 3, 9))
    assert policy.survivors({0: 5.0, 1: 1.0, 2: 3.0, 3: 2.0, 4: 9.0, 5: 8.0}) == [1, 3]
    assert Halving((1, 3, 9), higher=True).survivors({0: 5.0, 1: 1.0, 2: 3.0, 3: 2.0, 4: 9.0, 5: 8.0}) == [4, 5]


def test_ties_go_to_the_earlier_candidate():
    assert Halving((1, 2), reduction=2).survivors({4: 1.0, 2: 1.0, 7: 1.0, 1: 1.0}) == [1, 2]


def test_nan_never_goes_on():
    policy = Halving((1, 2), reduction=2)
    assert policy.survivors({0: math.nan, 1: 7.0, 2: math.nan, 3: math.nan}) == [1]
    assert policy.survivors({0: math.nan}) == []
    assert policy.ranking({0: math.nan, 1: math.inf, 2: 1.0, 3: -math.inf}) == [3, 2, 1, 0]


@given(st.dictionaries(st.integers(0, 40), st.floats(allow_nan=False), min_size=1), st.integers(2, 5), st.booleans())
def test_survivors_are_never_worse_than_the_others(scores, reduction, higher):
    alive = Halving((1,), reduction, higher).survivors(scores)
    assert len(alive) == math.ceil(len(scores) / reduction)
    sign = -1 if higher else 1
    rest = [sign * score for index, score in scores.items() if index not in alive]
    assert not rest or max(sign * scores[index] for index in alive) <= min(rest)
    assert alive == sorted(alive) == Halving((1,), reduction, higher).survivors(dict(reversed(scores.items())))


@pytest.mark.parametrize(
    "wrong", [{"rungs": ()}, {"rungs": (0, 1)}, {"rungs": (2, 2)}, {"rungs": (3, 1)}, {"rungs": (1,), "reduction": 1}]
)
def test_policies_that_make_no_sense(wrong):
    with pytest.raises(UsageError, match="rungs="):
        Halving(**wrong)


@pytest.mark.parametrize(
    ("arguments", "rungs"),
    [((9,), (1, 3, 9)), ((10,), (1, 3, 9, 10)), ((1,), (1,)), ((8, 2, 2), (2, 4, 8)), ((5, 5), (5,))],
)
def test_rungs_rise_by_the_reduction(arguments, rungs):
    assert rungs_to(*arguments) == rungs


@pytest.mark.parametrize("arguments", [(0,), (3, 4), (3, 0), (3, 1, 1)])
def test_rungs_that_make_no_sense(arguments):
    with pytest.raises(UsageError):
        rungs_to(*arguments)


def run(scores, policy):
    """Search candidates whose score at a rung is looked up; note what was handed over together."""
    handed = []

    def train_rung(numbers, epochs):
        handed.append((list(numbers), epochs))
        return [scores[number](epochs) for number in numbers]

    return search([{"a": number} for number in range(len(scores))], policy, "validation_loss", train_rung), handed


def test_all_candidates_of_a_rung_are_handed_over_together():
    found, handed = run([lambda e, n=n: 10 - n + 1 / e for n in range(9)], Halving((1, 3, 9)))
    assert handed == [(list(range(9)), 1), ([6, 7, 8], 3), ([8], 9)]
    assert found.best == 8
    assert [trial.epochs for trial in found.trials] == [1] * 6 + [3, 3, 9]
    assert found.trials[8].scores == (3.0, 2 + 1 / 3, 2 + 1 / 9)


def test_a_grid_is_one_rung():
    found, handed = run([lambda e: 3.0, lambda e: 1.0, lambda e: 1.0], Halving((5,)))
    assert handed == [([0, 1, 2], 5)]
    assert found.best == 1


def test_the_best_is_one_that_trained_to_the_end():
    """Candidate 1 looked better at an early rung than the winner ends, but did not go on."""
    found, _ = run([lambda e: 1.0 if e == 1 else 5.0, lambda e: 1.5, lambda e: 9.0], Halving((1, 2)))
    assert found.best == 0


def test_failed_trainings_are_kept_as_such():
    found, handed = run([lambda e: math.nan, lambda e: 2.0, lambda e: math.nan], Halving((1, 2)))
    assert found.best == 1
    assert handed[1] == ([1], 2)
    assert math.isnan(found.trials[0].scores[-1])


@pytest.mark.parametrize("scores", [[lambda e: math.nan] * 3, [lambda e: math.nan if e == 2 else 1.0] * 3])
def test_with_nothing_left_there_is_no_best(scores):
    with pytest.raises(UsageError, match="no candidate reached 2 epochs with a finite validation_loss"):
        run(scores, Halving((1, 2)))


def test_no_candidates():
    with pytest.raises(UsageError, match="no candidates"):
        search([], Halving((1,)), "validation_loss", lambda numbers, epochs: [])


def selection():
    trials = (
        Trial({"model.width": 64, "note": "<b>wide</b>"}, 1, (0.5,)),
        Trial({"model.width": 256, "note": [1]}, 3, (0.4, 0.25)),
        Trial({"model.width": 512, "note": None}, 1, (math.nan,)),
    )
    return Selection("validation_loss", trials, 1)


def test_it_comes_back_through_bytes():
    artifact, content = encode("Value", selection().payload())
    again = Selection.from_payload(decode("Value", content))
    assert encode("Value", again.payload())[0] == artifact
    assert again.trials[1] == selection().trials[1]
    assert math.isnan(again.trials[2].scores[0])


def test_its_table():
    found = selection().table().to_pylist()
    assert [row["candidate"] for row in found] == [0, 1, 2]
    assert [row["best"] for row in found] == [False, True, False]
    assert found[1] == {
        "candidate": 1, "model.width": 256, "note": "[1]", "epochs": 3, "validation_loss": 0.25, "best": True,
    }  # fmt: skip


def test_its_table_holds_values_of_several_types():
    trials = tuple(Trial({"a": value}, 1, (0.0,)) for value in (1, "auto", None, [2]))
    assert Selection("loss", trials, 0).table()["a"].to_pylist() == ["1", "auto", None, "[2]"]


def test_its_page_escapes_what_it_shows():
    page = selection()._repr_html_()
    assert "&lt;b&gt;wide" in page
    assert "<b>" not in page
    assert page.count("<tr>") == 4


def test_it_reads_well():
    assert repr(selection()) == "Selection(3 candidates, best {'model.width': 256, 'note': [1]}: validation_loss 0.25)"
