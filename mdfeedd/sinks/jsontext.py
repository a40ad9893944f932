"""Records as JSON, one object each, as `mdfeedd tail --json` prints them.

    {"kind":"QUOTE","symbol":"ESZ6","seq":5,"ts_event":"2026-03-02T14:30:00.000000001Z", ...,
     "bid_price":"6112.25","ask_price":"6112.5","bid_size":7, ...,"flags":["EVENT_END"]}

Prices are strings of decimals, exact; times are ISO 8601 with nanoseconds; what a record does not
have is null. Quotes and trades, which are nearly all, are made by the C of jsontext.h, the rest one
by one here. With channels each object becomes a PUBLISH of Redis, ready for a socket.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.ring.arrow import distinct_ids
from mdfeedd.sinks._jsontext import LINE_MAX, TEXTS, lines
from mdfeedd.tick import (
    BAR,
    DEFINITION,
    GAP,
    IMBALANCE,
    PRICE_SCALE,
    PRICE_UNDEF,
    QUOTE,
    STATISTIC,
    STATUS,
    TICK,
    TIME_UNDEF,
    TRADE,
    BarFlag,
    Flag,
    GapReason,
    Kind,
)

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable

    import numpy.typing as npt

    from mdfeedd.ring import Instrument, Instruments

    Records = npt.NDArray[np.void]
    Lengths = npt.NDArray[np.int64]

__all__ = [
    "PAYLOADS",
    "SIDES",
    "TRADES",
    "JsonText",
    "flags_of",
    "json_object",
    "json_value",
    "name_of",
    "price_text",
]

TRADES: Final = (Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION)
SIDES: Final = ("none", "buy", "sell")
_IN_C: Final = frozenset({Kind.QUOTE, *TRADES})  # the kinds that jsontext.h knows
PAYLOADS: Final[dict[int, np.dtype[Any]]] = {
    Kind.QUOTE: QUOTE,
    **dict.fromkeys(TRADES, TRADE),
    Kind.STATUS: STATUS,
    Kind.STATISTIC: STATISTIC,
    Kind.GAP: GAP,
    Kind.RECOVERED: GAP,
    Kind.DEFINITION: DEFINITION,
    Kind.IMBALANCE: IMBALANCE,
}
_TIMES: Final = {"ts_event", "ts_recv", "ts_open", "ts_first", "ts_last", "expiration"}
_PRICES: Final = {
    *("bid_price", "ask_price", "price", "ref_price", "match_price", "tick_size"),
    *("open", "high", "low", "close", "vwap"),
}
_NOT_GIVEN: Final = {"quantity": PRICE_UNDEF, "ts_ref_s": 0}
_WORDS: Final = (None, True, False)  # of the is_* fields
_SECOND: Final = 1_000_000_000


class JsonText:
    """Makes lines of records, in a buffer that is used again by the next call. Not thread-safe.

    channel: of feed, symbol and kind ("quote", "trade", "event" or "bar") the channel that the
        object is published on; None: objects alone, each behind `before`.
    """

    def __init__(
        self, channel: Callable[[str, str, str], str] | None = None, *, before: bytes = b""
    ) -> None:
        self._channel = channel
        self._before = before
        self._heads: dict[tuple[str, int], tuple[Instrument | None, tuple[bytes, ...]]] = {}
        self._out = np.empty(0, np.uint8)

    def lines(self, records: Records, instruments: Instruments) -> tuple[memoryview, Lengths]:
        """Records (dtype `TICK` or `BAR`) as lines, one behind the other, and the bytes of each."""
        n = len(records)
        lengths = np.zeros(n, np.int64)
        if records.dtype == BAR:
            return self._one_by_one(records, instruments, lengths), lengths
        texts, offsets, places = self._texts(records["instrument_id"], instruments)
        longest = int(np.diff(offsets[::TEXTS]).max(initial=0)) + LINE_MAX
        if len(self._out) < n * longest:
            self._out = np.empty(n * longest, np.uint8)
        resp = self._channel is not None
        parts: list[bytes] = []
        start = 0
        while True:
            start, written = lines(records, start, places, texts, offsets, resp, self._out, lengths)
            if start == n and not parts:
                return self._out[:written].data, lengths
            parts.append(self._out[:written].tobytes())
            if start == n:
                return memoryview(b"".join(parts)), lengths
            while start < n and int(records["kind"][start]) not in _IN_C:
                line = self._line(records[start : start + 1], instruments)
                lengths[start] = len(line)
                parts.append(line)
                start += 1

    def _one_by_one(
        self, records: Records, instruments: Instruments, lengths: Lengths
    ) -> memoryview:
        made = [self._line(records[i : i + 1], instruments) for i in range(len(records))]
        lengths[:] = np.fromiter(map(len, made), np.int64, len(made))
        return memoryview(b"".join(made))

    def _line(self, record: Records, instruments: Instruments) -> bytes:
        instrument_id = int(record["instrument_id"][0])
        symbol = instruments.symbol(instrument_id)
        text = json.dumps(json_object(record, symbol), separators=(",", ":")).encode()
        if self._channel is None:
            return self._before + text
        found = instruments.get(instrument_id)
        feed = (found.feed if found else "") or instruments.feed
        kind = "bar" if record.dtype == BAR else "event"
        return _publish(self._channel(feed, symbol, kind)) + b"%d\r\n%b\r\n" % (len(text), text)

    def _texts(
        self, ids: npt.NDArray[np.uint32], instruments: Instruments
    ) -> tuple[bytes, Lengths, Lengths]:
        """What belongs to each distinct instrument, where each text begins, and whose each tick is."""
        unique, places = distinct_ids(ids)
        texts: list[bytes] = []
        for instrument_id in unique.tolist():
            found = instruments.get(instrument_id)
            key = (instruments.feed, instrument_id)
            known = self._heads.get(key)
            if known is None or known[0] is not found:
                known = found, self._head(instrument_id, found, instruments)
                self._heads[key] = known
            texts += known[1]
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=offsets[1:])
        return b"".join(texts), offsets, np.ascontiguousarray(places, np.int64)

    def _head(
        self, instrument_id: int, found: Instrument | None, instruments: Instruments
    ) -> tuple[bytes, bytes, bytes]:
        symbol = instruments.symbol(instrument_id)
        quoted = json.dumps(symbol).encode()
        if self._channel is None:
            return self._before, self._before, quoted
        feed = (found.feed if found else "") or instruments.feed
        quote, trade = (_publish(self._channel(feed, symbol, kind)) for kind in ("quote", "trade"))
        return quote, trade, quoted


def _publish(channel: str) -> bytes:
    """The begin of a PUBLISH, up to the length of the message."""
    name = channel.encode()
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$" % (len(name), name)


# --------------------------------------------------------------------------------------- one by one


def json_object(record: Records, symbol: str) -> dict[str, Any]:
    """One record, given as an array of shape (1,), as the object that JSON is made from."""
    bar = record.dtype == BAR
    if not bar:
        record = record.view(PAYLOADS.get(int(record["kind"][0]), TICK))
    assert record.dtype.names is not None
    fields = dict(zip(record.dtype.names, record.item(), strict=True))
    kind = "BAR" if bar else name_of(Kind, fields["kind"])
    flags = flags_of(BarFlag if bar else Flag, fields["flags"])
    body = {
        name: json_value(name, value)
        for name, value in fields.items()
        if name not in {"kind", "flags", "reserved", "payload"}
    }
    if kind in {"GAP", "RECOVERED"}:
        body["reason"] = name_of(GapReason, fields["reason"])
    return {"kind": kind, "symbol": symbol, **body, "flags": flags}


def json_value(name: str, value: Any) -> Any:
    """A field as JSON has it; None where it says that it is not given."""
    if name in _TIMES:
        return None if value in {TIME_UNDEF, 0} else _time(value)
    if name in _PRICES:
        return price_text(value)
    if name in _NOT_GIVEN and value == _NOT_GIVEN[name]:
        return None
    if name == "side":
        return _side(value)
    if name.startswith("is_"):
        return _WORDS[value] if value < len(_WORDS) else None
    return value


def price_text(fixed: int) -> str | None:
    """A price in units of 1e-9 as the shortest decimals that are exact; None for `PRICE_UNDEF`."""
    if fixed == PRICE_UNDEF:
        return None
    sign, magnitude = ("-", -fixed) if fixed < 0 else ("", fixed)
    whole, part = divmod(magnitude, PRICE_SCALE)
    return f"{sign}{whole}.{part:09d}".rstrip("0") if part else f"{sign}{whole}"


def _time(ns: int) -> str:
    seconds, rest = divmod(ns, _SECOND)
    return f"{np.datetime64(seconds, 's')}.{rest:09d}Z"


def _side(code: int) -> str | int:
    return SIDES[code] if code < len(SIDES) else code


def name_of(codes: type[enum.IntEnum], value: int) -> str:
    """The name of a code; "#" and its number where there is none."""
    try:
        return codes(value).name
    except ValueError:
        return f"#{value}"


def flags_of(flags: type[enum.IntFlag], value: int) -> list[str]:
    """The names of the bits that are set."""
    return [str(flag.name) for flag in flags if flag & value]
