"""Where the rows of a time lie: partitions that we make and drop, or chunks that TimescaleDB does.

Plain PostgreSQL: quotes and trades in a partition a day, the rest in one a month. Those of the
near future are made ahead, any other when the first row for it comes. A partition is made beside
its table and then attached, which no reader has to be waited for; dropped, it is detached first in
the same way. One whose dropping was interrupted carries a comment, and is found by it.

TimescaleDB: policies drop and compress chunks; here they are made to say what the options say.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from mdfeedd.sinks.postgres import schema
from mdfeedd.sinks.postgres.rows import BARS, TABLES

if TYPE_CHECKING:
    import numpy.typing as npt

    from mdfeedd.sinks.postgres.connection import Link
    from mdfeedd.sinks.postgres.options import PostgresOptions
    from mdfeedd.sinks.postgres.rows import Table

    Target = tuple[str, npt.NDArray[np.bool_] | None]

__all__ = ["Hypertables", "Layout", "Partitions"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.postgres")

DAYS_AHEAD: Final = 2
_TO_BE_DROPPED: Final = "mdfeedd: to be dropped"
_UNITS: Final = {"D": "datetime64[D]", "M": "datetime64[M]"}
_LEAVES: Final = """
select p.relname, c.relname, i.inhdetachpending from pg_inherits i
join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
where p.relnamespace = to_regnamespace('$schema') and p.relkind = 'p' and c.relkind <> 'i'
"""
_SET_CHUNKS: Final = """
select {function}('$schema.{table}', interval '{s} seconds')
from timescaledb_information.dimensions where hypertable_schema = '$schema'
and hypertable_name = '{table}' and time_interval <> interval '{s} seconds'
"""
_IS_ATTACHED: Final = """
select relispartition from pg_class
where relnamespace = to_regnamespace('$schema') and relname = %s
"""
_LEFT_OVER: Final = """
select c.relname from pg_class c where c.relnamespace = to_regnamespace('$schema')
and c.relkind = 'r' and not c.relispartition and obj_description(c.oid, 'pg_class') = %s
"""


class Layout(Protocol):
    """How the tables are divided by time."""

    def begin(self) -> None:
        """Learn what is there, and make it what the options say. Raises `SinkError`."""

    def targets(self, table: Table, us: npt.NDArray[np.int64]) -> list[Target]:
        """Where rows of these times (µs since 1970) go: names, and which rows; None: all of them.

        Makes the place where it is missing. Raises `SinkError`.
        """

    def maintain(self) -> None:
        """Make what is needed soon, drop what is too old. Raises `SinkError`."""


def _limit_s(options: PostgresOptions, table: Table) -> int:
    return options.retain_bars_s if table is BARS else options.retain_s


class Partitions:
    """Partitions of plain tables."""

    def __init__(self, link: Link, options: PostgresOptions) -> None:
        self._link = link
        self._options = options
        self._known: dict[str, set[str]] = {}

    def begin(self) -> None:
        """See `Layout`."""
        self._known = {table.name: set() for table in TABLES}
        for parent, leaf, leaving in self._link.execute(_LEAVES):
            if parent in self._known and not leaving:
                self._known[parent].add(leaf)

    def targets(self, table: Table, us: npt.NDArray[np.int64]) -> list[Target]:
        """Partitions themselves: that spares the server to find the one of each row."""
        unit = _UNITS[table.period]
        ends = np.array([us.min(), us.max()]).astype("datetime64[us]").astype(unit)
        if ends[0] == ends[1]:
            return [(self._there(table, ends[0]), None)]
        periods = us.astype("datetime64[us]").astype(unit)
        return [(self._there(table, period), periods == period) for period in np.unique(periods)]

    def maintain(self) -> None:
        """See `Layout`."""
        ((now_s,),) = self._link.execute("select extract(epoch from now())::float8")
        today = np.datetime64(int(now_s), "s")
        for table in TABLES:
            ahead = np.arange(today, today + np.timedelta64(DAYS_AHEAD + 1, "D"), 86_400)
            self.targets(table, ahead.astype("datetime64[us]").astype(np.int64))
        for table in TABLES:
            if _limit_s(self._options, table):
                self._drop_before(
                    table, today - np.timedelta64(_limit_s(self._options, table), "s")
                )
        for (leaf,) in self._link.execute(_LEFT_OVER, (_TO_BE_DROPPED,)):
            self._link.execute(f"drop table $schema.{leaf}")

    def _there(self, table: Table, period: np.datetime64) -> str:
        """The name of a partition, which is made if need be."""
        leaf = _leaf(table, period)
        if leaf not in self._known[table.name]:
            self._make(table, period, leaf)
        return leaf

    def _make(self, table: Table, period: np.datetime64, leaf: str) -> None:
        with self._link.transaction():
            self._link.execute(schema.LOCK)
            found = self._link.execute(_IS_ATTACHED, (leaf,))
            if not found:
                self._link.execute(f"create table $schema.{leaf} (like $schema.{table.name})")
            if found != [(True,)]:
                self._link.execute(
                    f"comment on table $schema.{leaf} is null; "
                    f"alter table $schema.{table.name} attach partition $schema.{leaf} "
                    f"for values from ('{_begin(period)}') to ('{_begin(period + 1)}')"
                )
        self._known[table.name].add(leaf)
        log.info("made the partition %s.%s", self._options.schema, leaf)

    def _drop_before(self, table: Table, limit: np.datetime64) -> None:
        first_kept = limit.astype(_UNITS[table.period])
        keep = _leaf(table, first_kept)
        for parent, leaf, leaving in self._link.execute(_LEAVES):
            # names of a table sort as their times do
            if parent != table.name or len(leaf) != len(keep) or leaf >= keep:
                continue
            how = "finalize" if leaving else "concurrently"
            self._known[table.name].discard(leaf)
            self._link.execute(f"comment on table $schema.{leaf} is '{_TO_BE_DROPPED}'")
            self._link.execute(
                f"alter table $schema.{table.name} detach partition $schema.{leaf} {how}"
            )
            self._link.execute(f"drop table $schema.{leaf}")
            log.info("dropped the partition %s.%s", self._options.schema, leaf)


def _leaf(table: Table, period: np.datetime64) -> str:
    return f"{table.name}_{str(period).replace('-', '')}"


def _begin(period: np.datetime64) -> str:
    return f"{period.astype(_UNITS['D'])} 00:00:00+00"


class Hypertables:
    """Chunks of hypertables."""

    def __init__(self, link: Link, options: PostgresOptions) -> None:
        self._link = link
        self._options = options

    def begin(self) -> None:
        """See `Layout`."""
        extension = schema.extension_schema(self._link)
        licence = self._link.execute("select current_setting('timescaledb.license', true)")[0][0]
        for table in TABLES:
            self._set_chunks(table, f"{extension}.set_chunk_time_interval")
        if licence == "apache":
            log.warning(
                "this TimescaleDB is of the Apache edition: it neither compresses nor drops by policy"
            )
            return
        for table in TABLES:
            if self._options.compress_after_s:
                self._let_compress(table)
            after_s = self._options.compress_after_s
            self._set_policy(table, f"{extension}.%s_compression_policy", "compress_after", after_s)
            retain_s = _limit_s(self._options, table)
            self._set_policy(table, f"{extension}.%s_retention_policy", "drop_after", retain_s)

    def targets(self, table: Table, us: npt.NDArray[np.int64]) -> list[Target]:  # noqa: ARG002
        """TimescaleDB finds and makes the chunks itself."""
        return [(table.name, None)]

    def maintain(self) -> None:
        """TimescaleDB does so itself."""

    def _set_chunks(self, table: Table, function: str) -> None:
        if table.large:
            self._link.execute(
                _SET_CHUNKS.format(function=function, table=table.name, s=self._options.chunk_s)
            )

    def _let_compress(self, table: Table) -> None:
        enabled = self._link.execute(
            "select compression_enabled from timescaledb_information.hypertables "
            "where hypertable_schema = '$schema' and hypertable_name = %s",
            (table.name,),
        )
        if enabled != [(True,)]:
            self._link.execute(
                f"alter table $schema.{table.name} set (timescaledb.compress, "
                f"timescaledb.compress_segmentby = 'instrument_id', "
                f"timescaledb.compress_orderby = 'ts, seq')"
            )

    def _set_policy(self, table: Table, function: str, key: str, after_s: int) -> None:
        """Make the policy say `after_s`; 0: there must be none. One that says so stays as it is."""
        procedure = "policy_compression" if key == "compress_after" else "policy_retention"
        found = self._link.execute(
            "select extract(epoch from (config->>%s)::interval)::bigint "
            "from timescaledb_information.jobs where hypertable_schema = '$schema' "
            "and hypertable_name = %s and proc_name = %s",
            (key, table.name, procedure),
        )
        if found == ([(after_s,)] if after_s else []):
            return
        if found:
            self._link.execute(f"select {function % 'remove'}('$schema.{table.name}')")
        if after_s:
            self._link.execute(
                f"select {function % 'add'}('$schema.{table.name}', interval '{after_s} seconds')"
            )
