"""The system calls a journal writes with, in one place: what tests make fail."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RETRIABLE", "Disk"]

#: What may pass by itself: room is made, a limit is raised. A failed sync is not among them.
RETRIABLE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)
_MODE: Final = 0o640


class Disk:
    """The real thing. Every method raises `OSError`."""

    def create(self, path: str) -> int:
        """A new file, empty, for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)

    def allocate(self, fd: int, size: int) -> None:
        """Give a file all its room, so that it is missed now and not in the middle of a write."""
        os.posix_fallocate(fd, 0, size)

    def write(self, fd: int, parts: Sequence[Any], offset: int) -> None:
        """Write all of `parts` (buffers of bytes) at `offset`."""
        left = sum(memoryview(part).nbytes for part in parts)
        views: Sequence[Any] = parts
        while left:
            done = os.pwritev(fd, views, offset)
            left -= done
            offset += done
            if left:
                views = _rest(views, done)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Return when what was written to the file outlives a power cut."""
        os.fdatasync(fd)

    def sync_folder(self, folder: str) -> None:
        """The same for the names in a folder."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, path: str, to: str) -> None:
        """Give a file its name."""
        os.rename(path, to)

    def remove(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)


def _rest(views: Sequence[Any], done: int) -> list[memoryview]:
    rest = []
    for view in views:
        flat = memoryview(view).cast("B")
        if done < flat.nbytes:
            rest.append(flat[done:])
        done = max(0, done - flat.nbytes)
    return rest
