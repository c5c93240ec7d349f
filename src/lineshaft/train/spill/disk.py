"""Where the disk tier is: a folder that really lies on a disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lineshaft.errors import StorageError, UsageError

_MEMORY = {"tmpfs", "ramfs"}


def disk_folder(spill: str | Path | None) -> Path:
    """Return the folder for the disk tier: the one given, made where it is missing, or one for temporary files.

    Raises
    ------
    UsageError
        It lies in memory.
    StorageError
        It cannot be made.

    """
    if spill is not None:
        folders = [Path(spill)]
        try:
            folders[0].mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"could not use spill={str(spill)!r}: {error.strerror}; name a folder that can be written"
            ) from error
    else:
        folders = [folder for folder in (Path(tempfile.gettempdir()), Path("/var/tmp")) if folder.is_dir()]  # noqa: S108
    found = next((folder for folder in folders if not in_memory(folder)), None)
    if found is None:
        raise UsageError(
            f"{' and '.join(map(str, folders))} lie in memory (tmpfs), where nothing is spared: name a folder on a "
            f"disk with spill=, or use memory below the budget with memory={{'device': ..., 'dram': ...}}"
        )
    return found


def in_memory(folder: Path) -> bool:
    """Say whether a folder's file system is kept in memory."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    mounts = (line.split(" ") for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines())
    return any(mount[2] == wanted and mount[mount.index("-") + 1] in _MEMORY for mount in mounts)
