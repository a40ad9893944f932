"""The file beside a ring in which its feed keeps where it was: memory that outlives the process."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from typing import TYPE_CHECKING, Final

from mdfeedd.ring.segment import resume_path

if TYPE_CHECKING:
    from pathlib import Path

    from mdfeedd.feeds.protocol import RingPlan

__all__ = ["open_resume_file"]

_MODE: Final = 0o640


def open_resume_file(plan: RingPlan, size: int, of_what: str) -> tuple[memoryview, str]:
    """The file's memory of `size` bytes, zero where it was of another size, and what it is kept of.

    The latter is `of_what` and the ring's shard: what was kept of another is not to be believed.
    Raises `OSError` where there is no room.
    """
    path = resume_path(plan.name, plan.directory)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    try:
        _check_owner(os.fstat(file), path)
        if os.fstat(file).st_size != size:
            os.ftruncate(file, 0)
        try:
            os.posix_fallocate(file, 0, size)  # or a full file system would kill us later
        except OSError as error:
            os.unlink(path)
            raise OSError(
                error.errno, f"no room for {size} bytes of {path}: {error.strerror}"
            ) from None
        memory = mmap.mmap(file, size)
    finally:
        os.close(file)
    return memoryview(memory), of_what if plan.shard is None else f"{of_what} {plan.shard}"


def _check_owner(found: os.stat_result, path: Path) -> None:
    """What is kept is believed, so nobody else may have written it, who was first with the name in /dev/shm."""
    if found.st_uid != os.geteuid():
        sentence = f"{path} belongs to user {found.st_uid} and not to us: have it removed"
        raise PermissionError(errno.EPERM, sentence)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        sentence = f"{path} may be written by others: remove it"
        raise PermissionError(errno.EPERM, sentence)
