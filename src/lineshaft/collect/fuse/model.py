"""What every label model has: a number of classes, hard labels from its probabilities, and which rows it can judge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from lineshaft.collect.fuse.checks import Bools, Floats, Ints, classes_of, matrix


class Model(ABC):
    """A label model.

    Parameters
    ----------
    k
        Number of classes, two or more.

    """

    def __init__(self, k: int) -> None:
        self.k = classes_of(k)

    @abstractmethod
    def predict_proba(self, L: Any, confidence: Any = None) -> Floats:  # noqa: N803 - the field's name for votes
        """Return n x k class probabilities."""

    def predict(self, L: Any, abstain: bool = False, confidence: Any = None) -> Ints:  # noqa: N803
        """Return n class numbers; rows without a vote: the most frequent class, or -1 with ``abstain``."""
        found = self.predict_proba(L, confidence).argmax(axis=1).astype(np.int64)
        return np.where(self.covered(L), found, -1) if abstain else found

    def covered(self, L: Any) -> Bools:  # noqa: N803
        """Say which rows have a vote."""
        covered: Bools = np.any(matrix(L, self.k) >= 0, axis=1)
        return covered
