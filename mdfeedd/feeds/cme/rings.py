"""The rings that the feed writes: ticks, and on demand depth and orders, all under the same instrument ids."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from mdfeedd.feeds.protocol import DEPTH_SUFFIX, ORDERS_SUFFIX
from mdfeedd.ring.instruments import INDEX_BITS, Instrument
from mdfeedd.ring.restart import last_beat_ns, tell_restart, tell_return
from mdfeedd.ring.unclosed import LeftOpen, left_open
from mdfeedd.tick import CLEAR, DEPTH, ORDER, TICK, Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.feeds.cme.codec import Handler
    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.ring import Writer

__all__ = ["COMPARED_AT_ONCE", "NEW_AT_ONCE", "Rings"]

NEW_AT_ONCE: Final = 4096
COMPARED_AT_ONCE: Final = 512
PUBLISHED_AT_ONCE: Final = 64  # the smallest ring takes a batch of so many


class Rings:
    """Makes the rings. The codec enters instruments into the table of `ticks`; `mirror` copies them on.

    Where an earlier writer's ring goes on, the first tick is a GAP of each of the `channels` for the time in between,
    which `tell_return` closes, unless it is a `replay`, for which that time has no meaning; it begins where the
    earlier one let data pass of which it had not yet found out that they were a new sequence's. With it end the holes
    that earlier processes have left open, also of channels that are ours no more. Of what is chosen `by_name` a new
    ring begins with such a GAP, too: whose data come before the definitions is not known. Raises `RingError`.
    """

    def __init__(
        self,
        feed: str,
        plan: RingPlan,
        *,
        depth: bool,
        orders: bool,
        channels: Sequence[int] = (0,),
        replay: bool = False,
        by_name: bool = False,
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
        self._by_name = by_name
        self._away_ns: int | None = None  # since when data may be missing, until `tell_return`
        self._away = tuple(channels)  # of which channels
        self._left = LeftOpen()
        self.inherited: int = self.ticks.instruments_count  # of an earlier process
        if by_name and self.ticks.epoch == 1:
            self._away_ns = tell_restart(self.ticks, None, time.time_ns(), channels)
        if self.ticks.epoch > 1 and not replay:
            self._left = left_open(self.ticks)
            doubted_ns = self.ticks.counters.get("doubted_since_ns") or None
            since = [
                ns for ns in (left_ns, doubted_ns, *self._left.lines.values()) if ns is not None
            ]
            self._away_ns = tell_restart(
                self.ticks, min(since, default=None), time.time_ns(), channels
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

    @property
    def is_away(self) -> bool:
        """The GAP of a restart has not been closed yet."""
        return self._away_ns is not None

    def tell_void(self, instrument_ids: Sequence[int]) -> None:
        """CLEAR the books of these: the process before has told them, and they are empty now.

        As of the time at which it left, by our clock, which is not the venue's: hence BAD_TS.
        """
        assert self._away_ns is not None
        ticks = np.zeros(len(instrument_ids), CLEAR)
        ticks["kind"] = Kind.CLEAR
        ticks["flags"] = Flag.BAD_TS
        ticks["instrument_id"] = instrument_ids
        ticks["ts_event"] = self._away_ns
        ticks["ts_recv"] = time.time_ns()
        for first in range(0, len(ticks), PUBLISHED_AT_ONCE):
            self.ticks.publish(ticks[first : first + PUBLISHED_AT_ONCE])
        self.ticks.counters.add("published_others", len(ticks))

    def tell_return(self) -> None:
        """Close it: all books are right, and what is asked for is known by name."""
        if self._away_ns is not None:
            others = sorted(self._left.lines.keys() - set(self._away))
            tell_return(
                self.ticks,
                self._away_ns,
                time.time_ns(),
                [*self._away, *others],
                sorted(self._left.instruments),
            )
            self._away_ns, self._left = None, LeftOpen()

    def tell_anew(self, channel: int) -> None:
        """The venue has begun the channel's sequence again, perhaps with other instruments.

        Of what is chosen by name data may be missing, as at the first start, until their definitions have come.
        """
        if not self._by_name or (self.is_away and channel in self._away):
            return
        since_ns = tell_restart(self.ticks, None, time.time_ns(), (channel,))
        self._away = (*self._away, channel) if self.is_away else (channel,)
        self._away_ns = since_ns if self._away_ns is None else self._away_ns

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
