"""Votes: dense and sparse are the same, rows are matched by id, and the stored form gives them back."""

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
        with pytest.raises(UsageError):
            join([])


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
