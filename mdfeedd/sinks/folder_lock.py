"""One process per sequence space and folder: a lock that the kernel drops however its holder ends.

The file OUT/.lock has nothing in it. A sequence space is one byte of its numbers, so that one file will
do for all rings, whenever they were made.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FolderLock"]

_FLOCK: Final = struct.Struct("hhqqi4x")  # type, whence, start, length, pid: struct flock on Linux
_PLACE_BYTES: Final = 7  # offsets are signed 64-bit numbers


class FolderLock:
    """What of a folder is ours; nothing at first. Opens its file when it is needed."""

    def __init__(self, folder: Path) -> None:
        self.path: Path = folder / ".lock"
        self._fd = -1

    def take(self, ring_id: str) -> bool:
        """Have a sequence space to ourselves; False if another has it. Raises `OSError`."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        digest = hashlib.blake2b(ring_id.encode(), digest_size=_PLACE_BYTES).digest()
        place = int.from_bytes(digest, "little")
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, wanted)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: as systems like
            return False
        return True

    def close(self) -> None:
        """Let go of all."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
