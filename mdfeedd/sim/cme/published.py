"""What the packets sent so far have said of each instrument, by applying them one after the other.

The snapshots are made from this, and the truth is kept of it: it differs from the venue's own books only inside
an event, whose entries may lie in packets still to come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mdfeedd.sim.cme.entries import (
    BID,
    BOOK_RESET,
    IMPLIED_BID,
    IMPLIED_OFFER,
    OFFER,
    SESSION_STATISTICS,
    VOLUME,
    Action,
    BookEntry,
    DailyStatistic,
    Definition,
    LimitsEntry,
    OrderAction,
    OrderEntry,
    SessionStatistic,
    StatusEntry,
    TradeEntry,
    TradingEvent,
    TradingStatus,
    VolumeEntry,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mdfeedd.sim.cme.book import Level

__all__ = ["DEPTH", "IMPLIED_DEPTH", "MadeOrder", "Published", "State", "Statistic", "Touch"]

DEPTH: Final = 10
IMPLIED_DEPTH: Final = 2

Statistic = tuple[int | None, int | None]  # price, size
MadeOrder = tuple[int, int, int, int]  # order id, priority, price, size


class Touch(NamedTuple):
    """The best level of either side, None where the side is empty."""

    bid: Level | None
    ask: Level | None


class State(NamedTuple):
    """One instrument at one moment; nothing in it changes afterwards."""

    security_id: int
    rpt_seq: int
    transact_ns: int  # start of the last event that changed it
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    implied_bids: tuple[Level, ...]
    implied_asks: tuple[Level, ...]
    order_map: Mapping[int, tuple[bytes, int, int, int]]  # id -> side, priority, price, size
    status: int
    limits: tuple[int | None, int | None, int | None]
    statistics: Mapping[bytes, Statistic]

    @property
    def touch(self) -> Touch:
        """Of the real book."""
        return Touch(
            self.bids[0] if self.bids else None,
            self.asks[0] if self.asks else None,
        )

    @property
    def implied_touch(self) -> Touch:
        """Of the implied book."""
        return Touch(
            self.implied_bids[0] if self.implied_bids else None,
            self.implied_asks[0] if self.implied_asks else None,
        )

    def order_book(self) -> tuple[list[MadeOrder], list[MadeOrder]]:
        """Bids and asks as (order id, priority, price, size), in order of trading."""
        sides: tuple[list[MadeOrder], list[MadeOrder]] = ([], [])
        for order_id, (kind, priority, price, size) in self.order_map.items():
            sides[kind == OFFER].append((order_id, priority, price, size))
        sides[0].sort(key=lambda order: (-order[2], order[1]))
        sides[1].sort(key=lambda order: (order[2], order[1]))
        return sides


class Published:
    """One instrument as the packets so far have told it."""

    def __init__(self, security_id: int, group: str, status: int) -> None:
        self.security_id = security_id
        self.group = group
        self.status: int = status
        self.rpt_seq: int = 0
        self.transact_ns = 0
        self.update_ns: int = 0
        self.since_seq = 0  # the packet that it was there before: an id may have had another life
        self.limits: tuple[int | None, int | None, int | None] = (None, None, None)
        self.statistics: dict[bytes, Statistic] = {}
        self.rows: dict[bytes, list[Level]] = {
            BID: [],
            OFFER: [],
            IMPLIED_BID: [],
            IMPLIED_OFFER: [],
        }
        self.orders: dict[int, tuple[bytes, int, int, int]] = {}
        self._frozen: State | None = None

    def freeze(self) -> State:
        """As it is now; the same object as before if nothing has changed."""
        if self._frozen is None:
            rows = self.rows
            self._frozen = State(
                self.security_id,
                self.rpt_seq,
                self.transact_ns,
                tuple(rows[BID]),
                tuple(rows[OFFER]),
                tuple(rows[IMPLIED_BID]),
                tuple(rows[IMPLIED_OFFER]),
                dict(self.orders),
                self.status,
                self.limits,
                dict(self.statistics),
            )
        return self._frozen

    def book(self, entry: BookEntry) -> None:
        """Apply an entry of 46."""
        self.rpt_seq = entry.rpt_seq
        self._frozen = None
        if entry.kind == BOOK_RESET:
            for every in self.rows.values():
                every.clear()
            return
        rows = self.rows[entry.kind]
        at = entry.level - 1
        action = entry.action
        level = (entry.price or 0, entry.size or 0, entry.orders)
        if action == Action.NEW:
            rows.insert(at, level)
            del rows[DEPTH if entry.kind in (BID, OFFER) else IMPLIED_DEPTH :]
        elif action in (Action.CHANGE, Action.OVERLAY):
            rows[at] = level
        elif action == Action.DELETE:
            del rows[at]
        elif action == Action.DELETE_THRU:
            rows.clear()
        else:
            del rows[: entry.level]

    def order(self, entry: OrderEntry) -> None:
        """Apply what happened to one order."""
        self._frozen = None
        _, order_id, priority, price, size, kind, action = entry
        if order_id is None or priority is None or price is None or size is None:
            self.orders.clear()  # a book reset
        elif action == OrderAction.DELETE:
            self.orders.pop(order_id, None)
        else:
            self.orders[order_id] = (kind, priority, price, size)

    def trade(self, entry: TradeEntry) -> None:
        """A trade changes no book."""
        self.rpt_seq = entry.rpt_seq
        self._frozen = None

    def volume(self, entry: VolumeEntry) -> None:
        """Apply an entry of 37."""
        self.rpt_seq = entry.rpt_seq
        self.statistics[VOLUME] = (None, entry.size)
        self._frozen = None

    def session(self, entry: SessionStatistic) -> None:
        """Apply an entry of 51."""
        self.rpt_seq = entry.rpt_seq
        self.statistics[entry.kind] = (entry.price, entry.size)
        self._frozen = None

    def daily(self, entry: DailyStatistic) -> None:
        """Apply an entry of 49."""
        self.rpt_seq = entry.rpt_seq
        self.statistics[entry.kind] = (entry.price, entry.size)
        self._frozen = None

    def banding(self, entry: LimitsEntry) -> None:
        """Apply an entry of 50."""
        self.rpt_seq = entry.rpt_seq
        self.limits = (entry.high, entry.low, entry.variation)
        self._frozen = None

    def traded(self, entry: StatusEntry) -> None:
        """Apply a status of the instrument or its group."""
        self._frozen = None
        if entry.status not in (TradingStatus.NULL, TradingStatus.NO_CHANGE):
            self.status = entry.status
        if entry.event == TradingEvent.RESET_STATISTICS:
            self.forget_session()

    def defined(self, entry: Definition, now_ns: int) -> None:
        """The definition was told anew."""
        del entry
        self.update_ns = now_ns
        self._frozen = None

    def empty_books(self) -> None:
        """No levels, no orders."""
        for rows in self.rows.values():
            rows.clear()
        self.orders.clear()
        self._frozen = None

    def forget_session(self) -> None:
        """No statistics of the session; settlements, volume cleared and open interest stay."""
        for kind in SESSION_STATISTICS:
            self.statistics.pop(kind, None)
        self._frozen = None

    def begin_anew(self) -> None:
        """The channel was reset: empty, and RptSeq from 1."""
        self.empty_books()
        self.forget_session()
        self.rpt_seq = 0
