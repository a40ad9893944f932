"""What must come out of a handler that saw everything, from the truth alone, and comparisons that say what differs.

Nothing here knows a handler: books are anything with `bids`, `asks`, `implied_bids`, `implied_asks` (rows that begin
with price, size, orders), order books are pairs of rows of (order id, priority, price, size).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from mdfeedd.sim.cme.entries import TradeEntry
from mdfeedd.tick import PRICE_UNDEF

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mdfeedd.sim.cme.book import Level
    from mdfeedd.sim.cme.published import State
    from mdfeedd.sim.cme.truth import Truth

__all__ = [
    "Quote",
    "Trade",
    "book_difference",
    "expected_quotes",
    "expected_trades",
    "fits_somewhere",
    "order_book_difference",
    "quotes_by_instrument",
]

MOST_SIZE: Final = 2**32 - 1  # of a tick: larger ones are saturated
_NO_LEVEL: Final = (PRICE_UNDEF, 0, 0)


class Quote(NamedTuple):
    """The touch at the end of an event that changed it."""

    security_id: int
    epoch: int
    seq: int  # packet with the event's end
    ts_event: int
    bid_price: int
    bid_size: int
    ask_price: int
    ask_size: int
    implied: bool
    bid_orders: int
    ask_orders: int

    @property
    def touch(self) -> tuple[int, int, int, int]:
        """Prices and sizes alone, as in a QUOTE tick: bid price, bid size, ask price, ask size."""
        return self[4:8]


class Trade(NamedTuple):
    """A trade entry, in the order of the wire."""

    security_id: int
    epoch: int
    seq: int
    ts_event: int
    price: int
    size: int
    orders: int
    aggressor: int  # 0 none, 1 buy, 2 sell
    trade_id: int | None


class BookLike(Protocol):
    """A book under test."""

    @property
    def bids(self) -> Sequence[Any]:
        """Best first."""

    @property
    def asks(self) -> Sequence[Any]:
        """Best first."""

    @property
    def implied_bids(self) -> Sequence[Any]:
        """Best first."""

    @property
    def implied_asks(self) -> Sequence[Any]:
        """Best first."""


def expected_quotes(truth: Truth, *, implied: bool = True) -> list[Quote]:
    """One for each instrument (and, apart, its implied book) whose touch an event changed, at the event's end.

    A reset of a book or the channel, a deletion and a new week leave empty books without a quote (they are told
    as such). Within one event the order of instruments is not said.
    """
    last: dict[tuple[int, bool], tuple[Any, ...]] = {}
    quotes: list[Quote] = []
    epoch = 0
    for event in truth.events:
        if event.epoch != epoch:
            epoch = event.epoch
            last.clear()
        for sid in event.cleared:
            last.pop((sid, False), None)
            last.pop((sid, True), None)
        for sid, state in event.states.items():
            touches = [(False, state.touch)]
            if implied:
                touches.append((True, state.implied_touch))
            for is_implied, (bid, ask) in touches:
                touch = (_told(bid), _told(ask))
                if last.get((sid, is_implied), (_NO_LEVEL, _NO_LEVEL)) == touch:
                    continue
                last[sid, is_implied] = touch
                (bid_price, bid_size, bid_orders), (ask_price, ask_size, ask_orders) = touch
                quotes.append(
                    Quote(
                        sid,
                        event.epoch,
                        event.seq,
                        event.transact_ns,
                        bid_price,
                        bid_size,
                        ask_price,
                        ask_size,
                        is_implied,
                        bid_orders,
                        ask_orders,
                    )
                )
    return quotes


def quotes_by_instrument(quotes: Iterable[Quote]) -> dict[tuple[int, bool], list[Quote]]:
    """By (security id, implied), in order."""
    by: dict[tuple[int, bool], list[Quote]] = {}
    for quote in quotes:
        by.setdefault((quote.security_id, quote.implied), []).append(quote)
    return by


def expected_trades(truth: Truth) -> list[Trade]:
    """Every trade entry, in order."""
    return [
        Trade(
            told.entry.security_id,
            told.epoch,
            told.seq,
            told.transact_ns,
            told.entry.price,
            min(told.entry.size, MOST_SIZE),
            told.entry.orders,
            told.entry.aggressor,
            told.entry.trade_id,
        )
        for told in truth.told
        if isinstance(told.entry, TradeEntry)
    ]


def fits_somewhere(touch: tuple[int, int, int, int], sid: int, truth: Truth) -> bool:
    """Whether the instrument ever had this touch (bid price, bid size, ask price, ask size) at an event's end.

    For quotes that a handler shows as proven after a loss: a book that is wrong gives a touch that never was.
    """
    if touch == (PRICE_UNDEF, 0, PRICE_UNDEF, 0):
        return True
    return any(
        touch == (*_told(state.touch.bid)[:2], *_told(state.touch.ask)[:2])
        for state in (event.states.get(sid) for event in truth.events)
        if state is not None
    )


def book_difference(book: BookLike, state: State | None) -> str:
    """What is different between a book and the truth, in one sentence; empty if nothing is.

    Sizes above 32 bits count as the largest of 32 bits, which is what a tick can say.
    """
    for name, counted in (
        ("bids", True),
        ("asks", True),
        ("implied_bids", False),
        ("implied_asks", False),
    ):
        width = 3 if counted else 2
        wanted = [_saturated(row)[:width] for row in getattr(state, name)] if state else []
        found = [_saturated(row)[:width] for row in getattr(book, name)]
        if found != wanted:
            return f"{name}: {_first_difference(found, wanted)}"
    return ""


def order_book_difference(book: tuple[Sequence[Any], Sequence[Any]], state: State | None) -> str:
    """What is different between an order book and the truth, in one sentence; empty if nothing is."""
    true = state.order_book() if state else ([], [])
    for name, found, wanted in zip(("bids", "asks"), book, true, strict=True):
        rows = [tuple(row) for row in found]
        if rows != wanted:
            return f"orders of {name}: {_first_difference(rows, wanted)}"
    return ""


def _first_difference(found: Sequence[Any], wanted: Sequence[Any]) -> str:
    for at, (one, other) in enumerate(zip(found, wanted, strict=False), 1):
        if one != other:
            return f"at place {at} {one}, in truth {other}"
    shown, true = len(found), len(wanted)
    beyond = found[true] if shown > true else wanted[shown]
    which = "too much" if shown > true else "missing"
    return f"{shown} rows, in truth {true}; {which}: {beyond}"


def _saturated(row: Sequence[Any]) -> tuple[Any, ...]:
    price, size, *orders = row
    return (price, min(size, MOST_SIZE), *orders)


def _told(level: Level | None) -> tuple[int, int, int]:
    """As a tick tells it: undefined price for an empty side, saturated sizes."""
    if level is None:
        return _NO_LEVEL
    price, size, orders = level
    return (price, min(size, MOST_SIZE), orders or 0)
