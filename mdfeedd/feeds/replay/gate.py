"""Keeps a replay from lapping the consumers of its ring."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.readers import wait_for_consumers
from mdfeedd.feeds.replay.source import ReplayError

if TYPE_CHECKING:
    import threading

    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.ring import Writer

__all__ = ["Gate"]

logger: logging.Logger = logging.getLogger("mdfeedd.replay")

POLL_S: Final = 0.0002  # a ring of the default size takes the fastest replay a millisecond to fill
BEAT_S: Final = 0.1
SPARE_SLOTS: Final = 64  # the writer reserves in blocks: a slot so far ahead may be taken already
_SLICES: Final = 8  # room for this part of the ring is enough to go on


class Gate:
    """Asked for room before anything is published.

    Waits for the slowest living registered consumer, at most `stall_limit_s` without it moving; then it is
    left behind, which is logged once and shows as its loss, until it moves again. `first` is the gate of the
    feed's own ring, whose heartbeat says that the feed lives, where this is a ring beside it.
    """

    def __init__(
        self,
        writer: Writer,
        stop: threading.Event,
        stall_limit_s: float,
        *,
        first: Gate | None = None,
    ) -> None:
        self._writer = writer
        self._first = first
        self._stop = stop
        self._stall_limit_s = stall_limit_s
        self._left_behind: int | None = None
        self._beat_s = 0.0

    def room(self, wanted: int, spare: int = 0) -> int:
        """How many records may be published now, 1 to `wanted`; 0 once `stop` is set.

        `spare` more, at most half of what the ring holds, could be: for who publishes in lumps.
        """
        capacity = self._writer.capacity
        spare = min(spare, (capacity - SPARE_SLOTS) // 2)
        enough = min(wanted, capacity // _SLICES)
        stalled_at: int | None = None
        since_s = time.monotonic()
        while not self._stop.is_set():
            self.beat()
            slowest = self._writer.slowest_consumer()
            if slowest is None or slowest == self._left_behind:
                return min(wanted, capacity // _SLICES)
            free = slowest + capacity - SPARE_SLOTS - (self._writer.next_seq - 1)
            if free >= enough + spare:
                self._left_behind = None
                return min(wanted, free - spare)
            now_s = time.monotonic()
            if slowest != stalled_at:
                stalled_at, since_s = slowest, now_s
            elif now_s - since_s > self._stall_limit_s:
                self._left_behind = slowest
                logger.warning(
                    "%s: a consumer has not moved from record %d for %g s and is left behind",
                    self._writer.name,
                    slowest,
                    self._stall_limit_s,
                )
            else:
                self._stop.wait(POLL_S)
        return 0

    def wait_for_consumers(self, plan: RingPlan, wanted: int | None, limit_s: float) -> None:
        """Until so many consumers are registered (None: those of `plan.readers`), or `stop`.

        Raises `ReplayError` if so many have not come within `limit_s`; without those of the plan, of whom
        one may be unable to run, it goes on, and says so.
        """
        missing = wait_for_consumers(
            self._writer, plan, wanted, limit_s, stop=self._stop, beat=self.beat
        )
        if missing and wanted is not None:
            raise ReplayError(missing)
        if missing:
            logger.warning("%s: going on without", missing)

    def beat(self) -> None:
        """Stamp the ring's heartbeat, at a slow beat."""
        now_s = time.monotonic()
        if now_s - self._beat_s >= BEAT_S:
            self._writer.beat()
            self._beat_s = now_s
            if self._first is not None:
                self._first.beat()
