"""An artifact is immutable bytes of a known kind, named by the digest of those bytes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Artifact:
    """The name of some bytes, and what is worth knowing without reading them.

    Attributes
    ----------
    kind
        One of the kinds in `lineshaft.core.codec.FORMATS`.
    digest
        SHA-256 of the bytes, 64 hexadecimal digits.
    size
        Number of bytes.
    meta
        Small JSON facts derived from the bytes (rows, digests of chunks). A function of the bytes alone.

    """

    kind: str
    digest: str
    size: int
    meta: dict[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.digest[:12]}"


def digest_of(content: bytes | memoryview) -> str:
    """Name bytes: SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
