"""The metadata before the records of a DBN stream: what was asked for, and what ids stand for when."""

from __future__ import annotations

import datetime as dt
import struct
from dataclasses import dataclass
from typing import Final

from mdfeedd.feeds.databento.codec.events import DbnError

__all__ = ["ALWAYS_NS", "NEVER_NS", "STYPE_INSTRUMENT_ID", "Mapping", "Metadata", "parse_metadata"]

ALWAYS_NS: Final = -(2**63)
NEVER_NS: Final = 2**63 - 1
STYPE_INSTRUMENT_ID: Final = 0
_PREFIX_BYTES: Final = 8
_LISTS_AT: Final = 104
_SYMBOL_BYTES_V1: Final = 22
_MAX_SYMBOL_BYTES: Final = 1024
_NS_PER_DAY: Final = 86_400 * 1_000_000_000
_EPOCH_DAY: Final = dt.date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Mapping:
    """`symbol` was asked for, and was `resolved` from `start_ns` (inclusive) to `end_ns`, UNIX ns."""

    symbol: str
    resolved: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """The header of a stream. Codes are DBN's; `schema` is 0xFFFF in a live stream."""

    version: int
    dataset: str
    schema: int
    start_ns: int
    end_ns: int
    stype_in: int
    stype_out: int
    ts_out: bool
    mappings: tuple[Mapping, ...]


class _Cursor:
    """Reads forward and never past the end; every count is checked against what is left."""

    def __init__(self, body: bytes, at: int, symbol_bytes: int) -> None:
        self.body = body
        self.at = at
        self.symbol_bytes = symbol_bytes

    def fail(self, what: str) -> DbnError:
        return DbnError(f"the metadata contradict themselves: {what}", _PREFIX_BYTES + self.at)

    def count(self, item_bytes: int) -> int:
        if len(self.body) - self.at < 4:
            raise self.fail("a list has no length")
        (n,) = struct.unpack_from("<I", self.body, self.at)
        if n * item_bytes > len(self.body) - self.at - 4:
            raise self.fail(f"a list of {n} items does not fit")
        self.at += 4
        return int(n)

    def symbol(self) -> str:
        raw = self.body[self.at : self.at + self.symbol_bytes]
        if len(raw) < self.symbol_bytes:
            raise self.fail("a symbol does not fit")
        self.at += self.symbol_bytes
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    def date_ns(self) -> int:
        """Midnight UTC of a date; of one outside int64's nanoseconds, 1677 to 2262, the nearest there is."""
        (packed,) = struct.unpack_from("<I", self.body, self.at)
        try:
            day = dt.date(packed // 10_000, packed // 100 % 100, packed % 100).toordinal()
        except ValueError:
            raise self.fail(f"{packed} is not a date") from None
        self.at += 4
        return min(max((day - _EPOCH_DAY) * _NS_PER_DAY, ALWAYS_NS), NEVER_NS)


def _parse_mappings(cursor: _Cursor) -> tuple[Mapping, ...]:
    mappings: list[Mapping] = []
    for _ in range(cursor.count(cursor.symbol_bytes + 4)):
        symbol = cursor.symbol()
        for _ in range(cursor.count(cursor.symbol_bytes + 8)):
            start_ns, end_ns = cursor.date_ns(), cursor.date_ns()
            mappings.append(Mapping(symbol, cursor.symbol(), start_ns, end_ns))
    return tuple(mappings)


def parse_metadata(version: int, body: bytes) -> Metadata:
    """The metadata of a stream, without their first eight bytes (magic, version, length).

    Raises `DbnError` where a count or a date cannot be right.
    """
    cursor = _Cursor(body, _LISTS_AT, _SYMBOL_BYTES_V1)
    if len(body) < _LISTS_AT:
        raise cursor.fail(f"{len(body)} bytes are too few")
    schema, start_ns, end_ns = struct.unpack_from("<HQQ", body, 16)
    stype_in, stype_out, ts_out = struct.unpack_from("<BBB", body, 50 if version == 1 else 42)
    if version > 1:
        (cursor.symbol_bytes,) = struct.unpack_from("<H", body, 45)
    if not 1 <= cursor.symbol_bytes <= _MAX_SYMBOL_BYTES:
        raise cursor.fail(f"symbols of {cursor.symbol_bytes} bytes")
    for _ in ("symbols", "partial", "not found"):
        n = cursor.count(cursor.symbol_bytes)
        cursor.at += n * cursor.symbol_bytes
    return Metadata(
        version=version,
        dataset=body[:16].partition(b"\0")[0].decode("utf-8", "replace"),
        schema=schema,
        start_ns=start_ns,
        end_ns=end_ns,
        stype_in=stype_in,
        stype_out=stype_out,
        ts_out=bool(ts_out),
        mappings=_parse_mappings(cursor),
    )
