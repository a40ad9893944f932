"""The last values of each symbol, as the words of an HSET."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.sinks.jsontext import SIDES, price_text
from mdfeedd.tick import BAR, PRICE_UNDEF, QUOTE, TRADE, Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from mdfeedd.ring import Instruments

    Records = npt.NDArray[np.void]

__all__ = ["last_values"]

_BAR_FIELDS: Final = ("ts_open", "interval_s", "volume", "count", "flags", "revision", "seq")


def last_values(
    records: Records, instruments: Instruments, key: Callable[[str], str]
) -> list[tuple[str, list[str]]]:
    """Key and words (field, value, field, value ...) of each hash that changes, in ring order."""
    if records.dtype == BAR:
        found = list(_bars(records, instruments))
    else:
        found = [*_quotes(records, instruments), *_trades(records, instruments)]
    found.sort(key=lambda one: one[0])
    return [(key(name), words) for _, name, words in found]


def _last_of(
    wanted: npt.NDArray[np.bool_], ids: npt.NDArray[np.unsignedinteger[Any]]
) -> npt.NDArray[np.intp]:
    """The last of the wanted rows of each id."""
    rows = np.flatnonzero(wanted)[::-1]
    _, first = np.unique(ids[rows], return_index=True)
    return rows[first]


def _rows(records: Records, places: npt.NDArray[np.intp]) -> Iterator[dict[str, Any]]:
    """These rows as plain numbers by name: numpy's own scalars would take ten times as long."""
    names = records.dtype.names
    assert names is not None
    for row in records[places].tolist():
        yield dict(zip(names, row, strict=True))


def _head(row: dict[str, Any], instruments: Instruments) -> list[str]:
    found = instruments.get(row["instrument_id"])
    return [
        *("instrument_id", str(row["instrument_id"])),
        *("venue", found.venue if found else ""),
    ]


def _of_tick(row: dict[str, Any], prefix: str) -> list[str]:
    return [
        *(f"{prefix}_seq", str(row["seq"]), f"{prefix}_flags", str(row["flags"])),
        *(f"{prefix}_ts_event", str(row["ts_event"]), f"{prefix}_ts_recv", str(row["ts_recv"])),
    ]


def _price(fixed: int) -> str:
    return price_text(fixed) or ""


def _quotes(records: Records, instruments: Instruments) -> Iterator[tuple[int, str, list[str]]]:
    """Of each instrument the last touch; nothing on both sides where its book was cleared since.

    Not of its implied book, which is another one.
    """
    kinds = records["kind"]
    wanted = (kinds == Kind.QUOTE) & (records["flags"] & Flag.IMPLIED == 0)
    wanted |= (kinds == Kind.CLEAR) & (records["instrument_id"] != 0)
    places = _last_of(wanted, records["instrument_id"])
    for row in _rows(records.view(QUOTE), places):
        if row["kind"] == Kind.CLEAR:
            row |= {
                "bid_price": PRICE_UNDEF,
                "ask_price": PRICE_UNDEF,
                "bid_size": 0,
                "ask_size": 0,
            }
        words = [
            *_head(row, instruments),
            *_of_tick(row, "quote"),
            *("bid_price", _price(row["bid_price"]), "bid_size", str(row["bid_size"])),
            *("ask_price", _price(row["ask_price"]), "ask_size", str(row["ask_size"])),
        ]
        yield row["seq"], instruments.symbol(row["instrument_id"]), words


def _trades(records: Records, instruments: Instruments) -> Iterator[tuple[int, str, list[str]]]:
    """Of each instrument the last trade; what is cancelled or corrected later stays as it was."""
    places = _last_of(records["kind"] == Kind.TRADE, records["instrument_id"])
    for row in _rows(records.view(TRADE), places):
        side = row["side"]
        words = [
            *_head(row, instruments),
            *_of_tick(row, "trade"),
            *("price", _price(row["price"]), "size", str(row["size"])),
            *("trade_id", str(row["trade_id"])),
            *("side", SIDES[side] if side < len(SIDES) else str(side)),
        ]
        yield row["seq"], instruments.symbol(row["instrument_id"]), words


def _bars(records: Records, instruments: Instruments) -> Iterator[tuple[int, str, list[str]]]:
    """Of each instrument and interval the last bar, under the name SYMBOL:INTERVAL_S."""
    ids = records["instrument_id"].astype("<u8") << np.uint64(32) | records["interval_s"]
    for row in _rows(records, _last_of(np.ones(len(records), np.bool_), ids)):
        words = _head(row, instruments)
        for name in ("open", "high", "low", "close", "vwap"):
            words += [name, _price(row[name])]
        for name in _BAR_FIELDS:
            words += [name, str(row[name])]
        symbol = instruments.symbol(row["instrument_id"])
        yield row["seq"], f"{symbol}:{row['interval_s']}", words
