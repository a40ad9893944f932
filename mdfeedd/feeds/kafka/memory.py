"""The file beside the ring in which the feed remembers how far it is."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.kafka.codec import SLOT_BYTES, Notes
from mdfeedd.ring.segment import resume_path

if TYPE_CHECKING:
    from mdfeedd.feeds.protocol import RingPlan

__all__ = ["open_notes"]

_MODE: Final = 0o640


def open_notes(plan: RingPlan, identity: str) -> Notes:
    """The notes of the ring's feed, as the last process left them; none of another shard.

    Raises `OSError` where there is no room for them.
    """
    size = 2 * SLOT_BYTES
    path = resume_path(plan.name, plan.directory)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
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
    of_what = identity if plan.shard is None else f"{identity} {plan.shard}"
    return Notes(memoryview(memory), of_what)
