"""The file beside the ring in which the feed remembers how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdfeedd.feeds.kafka.codec import SLOT_BYTES, Notes
from mdfeedd.feeds.resume_file import open_resume_file

if TYPE_CHECKING:
    from mdfeedd.feeds.protocol import RingPlan

__all__ = ["open_notes"]


def open_notes(plan: RingPlan, identity: str) -> Notes:
    """The notes of the ring's feed, as the last process left them; none of another shard.

    Raises `OSError` where there is no room for them.
    """
    memory, of_what = open_resume_file(plan, 2 * SLOT_BYTES, identity)
    return Notes(memory, of_what)
