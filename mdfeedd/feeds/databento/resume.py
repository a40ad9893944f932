"""The memory of a feed that outlives its process: how far each stream has come. A file beside the ring."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.databento.codec import Positions
from mdfeedd.ring.segment import resume_path

if TYPE_CHECKING:
    from mdfeedd.feeds.protocol import RingPlan

__all__ = ["HEAD_BYTES", "POSITION_BYTES", "open_positions"]

HEAD_BYTES: Final = 4096
POSITION_BYTES: Final = 64
_MODE: Final = 0o640
_ROOM: Final = 4
"""Positions per instrument of the ring's table: two schemas of each, and half of the table free."""


def open_positions(plan: RingPlan, dataset: str, *, streams: bool, fresh: bool) -> Positions:
    """The positions of the ring's feed, as the last process left them unless `fresh` or of another shard.

    Without `streams` only times are kept, not the place in each stream. Raises `OSError` where there is no
    room for them.
    """
    wanted = _ROOM * plan.instruments_capacity if streams else 2
    slots = 1 << (wanted - 1).bit_length()
    size = HEAD_BYTES + slots * POSITION_BYTES
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
    of_what = dataset if plan.shard is None else f"{dataset} {plan.shard}"
    return Positions(memoryview(memory), of_what, fresh=fresh)
