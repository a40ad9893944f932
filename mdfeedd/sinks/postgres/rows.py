"""Records to the rows of a binary COPY, by numpy: no object per row, no byte twice.

All columns have a fixed width, so a batch is one packed array in network order,
    i16 number of columns, then for each column  i32 length of the value, value
of which the numbers and lengths are written once, when the array is made. A null is the length -1
and no value, so rows with a null in other places need an array of another layout: one for each set
of null columns that occurs (quotes: seldom more than those without a bid or an ask).

PostgreSQL has no unsigned integers: u8 and u16 go to the next wider type, u32 to bigint, u64 to
bigint by its bits. timestamptz counts µs from 2000-01-01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.tick import (
    BAR,
    DEFINITION,
    GAP,
    IMBALANCE,
    PRICE_UNDEF,
    QUOTE,
    STATISTIC,
    STATUS,
    TIME_UNDEF,
    TRADE,
    Flag,
    Kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Records = npt.NDArray[np.void]
    Integers = npt.NDArray[np.int64]

__all__ = ["BARS", "TABLES", "TICKS", "Column", "Encoder", "Table", "opaque", "times_us"]

BLOCK_ROWS: Final = 4096  # encoded at a time: some hundred KiB, which stay in the cache
MAX_SKEW_US: Final = 7 * 86_400 * 1_000_000
_EPOCH_US: Final = 946_684_800 * 1_000_000  # 2000-01-01, where PostgreSQL's time begins
_WIRE: Final = {"timestamptz": ">i8", "bigint": ">i8", "integer": ">i4", "smallint": ">i2"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column, the field of the record it comes from, and the field's value that means null.

    Without a field it is `ts`, `instrument_id` or `source_id`, which are computed.
    """

    name: str
    type: str
    field: str = ""
    null: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table: `records` of these kinds, seen as `dtype`, become its rows.

    period: D or M, the time in one partition, a day or a month. large: quotes and trades.
    """

    name: str
    dtype: np.dtype[Any]
    kinds: tuple[Kind, ...]
    period: str
    columns: tuple[Column, ...]

    @property
    def large(self) -> bool:
        """Whether most ticks are in it."""
        return self.period == "D"

    def copy_into(self, target: str) -> str:
        """The statement that takes the rows, into the table or one of its partitions."""
        names = ", ".join(column.name for column in self.columns)
        return f"copy $schema.{target} ({names}) from stdin (format binary)"


def _price(name: str) -> Column:
    return Column(name, "bigint", name, PRICE_UNDEF)


def _time(name: str) -> Column:
    return Column(name, "bigint", name, TIME_UNDEF)


def _big(*names: str) -> list[Column]:
    return [Column(name, "bigint", name) for name in names]


def _integer(*names: str) -> list[Column]:
    return [Column(name, "integer", name) for name in names]


def _small(*names: str) -> list[Column]:
    return [Column(name, "smallint", name) for name in names]


def _ticks(
    name: str, dtype: np.dtype[Any], kinds: tuple[Kind, ...], columns: list[Column], period: str
) -> Table:
    """A table of ticks: wide columns before narrow ones, which saves the padding between them."""
    common = (
        Column("ts", "timestamptz"),
        _time("ts_event"),
        _time("ts_recv"),
        *_big("seq"),
        *columns,
        *_big("venue_seq", "count"),
        Column("instrument_id", "integer"),
        Column("source_id", "integer"),
        *_integer("flags"),
        *_small("side", *(("kind",) if len(kinds) > 1 else ())),
    )
    return Table(name, dtype, kinds, period, common)


TICKS: Final = (
    _ticks(
        "quote",
        QUOTE,
        (Kind.QUOTE,),
        [_price("bid_price"), _price("ask_price"), *_big("bid_size", "ask_size")],
        "D",
    ),
    _ticks(
        "trade",
        TRADE,
        (Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION),
        [_price("price"), *_big("size", "trade_id")],
        "D",
    ),
    _ticks(
        "status",
        STATUS,
        (Kind.STATUS,),
        [
            *_integer("state", "reason", "trading_event"),
            *_small("is_trading", "is_quoting", "is_short_sell_restricted"),
        ],
        "M",
    ),
    _ticks(
        "statistic",
        STATISTIC,
        (Kind.STATISTIC,),
        [
            _price("price"),
            _price("quantity"),
            *_big("ts_ref_s"),
            *_integer("type"),
            *_small("update_action", "stat_flags"),
        ],
        "M",
    ),
    _ticks(
        "imbalance",
        IMBALANCE,
        (Kind.IMBALANCE,),
        [
            _price("ref_price"),
            _price("match_price"),
            *_big("paired_size", "imbalance_size"),
        ],
        "M",
    ),
    _ticks(
        "definition",
        DEFINITION,
        (Kind.DEFINITION,),
        [_price("tick_size"), _time("expiration"), *_big("action")],
        "M",
    ),
    _ticks(
        "feed_event",
        GAP,
        (Kind.GAP, Kind.RECOVERED, Kind.CLEAR, Kind.HEARTBEAT),
        _big("first_missing", "last_missing", "reason", "line"),
        "M",
    ),
)
BARS: Final = Table(
    "bar",
    BAR,
    (),
    "M",
    (
        Column("ts", "timestamptz"),
        *_big("ts_open"),
        *(_price(name) for name in ("open", "high", "low", "close", "vwap")),
        *_big("volume", "count"),
        _time("ts_first"),
        _time("ts_last"),
        *_big("first_seq", "last_seq", "seq", "interval_s", "revision", "late_count", "flags"),
        Column("instrument_id", "integer"),
        Column("source_id", "integer"),
    ),
)
TABLES: Final = (*TICKS, BARS)


def opaque(records: Records) -> Records:
    """The same records without field names: numpy copies these whole, others field by field."""
    return records.view(f"V{records.dtype.itemsize}")


def times_us(records: Records) -> Integers:
    """The times that rows are found and partitioned by, in µs since 1970.

    That is `ts_event`. Where it is bad, absent, or a week and more away from `ts_recv`, it is
    `ts_recv`: one wild time of a venue would make a partition of its own. 0 where both are absent.
    """
    if records.dtype == BAR:
        opened: Integers = np.floor_divide(records["ts_open"], 1000)
        return opened
    event, received = records["ts_event"], records["ts_recv"]
    event_us, received_us = np.floor_divide(event, 1000), np.floor_divide(received, 1000)
    absent = received == TIME_UNDEF
    bad = np.abs(event_us - received_us) > MAX_SKEW_US
    bad |= (records["flags"] & Flag.BAD_TS) != 0
    if not bad.any():  # an absent time is far from any other
        return np.where(absent, 0, event_us) if absent.any() else event_us
    unknown = event == TIME_UNDEF
    us = np.where(bad & ~absent | unknown, received_us, event_us)
    return np.where(unknown & absent, 0, us)


class Encoder:
    """Encodes the rows of one table. For one thread at a time: its blocks are used again."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._nullable = [column for column in table.columns if column.null is not None]
        self._blocks: dict[int, npt.NDArray[np.void]] = {}

    def blocks(
        self, records: Records, us: Integers, instruments: npt.NDArray[np.int32], source: int
    ) -> Iterator[memoryview]:
        """The rows of `records` in blocks; each is overwritten when the next is asked for.

        records: dtype of the table, shape (n,). us, instruments: `ts` (µs since 1970) and
        `instrument_id` of each, shape (n,). source: `source_id` of all.
        """
        for start in range(0, len(records), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            yield from self._block(records[part], us[part], instruments[part], source)

    def _block(
        self, records: Records, us: Integers, instruments: npt.NDArray[np.int32], source: int
    ) -> Iterator[memoryview]:
        """Rows with the same columns null are one array; their order within the block is lost."""
        nulls = self._null_columns(records)
        if nulls is None:
            yield self._encoded(0, records, us, instruments, source)
            return
        for code in np.unique(nulls).tolist():
            mask = nulls == code
            some = opaque(records)[mask].view(records.dtype)
            yield self._encoded(code, some, us[mask], instruments[mask], source)

    def _null_columns(self, records: Records) -> npt.NDArray[np.int64] | None:
        """By row, bit i set where the nullable column i is null; None: there is no null."""
        codes = None
        for bit, column in enumerate(self._nullable):
            absent = records[column.field] == column.null
            if absent.any():
                codes = np.zeros(len(records), np.int64) if codes is None else codes
                codes |= absent.astype(np.int64) << bit
        return codes

    def _encoded(
        self,
        nulls: int,
        records: Records,
        us: Integers,
        instruments: npt.NDArray[np.int32],
        source: int,
    ) -> memoryview:
        block = self._blocks.get(nulls)
        if block is None:
            block = self._blocks[nulls] = self._template(nulls)
        rows = block[: len(records)]
        for column in self._table.columns:
            if column.name not in block.dtype.names:  # type: ignore[operator]  # it has names
                continue
            if column.field:
                rows[column.name] = records[column.field]
            elif column.name == "ts":
                np.subtract(us, _EPOCH_US, out=rows["ts"])
            elif column.name == "instrument_id":
                rows["instrument_id"] = instruments
            else:
                rows["source_id"] = source
        return rows.view(np.uint8).data

    def _template(self, nulls: int) -> npt.NDArray[np.void]:
        """An array of `BLOCK_ROWS` rows with everything in place but the values."""
        absent = {column.name for bit, column in enumerate(self._nullable) if nulls >> bit & 1}
        fields = [("columns", ">i2")]
        for column in self._table.columns:
            fields.append((f"{column.name} length", ">i4"))
            if column.name not in absent:
                fields.append((column.name, _WIRE[column.type]))
        block = np.zeros(BLOCK_ROWS, np.dtype(fields))
        block["columns"] = len(self._table.columns)
        for column in self._table.columns:
            size = -1 if column.name in absent else np.dtype(_WIRE[column.type]).itemsize
            block[f"{column.name} length"] = size
        return block
