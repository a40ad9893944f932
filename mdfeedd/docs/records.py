"""The reference of the records: offsets and types from the dtypes, meanings from the comments of `mdfeedd.h`.

    ring/mdfeedd.h ─► comments of fields and codes ─┐
    mdfeedd.tick   ─► dtypes, enums ────────────────┴─► page()

Fields that share a line of the header are told here (`_UNSAID`).
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd import tick
from mdfeedd.docs.markdown import code, table

if TYPE_CHECKING:
    import enum
    from collections.abc import Mapping

    import numpy as np

HEADER: Final = Path(tick.__file__).resolve().parent / "ring" / "mdfeedd.h"
_HEAD: Final = """# Records

Written from `mdfeedd/ring/mdfeedd.h` and `mdfeedd/tick.py` by `python -m mdfeedd.docs`; a test compares them.

All is little-endian and aligned. Prices are int64 in units of 1e-9 (`from_fixed`, `to_fixed`); 2**63 - 1 is no price.
Times are UNIX ns as int64; -2**63 is no time. `seq` is the ring's sequence number, from 1 and without holes, and the
word by whose store a record is committed. Version {abi} of the layout; a ring of another major version is refused.

C and C++ have the same as `mdf_tick`, `mdf_bar`, `mdf_depth` and `mdf_order` of `mdfeedd.h`. In Python
`batch.records` has the dtype below; `batch.quotes`, `batch.trades` and `batch.of_kind(KIND, DTYPE)` are the rows of a kind,
with its payload named.
"""
_COMMON: Final = len(tick.TICK.names or ()) - 1
_PAYLOADS: Final = (
    ("QUOTE", "quote"),
    ("TRADE", "trade"),
    ("STATUS", "status"),
    ("STATISTIC", "statistic"),
    ("GAP", "gap"),
    ("DEFINITION", "definition"),
    ("IMBALANCE", "imbalance"),
)
_OTHERS: Final = (("BAR", "mdf_bar"), ("DEPTH", "mdf_depth"), ("ORDER", "mdf_order"))
_CODES: Final = (
    (tick.Kind, "MDF_"),
    (tick.Side, "MDF_SIDE_"),
    (tick.Flag, "MDF_"),
    (tick.GapReason, "MDF_GAP_"),
    (tick.BarFlag, "MDF_BAR_"),
    (tick.OrderAction, "MDF_ORDER_"),
)
_UNSAID: Final = {
    "QUOTE": {
        "bid_price": "best bid; PRICE_UNDEF: the side is empty",
        "ask_price": "best ask, likewise",
        "bid_size": "size at the best bid; 0: none",
        "ask_size": "size at the best ask; 0: none",
    },
    "TRADE": {
        "price": "of the trade, or the corrected one",
        "trade_id": "the venue's number of the trade; 0: it has none",
        "size": "of the trade, or the corrected one",
    },
    "STATISTIC": {"update_action": "code as in DBN", "stat_flags": "code as in DBN"},
    "GAP": {
        "first_missing": "the first that is missing: a number or UNIX ns, as the reason says",
        "last_missing": "the last that is missing",
        "reason": "`GapReason`",
        "line": "part of the feed: CME's channel, the number of Databento's subscription; 0: all of it",
    },
    "DEFINITION": {
        "tick_size": "smallest step of the price",
        "expiration": "UNIX ns",
        "action": "the vendor's code",
    },
    "IMBALANCE": {
        "ref_price": "reference price",
        "match_price": "at which most would match",
        "paired_size": "that would match",
        "imbalance_size": "that would be left over, on the tick's side",
    },
    "BAR": {
        "interval_s": "length in seconds",
        "open": "price of the first trade",
        "high": "highest price",
        "low": "lowest price",
        "close": "price of the last trade",
        "volume": "sum of the sizes",
    },
    "ORDER": {
        "order_id": "the venue's",
        "price": "of the order, or of the fill",
        "venue_seq": "as in a tick",
    },
}
"""Of fields that share a line of the header, where no comment has room."""
_ENUMS: Final = {
    "mdf_kind": "Kind",
    "mdf_side": "Side",
    "mdf_flag": "Flag",
    "mdf_gap_reason": "GapReason",
    "mdf_bar_flag": "BarFlag",
    "mdf_order_action": "OrderAction",
}


def page() -> str:
    """The whole page, Markdown."""
    header = HEADER.read_text(encoding="utf-8")
    said = _said_of_names(inspect.getsource(tick))
    major, minor = (
        re.findall(rf"#define MDF_ABI_{part} (\d+)u", header)[0] for part in ("MAJOR", "MINOR")
    )
    parts = [_HEAD.format(abi=f"{major}.{minor}")]
    common = _said_of_fields(header, "mdf_tick")
    parts.append(f"## `TICK`, {tick.TICK.itemsize} bytes\n\n{said['TICK']}\n")
    parts.append(fields_table(tick.TICK, common))
    for name, member in _PAYLOADS:
        dtype = getattr(tick, name)
        own = _said_of_fields(header, "mdf_tick", member)
        own = {**own, **_UNSAID.get(name, {})}
        parts.append(f"### `{name}`: the payload\n\n{said[name]}\n")
        parts.append(fields_table(dtype, own, first=_COMMON))
    for name, struct in _OTHERS:
        dtype = getattr(tick, name)
        parts.append(f"## `{name}`, {dtype.itemsize} bytes\n\n{said[name]}\n")
        own = {**_said_of_fields(header, struct), **_UNSAID.get(name, {})}
        parts.append(fields_table(dtype, own))
    parts.append("## Codes\n")
    for codes, prefix in _CODES:
        parts.append(f"### `{codes.__name__}`\n\n{inspect.getdoc(codes)}\n")
        parts.append(_members(codes, _said_of_codes(header, prefix)))
    return "\n".join(parts)


def fields_table(dtype: np.dtype[Any], said: Mapping[str, str], first: int = 0) -> str:
    """The fields of a dtype from number `first` on, with what is said of each."""
    fields = dtype.fields
    assert fields is not None
    assert dtype.names is not None
    rows = []
    for name in dtype.names[first:]:
        kind, offset = fields[name][:2]
        rows.append([offset, _type(kind), code(name), said.get(name, "")])
    return table(["at", "type", "field", "what it is"], rows)


def _type(dtype: np.dtype[Any]) -> str:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return f"{shape[0]} of {_type(base)}"
    return f"{dtype.itemsize} bytes" if dtype.kind == "V" else dtype.name


def _members(codes: type[enum.IntEnum | enum.IntFlag], said: Mapping[str, str]) -> str:
    rows = [
        [int(member), code(name), said.get(name, "")] for name, member in codes.__members__.items()
    ]
    return table(["value", "name", "what it is"], rows)


# ----------------------------------------------------------------------------------- the comments


def _said_of_names(source: str) -> dict[str, str]:
    """The ``#:`` comments above names of a module."""
    found = re.findall(r"((?:^#: .*\n)+)^(\w+): Final", source, flags=re.MULTILINE)
    return {name: " ".join(line[3:] for line in text.splitlines()) for text, name in found}


def _said_of_fields(header: str, struct: str, member: str = "") -> dict[str, str]:
    """What is said of each field of a struct, or of a member of its union: the comment behind it."""
    (body,) = re.findall(
        rf"typedef struct {struct} {{\n(.*?)\n}} {struct};", header, flags=re.DOTALL
    )
    if member:
        (body,) = re.findall(rf"struct {{((?:(?!struct {{).)*?)}} {member};", body, flags=re.DOTALL)
    else:
        body = re.sub(r"union {(.*)} payload;", "uint8_t payload[24]; /* by kind, see below */", body,
                      flags=re.DOTALL)  # fmt: skip
    said = {}
    for names, comment in re.findall(
        r"^\s*\w+ ([\w\s,\[\]]+);[ ]*(?:/\* *(.*?) *\*/)?", body, flags=re.MULTILINE
    ):
        text = comment if member else re.sub(r"^\d+\s*", "", comment)  # which is the offset
        for name in names.split(","):
            said[name.partition("[")[0].strip()] = _in_python(text)
    return said


def _said_of_codes(header: str, prefix: str) -> dict[str, str]:
    found = re.findall(rf"^    {prefix}(\w+) = [^,]+,\s*(?:/\* (.*?) \*/)?", header, re.MULTILINE)
    return {name: _in_python(text) for name, text in found}


def _in_python(text: str) -> str:
    """A comment with the names of `mdfeedd.tick` in place of those of C."""
    for name, codes in _ENUMS.items():
        text = re.sub(rf"\benum {name}\b", f"`{codes}`", text)
    return text.replace("MDF_", "")
