"""Votes: dense and sparse are the same, rows are matched by id, and the stored form gives them back."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.votes import Faults, SourceInfo, Votes
from lineshaft.core.codec import decode, encode
from lineshaft.errors import DataError, UsageError

DENSE = hnp.arrays(np.int64, st.tuples(st.integers(0, 12), st.integers(0, 4)), elements=st.integers(-1, 3))


def same(one, other):
    assert one.row_ids == other.row_ids and one.sources == other.sources
    assert one.classes == other.classes and one.faults == other.faults
    for name in ("row", "source", "vote"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert np.array_equal(one.confidence, other.confidence, equal_nan=True)


@given(DENSE)
def test_dense_and_back(L):
    votes = Votes.from_dense(L)
    assert votes.to_dense().dtype == np.int8
    assert (votes.to_dense() == L).all()
    assert votes.to_confidence() is None
    assert votes.names == [f"source_{j}" for j in range(L.shape[1])]


@settings(deadline=None)
@given(DENSE, st.data())
def test_stored_and_back_with_the_same_bytes(L, data):
    soft = data.draw(hnp.arrays(np.float64, L.shape, elements=st.sampled_from([np.nan, 0.5, 1.0])))
    infos = [SourceInfo(f"s{j}", "model", "ab" if j else None) for j in range(L.shape[1])]
    votes = Votes.from_dense(L, infos, classes=["a", "b", "ç", "d"], confidence=np.where(L >= 0, soft, np.nan))
    if infos:
        votes = Votes(
            *(
                getattr(votes, name)
                for name in ("row_ids", "row", "source", "vote", "confidence", "sources", "classes")
            ),
            (Faults("s0", 3, (("0", "E: x"),)),),
        )
    _, content = encode("Votes", votes.payload())
    back = Votes.from_payload(decode("Votes", content))
    same(votes, back)
    assert encode("Votes", back.payload())[1] == content


@given(DENSE, st.randoms(use_true_random=False))
def test_merging_matches_rows_by_id(L, random):
    ids = [f"r{i}" for i in range(len(L))]
    parts = []
    for j in range(L.shape[1]):
        order = list(range(len(L)))
        random.shuffle(order)
        parts.append(Votes.from_dense(L[order, j : j + 1], [f"s{j}"], row_ids=[ids[i] for i in order]))
    if not parts:
        return
    merged = Votes.merge(parts)
    rows = [ids.index(row_id) for row_id in merged.row_ids]
    assert (merged.to_dense() == L[rows]).all()
    assert (np.lexsort((merged.source, merged.row)) == np.arange(len(merged.row))).all()


@given(DENSE, st.integers(0, 12))
def test_joining_parts_of_the_rows_is_the_whole(L, cut):
    ids = [f"r{i}" for i in range(len(L))]
    parts = [Votes.from_dense(L[:cut], row_ids=ids[:cut]), Votes.from_dense(L[cut:], row_ids=ids[cut:])]
    same(Votes.concat(parts), Votes.from_dense(L, row_ids=ids))


@settings(max_examples=60, deadline=None)
@given(DENSE, st.data())
def test_merging_in_any_grouping_is_the_same(L, data):
    ids = [f"r{i}" for i in range(len(L))]
    parts = [Votes.from_dense(L[:, [j]], [f"s{j}"], row_ids=ids) for j in range(L.shape[1])]
    if len(parts) < 2:
        return
    cut = data.draw(st.integers(1, len(parts) - 1))
    whole = Votes.merge(parts)
    same(whole, Votes.merge([Votes.merge(parts[:cut]), Votes.merge(parts[cut:])]))
    same(whole, Votes.from_dense(L, [f"s{j}" for j in range(L.shape[1])], row_ids=ids))
    same(whole, Votes.merge(iter(parts)))
    same(Votes.merge(parts[:1]), parts[0])


@settings(max_examples=60, deadline=None)
@given(DENSE, st.data())
def test_cutting_rows_first_or_sources_first_is_the_same(L, data):
    ids, names = [f"r{i}" for i in range(len(L))], [f"s{j}" for j in range(L.shape[1])]
    row, column = data.draw(st.integers(0, len(L))), data.draw(st.integers(1, max(L.shape[1] - 1, 1)))
    if L.shape[1] < 2:
        return

    def part(rows, columns):
        return Votes.from_dense(L[rows, columns], names[columns], row_ids=ids[rows])

    above, below, left, right = slice(0, row), slice(row, None), slice(0, column), slice(column, None)
    one = Votes.concat([Votes.merge([part(rows, left), part(rows, right)]) for rows in (above, below)])
    other = Votes.merge([Votes.concat([part(above, columns), part(below, columns)]) for columns in (left, right)])
    same(one, other)
    same(one, Votes.from_dense(L, names, row_ids=ids))


@given(
    st.lists(hnp.arrays(np.int64, st.tuples(st.integers(0, 8), st.just(2)), elements=st.integers(-1, 3)), max_size=4)
)
def test_joining_rows_keeps_their_order_and_every_vote(blocks):
    start, parts = 0, []
    for L in blocks:
        parts.append(Votes.from_dense(L, ["a", "b"], row_ids=[f"r{start + i}" for i in range(len(L))]))
        start += len(L)
    if not parts:
        return
    joined = Votes.concat(parts)
    assert joined.row_ids == tuple(f"r{i}" for i in range(start))
    assert (joined.to_dense() == np.vstack(blocks)).all()


def test_rows_of_no_vote_are_kept_through_everything():
    votes = Votes.from_dense(np.full((3, 2), -1), ["a", "b"])
    back = Votes.from_payload(decode("Votes", encode("Votes", votes.payload())[1]))
    assert len(back) == 3 and len(back.row) == 0 and back.to_dense().tolist() == [[-1, -1]] * 3
    merged = Votes.merge([votes, Votes.from_dense([[1]] * 3, ["c"])])
    assert merged.to_dense().tolist() == [[-1, -1, 1]] * 3


def test_kinds_digests_and_faults_follow_their_source():
    a = replace(Votes.from_dense([[0]], ["a"], kinds="person"), faults=(Faults("a", 1, (("0", "E"),)),))
    b = Votes.from_dense([[1]], ["b"], kinds="model").with_digests(["ff"])
    merged = Votes.merge([a, b])
    assert [(info.name, info.kind, info.digest) for info in merged.sources] == [
        ("a", "person", None),
        ("b", "model", "ff"),
    ]
    assert merged.faults == a.faults
    assert Votes.from_payload(merged.payload()).sources == merged.sources


def test_the_stored_bytes_do_not_depend_on_how_the_votes_came_about():
    L = np.random.default_rng(0).integers(-1, 2, (50, 4))
    names, ids = list("abcd"), [f"r{i}" for i in range(50)]
    whole = Votes.from_dense(L, names, row_ids=ids)
    parts = Votes.merge([Votes.from_dense(L[:, [j]], [names[j]], row_ids=ids) for j in range(4)])
    chunks = Votes.concat([Votes.from_dense(L[i : i + 10], names, row_ids=ids[i : i + 10]) for i in range(0, 50, 10)])
    assert len({encode("Votes", votes.payload())[1] for votes in (whole, parts, chunks)}) == 1


def test_faults_of_chunks_add_up():
    def part(name, count):
        votes = Votes.from_dense([[0]], ["s"], row_ids=[name])
        return Votes(
            votes.row_ids,
            votes.row,
            votes.source,
            votes.vote,
            votes.confidence,
            votes.sources,
            None,
            (Faults("s", count, ((name, "E"),) * min(count, 10)),),
        )

    (fault,) = Votes.concat([part("a", 7), part("b", 20)]).faults
    assert fault.count == 27 and len(fault.examples) == 10
    assert fault.examples[0] == ("a", "E") and fault.examples[-1] == ("b", "E")


def test_what_does_not_join_is_refused():
    a, b = Votes.from_dense([[0], [1]], ["a"]), Votes.from_dense([[0], [1]], ["b"])
    with pytest.raises(UsageError, match="two sources are called 'a'"):
        Votes.merge([a, a])
    with pytest.raises(DataError, match="row '1' is not in both"):
        Votes.merge([a, Votes.from_dense([[0], [1]], ["b"], row_ids=["0", "2"])])
    with pytest.raises(DataError, match="different classes"):
        Votes.merge([a, Votes.from_dense([[0], [1]], ["b"], classes=["x", "y"])])
    with pytest.raises(DataError, match="merge them"):
        Votes.concat([a, b])
    with pytest.raises(DataError, match="2 of 4 row ids are repeats"):
        Votes.concat([a, a])
    for join in (Votes.merge, Votes.concat):
        with pytest.raises(UsageError, match="no votes to"):
            join([])
    with pytest.raises(DataError, match="2 and 1, row '1' is not in both"):
        Votes.merge([a, Votes.from_dense([[0]], ["b"])])


def test_bad_matrices_are_refused():
    with pytest.raises(DataError, match="a vote of 2 among 2"):
        Votes.from_dense([[2]], classes=["a", "b"])
    with pytest.raises(DataError, match=r"shape \(1, 2\) for 1 rows and 1 sources"):
        Votes.from_dense([[0, 1]], ["a"])
    with pytest.raises(DataError, match="repeats"):
        Votes.from_dense([[0], [1]], row_ids=["a", "a"])
    with pytest.raises(UsageError, match="two sources"):
        Votes.from_dense([[0, 1]], ["a", "a"])
    with pytest.raises(UsageError, match="not a kind"):
        Votes.from_dense([[0]], ["a"], kinds="human")


def test_numpy_booleans_floats_and_names_of_another_type():
    with pytest.raises(DataError, match="integers, got bool"):
        Votes.from_dense(np.ones((2, 2), bool))
    assert Votes.from_dense(np.array([[0.0, 1.0]])).to_dense().tolist() == [[0, 1]]
    numbered = Votes.from_dense([[0, 1]], [1, 2], row_ids=[7], classes=[10, 20])
    assert (numbered.names, numbered.row_ids, numbered.classes) == (["1", "2"], ("7",), ("10", "20"))


def test_many_classes_need_wider_numbers():
    votes = Votes.from_dense([[300, -1]])
    assert votes.k == 301 and votes.to_dense().dtype == np.int16 and votes.to_dense().tolist() == [[300, -1]]


def test_it_exports_one_row_per_vote():
    votes = Votes.from_dense(
        [[0, -1], [1, 1]], ["a", "b"], classes=["no", "yes"], confidence=[[0.9, np.nan], [np.nan] * 2]
    )
    frame = pl.DataFrame(votes)
    assert frame.rows() == [("0", "a", "no", pytest.approx(0.9)), ("1", "a", "yes", None), ("1", "b", "yes", None)]
    assert Votes.from_dense([[1]]).to_arrow().column("vote").to_pylist() == [1]


def test_it_shows_itself_without_running_what_it_shows():
    votes = Votes.from_dense([[0], [-1]], ["<script>"])
    assert repr(votes) == "Votes(1 by 1 sources on 1 of 2 rows)"
    assert "&lt;script&gt;" in votes._repr_html_() and "<script>" not in votes._repr_html_()
