"""What flows: the record layouts, the names of their codes, exact prices, and the one-at-a-time view.

The C header ``ring/mdfeedd.h`` is the truth; ``mdfeedd.ring`` checks these dtypes and enums against it when
it is imported. Nothing here imports anything of ours, so a codec can use it without dragging in transport.

Prices are int64 in units of 1e-9 (`PRICE_SCALE`), times are UNIX ns as int64. `TICK` holds the common
fields and a raw payload; `QUOTE`, `TRADE` and the others are the same 64 bytes with the payload named, so
``ticks.view(QUOTE)`` of the rows of that kind needs no copy and no dtype has overlapping fields.
"""

from __future__ import annotations

import decimal
import enum
import operator
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

__all__ = [
    "BAR",
    "CLEAR",
    "DEFINITION",
    "DEPTH",
    "GAP",
    "IMBALANCE",
    "ORDER",
    "PRICE_SCALE",
    "PRICE_UNDEF",
    "QUOTE",
    "STATISTIC",
    "STATUS",
    "TICK",
    "TICK_VIEWS",
    "TIME_UNDEF",
    "TRADE",
    "Bar",
    "BarFlag",
    "Flag",
    "GapReason",
    "Kind",
    "OrderAction",
    "Side",
    "Tick",
    "dtype_of",
    "from_fixed",
    "layout_of",
    "tick_from_record",
    "to_fixed",
]

#: Units of a price in one: 1e-9 each.
PRICE_SCALE: Final = 1_000_000_000
#: No price.
PRICE_UNDEF: Final = 2**63 - 1
#: No time; as datetime64[ns] it is NaT.
TIME_UNDEF: Final = -(2**63)
_PRICE_DIGITS: Final = 9
_MAX_CODE: Final = 255
_LEAST: Final = Decimal(1).scaleb(-_PRICE_DIGITS)
_EXACT: Final = decimal.Context(prec=40, traps=[decimal.InvalidOperation, decimal.Inexact])


class _Code(enum.IntEnum):
    """A byte of a record. One that has no name here, for its writer is newer, is named ``#CODE``."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or not 0 <= value <= _MAX_CODE:
            return None
        made = int.__new__(cls, value)
        made._name_, made._value_ = f"#{value}", value
        return made


class Kind(_Code):
    """What a tick says (`mdf_kind`)."""

    QUOTE = 1
    TRADE = 2
    TRADE_CANCEL = 3
    TRADE_CORRECTION = 4
    STATUS = 5
    STATISTIC = 6
    GAP = 7
    RECOVERED = 8
    CLEAR = 9
    DEFINITION = 10
    HEARTBEAT = 11
    IMBALANCE = 12


class Side(_Code):
    """Side of a book, or the aggressor's side of a trade (`mdf_side`)."""

    NONE = 0
    BID = 1
    ASK = 2
    BUY = 1
    SELL = 2


class Flag(enum.IntFlag):
    """What else is known of a tick (`mdf_flag`)."""

    EVENT_END = 1 << 0
    SNAPSHOT = 1 << 1
    STALE = 1 << 2
    IMPLIED = 1 << 3
    KERNEL_TS = 1 << 4
    HARDWARE_TS = 1 << 5
    BAD_TS = 1 << 6
    DELAYED = 1 << 7
    SIZE_SATURATED = 1 << 8
    REPLAYED = 1 << 9


NO_FLAGS: Final = Flag(0)


class GapReason(enum.IntEnum):
    """Why data are missing (`mdf_gap_reason`), and so what the GAP's bounds count."""

    PACKET_LOSS = 1
    DISCONNECT = 2
    VENDOR_SKIPPED = 3
    RESTART = 4
    CORRUPT = 5
    RING_LAPPED = 6


class OrderAction(enum.IntEnum):
    """What became of an order (`mdf_order_action`); CLEAR: all orders of the instrument are void."""

    NEW = 0
    CHANGE = 1
    DELETE = 2
    FILL = 3
    CLEAR = 4


class BarFlag(enum.IntFlag):
    """What else is known of a bar (`mdf_bar_flag`)."""

    GAP = 1 << 0
    PARTIAL = 1 << 1
    LATE = 1 << 2
    FLAT = 1 << 3
    VENDOR = 1 << 4
    VOIDED = 1 << 5


_COMMON: Final[list[tuple[str, str]]] = [
    ("seq", "<u8"),
    ("ts_event", "<i8"),
    ("ts_recv", "<i8"),
    ("instrument_id", "<u4"),
    ("kind", "u1"),
    ("side", "u1"),
    ("flags", "<u2"),
    ("venue_seq", "<u4"),
    ("count", "<u4"),
]

#: Any tick: the common fields and 24 bytes of payload.
TICK: Final = np.dtype([*_COMMON, ("payload", "V24")])
#: `Kind.QUOTE`: the full touch after the event; `PRICE_UNDEF` and size 0 where a side is empty.
QUOTE: Final = np.dtype(
    [*_COMMON, ("bid_price", "<i8"), ("ask_price", "<i8"), ("bid_size", "<u4"), ("ask_size", "<u4")]
)
#: `Kind.TRADE`, `TRADE_CANCEL`, `TRADE_CORRECTION`.
TRADE: Final = np.dtype(
    [*_COMMON, ("price", "<i8"), ("trade_id", "<u8"), ("size", "<u4"), ("reserved", "<u4")]
)
#: `Kind.STATUS`: codes as in DBN's status schema; is_*: 0 unknown, 1 yes, 2 no.
STATUS: Final = np.dtype(
    [
        *_COMMON,
        ("state", "<u2"),
        ("reason", "<u2"),
        ("trading_event", "<u2"),
        ("is_trading", "u1"),
        ("is_quoting", "u1"),
        ("is_short_sell_restricted", "u1"),
        ("reserved", "V15"),
    ]
)
#: `Kind.STATISTIC`: type as in DBN's statistics schema; price or quantity is 2**63 - 1 where not given.
STATISTIC: Final = np.dtype(
    [
        *_COMMON,
        ("price", "<i8"),
        ("quantity", "<i8"),
        ("ts_ref_s", "<u4"),
        ("type", "<u2"),
        ("update_action", "u1"),
        ("stat_flags", "u1"),
    ]
)
#: `Kind.GAP` and `Kind.RECOVERED`: what the bounds count says the reason.
GAP: Final = np.dtype(
    [
        *_COMMON,
        ("first_missing", "<u8"),
        ("last_missing", "<u8"),
        ("reason", "<u4"),
        ("line", "<u4"),
    ]
)
#: `Kind.CLEAR` and `Kind.HEARTBEAT`: no payload.
CLEAR: Final = TICK
#: `Kind.DEFINITION`: an entry of the instruments table was added or changed; action is the vendor's code.
DEFINITION: Final = np.dtype(
    [*_COMMON, ("tick_size", "<i8"), ("expiration", "<i8"), ("action", "<u4"), ("reserved", "<u4")]
)
#: `Kind.IMBALANCE`: before an auction.
IMBALANCE: Final = np.dtype(
    [
        *_COMMON,
        ("ref_price", "<i8"),
        ("match_price", "<i8"),
        ("paired_size", "<u4"),
        ("imbalance_size", "<u4"),
    ]
)
#: What a tick may also be written as: `TICK` with the payload of a kind.
TICK_VIEWS: Final = (QUOTE, TRADE, STATUS, STATISTIC, GAP, DEFINITION, IMBALANCE)
#: One OHLCV bar: a slot of a bar ring, 128 bytes.
BAR: Final = np.dtype(
    [
        ("seq", "<u8"),
        ("ts_open", "<i8"),
        ("instrument_id", "<u4"),
        ("interval_s", "<u4"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<u8"),
        ("vwap", "<i8"),
        ("count", "<u4"),
        ("flags", "<u4"),
        ("ts_first", "<i8"),
        ("ts_last", "<i8"),
        ("first_seq", "<u8"),
        ("last_seq", "<u8"),
        ("revision", "<u4"),
        ("late_count", "<u4"),
        ("reserved", "<u8"),
    ]
)
#: The book of an instrument after an event, best level first: a slot of a depth ring, 384 bytes.
DEPTH: Final = np.dtype(
    [
        ("seq", "<u8"),
        ("ts_event", "<i8"),
        ("ts_recv", "<i8"),
        ("instrument_id", "<u4"),
        ("venue_seq", "<u4"),
        ("flags", "<u2"),
        ("bids", "u1"),
        ("asks", "u1"),
        ("reserved", "V28"),
        ("bid_price", "<i8", (10,)),
        ("ask_price", "<i8", (10,)),
        ("bid_size", "<u4", (10,)),
        ("ask_size", "<u4", (10,)),
        ("bid_orders", "<u4", (10,)),
        ("ask_orders", "<u4", (10,)),
    ]
)
#: One order's change or fill: a slot of an orders ring, 64 bytes.
ORDER: Final = np.dtype(
    [
        ("seq", "<u8"),
        ("ts_event", "<i8"),
        ("ts_recv", "<i8"),
        ("instrument_id", "<u4"),
        ("action", "u1"),
        ("side", "u1"),
        ("flags", "<u2"),
        ("order_id", "<u8"),
        ("priority", "<u8"),
        ("price", "<i8"),
        ("size", "<u4"),
        ("venue_seq", "<u4"),
    ]
)


def _format(dtype: np.dtype[Any]) -> str:
    shape = str(dtype.shape).replace(" ", "") if dtype.shape else ""
    return shape + dtype.base.str.lstrip("<|")


def layout_of(dtype: np.dtype[Any]) -> str:
    """The layout text of a slot dtype, as a ring's header carries it.

    ``tick:``, ``bar:``, ``depth:`` and ``order:`` stand for the layouts of the C header; any other dtype is
    ``record:``.
    """
    if dtype.names is None or dtype.fields is None:
        raise TypeError(f"a ring's dtype must be structured, not {dtype}")
    name = {TICK: "tick", BAR: "bar", DEPTH: "depth", ORDER: "order"}.get(dtype, "record")
    fields = (f"{n}:{_format(dtype.fields[n][0])}@{dtype.fields[n][1]}" for n in dtype.names)
    return f"{name}:{dtype.itemsize};" + ";".join(fields)


_FIELD_FORMAT: Final = re.compile(
    r"(?:\((?:\d{1,4},){1,4}\)|\(\d{1,4}(?:,\d{1,4}){1,3}\))?>?(?:[iufcbSUV]\d{1,4}|[mM]8(?:\[\d{0,4}[a-zA-Z]{1,2}\])?)"
)
"""An array's shape if it is one, the byte order if it is not little-endian, kind and size."""


def dtype_of(layout: str) -> np.dtype[Any]:
    """The slot dtype that a layout text describes: the inverse of `layout_of`.

    Raises `ValueError` for a text that is none. The text is another program's: of what numpy would make of it, only
    numbers and bytes are taken. An object field would have the bytes of a ring taken for pointers.
    """
    known = {layout_of(dtype): dtype for dtype in (TICK, BAR, DEPTH, ORDER)}
    if layout in known:
        return known[layout]
    names, formats, offsets = [], [], []
    head, *fields = layout.split(";")
    for field in fields:
        name, _, rest = field.partition(":")
        kind, _, offset = rest.partition("@")
        if not _FIELD_FORMAT.fullmatch(kind):
            raise ValueError(f"not a record layout: {layout[:80]!r}")
        names.append(name)
        formats.append(kind)
        offsets.append(offset)
    try:
        spec: Any = {
            "names": names,
            "formats": formats,
            "offsets": [int(o) for o in offsets],
            "itemsize": int(head.partition(":")[2]) if names else 0,
        }
        dtype: np.dtype[Any] = np.dtype(spec)
    except (TypeError, ValueError, OverflowError):
        dtype = np.dtype([])
    if not dtype.names or dtype.hasobject:
        raise ValueError(f"not a record layout: {layout[:80]!r}")
    return dtype


def to_fixed(value: Decimal | str | float) -> int:
    """A price in units of 1e-9, exact.

    Raises `ValueError` for NaN, infinity, text that is not a number, a value with more than nine decimals
    and one that does not fit (|value| < 9,223,372,036.854775807). A float, numpy's too, is taken at its
    shortest decimal form (``0.1`` is 0.1), which is what whoever typed it meant.
    """
    if isinstance(value, (bool, np.bool_)):
        raise TypeError("a price is a number, not a bool")
    given: Any = str(value) if isinstance(value, (float, np.floating)) else value
    try:
        number = Decimal(int(given) if isinstance(given, np.integer) else given)
    except decimal.InvalidOperation:
        raise ValueError(f"not a price: {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"not a price: {value!r}")
    if number and number.adjusted() > 18:
        raise ValueError(f"price out of range: {value!r}")
    try:
        exact = number.quantize(_LEAST, context=_EXACT)
    except decimal.Inexact:
        raise ValueError(f"price has more than {_PRICE_DIGITS} decimals: {value!r}") from None
    fixed = int(exact.scaleb(_PRICE_DIGITS, _EXACT))
    if not -PRICE_UNDEF <= fixed < PRICE_UNDEF:
        raise ValueError(f"price out of range: {value!r}")
    return fixed


def from_fixed(fixed: int) -> Decimal | None:
    """The price of `fixed` (units of 1e-9), exact; None for `PRICE_UNDEF`.

    Raises `ValueError` for a number that is not an int64, `TypeError` for what is no integer.
    """
    fixed = operator.index(fixed)
    if fixed == PRICE_UNDEF:
        return None
    if not TIME_UNDEF <= fixed < PRICE_UNDEF:
        raise ValueError(f"not an int64: {fixed}")
    return Decimal(fixed).scaleb(-_PRICE_DIGITS, _EXACT)


@dataclass(slots=True, frozen=True)
class Tick:
    """One tick, for callbacks. Prices in units of 1e-9 (`from_fixed`), None where the kind has none."""

    timestamp_ns: int
    symbol: str
    vendor: str = ""
    bid_price: int | None = None
    ask_price: int | None = None
    bid_size: int | None = None
    ask_size: int | None = None
    price: int | None = None
    size: int | None = None
    side: Side = Side.NONE
    kind: Kind = Kind.QUOTE
    flags: Flag = NO_FLAGS
    seq: int = 0
    ts_recv_ns: int = 0
    instrument_id: int = 0
    venue_seq: int = 0
    count: int = 0
    trade_id: int | None = None


@dataclass(slots=True, frozen=True)
class Bar:
    """One bar, for callbacks. Prices in units of 1e-9, `ts_open_ns` in venue time."""

    symbol: str
    vendor: str
    interval_s: int
    ts_open_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    vwap: int | None
    count: int
    flags: BarFlag


def _price(value: int | None) -> int | None:
    return None if value == PRICE_UNDEF else value


_TRADES: Final = frozenset((Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION))


def tick_from_record(record: npt.NDArray[np.void], symbol: str, vendor: str) -> Tick:
    """The `Tick` of one record, given as a `TICK` array of shape (1,)."""
    seq, ts_event, ts_recv, instrument_id, code, side, flags, venue_seq, count, _ = record.item()
    kind = Kind(code)
    bid = ask = bid_size = ask_size = price = size = trade_id = None
    if kind is Kind.QUOTE:
        bid, ask, bid_size, ask_size = record.view(QUOTE).item()[9:]
    elif kind in _TRADES:
        price, trade_id, size, _ = record.view(TRADE).item()[9:]
    return Tick(
        ts_event,
        symbol,
        vendor,
        _price(bid),
        _price(ask),
        bid_size,
        ask_size,
        _price(price),
        size,
        Side(side),
        kind,
        Flag(flags),
        seq,
        ts_recv,
        instrument_id,
        venue_seq,
        count,
        trade_id,
    )
