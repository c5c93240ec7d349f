"""Model sources: a function from features to class probabilities votes for its best class where it is sure enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineshaft.collect.sources.base import Ballot, Source, described
from lineshaft.collect.sources.functions import by_name, place_of
from lineshaft.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lineshaft.collect.votes import Votes

SLICE = 1024  # rows that the function is given at once
_SUM = 1e-3  # how far a row of probabilities may be from summing to 1

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, repr=False)
class ModelSource(Source):
    """A function that gives class probabilities.

    Attributes
    ----------
    function
        From features (a numpy array where there is one tensor, else a dict of numpy arrays by name; a record batch
        where ``inputs`` is a list of columns) to n x k probabilities, an array or a tensor, rows first.
    inputs
        A features object (called with a record batch, has ``reads``), or column names.
    threshold
        Least probability of the best class for a vote.

    """

    function: Callable[[Any], Any]
    inputs: Any
    threshold: float

    def __call__(self, inputs: Any) -> Any:
        """Call the function itself."""
        return self.function(inputs)

    @property
    def from_tensors(self) -> bool:
        """Whether it votes on features rather than on columns."""
        return not isinstance(self.inputs, tuple)

    def ballot(self, batch: pa.RecordBatch, classes: Sequence[str] | None) -> Ballot:
        """Make the features of the rows, and vote on them."""
        seen = batch.select(list(self.reads or ()))
        if not batch.num_rows:
            return self._votes(np.empty((0, 2)), {})
        if not self.from_tensors:
            return self._judge(seen.slice, batch.num_rows, classes)
        tensors = {name: _array(value) for name, value in _named(self.inputs(seen)).items()}
        return self._judge(_slicer(tensors), batch.num_rows, classes)

    def vote_from(self, row_ids: Sequence[str], tensors: Tensors, classes: Sequence[str] | None = None) -> Votes:
        """Vote on features that were computed before.

        Parameters
        ----------
        row_ids
            ``[n]``.
        tensors
            Name to ``[n, ...]``: what ``inputs`` gives for these rows.
        classes
            Class names in the order of the probabilities.

        """
        arrays = {name: _array(value) for name, value in tensors.items()}
        for name, array in arrays.items():
            if len(array) != len(row_ids):
                raise DataError(f"source {self.name}: tensor {name!r} has {len(array)} rows for {len(row_ids)} row ids")
        if not row_ids:
            return self.counted([], self._votes(np.empty((0, 2)), {}), classes)
        return self.counted(row_ids, self._judge(_slicer(arrays), len(row_ids), classes), classes)

    def _judge(self, cut: Callable[[int, int], Any], rows: int, classes: Sequence[str] | None) -> Ballot:
        """Ask the function slice by slice; where one fails, halve it until the rows at fault are found."""
        k = None if classes is None else len(classes)
        found: list[npt.NDArray[np.float64]] = []
        faults: dict[int, str] = {}
        waiting = [(start, min(SLICE, rows - start)) for start in range(0, rows, SLICE)][::-1]
        while waiting:
            start, length = waiting.pop()
            try:
                part = _probabilities(self.function(cut(start, length)), length, k)
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything; it is recorded
                if length > 1:
                    half = length // 2
                    waiting += [(start + half, length - half), (start, half)]
                    continue
                faults[start] = described(error, self.function)
                part = np.full((1, k or 2), np.nan)
            found.append(part)
        width = max(part.shape[1] for part in found)
        whole = np.concatenate(
            [part if part.shape[1] == width else np.full((len(part), width), np.nan) for part in found]
        )
        return self._votes(whole, faults)

    def _votes(self, probabilities: npt.NDArray[np.float64], faults: dict[int, str]) -> Ballot:
        """Vote where the best probability reaches the threshold; rows that are no probabilities are faults."""
        sums = probabilities.sum(axis=1)
        wrong = ~((np.abs(sums - 1) <= _SUM) & (probabilities >= 0).all(axis=1))
        told = {int(row): f"DataError: {probabilities[row]} are no probabilities" for row in np.flatnonzero(wrong)}
        best = np.where(wrong[:, None], 0.0, probabilities).max(axis=1, initial=0.0)
        rows = np.flatnonzero(~wrong & (best >= self.threshold)).astype(np.int64)
        vote = probabilities[rows].argmax(axis=1).astype(np.int16)
        return Ballot(rows, vote, np.minimum(best[rows], 1.0).astype(np.float32), sorted((told | faults).items()))

    def meaning(self) -> list[Any]:
        """Return what a fingerprint covers; of a features object, what that says of itself."""
        inputs = self.inputs.meaning() if hasattr(self.inputs, "meaning") else self.inputs
        return [type(self), self.name, self.kind, self.reads, self.function, inputs, self.threshold]

    def __reduce__(self) -> tuple[Any, ...]:
        return by_name(self)

    def __repr__(self) -> str:
        return f"model source {self.name} ({self.kind}, from {self.threshold:g}, {self.where})"


def model_source(
    inputs: Any, *, name: str | None = None, threshold: float = 0.8, kind: str = "model"
) -> Callable[[Callable[[Any], Any]], ModelSource]:
    """Make a function from features to class probabilities a source: ``@ls.model_source(inputs=embed)``.

    The function is given numpy arrays, also where the features function returns torch tensors: the array itself where
    there is one, else a dict of arrays by name. It returns ``[rows, classes]``.

    Parameters
    ----------
    inputs
        A features object, or a list of columns: then the function is given a record batch.
    name
        Default: the function's own.
    threshold
        Least probability of the best class for a vote, which keeps it as its confidence.
    kind
        model, or another kind where that says better what an abstain means.

    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold is a probability, got {threshold}")
    listed = isinstance(inputs, (list, tuple)) and bool(inputs) and all(isinstance(column, str) for column in inputs)
    if not listed and not (callable(inputs) and hasattr(inputs, "reads")):
        raise UsageError(f"inputs is a features object or a list of columns, got {inputs!r}")
    reads = tuple(inputs) if listed else tuple(inputs.reads)

    def decorate(function: Callable[[Any], Any]) -> ModelSource:
        given = tuple(inputs) if listed else inputs
        chosen = name or function.__name__
        return ModelSource(chosen, kind, reads, function, given, float(threshold), where=place_of(function))

    return decorate


def _named(features: Any) -> Mapping[str, Any]:
    return features if isinstance(features, Mapping) else {"x": features}


def _array(value: Any) -> npt.NDArray[Any]:
    """Turn a tensor into an array without knowing the library that made it."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return np.asarray(value.numpy())
    return np.asarray(value)


def _slicer(tensors: Tensors) -> Callable[[int, int], Any]:
    """Give the function the array itself where there is one tensor, else all by name."""

    def cut(start: int, length: int) -> Any:
        parts = {name: array[start : start + length] for name, array in tensors.items()}
        return next(iter(parts.values())) if len(parts) == 1 else parts

    return cut


def _probabilities(answer: Any, rows: int, k: int | None) -> npt.NDArray[np.float64]:
    array = _array(answer).astype(np.float64)
    if array.ndim != 2 or len(array) != rows or array.shape[1] < 2 or (k is not None and array.shape[1] != k):
        wanted = f"({rows}, {k if k is not None else 'classes'})"
        raise DataError(f"the function gave shape {array.shape}, wanted {wanted}: probabilities, rows first")
    return array
