"""Why rows have their labels, in bulk: the same as asking row by row, largest first, the rest added up."""

import numpy as np
import pytest
from generated import one_sided_rules, people, two_sided_rules
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect import reasons
from lineshaft.collect.fuse.dawid_skene import DawidSkene
from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.rates import Rates
from lineshaft.collect.reasons import TOP, explained


def one_by_one(model, names, L, classes, soft=None):
    """Sort and cut the explanation of each row."""
    found = []
    for i, row in enumerate(L):
        terms = model.explain(row, int(classes[i]), None if soft is None else soft[i])
        named = {names[key] if key != "prior" else key: value for key, value in terms.items() if value != 0}
        ranked = sorted(named.items(), key=lambda item: (-abs(item[1]), item[0]))
        rest = [("others", sum(value for _, value in ranked[TOP:]))] if len(ranked) > TOP else []
        found.append(ranked[:TOP] + rest)
    return found


def listed(array):
    return [[(item["source"], item["log_odds"]) for item in row] for row in array.to_pylist()]


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 14)), elements=st.integers(-1, 2)), st.data())
def test_in_bulk_as_one_by_one(L, data):
    kinds = data.draw(st.lists(st.sampled_from(["rule", "model", "person"]), min_size=L.shape[1], max_size=L.shape[1]))
    soft = data.draw(hnp.arrays(float, L.shape, elements=st.sampled_from([np.nan, 0.6, 0.9])))
    soft[:, [kind != "model" for kind in kinds]] = np.nan
    model, names = LabelModel(3).fit(L, kinds, confidence=soft), [f"s{j:02}" for j in range(L.shape[1])]
    classes = model.predict(L, confidence=soft)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reasons, "SLICE", data.draw(st.sampled_from([1, 5, 16_384])))
        found = listed(explained(model, names, L, classes, soft))
    for bulk, single in zip(found, one_by_one(model, names, L, classes, soft), strict=True):
        assert dict(bulk) == pytest.approx(dict(single), abs=1e-9)
        sizes = [abs(value) for name, value in bulk if name != "others"]
        assert sizes == sorted(sizes, reverse=True)


def test_past_the_top_the_rest_is_added_up():
    L, _ = two_sided_rules(0, (0.5, 0.5), n=50, m=20, coverage=1.0)
    model, names = LabelModel(2).fit(L), [f"s{j:02}" for j in range(20)]
    classes = model.predict(L)
    for row, whole in zip(
        listed(explained(model, names, L, classes, None)), model.explain_all(L, classes), strict=True
    ):
        assert len(row) == TOP + 1 and row[-1][0] == "others"
        assert sum(value for _, value in row) == pytest.approx(whole.sum())
        assert min(abs(value) for _, value in row[:-1]) >= np.sort(np.abs(whole))[-TOP - 1]


def test_equals_stand_by_name():
    L = np.array([[1, 1, 1], [0, 0, 0]] * 10)
    model = Rates(2).fit(L)
    (first, *_) = listed(explained(model, ["b", "c", "a"], L, model.predict(L), None))
    assert [name for name, _ in first] == ["a", "b", "c"]


def test_a_model_that_cannot_explain_leaves_empty_lists():
    found = explained(None, ["a"], np.zeros((3, 1), int), np.zeros(3, int), None)
    assert found.to_pylist() == [[], [], []]


@pytest.mark.parametrize("model", [LabelModel(2), Rates(2), DawidSkene(2)])
def test_no_rows_have_no_reasons(model):
    L, _ = one_sided_rules(0, n=50, m=3)
    model.fit(L)
    assert len(explained(model, list("abc"), L[:0], np.zeros(0, int), None)) == 0


def test_a_source_called_prior_or_others_keeps_its_place():
    y = np.arange(200) % 2
    L = people(y, 2, 3, 0, answers=3, skill=(0.9, 0.95))
    model = DawidSkene(2).fit(L)
    (row, *_) = listed(explained(model, ["prior", "others", "x"], L, model.predict(L), None))
    assert sum(value for _, value in row) == pytest.approx(model.explain_all(L[:1], model.predict(L[:1])).sum())
