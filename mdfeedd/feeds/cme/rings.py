"""The rings that the feed writes: ticks, and on demand depth and orders, all under the same instrument ids."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

from mdfeedd.feeds.protocol import DEPTH_SUFFIX, ORDERS_SUFFIX
from mdfeedd.ring.instruments import INDEX_BITS, Instrument
from mdfeedd.ring.restart import last_beat_ns, tell_restart
from mdfeedd.tick import DEPTH, ORDER, TICK

if TYPE_CHECKING:
    from mdfeedd.feeds.cme.codec import Handler
    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.ring import Writer

__all__ = ["COMPARED_AT_ONCE", "NEW_AT_ONCE", "Rings"]

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
        left_ns = last_beat_ns(plan.name, plan.directory)
        self.depth: Writer | None = None
        self.orders: Writer | None = None
        self.ticks: Writer = plan.writer(feed, TICK)
        try:
            self.depth = plan.writer(feed, DEPTH, DEPTH_SUFFIX) if depth else None
            self.orders = plan.writer(feed, ORDER, ORDERS_SUFFIX) if orders else None
        except BaseException:
            self.close()
            raise
        self._mirrored: list[tuple[object, ...] | None] = []
        self._compared = 0
        if self.ticks.epoch > 1 and not replay:
            tell_restart(self.ticks, left_ns, time.time_ns())

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

    def name(self, handler: Handler, channel: int, security_id: int) -> str:
        """An instrument of the handler's as people know it."""
        try:
            symbol = self.symbol(handler.book(channel, security_id).instrument_id)
        except KeyError:
            symbol = ""
        return f"{symbol} ({security_id})" if symbol else f"instrument {security_id}"
