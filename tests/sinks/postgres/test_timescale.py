"""Hypertables, compression and retention, on a real TimescaleDB."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psycopg
import pytest

from mdfeedd.sinks import SinkError
from mdfeedd.sinks.postgres import PostgresOptions, PostgresSink
from mdfeedd.tick import QUOTE, Kind

HOUR = 3600 * 10**9
TABLES = ("quote", "trade", "status", "statistic", "imbalance", "definition", "feed_event", "bar")
_numbers = itertools.count()


@pytest.fixture(scope="session")
def timescale_server(load_server):
    """One for all tests of this process; each has a schema of its own."""
    servers = load_server("timescale")
    try:
        server = servers.TimescaleServer()
    except servers.NotHereError as error:
        pytest.skip(str(error))
    yield server
    server.stop()


class Store:
    """A schema in that database."""

    def __init__(self, dsn):
        self.dsn = dsn
        self.schema = f"test_{os.getpid()}_{next(_numbers)}"
        self._sinks = []

    def sink(self, name="store", **options):
        given = {"dsn": self.dsn, "schema": self.schema} | options
        self._sinks.append(PostgresSink(PostgresOptions(**given), name))
        return self._sinks[-1]

    def execute(self, sql, parameters=None):
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            sql = sql.replace("$schema", self.schema)
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def close(self):
        for sink in self._sinks:
            sink.close()
        self.execute("drop schema if exists $schema cascade")


@pytest.fixture
def store(timescale_server):
    """A fresh schema."""
    made = Store(timescale_server.dsn)
    yield made
    made.close()


def policies(store, kind, key):
    rows = store.execute(
        "select hypertable_name, extract(epoch from (config->>%s)::interval)::bigint "
        "from timescaledb_information.jobs where hypertable_schema = '$schema' and proc_name = %s",
        (key, kind),
    )
    return dict(rows)


def test_tables_are_hypertables_with_the_chunks_that_were_asked_for(store, give):
    sink = store.sink(timescaledb="require", chunk_s=1800)
    quotes = give.quotes(1, 100)
    quotes["ts_event"] = quotes["ts_recv"] = give.now + np.arange(100) * HOUR // 10
    sink.write(give.batch_of(quotes))
    found = store.execute(
        "select hypertable_name, num_chunks, compression_enabled "
        "from timescaledb_information.hypertables where hypertable_schema = '$schema'"
    )
    assert {row[0] for row in found} == set(TABLES)
    assert all(row[2] for row in found)
    chunks = {int(time) // (HOUR // 2) for time in quotes["ts_event"]}
    assert {row[0]: row[1] for row in found}["quote"] == len(chunks)
    assert store.execute("select count(*), count(distinct seq) from $schema.quote") == [(100, 100)]
    indexes = store.execute(
        "select count(*) from pg_indexes where schemaname = '$schema' and tablename = 'quote'"
    )
    assert indexes == [(0,)]


def test_values_read_back_exactly_through_compression(store, give, rng):
    sink = store.sink()
    quotes = give.quotes(1, 5000).view(QUOTE)
    for name in ("bid_price", "ask_price"):
        quotes[name] = rng.integers(-(2**63), 2**63 - 1, 5000)
        quotes[name][rng.random(5000) < 0.1] = 2**63 - 1
    quotes["bid_size"] = rng.integers(0, 2**32, 5000)
    must = [
        tuple(None if v == 2**63 - 1 and i < 2 else v for i, v in enumerate(row))
        for row in zip(
            *(quotes[n].tolist() for n in ("bid_price", "ask_price", "bid_size", "ts_event")),
            strict=True,
        )
    ]
    sink.write(give.batch_of(quotes.view(give.quotes(1, 1).dtype)))
    read = "select bid_price, ask_price, bid_size, ts_event from $schema.quote order by seq"
    assert store.execute(read) == must
    store.execute("select compress_chunk(c) from show_chunks('$schema.quote') c")
    assert store.execute(read) == must
    symbols = store.execute("select distinct symbol from $schema.quotes")
    assert {row[0] for row in symbols} == set(give.names.values())
    # late rows for what is compressed, and the same batch again
    sink.write(give.batch_of(give.quotes(4001, 2000)))
    counts = store.execute("select count(*), count(distinct seq) from $schema.quote")
    assert counts == [(6000, 6000)]


def test_policies_follow_the_options_of_the_last_start(store, give):
    hour, day = 3600, 86_400
    for given, compress, retain, bars in (
        ({}, 2 * hour, 0, 0),
        ({"retain_s": 30 * day, "retain_bars_s": 900 * day}, 2 * hour, 30 * day, 900 * day),
        ({"retain_s": 7 * day, "compress_after_s": hour}, hour, 7 * day, 0),
        ({"retain_s": 7 * day, "compress_after_s": hour}, hour, 7 * day, 0),
        ({"compress_after_s": 0}, 0, 0, 0),
    ):
        sink = store.sink(**given)
        sink.position("cme")
        sink.close()
        found = policies(store, "policy_compression", "compress_after")
        assert found == (dict.fromkeys(TABLES, compress) if compress else {})
        wanted = {name: retain for name in TABLES[:-1] if retain} | ({"bar": bars} if bars else {})
        assert policies(store, "policy_retention", "drop_after") == wanted


def test_policy_that_says_so_already_is_left_alone(store):
    jobs = "select job_id from timescaledb_information.jobs where hypertable_schema = '$schema'"
    store.sink(retain_s=86_400).position("cme")
    before = sorted(store.execute(jobs))
    store.sink(retain_s=86_400).position("cme")
    assert sorted(store.execute(jobs)) == before
    assert len(before) == 15


def test_chunks_take_another_length_from_the_next_start_on(store):
    for seconds in (3600, 600):
        store.sink(chunk_s=seconds).position("cme")
        found = store.execute(
            "select extract(epoch from time_interval)::bigint "
            "from timescaledb_information.dimensions "
            "where hypertable_schema = '$schema' and hypertable_name in ('quote', 'trade')"
        )
        assert found == [(seconds,)] * 2


def test_retention_drops_old_chunks(store, give):
    sink = store.sink(retain_s=86_400)
    sink.write(give.batch_of(give.quotes(1, 10)))  # years ago
    ((job,),) = store.execute(
        "select job_id from timescaledb_information.jobs where hypertable_schema = '$schema' "
        "and hypertable_name = 'quote' and proc_name = 'policy_retention'"
    )
    store.execute(f"call run_job({int(job)})")
    assert store.execute("select count(*) from $schema.quote") == [(0,)]
    sink.write(give.batch_of(give.quotes(11, 10)))
    assert store.execute("select count(*) from $schema.quote") == [(10,)]


def test_plain_partitions_where_that_was_asked_for(store, give):
    sink = store.sink(timescaledb="off")
    sink.write(give.batch_of(give.quotes(1, 10, kind=Kind.QUOTE)))
    assert store.execute("select count(*) from $schema.quote_20231114") == [(10,)]
    with pytest.raises(SinkError, match="are no hypertables"):
        store.sink(timescaledb="require").position("cme")
    store.sink(timescaledb="auto").position("cme")


@pytest.mark.slow
def test_writer_is_killed_at_random_points(timescale_server):
    root = Path(__file__).resolve().parents[3]
    rounds = os.environ.get("MDFEEDD_KILL_ROUNDS", "5")
    done = subprocess.run(
        [
            sys.executable, Path(__file__).with_name("killing.py"),
            "--rounds", rounds, "--dsn", timescale_server.dsn,
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path[1:]])},
        capture_output=True, text=True, timeout=int(rounds) * 10 + 120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "each once" in done.stdout
