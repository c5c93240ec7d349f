"""One training at a time in a checkpoint folder: it holds a lock on a file there while it runs.

The lock goes with the process that holds it, however that ends; reading and exporting need none.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lineshaft.core.durable import make_folder
from lineshaft.errors import StorageError, TrainingError


@contextmanager
def alone(folder: Path, *, leased: bool = False) -> Iterator[Path]:
    """Keep other trainings out of a folder inside the block, and return where to train.

    That is the folder itself; or, where another is in it whose lease on it has run out, a new one inside it.

    Raises
    ------
    TrainingError
        Another one is there; its process is named.
    StorageError
        The folder cannot be made, or not be written.

    """
    own = folder
    try:
        make_folder(own)
        if leased and _held(own / "lock"):
            own = Path(tempfile.mkdtemp(prefix="beside-", dir=folder))
        path = own / "lock"
        handle = _take(path)
    except OSError as error:
        raise StorageError(
            f"could not use {folder} for checkpoints: {error.strerror or error}; name a folder that can be written "
            f"with checkpoint="
        ) from error
    try:
        yield own
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever has opened it meanwhile sees that its name is gone
        fcntl.flock(handle, fcntl.LOCK_UN)  # for children too, which have the same handle
        os.close(handle)


def _held(path: Path) -> bool:
    """Say whether somebody holds a lock."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _take(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
                return handle
        except BlockingIOError as error:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise TrainingError(
                f"{path.parent} is in use: process {holder or 'of unknown number'} is training there; wait for it, end "
                f"it, or name another folder with checkpoint="
            ) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder has just ended
