"""The records against the C header, and prices that are exact or refused."""

from __future__ import annotations

import ctypes
import math
import pickle
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mdfeedd
from mdfeedd import tick
from mdfeedd.tick import (
    BAR,
    DEPTH,
    ORDER,
    PRICE_UNDEF,
    TICK,
    Flag,
    Kind,
    Side,
    dtype_of,
    from_fixed,
    layout_of,
    tick_from_record,
    to_fixed,
)

HEADER = (Path(mdfeedd.__file__).parent / "ring" / "mdfeedd.h").read_text()
PAYLOADS = {
    "QUOTE": ["bid_price", "ask_price", "bid_size", "ask_size"],
    "TRADE": ["price", "trade_id", "size", "reserved"],
    "STATUS": [
        "state",
        "reason",
        "trading_event",
        "is_trading",
        "is_quoting",
        "is_short_sell_restricted",
        "reserved",
    ],
    "STATISTIC": ["price", "quantity", "ts_ref_s", "type", "update_action", "stat_flags"],
    "GAP": ["first_missing", "last_missing", "reason", "line"],
    "DEFINITION": ["tick_size", "expiration", "action", "reserved"],
    "IMBALANCE": ["ref_price", "match_price", "paired_size", "imbalance_size"],
}
C_TYPES = {
    "int64_t": "<i8",
    "uint64_t": "<u8",
    "uint32_t": "<u4",
    "uint16_t": "<u2",
    "uint8_t": "|u1",
}


def c_struct(name: str) -> list[tuple[str, str]]:
    """Field names and numpy types of an anonymous payload struct in the header, in order."""
    body = re.search(r"struct \{([^{}]*)\} " + name + ";", HEADER)
    assert body is not None, name
    fields = []
    text = re.sub(r"/\*.*?\*/", "", body.group(1), flags=re.DOTALL)
    for statement in filter(None, (s.strip() for s in text.split(";"))):
        kind, names = statement.split(None, 1)
        for field in names.split(","):
            array = re.fullmatch(r"\s*(\w+)\[(\d+)\]", field)
            if array:
                fields.append((array.group(1), f"|V{array.group(2)}"))
            else:
                fields.append((field.strip(), C_TYPES[kind]))
    return fields


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_payload_differs_from_header(name: str) -> None:
    dtype = getattr(tick, name)
    assert dtype.itemsize == 64
    assert list(dtype.names[:9]) == list(TICK.names[:9])
    ours = [(n, dtype.fields[n][0].str) for n in dtype.names[9:]]
    assert ours == c_struct(name.lower())
    assert [n for n, _ in ours] == PAYLOADS[name]
    ends = [dtype.fields[n][1] + dtype.fields[n][0].itemsize for n in dtype.names]
    starts = [dtype.fields[n][1] for n in dtype.names]
    assert starts == [0, *ends[:-1]], "no holes, no overlaps"


def c_enum(name: str) -> dict[str, int]:
    body = re.search(r"enum " + name + r" \{(.*?)\}", HEADER, flags=re.DOTALL)
    assert body is not None
    text = re.sub(r"/\*.*?\*/", "", body.group(1), flags=re.DOTALL)
    pairs = (item.split("=") for item in text.split(",") if "=" in item)
    return {k.strip(): eval(v) for k, v in pairs}


@pytest.mark.parametrize(
    ("enum", "ours", "prefix"),
    [
        ("mdf_kind", Kind, "MDF_"),
        ("mdf_side", Side, "MDF_SIDE_"),
        ("mdf_flag", Flag, "MDF_"),
        ("mdf_gap_reason", tick.GapReason, "MDF_GAP_"),
        ("mdf_bar_flag", tick.BarFlag, "MDF_BAR_"),
    ],
)
def test_enum_differs_from_header(enum: str, ours: type, prefix: str) -> None:
    assert {k.removeprefix(prefix): v for k, v in c_enum(enum).items()} == {
        m.name: m.value for m in ours
    }


def test_bar_is_two_cache_lines() -> None:
    assert BAR.itemsize == 128
    for dtype in (BAR, DEPTH, ORDER):
        assert dtype_of(layout_of(dtype)) == dtype


@pytest.mark.parametrize(
    "layout",
    [
        "",
        "tick:64",
        "record:64;seq:u8@x",
        "record:64;seq:zz@0",
        "record:4;seq:u8@0",
        "record:64;seq:i8,i8@0",
        "record:64;seq:(99999999999,)i8@0",
        "record:64;seq:u8@-8",
        "record:99999999999999999999;seq:u8@0",
    ],
)
def test_layout_text_is_garbage(layout: str) -> None:
    with pytest.raises(ValueError, match="not a record layout"):
        dtype_of(layout)


@pytest.mark.parametrize("kind", ["O", "O8", "(2,)O", "<O", "object", "V8,O8", "i8,O"])
def test_layout_text_that_would_make_pointers_of_bytes(kind: str) -> None:
    """numpy would take the bytes of a ring, or of a file, for addresses of Python objects, and go there."""
    with pytest.raises(ValueError, match="not a record layout"):
        dtype_of(f"record:64;seq:u8@0;x:{kind}@8")


def test_layout_of_foreign_record_survives() -> None:
    dtype = np.dtype(
        {"names": ["seq", "x"], "formats": ["<u8", "<f4"], "offsets": [0, 16], "itemsize": 64}
    )
    assert dtype_of(layout_of(dtype)) == dtype


@pytest.mark.parametrize(
    "kind", [">i4", "S7", "U3", "M8[ns]", "m8[us]", "?", "c16", ("<i2", (2, 3)), "V5", "M8"]
)
def test_layout_of_any_numbers_and_bytes_survives(kind: Any) -> None:
    dtype = np.dtype({"names": ["seq", "x"], "formats": ["<u8", kind], "itemsize": 64})
    assert dtype_of(layout_of(dtype)) == dtype


# ------------------------------------------------------------------------------------------- prices


@given(st.integers(min_value=-(2**63) + 1, max_value=2**63 - 2))
def test_price_survives_there_and_back(fixed: int) -> None:
    price = from_fixed(fixed)
    assert price is not None
    assert to_fixed(price) == fixed
    assert to_fixed(str(price)) == fixed
    assert price * 10**9 == Decimal(fixed)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        "nan",
        "inf",
        "sNaN",
        "0." + "9" * 50,
        "1." + "0" * 40 + "1",
        "1e-99999999999999",
        "",
        "4502,25",
        "0x10",
        Decimal("NaN"),
        Decimal("Infinity"),
        "9223372036.854775807",  # the undefined price
        "9223372036.854775808",
        "-9223372036.854775808",
        1e300,
        "1e400",
        "0.0000000001",
        Decimal("1.0000000001"),
        2**63,
    ],
)
def test_price_that_cannot_be_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"price"):
        to_fixed(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [True, np.True_])
def test_price_of_bool_is_a_mistake(value: bool) -> None:
    with pytest.raises(TypeError, match="not a bool"):
        to_fixed(value)


@pytest.mark.parametrize("value", [1.5, 2.0, Decimal("1.5"), "5"])
def test_price_of_what_is_no_integer_is_a_mistake(value: object) -> None:
    with pytest.raises(TypeError, match="integer"):
        from_fixed(value)  # type: ignore[arg-type]


def test_code_of_a_newer_writer_has_its_number_for_a_name() -> None:
    record = np.zeros(1, TICK)
    record["kind"], record["side"] = 200, 9
    seen = tick_from_record(record, "ES", "feed")
    assert (seen.kind, seen.kind.name, seen.side, seen.side.name) == (200, "#200", 9, "#9")
    assert pickle.loads(pickle.dumps(seen)) == seen
    assert [kind.value for kind in Kind] == list(range(1, 13))
    with pytest.raises(ValueError, match="256 is not a valid Kind"):
        Kind(256)


@pytest.mark.parametrize(
    ("value", "fixed"),
    [
        (0.1, 100_000_000),
        (np.float64(4500.25), 4_500_250_000_000),
        (np.float32(0.1), 100_000_000),
        (np.int64(7), 7_000_000_000),
        ("1.5" + "0" * 60, 1_500_000_000),
        ("0e-99999999999", 0),
        ("0.000000001", 1),
        (Decimal("-4502.25"), -4_502_250_000_000),
        (7, 7_000_000_000),
        ("1e-9", 1),
        ("-0", 0),
        (0.30000000000000004, None),
    ],
)
def test_price_is_exact(value: object, fixed: int | None) -> None:
    if fixed is None:
        with pytest.raises(ValueError, match="decimals"):
            to_fixed(value)  # type: ignore[arg-type]
    else:
        assert to_fixed(value) == fixed  # type: ignore[arg-type]


def test_undefined_price_is_none_and_wild_ones_are_refused() -> None:
    assert from_fixed(PRICE_UNDEF) is None
    with pytest.raises(ValueError, match="int64"):
        from_fixed(2**64)


# --------------------------------------------------------------------------------- one at a time


def test_undefined_side_of_quote_is_none() -> None:
    quote = np.zeros(1, tick.QUOTE)
    quote["kind"] = Kind.QUOTE
    quote["bid_price"] = to_fixed("1.25")
    quote["ask_price"] = PRICE_UNDEF
    quote["ts_event"] = 5
    seen = tick_from_record(quote.view(TICK), "ES", "feed")
    assert (seen.bid_price, seen.ask_price, seen.price, seen.timestamp_ns) == (
        1_250_000_000,
        None,
        None,
        5,
    )


def test_trade_has_no_quote() -> None:
    trade = np.zeros(1, tick.TRADE)
    trade["kind"] = Kind.TRADE
    trade["side"] = Side.SELL
    trade["price"], trade["size"], trade["trade_id"] = -1, 7, 2**64 - 1
    seen = tick_from_record(trade.view(TICK), "ES", "feed")
    assert (seen.price, seen.size, seen.trade_id, seen.side) == (-1, 7, 2**64 - 1, Side.ASK)
    assert seen.bid_price is None
    assert seen.bid_size is None
    assert hash(seen) == hash(tick_from_record(trade.view(TICK), "ES", "feed"))


def test_tick_needs_time_and_symbol_only() -> None:
    assert tick.Tick(timestamp_ns=1, symbol="ES").bid_price is None
    assert ctypes.sizeof(ctypes.c_uint64) == TICK.fields["seq"][0].itemsize
