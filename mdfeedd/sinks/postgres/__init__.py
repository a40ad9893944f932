"""The PostgreSQL and TimescaleDB sink: every record once, with its position in the same commit.

    SinkBatch ──► sink      what is new of it, by shard (instrument modulo connections)
                   │ names     numbers of instruments and sources in the database, made when missing
                   │ rows      records ─► binary COPY rows, by numpy, no object per row
                   ▼
                  link      one connection a shard:  begin; copy ...; update mdfeedd_position; commit
                   │           (a large batch in several, over two in turn: one copies, one commits)
                   │           ▲ positions: fence and position, compared and moved by that update
                   ▼           │
                  database  tables and views; schema: makes and migrates; partitions, hypertables

What is stored where, in the schema `schema` (prices are bigint in units of 1e-9, times UNIX ns
beside a timestamptz that is cut to µs; what is undefined is null):
    quote, trade (its cancels and corrections too), status, statistic, imbalance, definition
    feed_event      GAP, RECOVERED, CLEAR, HEARTBEAT
    bar             every revision
    instrument      what instrument_id is; the row with an empty symbol is the whole feed
    source          what source_id is: ring, its sequence space, epoch; with seq it names a record
    quotes, trades, bars, ... views with symbols and numeric prices, for people
    mdfeedd_position, mdfeedd_schema

Exactly once, without a unique index: a batch is one transaction per shard, whose last statement
moves the shard's position if it and the fence are still what this process last saw. A commit whose
outcome is unknown is decided by reading the position. Of two processes with one sink's name the
younger raises the fence, and the older can store nothing any more.

Ways to fail (`SinkError`): retriable whatever the server says or does not say; not retriable a
newer schema, another writer of the same name, a store that went back behind what it had confirmed
(the next start reads the position and goes on there), records that are neither ticks nor bars.
"""

from __future__ import annotations

from mdfeedd.sinks.postgres.options import PostgresOptions
from mdfeedd.sinks.postgres.sink import PostgresSink

__all__ = ["PostgresOptions", "PostgresSink"]
