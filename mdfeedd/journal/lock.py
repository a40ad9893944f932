"""One writer per journal: a lock that the kernel drops however its holder ends."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING, Final

from mdfeedd.journal.errors import JournalBusy

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WriterLock", "writer_alive"]

LOCK: Final = "lock"
_FLOCK: Final = struct.Struct("hhqqi4x")  # type, whence, start, length, pid: struct flock on Linux
_MODE: Final = 0o640


class WriterLock:
    """Held from creation to `close`. Raises `JournalBusy`, `OSError`."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            fcntl.fcntl(
                self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
            )
        except OSError as error:
            os.close(self._fd)
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                raise JournalBusy(
                    f"another journal writes {folder}: stop it, or give this one another path"
                ) from None
            raise

    def close(self) -> None:
        """Let go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def writer_alive(folder: Path) -> bool:
    """Whether a process writes this journal right now."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        probe = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        kind = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, probe))[0]
        return bool(kind != fcntl.F_UNLCK)
    finally:
        os.close(fd)
