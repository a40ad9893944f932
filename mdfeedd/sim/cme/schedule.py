"""Chance: what happens next on the venue, how often, and in which shape.

Shapes and their frequencies follow what real captures show: most events are a few book changes, ended by an empty
message; about a third tell implied levels last; trades come with volume and, at a new high or low, statistics.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.cme.book import ASK, BID_SIDE
from mdfeedd.sim.cme.entries import (
    CLEARED_VOLUME,
    FIXING_PRICE,
    HIGHEST_BID,
    LOWEST_OFFER,
    OPEN_INTEREST,
    SETTLEMENT,
    Feed,
    TradingEvent,
    TradingStatus,
)
from mdfeedd.sim.cme.event import Shape
from mdfeedd.sim.cme.loops import LOOPING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.sim.cme.event import Event, Instrument
    from mdfeedd.sim.cme.venue import Venue

__all__ = ["Habits", "Schedule"]

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS
MAX_ORDERS: Final = 60  # per instrument: above it, orders only leave
FEW_ORDERS: Final = 24
DEEPEST: Final = 14  # ticks from the fair price: beyond the ten levels that are told
_MOST_LOTS: Final = 40
_LOOP_EVENTS: Final = 4.0  # random events to one packet of each loop
_BOND: Final = 57


@dataclass(frozen=True, slots=True)
class Habits:
    """How often things happen: weights of the kinds of event (first part), and shares (second part)."""

    quote: float = 100.0
    trade: float = 18.0
    implied: float = 12.0
    statistic: float = 2.0
    daily: float = 1.5
    limits: float = 0.7
    status: float = 1.0
    opening: float = 0.3
    quote_request: float = 0.7
    workup: float = 0.5
    long_event: float = 0.6
    several: float = 4.0  # events at one TransactTime, in one packet or two
    modify: float = 0.3
    add: float = 0.15
    delete: float = 0.0
    reset_book: float = 0.3
    channel_reset: float = 0.0
    weekly_reset: float = 0.0
    pause: float = 0.3

    empty_end: float = 0.5  # of events end with a message without entries
    with_implied: float = 0.3
    late: float = 0.1  # of snapshots are of some packets ago
    cut: float = 0.03  # of snapshots are cut inside the packet that they claim
    burst: float = 0.3  # of events follow at once

    @classmethod
    def none(cls, **kinds: float) -> Habits:
        """Only these kinds of event, everything plain: for tests of one thing."""
        return cls(**({field.name: 0.0 for field in fields(cls)} | kinds))


_SHARES: Final = ("empty_end", "with_implied", "late", "cut", "burst")


class Schedule:
    """Draws what happens and lets the venue do it; the loops' packets come between, at a pace of their own."""

    def __init__(self, venue: Venue, rate: float, loop_rate: float | None) -> None:
        for name, value in (("rate", rate), ("loop_rate", loop_rate)):
            if value is not None and not 0 < value <= 1e9:
                raise ValueError(f"{name}: must be above 0 and at most 1e9 a second, not {value}")
        self._venue = venue
        self._rng = venue.rng
        self._mean_ns = SECOND_NS / rate
        self._loop_gap_ns = SECOND_NS / (loop_rate or rate / _LOOP_EVENTS)
        self._next_ns = venue.now_ns
        self._loop_ns = dict.fromkeys(LOOPING, venue.now_ns)
        doings: dict[str, Callable[[], None]] = {
            field.name: getattr(self, f"_{field.name}")
            for field in fields(venue.habits)
            if field.name not in _SHARES and getattr(venue.habits, field.name)
        }
        self._doings = list(doings.values())
        self._weights: list[float] = []
        total = 0.0
        for name in doings:
            total += getattr(venue.habits, name)
            self._weights.append(total)
        self.happened: dict[str, int] = dict.fromkeys(doings, 0)
        self._names = list(doings)

    def run(self, events: int | None, until_ns: int | None) -> None:
        """So many events, or until then."""
        venue = self._venue
        done = 0
        while done != events:
            loop_ns, feed = min((at, feed) for feed, at in self._loop_ns.items())
            due_ns = min(loop_ns, self._next_ns)
            if until_ns is not None and due_ns > until_ns:
                venue.pause(max(0, until_ns - venue.now_ns))
                return
            if due_ns > venue.now_ns:
                venue.channel.flush()
                venue.advance(due_ns - venue.now_ns)
            if loop_ns < self._next_ns:
                self._loop(feed)
                continue
            self.step()
            done += 1
            self._plan()

    def resume(self) -> None:
        """Time has gone by: go on from now."""
        self._next_ns = self._venue.now_ns
        self._loop_ns = dict.fromkeys(LOOPING, self._venue.now_ns)

    def step(self) -> None:
        """One thing happens, now; nothing, if the habits are without any."""
        if not self._doings:
            return
        draw = self._rng.random() * self._weights[-1]
        at = next(i for i, limit in enumerate(self._weights) if draw < limit)
        self.happened[self._names[at]] += 1
        self._doings[at]()

    def _loop(self, feed: Feed) -> None:
        venue = self._venue
        if feed != Feed.ORDERS or venue.orders:
            venue.loops.step(feed)
        gap = int(self._loop_gap_ns * (0.5 + self._rng.random()))
        self._loop_ns[feed] = max(self._loop_ns[feed], venue.now_ns - gap) + gap

    def _plan(self) -> None:
        """When the next event is due; after a leap of time (a pause, a weekend) from now on."""
        if self._venue.now_ns > self._next_ns + SECOND_NS:
            self.resume()
        burst = min(self._venue.habits.burst, 0.99)
        gap_ns = self._mean_ns / 50
        if self._rng.random() >= burst:
            gap_ns = self._rng.expovariate((1.0 - burst) / self._mean_ns)
        self._next_ns += int(gap_ns)

    def _instrument(self) -> Instrument:
        """Any; the first ones more often."""
        known = list(self._venue.instruments.values())
        return known[int(len(known) * self._rng.random() ** 2)]

    def _shape(self) -> Shape:
        rng, habits = self._rng, self._venue.habits
        return Shape(
            empty_end=rng.random() < habits.empty_end,
            statistics_last=rng.random() < 0.2,
            split_trades=rng.random() < 0.1,
            split_implied=rng.random() < 0.05,
            messages_per_packet=0 if rng.random() < 0.9 else 1,
        )

    # Events of the books

    def _quote(self) -> None:
        with self._venue.event(self._shape()) as event:
            for _ in range(1 if self._rng.random() < 0.7 else self._rng.randrange(2, 6)):
                self._order(event, self._instrument())
            if self._rng.random() < self._venue.habits.with_implied:
                self._imply(event, self._instrument())

    def _order(self, event: Event, instrument: Instrument) -> None:
        """One order comes, goes or changes; never one that would trade."""
        rng, book = self._rng, instrument.book
        sid, lot = instrument.listing.security_id, instrument.listing.lot
        count = len(book.orders)
        draw = rng.random()
        if count >= MAX_ORDERS or (count > FEW_ORDERS / 2 and draw < 0.35):
            event.cancel(sid, rng.choice(list(book.orders)))
        elif count > FEW_ORDERS / 2 and draw < 0.5:
            size = rng.randrange(1, _MOST_LOTS) * lot
            event.resize(sid, rng.choice(list(book.orders)), size)
        else:
            side = rng.randrange(2)
            price = self._passive_price(instrument, side)
            event.add(sid, side, price, rng.randrange(1, _MOST_LOTS) * lot)

    def _passive_price(self, instrument: Instrument, side: int) -> int:
        tick = instrument.listing.tick_size
        away = min(int(self._rng.expovariate(0.3)), DEEPEST) * tick
        opposite = instrument.book.best(1 - side)
        if self._rng.random() < 0.05:
            instrument.fair += self._rng.choice((-tick, tick))
        if side == ASK:
            price = instrument.fair + tick + away
            return price if opposite is None else max(price, opposite + tick)
        price = instrument.fair - away
        return price if opposite is None else min(price, opposite - tick)

    def _trade(self) -> None:
        rng = self._rng
        with self._venue.event(self._shape()) as event:
            for _ in range(1 if rng.random() < 0.85 else 2):
                instrument = self._instrument()
                sid, lot = instrument.listing.security_id, instrument.listing.lot
                lots = rng.randrange(1, 15) if rng.random() < 0.8 else rng.randrange(20, 200)
                event.trade(sid, rng.choice((1, 2)), lots * lot)
                if rng.random() < 0.3:
                    self._order(event, instrument)
            if rng.random() < self._venue.habits.with_implied:
                self._imply(event, instrument)

    def _implied(self) -> None:
        with self._venue.event(self._shape()) as event:
            self._imply(event, self._instrument())

    def _imply(self, event: Event, instrument: Instrument) -> None:
        listing, rng = instrument.listing, self._rng
        if not listing.implied:
            return
        sides = []
        for sign in (-1, 1):
            first = instrument.fair + sign * rng.randrange(1, 4) * listing.tick_size
            levels = rng.randrange(3)
            sides.append(
                [
                    (first + sign * i * listing.tick_size, rng.randrange(1, _MOST_LOTS))
                    for i in range(levels)
                ]
            )
        event.implied(listing.security_id, *sides)

    def _long_event(self) -> None:
        """A sweep through many instruments, told in tens of packets."""
        rng = self._rng
        shape = Shape(
            entries_per_message=rng.randrange(1, 4),
            messages_per_packet=rng.randrange(1, 3),
            empty_end=rng.random() < 0.5,
        )
        with self._venue.event(shape) as event:
            for instrument in self._venue.instruments.values():
                for _ in range(rng.randrange(4, 12)):
                    self._order(event, instrument)
                self._imply(event, instrument)

    def _several(self) -> None:
        """Events of one TransactTime, each with its end, mostly within one packet."""
        rng, now_ns = self._rng, self._venue.now_ns
        number = rng.randrange(2, 4)
        for i in range(number):
            shape = Shape(hold=i < number - 1 and rng.random() < 0.8)
            with self._venue.event(shape, transact_ns=now_ns) as event:
                self._order(event, self._instrument())

    def _statistic(self) -> None:
        instrument = self._instrument()
        sid = instrument.listing.security_id
        bid, ask = instrument.book.best(BID_SIDE), instrument.book.best(ASK)
        with self._venue.event(self._shape()) as event:
            if bid is not None:
                event.session(sid, HIGHEST_BID, bid)
            if ask is not None:
                event.session(sid, LOWEST_OFFER, ask)

    def _daily(self) -> None:
        rng, instrument = self._rng, self._instrument()
        sid, today = instrument.listing.security_id, self._venue.now_ns // DAY_NS
        with self._venue.event() as event:
            event.daily(sid, SETTLEMENT, instrument.fair, date=today, settlement_type=3)
            if rng.random() < 0.5:
                event.daily(sid, CLEARED_VOLUME, None, rng.randrange(1 << 20), date=today - 1)
                event.daily(sid, OPEN_INTEREST, None, rng.randrange(1 << 20), date=today - 1)
            if rng.random() < 0.2:
                event.daily(sid, FIXING_PRICE, instrument.fair, date=today)

    def _limits(self) -> None:
        instrument = self._instrument()
        band = instrument.listing.tick_size * self._rng.randrange(100, 500)
        high: int | None = instrument.fair + band
        low: int | None = instrument.fair - band
        if self._rng.random() < 0.3:
            high, low = None, None
        with self._venue.event() as event:
            event.limits(instrument.listing.security_id, high, low, band // 10)

    # What is told of groups and instruments

    def _status(self) -> None:
        rng, listing = self._rng, self._instrument().listing
        draw = rng.random()
        if draw < 0.3:
            self._venue.status(TradingStatus.HALT, group=listing.group, halt_reason=1)
            self._venue.status(TradingStatus.READY_TO_TRADE, group=listing.group)
        elif draw < 0.6:
            self._venue.status(TradingStatus.READY_TO_TRADE, security_id=listing.security_id)
        elif draw < 0.8:
            event = rng.choice((TradingEvent.IMPLIED_ON, TradingEvent.IMPLIED_OFF))
            self._venue.status(TradingStatus.NULL, group=listing.group, event=event)
        else:
            self._venue.status(
                TradingStatus.NULL, group=listing.group, event=TradingEvent.RESET_STATISTICS
            )

    def _opening(self) -> None:
        self._venue.open_group(self._instrument().listing.group)

    def _quote_request(self) -> None:
        self._venue.quote_request(self._instrument().listing.security_id)

    def _workup(self) -> None:
        for instrument in self._venue.instruments.values():
            if instrument.listing.template == _BOND:
                self._venue.workup(instrument.listing.security_id, instrument.fair)
                return

    def _modify(self) -> None:
        instrument = self._instrument()
        coarse = instrument.listing.tick_size == instrument.grid
        tick_size = instrument.grid * (2 if coarse else 1)
        self._venue.modify_instrument(instrument.listing.security_id, tick_size=tick_size)

    def _add(self) -> None:
        self._venue.list_another()

    def _delete(self) -> None:
        if len(self._venue.instruments) > 1:
            self._venue.delete_instrument(self._venue.ids[-1])

    def _reset_book(self) -> None:
        self._venue.reset_book(self._instrument().listing.security_id)

    def _channel_reset(self) -> None:
        self._venue.channel_reset(restart_seq=False)

    def _weekly_reset(self) -> None:
        self._venue.weekly_reset()

    def _pause(self) -> None:
        self._venue.pause(self._rng.randrange(31, 100) * SECOND_NS)
