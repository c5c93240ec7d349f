"""Why each row has its label: the sources that weighed most, by name, in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

    from lineshaft.collect.fuse.additive import Additive
    from lineshaft.collect.fuse.checks import Floats, Ints

TOP = 8  # sources kept by name for each row; the others are added up
SLICE = 16_384  # rows explained at once


def explained(
    model: Additive | None, names: Sequence[str], votes: npt.NDArray[Any], classes: Ints, soft: Floats | None
) -> pa.ListArray:
    """Explain every row's label.

    Parameters
    ----------
    model
        A fitted label model; None where it cannot explain: then every list is empty.
    names
        ``[m]``, of the sources.
    votes, soft
        ``[n, m]``.
    classes
        ``[n]`` the label.

    Returns
    -------
    pa.ListArray
        ``[n]`` lists of {source, log_odds}, largest first, equals by name; past `TOP` one item "others".

    """
    import pyarrow as pa

    called = [*names, "prior", "others"]
    lengths, which, values = [np.zeros(1, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for start in range(0, len(votes), SLICE):
        rows = slice(start, start + SLICE)
        if model is None:
            lengths.append(np.zeros(len(votes[rows]), np.int64))
            continue
        terms = model.explain_all(votes[rows], classes[rows], None if soft is None else soft[rows])
        kept, source, value = _ranked(terms, called)
        lengths.append(kept.sum(axis=1))
        which.append(source[kept])
        values.append(value[kept])
    items = [pa.array(called, pa.string()).take(pa.array(np.concatenate(which))), pa.array(np.concatenate(values))]
    offsets = pa.array(np.cumsum(np.concatenate(lengths)), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(items, ["source", "log_odds"]))


def _ranked(terms: Floats, called: Sequence[str]) -> tuple[npt.NDArray[np.bool_], Ints, Floats]:
    """Return for each row what is kept, which it is, and its log-odds, largest first: each ``[n, up to TOP + 1]``."""
    by_name = np.array(sorted(range(terms.shape[1]), key=called.__getitem__))
    ordered = terms[:, by_name]
    rank = np.argsort(-np.abs(ordered), axis=1, kind="stable")
    values = np.take_along_axis(ordered, rank, axis=1)
    rest = values[:, TOP:].sum(axis=1, keepdims=True)
    source = np.hstack([by_name[rank[:, :TOP]], np.full((len(terms), 1), len(called) - 1)])
    kept = np.hstack([values[:, :TOP] != 0, (values[:, TOP:] != 0).any(axis=1, keepdims=True)])
    return kept, source, np.hstack([values[:, :TOP], rest])
