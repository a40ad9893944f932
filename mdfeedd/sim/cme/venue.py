"""The venue: instruments, a clock, and everything that can happen, each callable by hand.

    venue = Venue(seed=7, instruments=3)
    sent = venue.run(200)                       # 200 random events, the loops beside them
    with venue.event() as event:                # or one event, to the letter
        event.add(sid, 0, 100 * E9, 5)
    venue.trade(sid, 1, 3)
    venue.channel_reset()
    sent += venue.take()
    venue.truth.state(sid)                      # what is now true of an instrument

Virtual time: nothing waits; `now_ns` goes forward with what happens. All chance is of the one seed.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.cme.channel import Channel
from mdfeedd.sim.cme.entries import (
    BID,
    IMPLIED_BID,
    IMPLIED_OFFER,
    OFFER,
    ChannelReset,
    Definition,
    Feed,
    Mei,
    Sent,
    SnapshotEntry,
    SnapshotOrder,
    StatusEntry,
    TradingEvent,
    TradingStatus,
)
from mdfeedd.sim.cme.event import Event, Instrument, Outgoing, Shape
from mdfeedd.sim.cme.instruments import Listing, definition, listings, renamed
from mdfeedd.sim.cme.loops import Loops
from mdfeedd.sim.cme.published import Published
from mdfeedd.sim.cme.schedule import Habits, Schedule
from mdfeedd.sim.cme.wire import ORDERS_VERSION, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mdfeedd.sim.cme.published import State
    from mdfeedd.sim.cme.truth import Truth

__all__ = ["START_NS", "Venue"]

START_NS: Final = 1_790_000_000_000_000_000  # a Monday in September 2026
SECOND_NS: Final = 1_000_000_000
HEARTBEAT_NS: Final = 30 * SECOND_NS
WEEKEND_NS: Final = 49 * 3_600 * SECOND_NS
DAY_NS: Final = 24 * 3_600 * SECOND_NS
ORDERS_PER_CHUNK: Final = 8  # small, so that small books come in several chunks
_STATISTICS_ORDER: Final = (b"4", b"7", b"8", b"6", b"B", b"C", b"N", b"O", b"W", b"e")
_DEFAULT_SHAPE: Final = Shape()
_CALM: Final = Habits()


class Venue:
    """One channel.

    instruments: how many, or which. version: of the message headers, 5 to 13 or 99. orders: market by order too.
    rate: random events per second of virtual time. loop_rate: packets per second of each loop, a quarter of it
    unless said. keep_truth=False forgets what is past (runs without end).
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        channel: int = 310,
        instruments: int | Sequence[Listing] = 6,
        version: int = 13,
        orders: bool = True,
        old_templates: bool | None = None,
        start_ns: int = START_NS,
        rate: float = 2_000.0,
        loop_rate: float | None = None,
        first_seq: int = 1,
        habits: Habits = _CALM,
        keep_truth: bool = True,
    ) -> None:
        self.wire: Wire = Wire(version, old_templates=old_templates)
        self.channel_id = channel
        self.rng: random.Random = random.Random(f"venue {seed}")  # noqa: S311 - chance, not secrets
        self.orders: bool = orders and version >= ORDERS_VERSION
        self.channel: Channel = Channel(self.wire, start_ns, first_seq, keep_truth)
        self.instruments: dict[int, Instrument] = {}
        self.retired: list[Listing] = []  # deleted: their ids may come back with other symbols
        self._counter = self.rng.randrange(1, 1 << 24)
        known = instruments
        if isinstance(known, int):
            known = listings(known, version, seed)
        for listing in known:
            self._open(listing)
        self.habits = habits
        self.schedule: Schedule = Schedule(self, rate, loop_rate)
        self.loops: Loops = Loops(self)

    # Where it stands

    @property
    def truth(self) -> Truth:
        """What was true when."""
        return self.channel.truth

    @property
    def now_ns(self) -> int:
        """The virtual clock, UNIX ns."""
        return self.channel.now_ns

    @property
    def ids(self) -> list[int]:
        """Security ids of all instruments."""
        return list(self.instruments)

    def advance(self, ns: int) -> None:
        """Time passes; nothing is sent."""
        assert ns >= 0
        self.channel.now_ns += ns

    def take(self) -> list[Sent]:
        """What was sent since the last call (or `run`), in order."""
        self.channel.flush()
        return self.channel.take()

    def run(self, events: int | None = None, *, until_ns: int | None = None) -> list[Sent]:
        """Let so many random events happen, or time pass until then, with the loops beside; what was sent."""
        assert (events is None) != (until_ns is None)
        self.schedule.run(events, until_ns)
        return self.take()

    def skip(self, until_ns: int) -> None:
        """Leave out what would have happened until then."""
        self.channel.flush()
        self.channel.now_ns = max(self.now_ns, until_ns)
        self.schedule.resume()

    def settle(self, loops: int = 2) -> list[Sent]:
        """A quiet time: so many whole loops of definitions, snapshots and orders, and heartbeats; what was sent."""
        for _ in range(loops):
            self.loops.whole(Feed.DEFINITION)
            self.loops.whole(Feed.SNAPSHOT)
            if self.orders:
                self.loops.whole(Feed.ORDERS)
            self.advance(SECOND_NS)
            self.heartbeat()
        return self.take()

    # Events

    @contextmanager
    def event(
        self, shape: Shape = _DEFAULT_SHAPE, transact_ns: int | None = None
    ) -> Iterator[Event]:
        """An event: what is done with it inside the `with` is sent at the end of it."""
        event = Event(
            self.instruments,
            self.wire,
            self.now_ns if transact_ns is None else transact_ns,
            shape,
            next_id=self._next_id,
            with_orders=self.orders,
        )
        yield event
        self.channel.send(event.messages(), per_packet=shape.messages_per_packet, hold=shape.hold)
        self.advance(1_000)

    def quote(self, security_id: int, side: int, price: int, size: int, **shape: object) -> int:
        """An order is added in an event of its own; its id. `shape`: fields of `Shape`."""
        with self.event(Shape(**shape)) as event:  # type: ignore[arg-type]
            return event.add(security_id, side, price, size)

    def cancel(self, security_id: int, order_id: int, **shape: object) -> None:
        """An order is cancelled in an event of its own."""
        with self.event(Shape(**shape)) as event:  # type: ignore[arg-type]
            event.cancel(security_id, order_id)

    def trade(self, security_id: int, aggressor: int, size: int, **shape: object) -> int:
        """An order (1 buys, 2 sells) takes liquidity in an event of its own; what it got."""
        with self.event(Shape(**shape)) as event:  # type: ignore[arg-type]
            return event.trade(security_id, aggressor, size)

    def reset_book(self, security_id: int) -> None:
        """A book reset (J) of one instrument."""
        with self.event() as event:
            event.reset_book(security_id)

    def fill_books(self, levels: int = 10, orders: int = 2) -> None:
        """One event per instrument that gives it a full, uncrossed book."""
        for security_id, instrument in self.instruments.items():
            tick, lot = instrument.listing.tick_size, instrument.listing.lot
            with self.event() as event:
                for i in range(levels):
                    for _ in range(orders):
                        size = self.rng.randrange(1, 20) * lot
                        event.add(security_id, 0, instrument.fair - (i + 1) * tick, size)
                        event.add(security_id, 1, instrument.fair + (i + 1) * tick, size)

    # Messages that belong to no event of the books

    def status(
        self,
        status: int,
        *,
        group: str | None = None,
        security_id: int | None = None,
        event: int = TradingEvent.NONE,
        halt_reason: int = 0,
        hold: bool = False,
    ) -> None:
        """A trading status for one instrument or, without it, a whole group."""
        if group is None:
            group = self.instruments[security_id].listing.group if security_id else ""
        entry = StatusEntry(group, security_id, status, event, halt_reason)
        payload = self.wire.status(
            status,
            group=group,
            security_id=security_id,
            event=event,
            halt_reason=halt_reason,
            transact_ns=self.now_ns,
        )
        if event == TradingEvent.RESET_STATISTICS:
            for sid, instrument in self.instruments.items():
                if security_id == sid or (not security_id and instrument.listing.group == group):
                    instrument.begin_session()
        self._tell(payload, entry, hold=hold)

    def heartbeat(self, feed: Feed = Feed.INCREMENTAL, seq: int | None = None) -> None:
        """A packet that says only that the feed is alive."""
        if feed == Feed.INCREMENTAL:
            self.channel.flush()
            self.channel.send([Outgoing(self.wire.heartbeat(), (), self.now_ns, False)])
        else:
            self.channel.put(feed, 1 if seq is None else seq, self.wire.heartbeat())

    def quote_request(self, security_id: int) -> None:
        """Somebody asks for quotes."""
        symbol = self.instruments[security_id].listing.symbol
        payload = self.wire.quote_request(
            security_id, symbol, request_id=f"Q{self._next_id()}", transact_ns=self.now_ns
        )
        self._tell(payload, ends=True)

    def workup(self, security_id: int, price: int, status: int = 201) -> None:
        """A workup session of cash fixed income (versions from 10)."""
        payload = self.wire.workup(
            security_id,
            price,
            status,
            orders=[(self._next_id(), 1, 1), (self._next_id(), 2, 0)],
            transact_ns=self.now_ns,
        )
        self._tell(payload, ends=True)

    def pause(self, ns: int) -> None:
        """A quiet time: nothing but a heartbeat on the incremental feed after each 30 s of silence."""
        self.channel.flush()
        end_ns = self.now_ns + ns
        while self.channel.last_sent_ns + HEARTBEAT_NS <= end_ns:
            self.channel.now_ns = max(self.now_ns, self.channel.last_sent_ns + HEARTBEAT_NS)
            self.heartbeat()
        self.channel.now_ns = max(self.now_ns, end_ns)

    # Definitions

    def add_instrument(self, listing: Listing) -> None:
        """Listed during the week: a definition (A) on the incremental feed."""
        self._open(listing)
        self._define(listing, b"A")

    def list_another(self) -> Listing:
        """One more instrument, like those there are."""
        number = len(self.instruments) + len(self.retired)
        known = {*self.instruments, *(listing.security_id for listing in self.retired)}
        more = listings(number + 1, self.wire.version, self.rng.randrange(1 << 30))
        listing = next(item for item in reversed(more) if item.security_id not in known)
        self.add_instrument(listing)
        return listing

    def modify_instrument(self, security_id: int, *, tick_size: int) -> None:
        """A definition (M) with another tick size."""
        instrument = self.instruments[security_id]
        listing = renamed(instrument.listing, instrument.listing.symbol, tick_size)
        instrument.listing = listing
        self._define(listing, b"M")

    def delete_instrument(self, security_id: int) -> None:
        """A definition (D): the instrument is no longer, and no snapshot shows it."""
        instrument = self.instruments.pop(security_id)
        self.retired.append(instrument.listing)
        self._define(instrument.listing, b"D")

    def reuse_id(self, security_id: int, symbol: str) -> Listing:
        """The id of a deleted instrument comes back the next day with another symbol."""
        was = next(listing for listing in self.retired if listing.security_id == security_id)
        self.retired.remove(was)
        self.pause(DAY_NS)
        listing = renamed(was, symbol)
        self.add_instrument(listing)
        return listing

    def definition(self, security_id: int, total: int | None, action: bytes = b"A") -> bytes:
        """The definition message of an instrument, as the N loop sends it."""
        known = self.channel.published[security_id]
        return definition(
            self.wire,
            self.instruments[security_id].listing,
            action=action,
            total=total,
            update_ns=known.update_ns,
            channel=self.channel_id,
            status=known.status,
            mei=0,
        )

    # Resets

    def channel_reset(self, *, restart_seq: bool = False, retell: bool = True) -> None:
        """All books empty, RptSeq from 1, then (`retell`) volumes, books and statistics again with MEI bit 5.

        With `restart_seq` the sequence numbers begin at 1 with the reset; the documents leave that open.
        """
        self.channel.flush()
        self.loops.restart()
        if restart_seq:
            self.channel.restart(1)
        payload = self.wire.channel_reset(self.channel_id, transact_ns=self.now_ns)
        self._tell(payload, ChannelReset(self.channel_id), ends=True)
        for instrument in self.instruments.values():
            instrument.rpt_seq = 0
            instrument.forget_told()
            if not retell:
                instrument.book.clear()
                instrument.implied = {IMPLIED_BID: [], IMPLIED_OFFER: []}
                instrument.begin_session()
        if retell:
            self._retell()

    def _retell(self) -> None:
        for security_id, instrument in self.instruments.items():
            with self.event(Shape(recovery=True)) as event:
                event.retell(security_id)
                if instrument.high is not None and instrument.low is not None:
                    event.session(security_id, b"7", instrument.high)
                    event.session(security_id, b"8", instrument.low)

    def start_again(self, *, down_ns: int = 5 * SECOND_NS, first_seq: int = 1) -> None:
        """The venue stops, and so much later plays the same instruments anew: sequence numbers from 1, empty books.

        Nothing on the incremental feed says so.
        """
        self.channel.flush()
        self.advance(down_ns)
        self.channel.restart(first_seq)
        self.loops.restart()
        self._begin_anew(TradingStatus.READY_TO_TRADE)

    def _begin_anew(self, status: int) -> None:
        for security_id, instrument in self.instruments.items():
            listing = instrument.listing
            self.instruments[security_id] = Instrument(listing)
            known = Published(security_id, listing.group, status)
            known.update_ns = self.now_ns
            self.channel.open(known)

    def weekly_reset(self, *, first_seq: int = 1, weekend_ns: int = WEEKEND_NS) -> None:
        """A weekend passes: sequence numbers from 1, empty books, then definitions and statuses of Sunday.

        Ids of deleted instruments come back with other symbols.
        """
        self.channel.flush()
        self.advance(weekend_ns)
        self.channel.restart(first_seq)
        self.loops.restart()
        for was in self.retired:
            self._open(renamed(was, f"{was.symbol} II"))
        self.retired.clear()
        self._begin_anew(TradingStatus.PRE_OPEN)
        for instrument in list(self.instruments.values()):
            self._define(instrument.listing, b"A")
        for group in dict.fromkeys(i.listing.group for i in self.instruments.values()):
            self.status(TradingStatus.READY_TO_TRADE, group=group)

    def open_group(self, group: str) -> None:
        """From pre-open (orders may cross) by a price indication to trading, with the opening trades."""
        members = [i for i in self.instruments.values() if i.listing.group == group]
        self.status(TradingStatus.PRE_OPEN, group=group, event=TradingEvent.NO_CANCEL)
        for instrument in members:
            sid, tick, lot = (
                instrument.listing.security_id,
                instrument.listing.tick_size,
                instrument.listing.lot,
            )
            with self.event() as event:
                for _ in range(3):
                    shift = self.rng.randrange(3) * tick
                    event.add(sid, 0, instrument.fair + shift, lot * self.rng.randrange(1, 9))
                    event.add(sid, 1, instrument.fair - shift, lot * self.rng.randrange(1, 9))
        self.status(TradingStatus.NEW_PRICE_INDICATION, group=group)
        for instrument in members:
            with self.event() as event:
                event.uncross(instrument.listing.security_id)
        self.status(TradingStatus.READY_TO_TRADE, group=group)

    # Snapshots

    def snapshot(
        self,
        security_id: int,
        *,
        seq: int | None = None,
        claimed_seq: int | None = None,
        total: int = 1,
    ) -> bytes:
        """52 (or 69) of an instrument as it was after the packet `seq` (the last one unless said).

        `claimed_seq` puts another number into tag 369: a snapshot cut inside that packet.
        """
        state = self._state(security_id, seq)
        last_seq = self.channel.last_seq if seq is None else seq
        listing = self.instruments[security_id].listing
        entries = [
            SnapshotEntry(kind, price, size, orders, level)
            for kind, rows in (
                (BID, state.bids),
                (OFFER, state.asks),
                (IMPLIED_BID, state.implied_bids),
                (IMPLIED_OFFER, state.implied_asks),
            )
            for level, (price, size, orders) in enumerate(rows, 1)
        ]
        entries += [
            SnapshotEntry(kind, *state.statistics[kind])
            for kind in _STATISTICS_ORDER
            if kind in state.statistics
        ]
        return self.wire.snapshot(
            security_id,
            last_seq=last_seq if claimed_seq is None else claimed_seq,
            rpt_seq=state.rpt_seq,
            entries=entries,
            total=total,
            transact_ns=state.transact_ns,
            update_ns=self.channel.published[security_id].update_ns,
            status=state.status,
            limits=state.limits,
            long=listing.long,
        )

    def order_snapshot(
        self,
        security_id: int,
        *,
        seq: int | None = None,
        claimed_seq: int | None = None,
        total: int = 1,
        per_chunk: int = ORDERS_PER_CHUNK,
    ) -> list[bytes]:
        """53 in as many chunks as needed, bids and asks taking turns; one without entries for no orders."""
        state = self._state(security_id, seq)
        last_seq = self.channel.last_seq if seq is None else seq
        bids, asks = state.order_book()
        entries: list[SnapshotOrder] = []
        for i in range(max(len(bids), len(asks))):
            for kind, side in ((BID, bids), (OFFER, asks)):
                if i < len(side):
                    entries.append(SnapshotOrder(*side[i], kind))
        chunks = max(1, -(-len(entries) // per_chunk))
        return [
            self.wire.order_snapshot(
                security_id,
                last_seq=last_seq if claimed_seq is None else claimed_seq,
                entries=entries[i * per_chunk : (i + 1) * per_chunk],
                chunk=i + 1,
                chunks=chunks,
                total=total,
                transact_ns=state.transact_ns,
            )
            for i in range(chunks)
        ]

    def active(self) -> list[int]:
        """Instruments with activity this week: those that the snapshot loops show."""
        published = self.channel.published
        return [sid for sid in self.instruments if published[sid].rpt_seq]

    # Inside

    def _state(self, security_id: int, seq: int | None) -> State:
        if seq is None:
            return self.channel.published[security_id].freeze()
        state = self.truth.state(security_id, seq)
        if state is None:
            raise ValueError(f"instrument {security_id} was not there after packet {seq}")
        return state

    def _open(self, listing: Listing) -> None:
        known = Published(listing.security_id, listing.group, TradingStatus.READY_TO_TRADE)
        known.update_ns = self.now_ns
        self.instruments[listing.security_id] = Instrument(listing)
        self.channel.open(known)

    def _define(self, listing: Listing, action: bytes) -> None:
        payload = definition(
            self.wire,
            listing,
            action=action,
            update_ns=self.now_ns,
            channel=self.channel_id,
            mei=Mei.END_OF_EVENT,
        )
        entry = Definition(listing.security_id, action, listing.symbol, listing.tick_size)
        self._tell(payload, entry, ends=True)

    def _tell(
        self,
        payload: bytes,
        *tells: StatusEntry | ChannelReset | Definition,
        ends: bool = False,
        hold: bool = False,
    ) -> None:
        self.channel.send([Outgoing(payload, tells, self.now_ns, ends)], hold=hold)
        self.advance(1_000)

    def _next_id(self) -> int:
        self._counter += 1
        return self._counter
