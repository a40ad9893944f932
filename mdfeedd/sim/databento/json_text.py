"""Records as Databento's JSON: one object a line, 64-bit numbers as text, levels as a list."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Final

from mdfeedd.sim.databento.layouts import UNDEF_PRICE, UNDEF_TIME, layout

__all__ = ["json_line"]

_HEADER: Final = ("ts_event", "rtype", "publisher_id", "instrument_id")
_NUMBERS: Final = frozenset({"order_id", "volume", "raw_instrument_id", "quantity"})  # of 64 bits
_LEVEL_AT: Final = -3  # where the number of a level begins in its fields' names
_NS_PER_S: Final = 1_000_000_000


def _price(value: int) -> str | None:
    if value == UNDEF_PRICE:
        return None
    whole, part = divmod(abs(value), 10**9)
    return f"{'-' if value < 0 else ''}{whole}.{part:09}"


def _time(value: int) -> str | None:
    if value in (0, UNDEF_TIME):
        return None
    seconds, ns = divmod(value, _NS_PER_S)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{ns:09}Z"


def _value(name: str, kind: str, value: Any, pretty: tuple[bool, bool]) -> Any:
    if kind[0] == "c":
        text = value.decode("utf-8", "replace")
        return text or (None if kind == "c1" else "")
    if kind[1:] != "64":
        return value
    if name in _NUMBERS:
        return str(value)
    if kind == "i64":
        return _price(value) if pretty[0] else str(value)
    return _time(value) if pretty[1] else str(value)


def json_line(
    raw: bytes,
    *,
    ts_out_ns: int | None = None,
    pretty_px: bool = False,
    pretty_ts: bool = False,
    symbol: str = "",
) -> bytes:
    """A record of version 3 as a line; with the symbol and the send time, if they are given."""
    kind = layout(raw[1])
    fields = {
        name: _value(name, kind.types[name], value, (pretty_px, pretty_ts))
        for name, value in kind.unpack(raw).items()
    }
    del fields["length"]
    record: dict[str, Any] = {"hd": {name: fields.pop(name) for name in _HEADER}}
    levels: list[dict[str, Any]] = []
    for name in [name for name in fields if name[_LEVEL_AT:-2] == "_" and name[-2:].isdigit()]:
        at = int(name[-2:])
        levels += [{} for _ in range(at + 1 - len(levels))]
        levels[at][name[:_LEVEL_AT]] = fields.pop(name)
    record |= fields
    if levels:
        record["levels"] = levels
    if ts_out_ns is not None:
        record["ts_out"] = _time(ts_out_ns) if pretty_ts else str(ts_out_ns)
    if symbol:
        record["symbol"] = symbol
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
