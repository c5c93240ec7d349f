"""Which process is which: a number means something only within one boot and one process namespace of a machine."""

from __future__ import annotations

import uuid
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Name this boot of this machine, and the process namespace: only within it does a process number mean anything."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return uuid.uuid4().hex


def started(number: int) -> str | None:
    """Return when a process started, in clock ticks since boot; None if it is gone."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
