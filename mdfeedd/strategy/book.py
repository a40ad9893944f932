"""`Book`: what is known of one instrument now, or of one symbol over several feeds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from mdfeedd.tick import PRICE_SCALE, PRICE_UNDEF, TIME_UNDEF, Side, from_fixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.ring import Instrument

__all__ = ["Book", "consolidated", "from_row"]

What = Literal["bid", "ask", "mid", "spread", "trade"]

_STALE: Final = 1 << 0  # the flags of a row, as last.h has them
_HOLE: Final = 1 << 1 | 1 << 2
_TRADING: Final = {1: True, 2: False}


@dataclass(frozen=True, slots=True)
class Book:
    """The touch and the last trade of an instrument, as of the last batch that was read.

    Prices of the fields that end in `_price` are ints in units of 1e-9, None where there is none; `bid`,
    `ask`, `mid`, `spread` and `trade` are the nearest floats, NaN where there is none, so that any comparison
    with it is false; `decimal` is exact. Times are UNIX ns. A book of several feeds has the best bid and the
    best ask over those that are neither stale nor gapped (over all, if all are), and may be crossed: they have
    different delays. A feed that is down says nothing, so its last quote stays: `ts_recv_ns` of `sources` tells how old.
    """

    symbol: str
    bid_price: int | None = None
    ask_price: int | None = None
    bid_size: int = 0
    ask_size: int = 0
    trade_price: int | None = None
    trade_size: int = 0
    trade_side: Side = Side.NONE
    """The aggressor's."""
    trade_ts_ns: int | None = None
    """Venue time of the last trade."""
    ts_event_ns: int | None = None
    """Venue time of the last quote, trade or clear; None before the first."""
    ts_recv_ns: int | None = None
    """When that reached this host."""
    is_stale: bool = False
    """The feed did not know the instrument's state to be right, says its last quote or trade."""
    is_gapped: bool = False
    """Records are missing, lost by the feed or by this reader, and no quote has come since that is right."""
    is_trading: bool | None = None
    """As the venue's last status says; None: it has not said."""
    bid_feed: str = ""
    """Name of the feed that the bid is of; so `ask_feed` and `trade_feed`. Empty where there is none."""
    ask_feed: str = ""
    trade_feed: str = ""
    seq: int = 0
    """Ring sequence number of the last record about it; of several feeds 0: each ring counts for itself."""
    instrument: Instrument | None = None
    """Its entry in the instruments table; of several feeds that of the newest of `sources`."""
    sources: tuple[Book, ...] = field(default=(), repr=False)
    """Where it is made of several feeds or venues: one book of each."""

    @property
    def bid(self) -> float:
        """The best bid as a float; NaN: none."""
        return _float(self.bid_price)

    @property
    def ask(self) -> float:
        """The best ask as a float; NaN: none."""
        return _float(self.ask_price)

    @property
    def mid(self) -> float:
        """Half way between bid and ask, as a float; NaN where one of them is missing."""
        if self.bid_price is None or self.ask_price is None:
            return math.nan
        return (self.bid_price + self.ask_price) / (2 * PRICE_SCALE)

    @property
    def spread(self) -> float:
        """Ask less bid, as a float; NaN where one of them is missing, negative where they cross."""
        if self.bid_price is None or self.ask_price is None:
            return math.nan
        return (self.ask_price - self.bid_price) / PRICE_SCALE

    @property
    def trade(self) -> float:
        """The price of the last trade as a float; NaN: none."""
        return _float(self.trade_price)

    def decimal(self, what: What) -> Decimal | None:
        """``bid``, ``ask``, ``mid``, ``spread`` or ``trade``, exact; None: none. Raises `ValueError` for another word."""
        if what in ("mid", "spread"):
            if self.bid_price is None or self.ask_price is None:
                return None
            bid, ask = Decimal(self.bid_price), Decimal(self.ask_price)
            return ((ask - bid) if what == "spread" else (ask + bid) / 2) / PRICE_SCALE
        if what not in ("bid", "ask", "trade"):
            raise ValueError(f"must be bid, ask, mid, spread or trade, not {what!r}")
        price: int | None = getattr(self, f"{what}_price")
        return None if price is None else from_fixed(price)


def _float(price: int | None) -> float:
    """The float nearest to the exact price: a division of ints is rounded once."""
    return math.nan if price is None else price / PRICE_SCALE


def _price(value: int) -> int | None:
    return None if value == PRICE_UNDEF else value


def _time(value: int) -> int | None:
    return None if value == TIME_UNDEF else value


def from_row(
    row: tuple[int, ...] | None, symbol: str, feed: str, instrument: Instrument | None
) -> Book:
    """The book of one row of a `LastTable`; of an instrument that nothing is known of yet if it is None."""
    if row is None:
        return Book(symbol, instrument=instrument)
    (seq, ts_event, ts_recv, _id, flags, trading, _feed, bid, ask, bid_size, ask_size) = row[:11]
    (price, _trade_id, trade_ts, size, side, _updates) = row[11:]
    return Book(
        symbol,
        _price(bid),
        _price(ask),
        bid_size,
        ask_size,
        _price(price),
        size,
        Side(side),
        _time(trade_ts),
        _time(ts_event),
        _time(ts_recv),
        bool(flags & _STALE),
        bool(flags & _HOLE),
        _TRADING.get(trading),
        "" if bid == PRICE_UNDEF else feed,
        "" if ask == PRICE_UNDEF else feed,
        "" if price == PRICE_UNDEF else feed,
        seq,
        instrument,
    )


def consolidated(symbol: str, books: Sequence[Book]) -> Book:
    """One book of several: the best prices of those that are right, the newest trade. One alone stays as it is.

    Of equal prices that of the larger size is told, then that of the first feed.
    """
    if len(books) == 1:
        return books[0] if books[0].symbol == symbol else replace(books[0], symbol=symbol)
    known = [book for book in books if book.seq] or list(books)
    right = [book for book in known if not (book.is_stale or book.is_gapped)] or known
    empty = Book(symbol)
    bids = [book for book in right if book.bid_price is not None]
    asks = [book for book in right if book.ask_price is not None]
    bid = max(bids, key=lambda book: (book.bid_price or 0, book.bid_size), default=empty)
    ask = min(asks, key=lambda book: (book.ask_price or 0, -book.ask_size), default=empty)
    newest = max(known, key=lambda book: book.ts_recv_ns or TIME_UNDEF, default=empty)
    trades = [book for book in known if book.trade_price is not None]
    trade = max(trades, key=lambda book: book.trade_ts_ns or TIME_UNDEF, default=empty)
    said = {book.is_trading for book in books if book.is_trading is not None}
    return Book(
        symbol,
        bid.bid_price,
        ask.ask_price,
        bid.bid_size,
        ask.ask_size,
        trade.trade_price,
        trade.trade_size,
        trade.trade_side,
        trade.trade_ts_ns,
        newest.ts_event_ns,
        newest.ts_recv_ns,
        all(book.is_stale for book in known),
        all(book.is_gapped for book in known),
        True in said if said else None,
        bid.bid_feed,
        ask.ask_feed,
        trade.trade_feed,
        0,
        newest.instrument,
        tuple(books),
    )
