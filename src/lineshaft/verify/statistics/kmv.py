"""The number of distinct values from the k smallest hashes (k minimum values).

Bar-Yossef, Jayram, Kumar, Sivakumar, Trevisan: Counting Distinct Elements in a Data Stream, 2002; the unbiased form
(k - 1) / u_k, u_k the k-th smallest hash in (0, 1], is Beyer, Haas, Reinwald, Sismanis, Gemulla 2007. Exact below k;
above it the standard error is 1 / sqrt(k - 2), 1.6 % at k = 4,096. The union of two sketches is the sketch of the
union, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lineshaft.verify.statistics.hashing import NO_HASHES, Hashes, distinct_hashes, pack, unpack

K = 4096


@dataclass(frozen=True, eq=False)
class Kmv:
    """The at most `K` smallest different hashes seen, ascending."""

    hashes: Hashes = field(default_factory=lambda: NO_HASHES)

    @property
    def exact(self) -> bool:
        """Whether the count below is exact (but for collisions of 64-bit hashes)."""
        return len(self.hashes) < K

    @property
    def distinct(self) -> int:
        """How many different values were seen, estimated once there are `K` or more."""
        if self.exact:
            return len(self.hashes)
        return round((K - 1) / ((int(self.hashes[-1]) + 1) / 2.0**64))

    @property
    def relative_error(self) -> float:
        """One standard error of `distinct`, relative; 0 while exact."""
        return 0.0 if self.exact else 1 / math.sqrt(K - 2)

    @classmethod
    def of(cls, hashes: Hashes) -> Kmv:
        """Sketch hashes, repeats allowed."""
        if len(hashes) > 4 * K:
            few = distinct_hashes(np.partition(hashes, 2 * K)[: 2 * K])
            if len(few) >= K:  # no more than half of them were repeats: the rest need not be sorted
                return cls(few[:K])
        return cls(distinct_hashes(hashes)[:K])

    def merge(self, other: Kmv) -> Kmv:
        """Return the sketch of both sets together."""
        return Kmv(distinct_hashes(np.concatenate([self.hashes, other.hashes]))[:K])

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        return pack(self.hashes)

    @classmethod
    def from_payload(cls, payload: Any) -> Kmv:
        """Read the state back."""
        return cls(unpack(payload))
