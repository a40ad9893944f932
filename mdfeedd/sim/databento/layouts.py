"""DBN written from its description: records of versions 1 to 3, and the metadata before them.

A layout is lines of ``name type offset``: u, i and c stand for unsigned, signed and NUL-padded text, numbers
are bits (of text, bytes). What lies between is reserved and zero. Nothing here is shared with the decoder
that is tried with these bytes; Databento's own library is what they are held to.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.databento.definition import DEFINITION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ALL_SCHEMAS",
    "HEADER",
    "RTYPES",
    "SKIPPABLE",
    "UNDEF_PRICE",
    "UNDEF_TIME",
    "Layout",
    "error",
    "layout",
    "mapping",
    "metadata",
    "pack",
    "recode",
    "system",
    "unpack",
]

UNDEF_PRICE: Final = 2**63 - 1
UNDEF_TIME: Final = 2**64 - 1
UNDEF_SIZE: Final = 2**32 - 1
LATEST: Final = 3  # version that is fully known
HEADER: Final = struct.Struct("<BBHIQ")
MAX_WORDS: Final = 255  # of a record: its length is a byte
_NO_SCHEMA: Final = 0xFFFF
_NO_STYPE: Final = 0xFF
_LISTS_AT: Final = 100  # offset of what follows the reserved bytes of the metadata
_SYMBOL_BYTES: Final = {1: 22, 2: 71, 3: 71, 4: 71}

#: Schemas by name: what their records are.
RTYPES: Final[dict[str, int]] = {
    "mbo": 0xA0,
    "mbp-1": 0x01,
    "mbp-10": 0x0A,
    "tbbo": 0x01,
    "trades": 0x00,
    "ohlcv-1s": 0x20,
    "ohlcv-1m": 0x21,
    "ohlcv-1h": 0x22,
    "ohlcv-1d": 0x23,
    "definition": 0x13,
    "statistics": 0x18,
    "status": 0x12,
    "imbalance": 0x14,
    "cmbp-1": 0xB1,
    "cbbo-1s": 0xC0,
    "cbbo-1m": 0xC1,
    "tcbbo": 0xC2,
    "bbo-1s": 0xC3,
    "bbo-1m": 0xC4,
}
ALL_SCHEMAS: Final = tuple(RTYPES)
#: Schemas whose records a gateway leaves out for a slow reader that lets it.
SKIPPABLE: Final = frozenset(
    {"mbp-1", "mbp-10", "bbo-1s", "bbo-1m", "cmbp-1", "cbbo-1s", "cbbo-1m"}
)
ERROR: Final = 0x15
MAPPING: Final = 0x16
SYSTEM: Final = 0x17

_HEADER: Final = """
length u8 0
rtype u8 1
publisher_id u16 2
instrument_id u32 4
ts_event u64 8
"""
_TRADE: Final = """
price i64 16
size u32 24
action c1 28
side c1 29
flags u8 30
depth u8 31
ts_recv u64 32
ts_in_delta i32 40
sequence u32 44
"""
_MBO: Final = """
order_id u64 16
price i64 24
size u32 32
flags u8 36
channel_id u8 37
action c1 38
side c1 39
ts_recv u64 40
ts_in_delta i32 48
sequence u32 52
"""
_CMBP: Final = """
price i64 16
size u32 24
action c1 28
side c1 29
flags u8 30
ts_recv u64 32
ts_in_delta i32 40
bid_px_00 i64 48
ask_px_00 i64 56
bid_sz_00 u32 64
ask_sz_00 u32 68
bid_pb_00 u16 72
ask_pb_00 u16 76
"""
_CBBO: Final = """
price i64 16
size u32 24
side c1 29
flags u8 30
ts_recv u64 32
bid_px_00 i64 48
ask_px_00 i64 56
bid_sz_00 u32 64
ask_sz_00 u32 68
bid_pb_00 u16 72
ask_pb_00 u16 76
"""
_BBO: Final = """
price i64 16
size u32 24
side c1 29
flags u8 30
ts_recv u64 32
sequence u32 44
"""
_OHLCV: Final = """
open i64 16
high i64 24
low i64 32
close i64 40
volume u64 48
"""
_STATUS: Final = """
ts_recv u64 16
action u16 24
reason u16 26
trading_event u16 28
is_trading c1 30
is_quoting c1 31
is_short_sell_restricted c1 32
"""
_STATISTICS_OLD: Final = """
ts_recv u64 16
ts_ref u64 24
price i64 32
quantity i32 40
sequence u32 44
ts_in_delta i32 48
stat_type u16 52
channel_id u16 54
update_action u8 56
stat_flags u8 57
"""
_STATISTICS: Final = """
ts_recv u64 16
ts_ref u64 24
price i64 32
quantity i64 40
sequence u32 48
ts_in_delta i32 52
stat_type u16 56
channel_id u16 58
update_action u8 60
stat_flags u8 61
"""
_IMBALANCE: Final = """
ts_recv u64 16
ref_price i64 24
auction_time u64 32
cont_book_clr_price i64 40
auct_interest_clr_price i64 48
ssr_filling_price i64 56
ind_match_price i64 64
upper_collar i64 72
lower_collar i64 80
paired_qty u32 88
total_imbalance_qty u32 92
market_imbalance_qty u32 96
unpaired_qty u32 100
auction_type c1 104
side c1 105
auction_status u8 106
freeze_status u8 107
num_extensions u8 108
unpaired_side c1 109
significant_imbalance c1 110
"""
_ERROR: Final = "err c302 16\ncode u8 318\nis_last u8 319"
_SYSTEM: Final = "msg c303 16\ncode u8 319"
_MAPPING_V1: Final = """
stype_in_symbol c22 16
stype_out_symbol c22 38
start_ts u64 64
end_ts u64 72
"""
_MAPPING: Final = """
stype_in u8 16
stype_in_symbol c71 17
stype_out u8 88
stype_out_symbol c71 89
start_ts u64 160
end_ts u64 168
"""


def _levels(count: int) -> str:
    return "".join(
        f"bid_px_{k:02} i64 {at}\nask_px_{k:02} i64 {at + 8}\nbid_sz_{k:02} u32 {at + 16}\n"
        f"ask_sz_{k:02} u32 {at + 20}\nbid_ct_{k:02} u32 {at + 24}\nask_ct_{k:02} u32 {at + 28}\n"
        for k, at in enumerate(range(48, 48 + 32 * count, 32))
    )


_MBP_1: Final = (_TRADE + _levels(1), 80)
#: By rtype: the layout and its size, or one of each version.
_LAYOUTS: Final[dict[int, tuple[tuple[str, int], ...]]] = {
    0x00: ((_TRADE, 48),),
    0x01: (_MBP_1,),
    0x0A: ((_TRADE + _levels(10), 368),),
    0x12: ((_STATUS, 40),),
    0x13: ((DEFINITION[1], 360), (DEFINITION[2], 400), (DEFINITION[3], 520)),
    0x14: ((_IMBALANCE, 112),),
    0x15: (("err c64 16", 80), (_ERROR, 320), (_ERROR, 320)),
    0x16: ((_MAPPING_V1, 80), (_MAPPING, 176), (_MAPPING, 176)),
    0x17: (("msg c64 16", 80), (_SYSTEM, 320), (_SYSTEM, 320)),
    0x18: ((_STATISTICS_OLD, 64), (_STATISTICS_OLD, 64), (_STATISTICS, 80)),
    0x20: ((_OHLCV, 56),),
    0x21: ((_OHLCV, 56),),
    0x22: ((_OHLCV, 56),),
    0x23: ((_OHLCV, 56),),
    0x24: ((_OHLCV, 56),),
    0xA0: ((_MBO, 56),),
    0xB1: ((_CMBP, 80),),
    0xC0: ((_CBBO, 80),),
    0xC1: ((_CBBO, 80),),
    0xC2: ((_CMBP, 80),),
    0xC3: ((_BBO + _levels(1), 80),),
    0xC4: ((_BBO + _levels(1), 80),),
}
_CODES: Final = {
    "u8": "B",
    "i8": "b",
    "u16": "H",
    "i16": "h",
    "u32": "I",
    "i32": "i",
    "u64": "Q",
    "i64": "q",
}


class Layout:
    """One record type of one version: `fields` in the order of `struct`, `types` by name."""

    def __init__(self, text: str, size: int, rtype: int) -> None:
        rows = sorted(
            (int(at), name, kind)
            for name, kind, at in (line.split() for line in (_HEADER + text).split("\n") if line)
        )
        parts, end = ["<"], 0
        for at, name, kind in rows:
            if at < end:
                raise ValueError(f"{name} of rtype {rtype:#x} overlaps what is before it")
            code = _CODES.get(kind) or f"{kind[1:]}s"
            parts.append(f"{at - end}x{code}" if at > end else code)
            end = at + struct.calcsize("<" + code)
        if end > size:
            raise ValueError(f"rtype {rtype:#x} takes {end} bytes, not {size}")
        parts.append(f"{size - end}x")
        self.rtype = rtype
        self.size = size
        self.struct: struct.Struct = struct.Struct("".join(parts))
        self.fields: list[str] = [name for _, name, _ in rows]
        self.types: dict[str, str] = {name: kind for _, name, kind in rows}

    def pack(self, values: Mapping[str, Any]) -> bytes:
        """The record; what is not named is 0 or empty. KeyError for a field that it does not have."""
        unknown = values.keys() - self.types.keys()
        if unknown:
            raise KeyError(f"rtype {self.rtype:#x} has no {', '.join(sorted(unknown))}")
        given = {"length": self.size // 4, "rtype": self.rtype, **values}
        return self.struct.pack(
            *[given.get(name, b"" if self.types[name][0] == "c" else 0) for name in self.fields]
        )

    def unpack(self, raw: bytes) -> dict[str, Any]:
        """The fields by name; text without its padding."""
        values = dict(zip(self.fields, self.struct.unpack(raw[: self.size]), strict=True))
        for name, kind in self.types.items():
            if kind[0] == "c":
                values[name] = values[name].rstrip(b"\0")
        return values


@functools.cache
def layout(rtype: int, version: int = LATEST) -> Layout:
    """KeyError for an rtype that is none. Versions above the latest are laid out as that."""
    choices = _LAYOUTS[rtype]
    text, size = choices[0] if len(choices) == 1 else choices[min(version, LATEST) - 1]
    return Layout(text, size, rtype)


def pack(rtype: int, values: Mapping[str, Any], version: int = LATEST) -> bytes:
    """A record out of fields by name."""
    return layout(rtype, version).pack(values)


def unpack(raw: bytes, version: int = LATEST) -> dict[str, Any]:
    """A record's fields by name."""
    return layout(raw[1], version).unpack(raw)


def recode(raw: bytes, version: int, of_version: int = LATEST) -> bytes:
    """A record of one version as that of another; what the other lacks is left out, what is new is 0."""
    choices = _LAYOUTS[raw[1]]
    if version == of_version or len(choices) == 1:
        return raw
    other = layout(raw[1], version)
    old = unpack(raw, of_version)
    values = {k: v for k, v in old.items() if k in other.types and k != "length"}
    if raw[1] == RTYPES["statistics"]:
        values["quantity"] = _narrowed(values["quantity"], version, of_version)
    if raw[1] == RTYPES["definition"] and of_version < LATEST <= version:
        values |= {"leg_price": UNDEF_PRICE, "leg_delta": UNDEF_PRICE, "leg_side": b"N"}
    for name, kind in other.types.items():
        if kind == "u32" and values.get(name, 0) > UNDEF_SIZE:
            values[name] = UNDEF_SIZE
    return other.pack(values)


def _narrowed(quantity: int, version: int, of_version: int) -> int:
    undefined = {True: 2**63 - 1, False: 2**31 - 1}
    if quantity == undefined[of_version >= LATEST]:
        return undefined[version >= LATEST]
    return quantity if version >= LATEST else min(quantity, 2**31 - 1)


def system(ts_ns: int, code: int, text: str, version: int = LATEST) -> bytes:
    """A system record; version 1 has no code."""
    values: dict[str, Any] = {"ts_event": ts_ns, "msg": text.encode()}
    return pack(SYSTEM, values if version == 1 else values | {"code": code}, version)


def error(
    ts_ns: int, code: int, text: str, *, is_last: bool = True, version: int = LATEST
) -> bytes:
    """An error record; version 1 has no code."""
    values: dict[str, Any] = {"ts_event": ts_ns, "err": text.encode()}
    if version > 1:
        values |= {"code": code, "is_last": int(is_last)}
    return pack(ERROR, values, version)


def mapping(
    ts_ns: int,
    instrument_id: int,
    asked: tuple[int, str],
    raw_symbol: str,
    version: int = LATEST,
) -> bytes:
    """What an instrument_id stands for; `asked` is the stype and the symbol of the subscription."""
    values: dict[str, Any] = {
        "instrument_id": instrument_id,
        "ts_event": ts_ns,
        "stype_in_symbol": asked[1].encode(),
        "stype_out_symbol": raw_symbol.encode(),
        "start_ts": UNDEF_TIME,
        "end_ts": UNDEF_TIME,
    }
    if version > 1:
        values |= {"stype_in": asked[0], "stype_out": 1}
    return pack(MAPPING, values, version)


def metadata(
    dataset: str,
    *,
    version: int = LATEST,
    start_ns: int = 0,
    ts_out: bool = False,
    symbols: Sequence[str] = (),
) -> bytes:
    """What a live stream begins with; of version 4 nothing but the number is known."""
    length = _SYMBOL_BYTES[version]
    head = dataset.encode().ljust(16, b"\0") + struct.pack(
        "<HQQQ", _NO_SCHEMA, start_ns, UNDEF_TIME, 0
    )
    if version == 1:
        head += struct.pack("<Q", UNDEF_TIME)
    head += struct.pack("<BBB", _NO_STYPE, 0, int(ts_out))
    if version > 1:
        head += struct.pack("<H", length)
    body = head.ljust(_LISTS_AT, b"\0") + struct.pack("<II", 0, len(symbols))
    body += b"".join(symbol.encode().ljust(length, b"\0") for symbol in symbols)
    body += struct.pack("<III", 0, 0, 0)
    if version >= LATEST:
        body += bytes(-len(body) % 8)
    return b"DBN" + struct.pack("<BI", version, len(body)) + body
