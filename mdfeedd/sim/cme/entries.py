"""What a packet of the venue says, as plain tuples: made by the venue, encoded by `wire`, applied by `published`.

Prices are int64 in 1e-9, sizes in the instrument's unit, None is null. A `kind` is the wire's MDEntryType.
Where a test writes them by hand, bare tuples in the same order serve as well.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

__all__ = [
    "BID",
    "BOOK_RESET",
    "CLEARED_VOLUME",
    "FIXING_PRICE",
    "HIGHEST_BID",
    "HIGH_TRADE",
    "IMPLIED_BID",
    "IMPLIED_OFFER",
    "LOWEST_OFFER",
    "LOW_TRADE",
    "OFFER",
    "OPEN_INTEREST",
    "OPEN_PRICE",
    "SESSION_STATISTICS",
    "SETTLEMENT",
    "VOLUME",
    "Action",
    "BookEntry",
    "ChannelReset",
    "DailyStatistic",
    "Definition",
    "Feed",
    "Fill",
    "LimitsEntry",
    "Mei",
    "OrderAction",
    "OrderEntry",
    "OrderReference",
    "Sent",
    "SessionStatistic",
    "SnapshotEntry",
    "SnapshotOrder",
    "StatusEntry",
    "Tell",
    "TradeEntry",
    "TradingEvent",
    "TradingStatus",
    "VolumeEntry",
]

BID: Final = b"0"
OFFER: Final = b"1"
IMPLIED_BID: Final = b"E"
IMPLIED_OFFER: Final = b"F"
BOOK_RESET: Final = b"J"
OPEN_PRICE: Final = b"4"
SETTLEMENT: Final = b"6"
HIGH_TRADE: Final = b"7"
LOW_TRADE: Final = b"8"
CLEARED_VOLUME: Final = b"B"
OPEN_INTEREST: Final = b"C"
HIGHEST_BID: Final = b"N"
LOWEST_OFFER: Final = b"O"
FIXING_PRICE: Final = b"W"
VOLUME: Final = b"e"
SESSION_STATISTICS: Final = (OPEN_PRICE, HIGH_TRADE, LOW_TRADE, HIGHEST_BID, LOWEST_OFFER, VOLUME)


class Feed(IntEnum):
    """The feeds of a channel, each with sequence numbers of its own."""

    INCREMENTAL = 0
    DEFINITION = 1
    SNAPSHOT = 2
    ORDERS = 3


class Action(IntEnum):
    """MDUpdateAction."""

    NEW = 0
    CHANGE = 1
    DELETE = 2
    DELETE_THRU = 3
    DELETE_FROM = 4
    OVERLAY = 5


class OrderAction(IntEnum):
    """OrderUpdateAction."""

    NEW = 0
    UPDATE = 1
    DELETE = 2


class Mei(IntFlag):
    """MatchEventIndicator."""

    LAST_TRADE = 1
    LAST_VOLUME = 2
    LAST_QUOTE = 4
    LAST_STATISTICS = 8
    LAST_IMPLIED = 16
    RECOVERY = 32
    END_OF_EVENT = 128


class TradingStatus(IntEnum):
    """SecurityTradingStatus."""

    HALT = 2
    CLOSE = 4
    NEW_PRICE_INDICATION = 15
    READY_TO_TRADE = 17
    NOT_AVAILABLE = 18
    PRE_OPEN = 21
    PRE_CROSS = 24
    CROSS = 25
    POST_CLOSE = 26
    NO_CHANGE = 103
    NULL = 255


class TradingEvent(IntEnum):
    """SecurityTradingEvent."""

    NONE = 0
    NO_CANCEL = 1
    RESET_STATISTICS = 4
    IMPLIED_ON = 5
    IMPLIED_OFF = 6


class BookEntry(NamedTuple):
    """One entry of 46, 64 or 32."""

    security_id: int
    rpt_seq: int
    action: int
    kind: bytes
    level: int
    price: int | None
    size: int | None
    orders: int | None = None
    tradeable: int | None = None


class OrderReference(NamedTuple):
    """An order of 46; `reference` counts the message's book entries from 1."""

    order_id: int
    priority: int
    size: int
    reference: int | None
    action: int


class OrderEntry(NamedTuple):
    """What happened to one order, be it told by 46 (through a reference) or 47.

    Without an order, of kind `BOOK_RESET`: all orders of the instrument are gone.
    """

    security_id: int
    order_id: int | None
    priority: int | None
    price: int | None
    size: int | None
    kind: bytes
    action: int


class TradeEntry(NamedTuple):
    """One entry of 48, 65 or 42. `aggressor`: 0 none, 1 buy, 2 sell."""

    security_id: int
    rpt_seq: int
    price: int
    size: int
    orders: int
    aggressor: int
    trade_id: int | None
    action: int = Action.NEW


class Fill(NamedTuple):
    """An order that took part in a trade."""

    order_id: int
    size: int


class VolumeEntry(NamedTuple):
    """One entry of 37 or 66: traded so far in the session."""

    security_id: int
    rpt_seq: int
    size: int
    action: int = Action.NEW


class SessionStatistic(NamedTuple):
    """One entry of 51, 67 or 35."""

    security_id: int
    rpt_seq: int
    kind: bytes
    price: int
    size: int | None = None
    flag: int | None = None
    action: int = Action.NEW


class DailyStatistic(NamedTuple):
    """One entry of 49 or 33. `date`: days since 1970."""

    security_id: int
    rpt_seq: int
    kind: bytes
    price: int | None
    size: int | None = None
    date: int | None = None
    settlement_type: int = 0
    action: int = Action.NEW


class LimitsEntry(NamedTuple):
    """One entry of 50 or 34."""

    security_id: int
    rpt_seq: int
    high: int | None
    low: int | None
    variation: int | None


class StatusEntry(NamedTuple):
    """A SecurityStatus; without a security id it is for all instruments of the group."""

    group: str
    security_id: int | None
    status: int
    event: int = TradingEvent.NONE
    halt_reason: int = 0
    asset: str = ""


class ChannelReset(NamedTuple):
    """All books of the channel are empty."""

    channel: int


class Definition(NamedTuple):
    """A definition on the incremental feed. `action`: b"A", b"M" or b"D"."""

    security_id: int
    action: bytes
    symbol: str
    tick_size: int


class SnapshotEntry(NamedTuple):
    """One entry of 52, 69 or 38: a level (1 is best) of a book, or a statistic (no level)."""

    kind: bytes
    price: int | None
    size: int | None
    orders: int | None = None
    level: int | None = None
    date: int | None = None
    flag: int | None = None
    settlement_type: int = 0


class SnapshotOrder(NamedTuple):
    """One entry of 53 or 44."""

    order_id: int
    priority: int
    price: int
    size: int
    kind: bytes


Tell = (
    BookEntry
    | OrderEntry
    | TradeEntry
    | VolumeEntry
    | SessionStatistic
    | DailyStatistic
    | LimitsEntry
    | StatusEntry
    | ChannelReset
    | Definition
)


class Sent(NamedTuple):
    """A packet as the venue sends it, on both lines of a feed.

    `epoch` counts how often the incremental feed's numbers have begun anew (weekly reset).
    """

    time_ns: int
    feed: int
    seq: int
    payload: bytes
    epoch: int = 0
