"""What the handler tells besides ticks: names of its lines, its events, its books."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["Book", "ChannelState", "Event", "EventCode", "Feed", "OrderBook"]


class Feed(enum.IntEnum):
    """What a line carries (CME's feed types I, N, S and SMBO)."""

    INCREMENTAL = 0
    DEFINITION = 1
    SNAPSHOT = 2
    ORDERS = 3


class EventCode(enum.IntEnum):
    """`mdp_event_code`: what happened. In brackets what `first` and `last` of the event hold."""

    GAP = 1
    """Packets are missing on both lines (first, last MsgSeqNum)."""
    RECOVERED = 2
    """All books are right again after that gap (first, last MsgSeqNum)."""
    RESET = 3
    """Channel reset (MsgSeqNum)."""
    EPOCH = 4
    """The sequence began again: a new week, or the venue was started again (expected, received MsgSeqNum)."""
    SILENT = 5
    """Neither line has brought anything (for so many ns)."""
    ALIVE = 6
    """The silence is over (it lasted so many ns)."""
    MALFORMED = 7
    """A packet contradicts its own layout (MsgSeqNum)."""
    MISPLACED = 8
    """Snapshot packets arrive on an incremental line (MsgSeqNum)."""
    MISMATCH = 9
    """The two lines differ in a packet (MsgSeqNum)."""
    RPT_FAULT = 10
    """RptSeq jumped though no packet is missing (RptSeq)."""
    ENTRY_FAULT = 11
    """An update makes no sense in a book that was right (MsgSeqNum)."""
    CROSSED = 12
    """A book is crossed while the instrument trades (MsgSeqNum)."""
    QUEUE_OVERFLOW = 13
    """The queue of updates waiting for snapshots was full and was thrown away (its size)."""
    FULL = 14
    """No room for another instrument (how many there are)."""
    DEFINITIONS = 15
    """All definitions are known (how many)."""
    LINE_BACK = 16
    """An incremental line delivers again after a silence of its own (it lasted so many ns)."""
    UNKNOWN_TEMPLATE = 17
    """A message of a template this version does not know (schema version); security_id is the template."""
    ORDER_OVERFLOW = 18
    """No room for another order (how many there are)."""
    STARTED = 19
    """The first packet of the channel (MsgSeqNum)."""


class Event(NamedTuple):
    """One event; `line` is the number of the line that brought it about, `time_ns` its ts_recv."""

    code: EventCode
    channel: int
    line: int
    security_id: int
    first: int
    last: int
    time_ns: int


class Book(NamedTuple):
    """Levels best first, as (price in 1e-9, size, orders); `state` UNKNOWN, STALE or SYNC.

    `stale`: nobody can say that the book is right.
    """

    bids: list[tuple[int, int, int]]
    asks: list[tuple[int, int, int]]
    implied_bids: list[tuple[int, int, int]]
    implied_asks: list[tuple[int, int, int]]
    rpt_seq: int
    state: str
    stale: bool
    instrument_id: int
    trading_status: int


class OrderBook(NamedTuple):
    """Orders best first, as (order_id, priority, price in 1e-9, size)."""

    bids: list[tuple[int, int, int, int]]
    asks: list[tuple[int, int, int, int]]
    stale: bool


class ChannelState(NamedTuple):
    """Where a channel stands; `name` is one of INIT, SYNC, GAP (a hole is waited for), RECOVERING, SILENT."""

    name: str
    next_seq: int
    open_gaps: int
    buffered: int
    instruments: int
    stale_instruments: int
    stale_order_books: int
    definitions_whole: bool
