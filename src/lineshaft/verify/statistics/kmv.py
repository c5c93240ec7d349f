"""The number of distinct values from the k smallest hashes (k minimum values).

Bar-Yossef, Jayram, Kumar, Sivakumar, Trevisan: Counting Distinct Elements in a Data Stream, 2002; the unbiased form
(k - 1) / u_k, u_k the k-th smallest hash in (0, 1], is Beyer, Haas, Reinwald, Sismanis, Gemulla 2007. Exact below k;
above it the standard error is 1 / sqrt(k - 2), 1.6 % at k = 4,096. The union of two sketches is the sketch of the
union, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.verify.statistics.pack import pack, unpack

if TYPE_CHECKING:
    from lineshaft.verify.statistics.hashing import Hashes

K = 4096


def _none() -> Hashes:
    return np.array([], np.uint64)


@dataclass(frozen=True, eq=False)
class Kmv:
    """The at most `K` smallest different hashes seen, ascending."""

    hashes: Hashes = field(default_factory=_none)

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

    def add(self, hashes: Hashes) -> Kmv:
        """Take in hashes, repeats allowed."""
        if not self.exact:
            hashes = hashes[hashes < self.hashes[-1]]
        if not len(hashes):
            return self
        # Sorting and masking beats np.unique on 64-bit words several times over.
        ordered = np.sort(np.concatenate([self.hashes, hashes]))
        fresh = np.ones(len(ordered), dtype=bool)
        np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
        return Kmv(ordered[fresh][:K])

    def merge(self, other: Kmv) -> Kmv:
        """Return the sketch of both sets together."""
        return self.add(other.hashes)

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        return pack(self.hashes)

    @classmethod
    def from_payload(cls, payload: Any) -> Kmv:
        """Read the state back."""
        return cls(unpack(payload))
