"""Records as plain columns, for polars, pandas and arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mdfeedd.tick import PRICE_SCALE, PRICE_UNDEF

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Prices", "columns", "floats"]

Prices = Literal["float", "fixed"]

PRICE_FIELDS: Final = frozenset(
    [
        *("bid_price", "ask_price", "price", "trade_price", "ref_price", "match_price"),
        *("open", "high", "low", "close", "vwap", "tick_size"),
    ]
)
"""The fields of our dtypes that are prices."""


def floats(fixed: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Prices in units of 1e-9 as floats, NaN for `PRICE_UNDEF`; the nearest ones below 9,007,199."""
    made: npt.NDArray[np.float64] = fixed / PRICE_SCALE
    made[fixed == PRICE_UNDEF] = np.nan
    return made


def columns(
    records: npt.NDArray[np.void], *, prices: Prices = "float"
) -> dict[str, npt.NDArray[Any]]:
    """Each field of `records` as a contiguous array of its own, in the order of the dtype.

    records: shape (n,), of any dtype of `mdfeedd.tick`, such as ``batch.quotes`` or ``reader.last.records``.
    prices: "float" makes float64 of prices, NaN where there is none; "fixed" leaves int64 in units of 1e-9.
    Times (``ts_...``) become datetime64[ns] in UTC, NaT where there is none. Raw payloads and reserved bytes are left
    out. Raises `TypeError` for an array that is not structured, `ValueError` for another word than those two.

        polars.DataFrame(mdfeedd.columns(batch.quotes))
    """
    if records.dtype.names is None or records.dtype.fields is None:
        raise TypeError(f"columns needs a structured array, not one of {records.dtype}")
    if prices not in ("float", "fixed"):
        raise ValueError(f"prices must be float or fixed, not {prices!r}")
    made: dict[str, npt.NDArray[Any]] = {}
    for name in records.dtype.names:
        dtype = records.dtype.fields[name][0]
        raw = dtype.kind == "V" and dtype.subdtype is None
        if raw or name.startswith("reserved"):
            continue
        values = np.ascontiguousarray(records[name])
        if name.startswith("ts_") and dtype == np.int64:
            made[name] = values.view("M8[ns]")  # what is no time is NaT: the same number
        elif name in PRICE_FIELDS and prices == "float":
            made[name] = floats(values)
        else:
            made[name] = values
    return made
