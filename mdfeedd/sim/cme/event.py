"""One event of the matching engine: what changes in the books, then the messages that tell it.

While it is open, orders come, go and trade in the venue's own books. `drafts` then compares the books with what
was told before and writes the messages in the order of the wire: trades, volume, book, statistics, implied book.
RptSeq counts per instrument through all of them. What a message's last one of its kind is and which ends the
event, the MatchEventIndicator tells; it is known only when all are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from mdfeedd.sim.cme.book import ASK, BID_SIDE, Book, Level, changes
from mdfeedd.sim.cme.entries import (
    BID,
    BOOK_RESET,
    HIGH_TRADE,
    IMPLIED_BID,
    IMPLIED_OFFER,
    LOW_TRADE,
    OFFER,
    OPEN_PRICE,
    Action,
    BookEntry,
    DailyStatistic,
    Fill,
    LimitsEntry,
    Mei,
    OrderAction,
    OrderEntry,
    SessionStatistic,
    Tell,
    TradeEntry,
    VolumeEntry,
)
from mdfeedd.sim.cme.published import DEPTH, IMPLIED_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mdfeedd.sim.cme.instruments import Listing
    from mdfeedd.sim.cme.wire import Wire

__all__ = ["Event", "Instrument", "Outgoing", "Shape"]

MESSAGE_BYTES: Final = 1_300  # of entries in a message, so that it fits into a packet
ENTRY_BYTES: Final = 32
REFERENCE_BYTES: Final = 24
MOST_REFERENCES: Final = 250  # a group counts its entries in 8 bits
ORDERS_PER_MESSAGE: Final = 30
ORDER_IDS: Final = (
    0x6400_0000_0000  # order ids need more than 32 bits, priorities are other numbers
)
_BUY: Final = 1
_SELL: Final = 2
# plain numbers: IntFlag's operators are slow
_LAST_TRADE: Final = int(Mei.LAST_TRADE)
_LAST_VOLUME: Final = int(Mei.LAST_VOLUME)
_LAST_QUOTE: Final = int(Mei.LAST_QUOTE)
_LAST_STATISTICS: Final = int(Mei.LAST_STATISTICS)
_LAST_IMPLIED: Final = int(Mei.LAST_IMPLIED)
_RECOVERY: Final = int(Mei.RECOVERY)
_END_OF_EVENT: Final = int(Mei.END_OF_EVENT)


@dataclass(frozen=True, slots=True)
class Shape:
    """How an event is laid out on the wire."""

    empty_end: bool = False  # the end is told by a message of its own without entries
    entries_per_message: int = 40
    messages_per_packet: int = 0  # 0: as many as fit
    split_trades: bool = False  # a trade summary in two, the second with order ids only
    statistics_last: bool = False  # after the book instead of before it
    split_implied: bool = False
    recovery: bool = False  # MEI bit 5: told again after a channel reset
    hold: bool = False  # the next event begins in this one's last packet


class Outgoing(NamedTuple):
    """A message on its way, and what it says."""

    payload: bytes
    tells: tuple[Tell, ...]
    transact_ns: int
    ends: bool


class Instrument:
    """An instrument as the venue knows it, and what it has told (not necessarily sent) of it."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.book: Book = Book()
        self.implied: dict[bytes, list[Level]] = {IMPLIED_BID: [], IMPLIED_OFFER: []}
        self.told: dict[bytes, list[Level]] = {}
        self.rpt_seq: int = 0
        self.grid: int = listing.tick_size  # at first: a definition may change it
        self.fair: int = listing.price  # where the random orders gather
        self.begin_session()
        self.forget_told()

    def begin_session(self) -> None:
        """No trades yet."""
        self.volume = 0
        self.high: int | None = None
        self.low: int | None = None

    def forget_told(self) -> None:
        """Whatever was told of the books, nobody knows it any more."""
        self.told = {BID: [], OFFER: [], IMPLIED_BID: [], IMPLIED_OFFER: []}

    def next_rpt_seq(self) -> int:
        """RptSeq of the next entry."""
        self.rpt_seq += 1
        return self.rpt_seq


class _Round(NamedTuple):
    """Trades of one incoming order."""

    instrument: Instrument
    trades: list[TradeEntry]  # without RptSeq
    fills: list[Fill]


class _Draft(NamedTuple):
    kind: int  # the MEI bit that the last one of its kind bears
    make: Callable[..., bytes]  # mei=
    tells: tuple[Tell, ...]


class Event:
    """An open event. `ids` gives order ids and priorities, `trade_ids` trade numbers."""

    def __init__(
        self,
        instruments: dict[int, Instrument],
        wire: Wire,
        transact_ns: int,
        shape: Shape,
        *,
        next_id: Callable[[], int],
        with_orders: bool,
    ) -> None:
        self.instruments = instruments
        self.transact_ns = transact_ns
        self.shape = shape
        self._wire = wire
        self._next_id = next_id
        self._with_orders = with_orders
        self._touched: dict[int, dict[int, OrderEntry | None]] = {}  # orders as they were
        self._implied: dict[int, None] = {}
        self._rounds: list[_Round] = []
        self._session: list[SessionStatistic] = []
        self._others: list[DailyStatistic | LimitsEntry] = []
        self._emptied: list[int] = []

    # What happens

    def add(self, security_id: int, side: int, price: int, size: int) -> int:
        """A new order (side 0 bid, 1 ask); its id."""
        order_id = ORDER_IDS + self._next_id()
        self._touched.setdefault(security_id, {})[order_id] = None
        self.instruments[security_id].book.add(order_id, side, price, size, self._next_id())
        return order_id

    def cancel(self, security_id: int, order_id: int) -> None:
        """The order goes."""
        self._touch(security_id, order_id)
        self.instruments[security_id].book.cancel(order_id)

    def resize(self, security_id: int, order_id: int, size: int) -> None:
        """Less size keeps the order's place in the queue, more size loses it."""
        book = self.instruments[security_id].book
        before = book.orders[order_id].size
        if size == before:
            return
        self._touch(security_id, order_id)
        if size < before:
            book.reduce(order_id, before - size)
        else:
            book.increase(order_id, size - before, self._next_id())

    def trade(
        self, security_id: int, aggressor: int, size: int, *, limit: int | None = None
    ) -> int:
        """An incoming order (1 buys, 2 sells) takes up to `size`; what it got. One trade per price."""
        assert aggressor in (_BUY, _SELL)
        instrument = self.instruments[security_id]
        side = ASK if aggressor == _BUY else BID_SIDE
        taker = ORDER_IDS + self._next_id()
        by_price: dict[int, list[Fill]] = {}
        left = size
        for order in instrument.book.queue(side):
            beyond = limit is not None and (order.price > limit if side else order.price < limit)
            if not left or beyond:
                break
            taken = min(left, order.size)
            left -= taken
            self._touch(security_id, order.order_id)
            by_price.setdefault(order.price, []).append(Fill(order.order_id, taken))
            instrument.book.reduce(order.order_id, taken)
        trades, fills = [], []
        for price, makers in by_price.items():
            amount = sum(fill.size for fill in makers)
            fills += [Fill(taker, amount), *makers]
            trades.append(self._trade(instrument, price, amount, len(makers) + 1, aggressor))
        if trades:
            self._rounds.append(_Round(instrument, trades, fills))
        return size - left

    def uncross(self, security_id: int) -> int:
        """An auction: what is crossed trades at one price, without an aggressor; how much."""
        instrument = self.instruments[security_id]
        book = instrument.book
        fills: list[Fill] = []
        amount = 0
        price = 0
        while True:
            bid, ask = next(book.queue(BID_SIDE), None), next(book.queue(ASK), None)
            if bid is None or ask is None or bid.price < ask.price:
                break
            taken = min(bid.size, ask.size)
            price = ask.price
            amount += taken
            for order in (bid, ask):
                self._touch(security_id, order.order_id)
                fills.append(Fill(order.order_id, taken))
                book.reduce(order.order_id, taken)
        if amount:
            trade = self._trade(instrument, price, amount, len(fills), 0)
            self._rounds.append(_Round(instrument, [trade], fills))
        return amount

    def implied(
        self,
        security_id: int,
        bids: Iterable[tuple[int, int]] = (),
        asks: Iterable[tuple[int, int]] = (),
    ) -> None:
        """The implied book is now these (price, size), best first."""
        instrument = self.instruments[security_id]
        for kind, levels in ((IMPLIED_BID, bids), (IMPLIED_OFFER, asks)):
            rows: list[Level] = [(price, size, None) for price, size in levels]
            instrument.implied[kind] = rows[:IMPLIED_DEPTH]
        self._implied[security_id] = None

    def session(
        self,
        security_id: int,
        kind: bytes,
        price: int,
        size: int | None = None,
        flag: int | None = None,
    ) -> None:
        """A statistic of the session."""
        self._session.append(SessionStatistic(security_id, 0, kind, price, size, flag))

    def daily(
        self,
        security_id: int,
        kind: bytes,
        price: int | None,
        size: int | None = None,
        *,
        date: int | None = None,
        settlement_type: int = 0,
    ) -> None:
        """A daily statistic."""
        entry = DailyStatistic(security_id, 0, kind, price, size, date, settlement_type)
        self._others.append(entry)

    def limits(
        self, security_id: int, high: int | None, low: int | None, variation: int | None
    ) -> None:
        """Price limits and banding."""
        self._others.append(LimitsEntry(security_id, 0, high, low, variation))

    def reset_book(self, security_id: int) -> None:
        """A book reset (J): the instrument's orders and levels are gone, without a word on each."""
        instrument = self.instruments[security_id]
        instrument.book.clear()
        instrument.implied = {IMPLIED_BID: [], IMPLIED_OFFER: []}
        instrument.forget_told()
        self._touched.pop(security_id, None)
        self._emptied.append(security_id)

    def retell(self, security_id: int) -> None:
        """Tell the whole book again: for after a reset, with `Instrument.forget_told`."""
        orders = self.instruments[security_id].book.orders
        self._touched[security_id] = dict.fromkeys(orders)
        self._implied[security_id] = None

    def _touch(self, security_id: int, order_id: int) -> None:
        known = self._touched.setdefault(security_id, {})
        if order_id not in known:
            order = self.instruments[security_id].book.orders[order_id]
            kind = OFFER if order.side else BID
            known[order_id] = OrderEntry(
                security_id, order_id, order.priority, order.price, order.size, kind, 0
            )

    def _trade(
        self, instrument: Instrument, price: int, size: int, orders: int, aggressor: int
    ) -> TradeEntry:
        sid = instrument.listing.security_id
        high, low = instrument.high, instrument.low
        if high is None or low is None:
            self.session(sid, OPEN_PRICE, price, None, 0)
        if high is None or price > high:
            instrument.high = price
            self.session(sid, HIGH_TRADE, price)
        if low is None or price < low:
            instrument.low = price
            self.session(sid, LOW_TRADE, price)
        instrument.volume += size
        return TradeEntry(sid, 0, price, size, orders, aggressor, self._next_id() & 0x7FFFFFFF)

    # How it is told

    def messages(self) -> list[Outgoing]:
        """All messages of the event, the last of which ends it."""
        middle = [self._statistics_drafts, self._book_drafts]
        if self.shape.statistics_last:
            middle.reverse()
        drafts: list[_Draft] = []
        for part in (self._trade_drafts, self._volume_drafts, *middle):
            drafts += part()  # in the order of the wire, since RptSeq counts on
        drafts += self._other_drafts()
        drafts += self._implied_drafts()
        if self.shape.empty_end or not drafts:
            drafts.append(_Draft(0, self._wire.book, ()))
        last = {draft.kind: at for at, draft in enumerate(drafts)}
        extra = _RECOVERY if self.shape.recovery else 0
        messages = []
        for at, (kind, make, tells) in enumerate(drafts):
            ends = at == len(drafts) - 1
            mei = extra
            if last[kind] == at:
                mei |= kind
            if ends:
                mei |= _END_OF_EVENT
            payload = make(mei=mei, transact_ns=self.transact_ns)
            messages.append(Outgoing(payload, tells, self.transact_ns, ends))
        return messages

    def _trade_drafts(self) -> list[_Draft]:
        drafts = []
        for instrument, bare, fills in self._rounds:
            trades = [trade._replace(rpt_seq=instrument.next_rpt_seq()) for trade in bare]
            listing = instrument.listing
            lots = [fill._replace(size=fill.size // listing.lot) for fill in fills]
            make = partial(self._wire.trades, long=listing.long)
            cut = len(lots) // 2 if self.shape.split_trades else len(lots)
            draft = partial(make, trades, fills=lots[:cut])
            drafts.append(_Draft(_LAST_TRADE, draft, tuple(trades)))
            if cut < len(lots):
                drafts.append(_Draft(_LAST_TRADE, partial(make, (), fills=lots[cut:]), ()))
        return drafts

    def _volume_drafts(self) -> list[_Draft]:
        drafts = []
        for instrument in dict.fromkeys(round_.instrument for round_ in self._rounds):
            sid = instrument.listing.security_id
            entry = VolumeEntry(sid, instrument.next_rpt_seq(), instrument.volume)
            make = partial(self._wire.volume, [entry], long=instrument.listing.long)
            drafts.append(_Draft(_LAST_VOLUME, make, (entry,)))
        return drafts

    def _statistics_drafts(self) -> list[_Draft]:
        drafts = []
        for long in (False, True):
            rows = [
                row._replace(rpt_seq=self.instruments[row.security_id].next_rpt_seq())
                for row in self._session
                if self.instruments[row.security_id].listing.long == long
            ]
            if rows:
                make = partial(self._wire.session_statistics, rows, long=long)
                drafts.append(_Draft(_LAST_STATISTICS, make, tuple(rows)))
        return drafts

    def _other_drafts(self) -> list[_Draft]:
        drafts = []
        for kind, encoder in (
            (DailyStatistic, self._wire.daily_statistics),
            (LimitsEntry, self._wire.limits),
        ):
            rows = [
                row._replace(rpt_seq=self.instruments[row.security_id].next_rpt_seq())
                for row in self._others
                if isinstance(row, kind)
            ]
            if rows:
                make: Callable[..., bytes] = partial(encoder, rows)
                drafts.append(_Draft(_LAST_STATISTICS, make, tuple(rows)))
        return drafts

    def _book_drafts(self) -> list[_Draft]:
        drafts = self._emptied_orders()
        for long in (False, True):
            entries: list[BookEntry] = []
            references: dict[int, list[OrderEntry]] = {}  # by the entry they belong to
            deep: list[OrderEntry] = []
            for sid in self._emptied:
                instrument = self.instruments[sid]
                if instrument.listing.long == long:
                    rpt_seq = instrument.next_rpt_seq()
                    entry = BookEntry(sid, rpt_seq, Action.NEW, BOOK_RESET, 1, None, None)
                    entries.append(entry)
            for sid in self._touched:
                if self.instruments[sid].listing.long == long:
                    self._compare(sid, entries, references, deep)
            drafts += self._chunks(entries, references, long)
            for at in range(0, len(deep), ORDERS_PER_MESSAGE):
                some = deep[at : at + ORDERS_PER_MESSAGE]
                make = partial(self._wire.orders, some)
                drafts.append(_Draft(_LAST_QUOTE, make, tuple(some)))
        return drafts

    def _emptied_orders(self) -> list[_Draft]:
        """Book resets of order books: a message of their own, as they refer to no level."""
        rows = [
            OrderEntry(sid, None, None, None, None, BOOK_RESET, Action.NEW)
            for sid in self._emptied
            if self._with_orders and self.instruments[sid].listing.orders
        ]
        if not rows:
            return []
        return [_Draft(_LAST_QUOTE, partial(self._wire.orders, rows), tuple(rows))]

    def _compare(
        self,
        security_id: int,
        entries: list[BookEntry],
        references: dict[int, list[OrderEntry]],
        deep: list[OrderEntry],
    ) -> None:
        """Append what changed in one real book since it was told last."""
        instrument = self.instruments[security_id]
        where: dict[tuple[bytes, int | None], int] = {}
        for side, kind in ((BID_SIDE, BID), (ASK, OFFER)):
            after = instrument.book.top(side, DEPTH)
            for action, rank, (price, size, count) in changes(
                instrument.told[kind], after, side, DEPTH
            ):
                where[kind, price] = len(entries)
                rpt_seq = instrument.next_rpt_seq()
                entries.append(
                    BookEntry(security_id, rpt_seq, action, kind, rank, price, size, count)
                )
            instrument.told[kind] = after
        if not (self._with_orders and instrument.listing.orders):
            return
        for order_id, before in self._touched[security_id].items():
            told = self._order_change(security_id, order_id, before)
            if told is None:
                continue
            at = where.get((told.kind, told.price))
            if at is None:
                deep.append(told)
            else:
                references.setdefault(at, []).append(told)

    def _order_change(
        self, security_id: int, order_id: int, before: OrderEntry | None
    ) -> OrderEntry | None:
        order = self.instruments[security_id].book.orders.get(order_id)
        if order is None:
            return before and before._replace(action=OrderAction.DELETE)
        kind = OFFER if order.side else BID
        action = OrderAction.NEW if before is None else OrderAction.UPDATE
        return OrderEntry(
            security_id, order_id, order.priority, order.price, order.size, kind, action
        )

    def _chunks(
        self, entries: list[BookEntry], references: dict[int, list[OrderEntry]], long: bool
    ) -> list[_Draft]:
        """Book messages that fit into packets, each order with its entry."""
        drafts = []
        at = 0
        while at < len(entries):
            first = at
            bytes_ = 0
            rows: list[tuple[object, ...]] = []  # as `OrderReference`
            orders: list[OrderEntry] = []
            while at < len(entries) and at - first < self.shape.entries_per_message:
                own = references.get(at, ())
                needed = ENTRY_BYTES + REFERENCE_BYTES * len(own)
                if at > first and (
                    bytes_ + needed > MESSAGE_BYTES or len(rows) + len(own) > MOST_REFERENCES
                ):
                    break
                bytes_ += needed
                orders += own
                at += 1
                rows += [(o.order_id, o.priority, o.size, at - first, o.action) for o in own]
            some = entries[first:at]
            make = partial(self._wire.book, some, orders=rows, long=long)
            drafts.append(_Draft(_LAST_QUOTE, make, (*some, *orders)))
        return drafts

    def _implied_drafts(self) -> list[_Draft]:
        entries: list[BookEntry] = []
        for security_id in self._implied:
            instrument = self.instruments[security_id]
            for side, kind in ((BID_SIDE, IMPLIED_BID), (ASK, IMPLIED_OFFER)):
                after = instrument.implied[kind]
                for action, rank, (price, size, _) in changes(
                    instrument.told[kind], after, side, IMPLIED_DEPTH
                ):
                    rpt_seq = instrument.next_rpt_seq()
                    entries.append(BookEntry(security_id, rpt_seq, action, kind, rank, price, size))
                instrument.told[kind] = after
        most = self.shape.entries_per_message
        if self.shape.split_implied:
            most = max(1, len(entries) // 2)
        return [
            _Draft(_LAST_IMPLIED, partial(self._wire.book, some), tuple(some))
            for some in _portions(entries, most)
        ]


def _portions(entries: Sequence[BookEntry], most: int) -> list[list[BookEntry]]:
    return [list(entries[at : at + most]) for at in range(0, len(entries), most)]
