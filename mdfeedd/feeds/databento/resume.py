"""The memory of a feed that outlives its process: how far each stream has come. A file beside the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.databento.codec import Positions
from mdfeedd.feeds.resume_file import open_resume_file

if TYPE_CHECKING:
    from mdfeedd.feeds.protocol import RingPlan

__all__ = ["HEAD_BYTES", "POSITION_BYTES", "open_positions"]

HEAD_BYTES: Final = 4096
POSITION_BYTES: Final = 64
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
    memory, of_what = open_resume_file(plan, size, dataset)
    return Positions(memory, of_what, fresh=fresh)
