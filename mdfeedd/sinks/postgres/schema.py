"""The schema: made when it is missing, migrated when it is older, refused when it is newer.

`mdfeedd_schema` holds one row: the version, and whether the tables are hypertables or plain tables
in partitions, which is decided when they are made. A new schema is made as it is now; an older one
goes through `MIGRATIONS`, one version after the other, in one transaction. An advisory lock lets
one process at a time do so.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from mdfeedd.sinks.postgres.rows import BARS, TABLES, Table
from mdfeedd.sinks.protocol import SinkError

if TYPE_CHECKING:
    from mdfeedd.sinks.postgres.connection import Link
    from mdfeedd.sinks.postgres.options import PostgresOptions

__all__ = ["LOCK", "MIGRATIONS", "VERSION", "extension_schema", "prepare"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.postgres")

VERSION: Final = 1
#: What makes the version after N of version N.
MIGRATIONS: Final[dict[int, str]] = {}
#: Taken by whoever changes tables of the schema, until the end of the transaction.
LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('mdfeedd schema $schema', 0))"

_IS_THERE: Final = """
select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = '$schema' and c.relname = 'mdfeedd_schema'
"""
_KEPT: Final = """
create table $schema.instrument(
    instrument_id integer generated always as identity primary key,
    feed text not null,
    venue text not null,
    vendor_symbol text not null,
    vendor_id bigint not null,      -- u64 by its bits; 0: none
    publisher_id bigint not null,   -- 0: none
    symbol text not null,           -- '': the whole feed
    currency text not null,
    tick_size bigint not null,      -- units of 1e-9; 0: unknown
    multiplier bigint not null,     -- units of 1e-9; 0: unknown
    expiration bigint not null,     -- UNIX ns; 0: none or unknown
    first_seen timestamptz not null default now(),
    unique (symbol, feed, venue, vendor_symbol, vendor_id, publisher_id));
create table $schema.source(
    source_id integer generated always as identity primary key,
    ring text not null,
    ring_id uuid not null,          -- the sequence space: with seq it names a record for ever
    epoch bigint not null,
    first_seen timestamptz not null default now(),
    unique (ring, ring_id, epoch));
create table $schema.mdfeedd_position(
    sink text not null,
    ring text not null,
    shard smallint not null,
    shards smallint not null,       -- among how many the instruments are shared
    fence bigint not null,          -- raised by each process that starts
    space integer not null,         -- 1, 2, ...: the order in which sequence spaces came; 0: none yet
    ring_id uuid,
    epoch bigint not null,
    seq bigint not null,
    updated_at timestamptz not null default now(),
    primary key (sink, ring, shard))
    with (fillfactor = 10);         -- updated at each batch: in place, without work for the index
create table $schema.mdfeedd_schema(
    version integer not null,
    layout text not null,           -- hypertables or partitions
    migrated_at timestamptz not null default now());
"""
#: A hypertable needs none: chunks find times, and in what is compressed instruments lie together.
_INDEX: Final = {"time": "using brin (ts)", "instrument": "(instrument_id, ts)"}
_VIEW: Final = """
create view $schema.{view} as
select t.ts, i.symbol, i.feed, i.venue, {columns}
from $schema.{table} t join $schema.instrument i using (instrument_id);
"""
_SIDE: Final = "case t.side when 1 then '{0}' when 2 then '{1}' else 'none' end as side"
_KIND: Final = (
    "case t.kind when 2 then 'trade' when 3 then 'trade_cancel' when 4 then 'trade_correction' "
    "when 7 then 'gap' when 8 then 'recovered' when 9 then 'clear' when 11 then 'heartbeat' "
    "end as kind"
)
_REASON: Final = (
    "case t.reason when 1 then 'packet_loss' when 2 then 'disconnect' when 3 then 'vendor_skipped' "
    "when 4 then 'restart' when 5 then 'corrupt' when 6 then 'ring_lapped' end as reason"
)
_STATUS: Final = (
    "t.state, t.reason, t.trading_event, t.is_trading, t.is_quoting, t.is_short_sell_restricted, "
    "$last"
)
#: By table: the view's name, its columns behind symbol, feed and venue, and those that are prices.
_VIEWS: Final[dict[str, tuple[str, str, str]]] = {
    "quote": ("quotes", "$prices, t.bid_size, t.ask_size, t.count, $last", "bid_price ask_price"),
    "trade": (
        "trades",
        f"{_KIND}, $prices, t.size, {_SIDE.format('buy', 'sell')}, t.trade_id, t.count, $last",
        "price",
    ),
    "status": (
        "statuses",
        _STATUS,
        "",
    ),
    "statistic": (
        "statistics",
        "t.type, $prices, t.quantity, t.ts_ref_s, t.update_action, t.stat_flags, $last",
        "price",
    ),
    "imbalance": (
        "imbalances",
        f"$prices, t.paired_size, t.imbalance_size, {_SIDE.format('bid', 'ask')}, $last",
        "ref_price match_price",
    ),
    "definition": ("definitions", "$prices, t.expiration, t.action, $last", "tick_size"),
    "feed_event": (
        "feed_events",
        f"{_KIND}, {_REASON}, t.first_missing, t.last_missing, t.line, $last",
        "",
    ),
}
_LAST: Final = "t.flags, t.venue_seq, t.ts_event, t.ts_recv, t.source_id, t.seq"
#: The latest revision of each bar.
_BARS: Final = """
create view $schema.bars as
select distinct on (t.instrument_id, t.interval_s, t.ts) t.ts, i.symbol, i.feed, i.venue,
    t.interval_s, {prices}, t.volume, t.count, t.flags, t.revision, t.ts_open, t.source_id, t.seq
from $schema.bar t join $schema.instrument i using (instrument_id)
order by t.instrument_id, t.interval_s, t.ts, t.revision desc, t.source_id desc, t.seq desc;
"""


def prepare(link: Link, options: PostgresOptions) -> str:
    """Make or migrate the schema; returns its layout, hypertables or partitions.

    Raises `SinkError`, not retriable for a schema of a newer version.
    """
    found = _found(link, options)
    if found is None or found[0] != VERSION:
        with link.transaction():
            link.execute(LOCK)
            found = _found(link, options)  # somebody else may have done it meanwhile
            if found is None:
                found = VERSION, _create(link, options)
            else:
                _migrate(link, found[0])
    layout = found[1]
    if options.timescaledb == "require" and layout != "hypertables":
        raise SinkError(
            f"the tables in schema {options.schema} are no hypertables, which timescaledb: require "
            f"asks for: they were made without TimescaleDB; choose another schema",
            retriable=False,
        )
    return layout


def extension_schema(link: Link) -> str | None:
    """Where the functions of TimescaleDB are; None where the database does not have it."""
    rows = link.execute(
        "select quote_ident(nspname) from pg_extension e join pg_namespace n "
        "on n.oid = e.extnamespace where extname = 'timescaledb'"
    )
    return str(rows[0][0]) if rows else None


def _found(link: Link, options: PostgresOptions) -> tuple[int, str] | None:
    """Version and layout of the schema that is there. Raises `SinkError` if it is newer."""
    # By the catalogue, which shows what another process has just committed; to_regclass may not.
    if not link.execute(_IS_THERE):
        return None
    ((version, layout),) = link.execute("select version, layout from $schema.mdfeedd_schema")
    if version > VERSION:
        raise SinkError(
            f"the schema {options.schema} has version {version}, made by a newer mdfeedd, and this "
            f"one knows versions up to {VERSION}: update it, or choose another schema",
            retriable=False,
        )
    return int(version), str(layout)


def _create(link: Link, options: PostgresOptions) -> str:
    extension = None if options.timescaledb == "off" else extension_schema(link)
    if extension is None and options.timescaledb == "require":
        raise SinkError(
            "the database does not have the extension timescaledb, which timescaledb: require asks "
            "for: create extension timescaledb",
            retriable=True,
        )
    if not link.execute("select 1 from pg_namespace where nspname = '$schema'"):
        link.execute("create schema $schema")
    link.execute(_KEPT)
    for table in TABLES:
        link.execute(_table_sql(table, partitioned=extension is None))
        if table is BARS:
            link.execute("create index on $schema.bar (instrument_id, interval_s, ts)")
        elif extension is None and table.large and options.index in _INDEX:
            link.execute(f"create index on $schema.{table.name} {_INDEX[options.index]}")
        link.execute(_view_sql(table))
        if extension is not None:
            seconds = options.chunk_s if table.large else 7 * 86_400
            link.execute(
                f"select {extension}.create_hypertable('$schema.{table.name}', 'ts', "
                f"chunk_time_interval => interval '{seconds} seconds', "
                f"create_default_indexes => false)"
            )
    layout = "partitions" if extension is None else "hypertables"
    link.execute(
        "insert into $schema.mdfeedd_schema(version, layout) values (%s, %s)", (VERSION, layout)
    )
    log.info("made the schema %s, version %d, with %s", options.schema, VERSION, layout)
    return layout


def _migrate(link: Link, version: int) -> None:
    for step in range(version, VERSION):
        link.execute(MIGRATIONS[step])
    if version != VERSION:
        link.execute(
            "update $schema.mdfeedd_schema set version = %s, migrated_at = now()", (VERSION,)
        )
        log.info("migrated the schema from version %d to %d", version, VERSION)


def _table_sql(table: Table, *, partitioned: bool) -> str:
    columns = ", ".join(
        f"{column.name} {column.type}" + ("" if column.null is not None else " not null")
        for column in table.columns
    )
    tail = " partition by range (ts)" if partitioned else ""
    return f"create table $schema.{table.name}({columns}){tail}"


def _view_sql(table: Table) -> str:
    def exact(names: str) -> str:
        return ", ".join(f"t.{name} * 0.000000001 as {name}" for name in names.split())

    if table is BARS:
        return _BARS.format(prices=exact("open high low close vwap"))
    view, columns, prices = _VIEWS[table.name]
    columns = columns.replace("$prices", exact(prices)).replace("$last", _LAST)
    return _VIEW.format(view=view, columns=columns, table=table.name)
