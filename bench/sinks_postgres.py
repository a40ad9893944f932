"""Quotes into PostgreSQL: the sink, exactly once, beside psql, asyncpg and the server's own limit.

    python bench/sinks_postgres.py [--rows 1000000] [--rounds 5] [--dsn DSN] [--save]

A server of its own is started from the distribution's package with its default durability (fsync, WAL), over its
socket; --dsn takes one that is there (then without the server's CPU time). All write the same rows into the same
table, as the sink makes it, in turn, emptied in between:
    server file     the server reads a ready binary file itself: the limit
    psql            \\copy of the same file, one transaction
    sink 65536      batches as in catch-up, a transaction with the position for each
    sink 5000       batches as by default
    sink 2 x 65536  two connections
    sink nulls      as sink 65536, with one price in ten absent
    asyncpg         copy_records_to_table of ready tuples, 65536 at a time
    asyncpg records the same from the array that the sink gets: tuples are made on the way
"encode" is the sink's client side alone. Written to bench/results/sinks_postgres.json with --save.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

import machine
import numpy as np

from mdfeedd.ring import Instrument
from mdfeedd.sinks import SinkBatch
from mdfeedd.sinks.postgres import PostgresOptions, PostgresSink
from mdfeedd.sinks.postgres.connection import _COPY_HEADER, _COPY_TRAILER
from mdfeedd.sinks.postgres.rows import TICKS, Encoder, times_us
from mdfeedd.tick import PRICE_UNDEF, QUOTE, TICK, Kind

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "sinks" / "servers"))
import postgres as servers

RESULT = Path(__file__).parent / "results" / "sinks_postgres.json"
TABLE = next(table for table in TICKS if table.name == "quote")
COLUMNS = [column.name for column in TABLE.columns]
COPY = f"copy bench.quote ({', '.join(COLUMNS)})"
INSTRUMENTS = 500
BEGIN_NS = 1_700_000_000 * 10**9
TUPLES = 4  # asyncpg gets one in so many rows: it is slow, and its tuples are large
SETTINGS = "fsync = on\nfull_page_writes = on\nmax_wal_size = 8GB\nshared_buffers = 256MB\n"


class Table:
    """The instruments table."""

    feed = "bench"

    def get(self, number):
        return Instrument(number, number, 1, 1, 1, 0, 0, "USD", "X", "bench", f"S{number}", "")


INSTRUMENTS_TABLE = Table()


def make_quotes(n, *, nulls=0.0):
    rng = np.random.default_rng(1)
    quotes = np.zeros(n, QUOTE)
    quotes["seq"] = np.arange(1, n + 1)
    quotes["kind"] = Kind.QUOTE
    quotes["ts_event"] = BEGIN_NS + np.sort(rng.integers(0, 3600 * 10**9, n))
    quotes["ts_recv"] = quotes["ts_event"] + rng.integers(10_000, 90_000, n)
    quotes["instrument_id"] = rng.integers(1, INSTRUMENTS + 1, n)
    quotes["bid_price"] = rng.integers(90 * 10**9, 110 * 10**9, n)
    quotes["ask_price"] = quotes["bid_price"] + 250_000_000
    quotes["bid_size"], quotes["ask_size"] = rng.integers(1, 1000, (2, n))
    quotes["bid_price"][rng.random(n) < nulls] = PRICE_UNDEF
    return quotes


def blocks(quotes):
    ids = quotes["instrument_id"].astype("i4")
    return Encoder(TABLE).blocks(quotes, times_us(quotes), ids, 1)


def ready_file(quotes, folder):
    path = Path(folder) / "quotes.bin"
    with path.open("wb") as file:
        file.write(_COPY_HEADER)
        for block in blocks(quotes):
            file.write(block)
        file.write(_COPY_TRAILER)
    path.chmod(0o644)
    return path


def ready_tuples(quotes):
    """Rows as asyncpg wants them, made as fast as Python can."""
    columns = []
    for column in TABLE.columns:
        if column.name == "ts":
            naive = times_us(quotes).astype("datetime64[us]").tolist()
            columns.append([time.replace(tzinfo=UTC) for time in naive])
        elif column.name == "source_id":
            columns.append([1] * len(quotes))
        else:
            columns.append(quotes[column.field or column.name].tolist())
    return list(zip(*columns, strict=True))


class Bench:
    """Ways to store quotes; each returns how many it stored."""

    def __init__(self, dsn, quotes, folder):
        self.dsn = dsn
        self.quotes = quotes
        self.sparse = make_quotes(len(quotes), nulls=0.1)
        self.tuples = ready_tuples(quotes[: len(quotes) // TUPLES])
        self.file = ready_file(quotes, folder)
        self.next_seq = 1

    def sql(self, *statements):
        import psycopg

        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def server_file(self):
        self.sql(f"{COPY} from '{self.file}' (format binary)")
        return len(self.quotes)

    def psql(self):
        command = f"\\{COPY} from '{self.file}' (format binary)"
        subprocess.run(
            [servers.binaries() / "psql", "-qX", "-d", self.dsn, "-c", command], check=True
        )
        return len(self.quotes)

    def asyncpg(self, *, ready=True):
        some = self.quotes[: len(self.tuples)]
        asyncio.run(self._asyncpg(self.tuples if ready else some))
        return len(some)

    async def _asyncpg(self, rows):
        import asyncpg
        from psycopg.conninfo import conninfo_to_dict

        given = conninfo_to_dict(self.dsn)
        connection = await asyncpg.connect(
            host=given["host"], port=given["port"], user=given["user"], database=given["dbname"]
        )
        for start in range(0, len(rows), 65536):
            part = rows[start : start + 65536]
            await connection.copy_records_to_table(
                "quote",
                schema_name="bench",
                records=part if rows is self.tuples else ready_tuples(part),
                columns=COLUMNS,
            )
        await connection.close()
        await asyncio.sleep(0.05)  # its server process ends, and is counted

    @contextmanager
    def ready_sink(self, connections=1):
        """Connected, with the schema there and the ring taken over."""
        given = PostgresOptions(dsn=self.dsn, schema="bench", connections=connections)
        sink = PostgresSink(given, f"bench{connections}")
        sink.position("bench")
        yield sink
        sink.close()

    def sink(self, size, *, connections=1, nulls=False):
        with self.ready_sink(connections) as sink:
            return self.store(sink, size, self.sparse if nulls else self.quotes)

    def store(self, sink, size, quotes):
        # the position moves on over all ways and rounds: what is behind it would be left out
        quotes["seq"] = np.arange(self.next_seq, self.next_seq + len(quotes))
        self.next_seq += len(quotes)
        for start in range(0, len(quotes), size):
            records = quotes[start : start + size].view(TICK)
            sink.write(SinkBatch("bench", "ab" * 16, "bench", 1, records, INSTRUMENTS_TABLE))
        return len(quotes)

    def encode(self):
        for _ in blocks(self.quotes):
            pass
        return len(self.quotes)

    def ways(self):
        return {
            "server file": self.server_file,
            "psql": self.psql,
            "sink 65536": lambda: self.sink(65536),
            "sink 5000": lambda: self.sink(5000),
            "sink 2 x 65536": lambda: self.sink(65536, connections=2),
            "sink nulls": lambda: self.sink(65536, nulls=True),
            "asyncpg": self.asyncpg,
            "asyncpg records": lambda: self.asyncpg(ready=False),
            "encode": self.encode,
        }


def server_cpu_s(server):
    """CPU seconds that the processes of a server have used so far, those that are gone included."""
    if server is None:
        return float("nan")
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "cwd") != str(server.data):
                continue
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        own = int(fields[1]) != os.getpid()  # the postmaster counts its dead children, too
        ticks += sum(map(int, fields[11:13] if own else fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def client_cpu_s():
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def measure(bench, server, rounds):
    """By way, a list by round: k rows/s, and CPU µs per row of client and server."""
    ways = bench.ways()
    found = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            bench.sql("truncate bench.quote", "checkpoint")
            client, there = client_cpu_s(), server_cpu_s(server)
            begin = time.perf_counter()
            rows = way()
            took = time.perf_counter() - begin
            client, there = client_cpu_s() - client, server_cpu_s(server) - there
            if number:  # the first makes partitions and warms up
                found[name].append((rows / took / 1e3, client / rows * 1e6, there / rows * 1e6))
        print(f"round {number} of {rounds}", file=sys.stderr)
    return found


def ratio(found, ours, theirs):
    """Median of the rounds' ratios."""
    pairs = zip(found[ours], found[theirs], strict=True)
    return round(statistics.median(a[0] / b[0] for a, b in pairs), 3)


def report(found):
    print(f"{'':18}{'k rows/s':>10}{'client':>9}{'server':>9}  µs CPU a row")
    figures = {}
    for name, rounds in found.items():
        rate, client, server = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:18}{rate:10,.0f}{client:9.2f}{server:9.2f}")
        figures[name] = {
            "k_rows_per_s": round(rate),
            "client_cpu_us_per_row": round(client, 3),
            "server_cpu_us_per_row": round(server, 3),
        }
    ratios = {
        f"{ours} : {theirs}": ratio(found, ours, theirs)
        for ours in ("sink 65536", "sink 5000", "sink 2 x 65536", "sink nulls")
        for theirs in ("server file", "psql", "asyncpg", "asyncpg records")
    }
    for name, value in ratios.items():
        print(f"{name:36}{value:8.2f}")
    return figures, ratios


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dsn", help="a server on this machine; schema bench is made and dropped")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one short round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.rounds = 200_000, 1
    server = None
    if not arguments.dsn:
        server = servers.PostgresServer(SETTINGS)
        server.start()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        bench = Bench(arguments.dsn or server.dsn(), make_quotes(arguments.rows), folder)
        try:
            with bench.ready_sink() as sink:
                bench.store(sink, 1000, bench.quotes[:1000].copy())
            found = measure(bench, server, arguments.rounds)
            figures, ratios = report(found)
        finally:
            bench.sql("drop schema if exists bench cascade")
            if server is not None:
                server.remove()
    if arguments.save:
        result = {
            **machine.describe("psycopg", "asyncpg", "numpy"),
            "ways": figures,
            "ratios": ratios,
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
