"""Records to Arrow and pandas, exact and without a Python object per row.

Prices become ``decimal128(19, 9)``: an int64 in units of 1e-9 is the low half of the 128-bit number
that Arrow stores, its sign the high half. `PRICE_UNDEF` and `TIME_UNDEF` become null, and so does a
field that the kind of a tick does not have. Symbols, kinds and sides are dictionary-encoded text.

The packages are optional and imported at first use; `require_pyarrow` says what to install.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mdfeedd.tick import BAR, PRICE_UNDEF, QUOTE, TICK, TIME_UNDEF, TRADE, Kind, Side

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    class Named(Protocol):
        """What names instruments: `Instruments`, or those of several rings."""

        def symbol(self, instrument_id: int, /) -> str:
            """The symbol of an id."""
            ...

    SymbolOf = Callable[[int], str]
    Records = npt.NDArray[np.void]
    Mask = npt.NDArray[np.bool_]

__all__ = [
    "bars_to_arrow",
    "bars_to_pandas",
    "bars_to_table",
    "corrections_to_table",
    "distinct_ids",
    "quotes_to_table",
    "require_pyarrow",
    "schema_of",
    "table_to_pandas",
    "ticks_to_arrow",
    "ticks_to_pandas",
    "trades_to_table",
]

_DENSE_IDS: Final = 1 << 16  # ids within such a span are told apart by a table, not by sorting
_PRICE_TYPE: Final = (19, 9)  # digits of an int64, decimals of a price
_SIDES: Final = {Side.NONE: "none", Side.BUY: "buy", Side.SELL: "sell"}
_KINDS: Final = {kind: kind.name.lower() for kind in Kind}
_TRADE_KINDS: Final = (Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION)


def require_pyarrow() -> Any:
    """The module pyarrow. Raises `ImportError` naming the extra to install."""
    try:
        import pyarrow as pa  # noqa: PLC0415  optional, and slow to import
    except ImportError as error:
        raise ImportError(
            "Arrow and Parquet need pyarrow: pip install 'mdfeedd[parquet]'"
        ) from error
    return pa


def _require_pandas() -> Any:
    try:
        import pandas as pd  # noqa: PLC0415  optional, and slow to import
    except ImportError as error:
        raise ImportError(
            "to_pandas needs pandas and pyarrow: pip install pandas 'mdfeedd[parquet]'"
        ) from error
    return pd


# ------------------------------------------------------------------------------------------ columns


def _array(arrow_type: Any, values: npt.NDArray[Any], null: Mask | None) -> Any:
    """An Arrow array over the bytes of `values`; `null` marks the rows without a value."""
    pa = require_pyarrow()
    validity = None
    null_count = 0
    if null is not None:
        null_count = int(np.count_nonzero(null))
        if null_count:
            validity = pa.py_buffer(np.packbits(~null, bitorder="little"))
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(arrow_type, len(values), [validity, data], null_count)


def _prices(values: npt.NDArray[np.int64], absent: Mask | None = None) -> Any:
    halves = np.empty((len(values), 2), "<i8")
    halves[:, 0] = values
    halves[:, 1] = halves[:, 0] >> 63
    null = values == PRICE_UNDEF
    if absent is not None:
        null |= absent
    return _array(require_pyarrow().decimal128(*_PRICE_TYPE), halves, null)


def _times(values: npt.NDArray[np.int64]) -> Any:
    return _array(require_pyarrow().timestamp("ns", tz="UTC"), values, values == TIME_UNDEF)


def _integers(values: npt.NDArray[Any], absent: Mask | None = None) -> Any:
    return _array(require_pyarrow().from_numpy_dtype(values.dtype), values, absent)


def _texts(codes: npt.NDArray[Any], text_of: dict[Any, str]) -> Any:
    """Small codes as dictionary-encoded text; null for a code that `text_of` does not have."""
    pa = require_pyarrow()
    place = np.full(256, -1, "i1")
    place[[int(code) for code in text_of]] = range(len(text_of))
    indices = place[codes]
    null = indices < 0
    encoded = _array(pa.int8(), np.where(null, np.int8(0), indices), null)
    return pa.DictionaryArray.from_arrays(encoded, pa.array(list(text_of.values()), pa.string()))


def distinct_ids(
    ids: npt.NDArray[np.uint32],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.intp]]:
    """The distinct `ids`, ascending, and for each id its place among them.

    The ids of one feed lie close together, which spares the sort that `np.unique` would do.
    """
    low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
    if high - low >= _DENSE_IDS:
        unique, places = np.unique(ids, return_inverse=True)
        return unique, places
    offsets = (ids - np.uint32(low)).astype(np.intp)
    seen = np.zeros(high - low + 1, np.bool_)
    seen[offsets] = True
    return (np.flatnonzero(seen) + low).astype("<u4"), (np.cumsum(seen) - 1)[offsets]


def _symbols(ids: npt.NDArray[np.uint32], symbol_of: SymbolOf) -> Any:
    """Instrument ids as dictionary-encoded symbols."""
    pa = require_pyarrow()
    unique, places = distinct_ids(ids)
    code_of: dict[str, int] = {}  # several instruments may have one symbol, as of several venues
    codes = np.array(
        [code_of.setdefault(symbol_of(i), len(code_of)) for i in unique.tolist()], "<i4"
    )
    encoded = _array(pa.int32(), codes[places], None)
    return pa.DictionaryArray.from_arrays(encoded, pa.array(list(code_of), pa.string()))


# ------------------------------------------------------------------------------------------- tables


def _schema_fields(table: str) -> list[tuple[str, Any]]:
    pa = require_pyarrow()
    price = pa.decimal128(*_PRICE_TYPE)
    time = pa.timestamp("ns", tz="UTC")
    symbol = pa.dictionary(pa.int32(), pa.string())
    text = pa.dictionary(pa.int8(), pa.string())
    head = [("seq", pa.uint64()), ("ts_event", time), ("ts_recv", time), ("symbol", symbol)]
    tail = [("count", pa.uint32()), ("flags", pa.uint16()), ("venue_seq", pa.uint32())]
    trade = [("price", price), ("size", pa.uint32()), ("side", text), ("trade_id", pa.uint64())]
    quote = [(f"{side}_price", price) for side in ("bid", "ask")]
    quote += [(f"{side}_size", pa.uint32()) for side in ("bid", "ask")]
    bar = [(name, price) for name in ("open", "high", "low", "close")]
    fields = {
        "trades": [*head, *trade, *tail],
        "corrections": [*head, ("kind", text), *trade, *tail],
        "quotes": [*head, *quote, *tail],
        "bars": [
            ("symbol", symbol),
            ("interval_s", pa.uint32()),
            ("ts_open", time),
            *bar,
            ("volume", pa.uint64()),
            ("vwap", price),
            ("count", pa.uint32()),
            ("flags", pa.uint32()),
        ],
        "ticks": [*head, ("instrument_id", pa.uint32()), ("kind", text), *quote, *trade, *tail],
    }
    return fields[table]


@functools.cache
def schema_of(table: str) -> Any:
    """The Arrow schema of ``trades``, ``corrections``, ``quotes``, ``bars`` or ``ticks``."""
    return require_pyarrow().schema(_schema_fields(table))


def _table(name: str, columns: dict[str, Any]) -> Any:
    schema = schema_of(name)
    pa = require_pyarrow()
    return pa.Table.from_arrays([columns[column] for column in schema.names], schema=schema)


def _common(rows: Records, symbol_of: SymbolOf) -> dict[str, Any]:
    return {
        "seq": _integers(rows["seq"]),
        "ts_event": _times(rows["ts_event"]),
        "ts_recv": _times(rows["ts_recv"]),
        "symbol": _symbols(rows["instrument_id"], symbol_of),
        "count": _integers(rows["count"]),
        "flags": _integers(rows["flags"]),
        "venue_seq": _integers(rows["venue_seq"]),
    }


def _trade_columns(rows: Records, absent: Mask | None = None) -> dict[str, Any]:
    return {
        "price": _prices(rows["price"], absent),
        "size": _integers(rows["size"], absent),
        "side": _texts(rows["side"], _SIDES),
        "trade_id": _integers(rows["trade_id"], absent),
    }


def _quote_columns(rows: Records, absent: Mask | None = None) -> dict[str, Any]:
    return {
        "bid_price": _prices(rows["bid_price"], absent),
        "ask_price": _prices(rows["ask_price"], absent),
        "bid_size": _integers(rows["bid_size"], absent),
        "ask_size": _integers(rows["ask_size"], absent),
    }


def trades_to_table(rows: Records, symbol_of: SymbolOf) -> Any:
    """The ``trades`` table of `rows` (dtype `TRADE`, kind TRADE)."""
    return _table("trades", _common(rows, symbol_of) | _trade_columns(rows))


def corrections_to_table(rows: Records, symbol_of: SymbolOf) -> Any:
    """The ``corrections`` table of `rows` (dtype `TRADE`, cancels and corrections)."""
    kind = {"kind": _texts(rows["kind"], _KINDS)}
    return _table("corrections", _common(rows, symbol_of) | kind | _trade_columns(rows))


def quotes_to_table(rows: Records, symbol_of: SymbolOf) -> Any:
    """The ``quotes`` table of `rows` (dtype `QUOTE`)."""
    return _table("quotes", _common(rows, symbol_of) | _quote_columns(rows))


def bars_to_table(rows: Records, symbol_of: SymbolOf) -> Any:
    """The ``bars`` table of `rows` (dtype `BAR`)."""
    columns = {name: _prices(rows[name]) for name in ("open", "high", "low", "close", "vwap")}
    columns |= {n: _integers(rows[n]) for n in ("interval_s", "volume", "count", "flags")}
    columns |= {"symbol": _symbols(rows["instrument_id"], symbol_of)}
    return _table("bars", columns | {"ts_open": _times(rows["ts_open"])})


def ticks_to_arrow(records: Records, instruments: Named) -> Any:
    """A pyarrow Table of ticks of all kinds, in ring order; null where a kind has no such field.

    `records` has dtype `TICK`, shape (n,). Raises `ImportError` without pyarrow.
    """
    if records.dtype != TICK:
        raise TypeError(f"ticks_to_arrow needs records of dtype TICK, not {records.dtype}")
    records = np.ascontiguousarray(records)
    kinds = records["kind"]
    no_quote = kinds != Kind.QUOTE
    no_trade = ~np.isin(kinds, [int(kind) for kind in _TRADE_KINDS])
    columns = _common(records, instruments.symbol)
    columns["instrument_id"] = _integers(records["instrument_id"])
    columns["kind"] = _texts(kinds, _KINDS)
    columns |= _quote_columns(records.view(QUOTE), no_quote)
    columns |= _trade_columns(records.view(TRADE), no_trade)
    return _table("ticks", columns)


def bars_to_arrow(records: Records, instruments: Named) -> Any:
    """A pyarrow Table of bars. `records` has dtype `BAR`, shape (n,)."""
    if records.dtype != BAR:
        raise TypeError(f"bars_to_arrow needs records of dtype BAR, not {records.dtype}")
    return bars_to_table(records, instruments.symbol)


def table_to_pandas(table: Any) -> Any:
    """A pyarrow Table as a DataFrame: columns backed by Arrow, so prices stay exact decimals without a Python object each."""
    pa = require_pyarrow()
    pd = _require_pandas()
    arrow_dtype = pd.ArrowDtype
    return table.to_pandas(
        types_mapper=lambda kind: None if pa.types.is_dictionary(kind) else arrow_dtype(kind)
    )


def ticks_to_pandas(records: Records, instruments: Named) -> Any:
    """`ticks_to_arrow` as a DataFrame: Arrow-backed columns, text as categories."""
    return table_to_pandas(ticks_to_arrow(records, instruments))


def bars_to_pandas(records: Records, instruments: Named) -> Any:
    """`bars_to_arrow` as a DataFrame: Arrow-backed columns, text as categories."""
    return table_to_pandas(bars_to_arrow(records, instruments))
