"""The rings that the feed writes: ticks, and on demand depth and orders, all under the same instrument ids."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mdfeedd.ring import RingError, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.instruments import INDEX_BITS, Instrument
from mdfeedd.tick import DEPTH, GAP, ORDER, TICK, GapReason, Kind

if TYPE_CHECKING:
    from mdfeedd.feeds.protocol import RingPlan

__all__ = ["COMPARED_AT_ONCE", "DEPTH_SUFFIX", "NEW_AT_ONCE", "ORDERS_SUFFIX", "Rings"]

DEPTH_SUFFIX: Final = ".depth"
ORDERS_SUFFIX: Final = ".orders"
NEW_AT_ONCE: Final = 4096
COMPARED_AT_ONCE: Final = 512


class Rings:
    """Makes the rings. The codec enters instruments into the table of `ticks`; `mirror` copies them on.

    Where an earlier writer's ring goes on, the first tick is a GAP for the time in between, unless it is a
    `replay`, for which that time has no meaning. Raises `RingError`.
    """

    def __init__(
        self, feed: str, plan: RingPlan, *, depth: bool, orders: bool, replay: bool = False
    ) -> None:
        self._feed = feed
        self._plan = plan
        left_ns = _last_beat_ns(plan)
        self.depth: Writer | None = None
        self.orders: Writer | None = None
        self.ticks = self._writer("", TICK)
        try:
            self.depth = self._writer(DEPTH_SUFFIX, DEPTH) if depth else None
            self.orders = self._writer(ORDERS_SUFFIX, ORDER) if orders else None
        except BaseException:
            self.close()
            raise
        self._mirrored: list[tuple[object, ...] | None] = []
        self._compared = 0
        if self.ticks.epoch > 1 and not replay:
            self._tell_restart(left_ns)

    def _writer(self, suffix: str, dtype: np.dtype[Any]) -> Writer:
        plan = self._plan
        return Writer(
            plan.name + suffix,
            plan.capacity,
            dtype,
            feed=self._feed,
            feed_index=plan.feed_index,
            instruments_capacity=plan.instruments_capacity,
            directory=plan.directory,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Announce the end of all of them."""
        for writer in (self.ticks, self.depth, self.orders):
            if writer is not None:
                writer.close()

    def beat(self) -> None:
        """Stamp the heartbeats."""
        for writer in (self.ticks, self.depth, self.orders):
            if writer is not None:
                writer.beat()

    def mirror(self, *, whole: bool = False) -> None:
        """Copy what is new in the table of instruments to those of depth and orders.

        A part of it: `NEW_AT_ONCE` new entries and `COMPARED_AT_ONCE` old ones, which go round; or the `whole`.
        """
        others = [writer for writer in (self.depth, self.orders) if writer is not None]
        count = self.ticks.instruments_count if others else 0
        first = 0 if whole else self._compared
        last = count if whole else first + COMPARED_AT_ONCE
        self._compared = 0 if last >= count else last
        known = len(self._mirrored)
        self._mirrored += [None] * (min(count, known + (count if whole else NEW_AT_ONCE)) - known)
        for place in {*range(first, min(last, count)), *range(known, len(self._mirrored))}:
            entry = self.ticks.instrument_get(place)
            if place >= len(self._mirrored) or entry is None or entry == self._mirrored[place]:
                continue
            self._mirrored[place] = entry
            for writer in others:
                writer.instrument_put(place, entry)

    def symbol(self, instrument_id: int) -> str:
        """Its symbol; "" for an instrument that has no entry."""
        place = (instrument_id & ((1 << INDEX_BITS) - 1)) - 1
        if not 0 <= place < self.ticks.instruments_count:
            return ""
        entry = self.ticks.instrument_get(place)
        return "" if entry is None else Instrument(*entry).symbol  # type: ignore[arg-type]

    def _tell_restart(self, left_ns: int | None) -> None:
        """What fell into the time in between is missing."""
        now_ns = time.time_ns()
        gap = np.zeros(1, GAP)
        gap["ts_event"] = gap["ts_recv"] = now_ns
        gap["kind"] = Kind.GAP
        gap["reason"] = GapReason.RESTART
        gap["first_missing"] = min(now_ns if left_ns is None else left_ns, now_ns)
        gap["last_missing"] = now_ns
        self.ticks.publish(gap.view(TICK))
        self.ticks.counters.add("gaps")
        self.ticks.counters.add("published_others")


def _last_beat_ns(plan: RingPlan) -> int | None:
    """When the ring's last writer was last seen alive (UNIX ns), if there was one."""
    try:
        age_ns = inspect(plan.name, plan.directory).heartbeat_age_ns
    except RingError:
        return None  # no ring yet; one that cannot be used is for the writer to complain about
    return time.time_ns() - max(0, age_ns)
