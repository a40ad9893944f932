"""A place in the records of a ring, as stores and journals keep it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Position"]


@dataclass(frozen=True, slots=True)
class Position:
    """Everything up to the record `seq` of one sequence space.

    ring_id (32 hex digits) names the sequence space, in which a sequence number never comes twice,
    over restarts of the writer too: the two are the whole position. Spaces have no order among
    themselves; only a journal, which holds them one after the other, knows which came first.
    epoch is that of the writer of `seq`, for people and for keys that want it; 0 where unknown.
    """

    ring_id: str
    seq: int
    epoch: int = 0
