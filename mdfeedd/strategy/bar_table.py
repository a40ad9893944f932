"""The latest bars of a bar ring as a table, read when they are asked for; registers nowhere.

ring of bars ─► what it holds ─► last revision of each ─► n newest of each instrument ─► pandas, polars ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, overload

import numpy as np

from mdfeedd.ring import RingMismatch, RingMissing, segment
from mdfeedd.ring._ring import START_OLDEST
from mdfeedd.ring.look import Look
from mdfeedd.strategy.arrays import columns
from mdfeedd.tick import BAR, layout_of

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from mdfeedd.ring import Instruments

    Records = npt.NDArray[np.void]
    Columns = dict[str, npt.NDArray[Any]]

__all__ = ["bars"]

LOOK_BARS: Final = 1 << 20
"""The newest bars of a ring that are looked at."""
_READ_BARS: Final = 8192
_OPAQUE: Final = f"V{BAR.itemsize}"
_SHOWN: Final = (
    "interval_s",
    "ts_open",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "vwap",
    "count",
    "flags",
)
_FRAMES: Final = ("pandas", "polars", "arrow", "numpy")


@overload
def bars(
    ring: str,
    timeframe_s: int | None = None,
    n: int = 100,
    *,
    symbols: Collection[str] | None = None,
    frame: Literal["pandas"] = "pandas",
    prices: Literal["float", "decimal"] = "float",
    directory: str = segment.DEFAULT_DIRECTORY,
) -> pd.DataFrame: ...
@overload
def bars(
    ring: str,
    timeframe_s: int | None = None,
    n: int = 100,
    *,
    symbols: Collection[str] | None = None,
    frame: Literal["polars"],
    prices: Literal["float", "decimal"] = "float",
    directory: str = segment.DEFAULT_DIRECTORY,
) -> pl.DataFrame: ...
@overload
def bars(
    ring: str,
    timeframe_s: int | None = None,
    n: int = 100,
    *,
    symbols: Collection[str] | None = None,
    frame: Literal["arrow"],
    directory: str = segment.DEFAULT_DIRECTORY,
) -> pa.Table: ...
@overload
def bars(
    ring: str,
    timeframe_s: int | None = None,
    n: int = 100,
    *,
    symbols: Collection[str] | None = None,
    frame: Literal["numpy"],
    directory: str = segment.DEFAULT_DIRECTORY,
) -> dict[str, npt.NDArray[Any]]: ...
def bars(
    ring: str,
    timeframe_s: int | None = None,
    n: int = 100,
    *,
    symbols: Collection[str] | None = None,
    frame: str = "pandas",
    prices: str = "float",
    directory: str = segment.DEFAULT_DIRECTORY,
) -> Any:
    """The newest bars that a bar ring holds, oldest first: ``mdfeedd.bars("demo-bars", timeframe_s=60)``.

    timeframe_s: length of the bars in seconds; None: all lengths that are in the ring.
    n: at most so many of each instrument and length. A bar that was corrected is there once, as it was told last.
    symbols: these only, by the names that the ring has; None: all. One without bars adds no rows.
    frame: "pandas" or "polars" (a DataFrame), "arrow" (a Table, prices exact), "numpy" (a dict of arrays, shape (m,)).
    prices: "float" (NaN: none), or "decimal": exact, by way of Arrow (pip install 'mdfeedd[parquet]').

    Columns: symbol, interval_s, ts_open (UTC, venue time), open, high, low, close, volume, vwap, count, flags
    (`BarFlag`). Raises `RingMissing`, `RingMismatch` for a ring that holds no bars, `RingDenied`, `ValueError`, `TypeError`
    for symbols that are no list, and `ImportError` where the package of the frame is not installed.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if isinstance(symbols, str):
        raise TypeError(f"symbols must be a list, such as [{symbols!r}]")
    if frame not in _FRAMES:
        raise ValueError(f"frame must be one of {', '.join(_FRAMES)}, not {frame!r}")
    if prices not in ("float", "decimal"):
        raise ValueError(f"prices must be float or decimal, not {prices!r}")
    records, instruments = _read(ring, directory)
    if timeframe_s is not None:
        records = _where(records, records["interval_s"] == timeframe_s)
    if symbols is not None:
        ids = [one for symbol in symbols for one in instruments.ids(symbol)]
        records = _where(records, np.isin(records["instrument_id"], ids))
    records = _newest(records, n)
    if frame == "arrow" or prices == "decimal":
        return _exact(records, instruments, frame)
    found = columns(records)
    named = [instruments.symbol(one) for one in records["instrument_id"].tolist()]
    shown = {name: found[name] for name in _SHOWN}
    made: Any = {"pandas": _pandas, "polars": _polars, "numpy": _numpy}[frame](named, shown)
    return made


def _read(ring: str, directory: str) -> tuple[Records, Instruments]:
    """What the ring holds now, of `LOOK_BARS` at most."""
    try:
        look = Look(segment.ring_path(ring, directory))
    except RingMissing:
        raise RingMissing(
            f"no ring '{ring}' in {directory}: is its writer running? ('mdfeedd doctor' lists the rings)"
        ) from None
    with look:
        header = look.header()
        if header["layout"] != layout_of(BAR):
            raise RingMismatch(f"ring '{ring}' holds no bars: {header['layout'][:40]} ...")
        end = header["tail"] + 1
        start = end - LOOK_BARS if header["capacity"] > LOOK_BARS < end else START_OLDEST
        instruments = look.begin(BAR, start)
        found = [np.empty(0, BAR), *(batch.records for batch in look.until(end, _READ_BARS))]
        instruments.freeze()
        return np.concatenate(found), instruments


def _where(records: Records, mask: npt.NDArray[np.bool_]) -> Records:
    found: Records = records.view(_OPAQUE)[mask].view(BAR)
    return found


def _newest(records: Records, n: int) -> Records:
    """The last revision of each bar, and of those the `n` newest of each instrument and interval; by time."""
    if not len(records):
        return records
    order = np.lexsort(
        [records[name] for name in ("seq", "ts_open", "interval_s", "instrument_id")]
    )
    time, interval, instrument = (
        records[name][order].astype(np.int64) for name in ("ts_open", "interval_s", "instrument_id")
    )
    series_ends = (np.diff(instrument) != 0) | (np.diff(interval) != 0)
    last = np.append(series_ends | (np.diff(time) != 0), True)  # the next is another bar
    order = order[last]
    ends = np.flatnonzero(np.append(series_ends, True)[last])
    place = np.arange(len(order))
    kept = order[ends[np.searchsorted(ends, place)] - place < n]
    chosen: Records = records.view(_OPAQUE)[kept].view(BAR)
    by_time = np.lexsort((chosen["instrument_id"], chosen["interval_s"], chosen["ts_open"]))
    ordered: Records = chosen.view(_OPAQUE)[by_time].view(BAR)
    return ordered


def _exact(records: Records, instruments: Instruments, frame: str) -> Any:
    from mdfeedd.ring import arrow  # noqa: PLC0415 - pyarrow is optional

    if frame == "numpy":
        raise ValueError("prices: numpy has no decimals: take columns(..., prices='fixed')")
    if frame == "pandas":
        return arrow.bars_to_pandas(records, instruments)
    table = arrow.bars_to_arrow(records, instruments)
    return table if frame == "arrow" else _require("polars").from_arrow(table)


def _require(package: str) -> Any:
    import importlib  # noqa: PLC0415 - only who asks for a frame pays

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"a {package} frame needs it: pip install {package}") from error


def _pandas(symbols: list[str], shown: Columns) -> Any:
    pd = _require("pandas")
    times = pd.DatetimeIndex(shown["ts_open"]).tz_localize("UTC")
    return pd.DataFrame({"symbol": symbols, **shown, "ts_open": times})


def _polars(symbols: list[str], shown: Columns) -> Any:
    pl = _require("polars")
    made = pl.DataFrame({"symbol": pl.Series(symbols, dtype=pl.String), **shown})
    return made.with_columns(pl.col("ts_open").dt.replace_time_zone("UTC"))


def _numpy(symbols: list[str], shown: Columns) -> Columns:
    return {"symbol": np.array(symbols, dtype=np.str_), **shown}
