"""A real server for each test process, a fresh database for each test, and batches to store."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mdfeedd.ring import Instrument
from mdfeedd.sinks import SinkBatch
from mdfeedd.tick import QUOTE, TICK, Kind

SERVERS = Path(__file__).resolve().parents[1] / "servers"
RING_ID = "0123456789abcdef0123456789abcdef"
SECOND = 10**9
NOW = 1_700_000_000 * SECOND  # 2023-11-14
_numbers = itertools.count()


def load(name):
    """A module of tests/sinks/servers."""
    spec = importlib.util.spec_from_file_location(f"servers_{name}", SERVERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


servers = load("postgres")


@pytest.fixture(scope="session")
def load_server():
    """`load`, for modules of tests."""
    return load


@pytest.fixture(scope="session")
def postgres_server():
    """A running server; shared by the tests of one process, so stopped by none of them."""
    pytest.importorskip("psycopg")
    if servers.binaries() is None:
        pytest.skip(servers.NOT_INSTALLED)
    server = servers.PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def own_server():
    """A server that the test may stop and kill."""
    pytest.importorskip("psycopg")
    if servers.binaries() is None:
        pytest.skip(servers.NOT_INSTALLED)
    server = servers.PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


class Database:
    """A database of a server: how a sink gets there, and what is in it."""

    def __init__(self, server, name):
        self.server = server
        self.name = name
        self._sinks = []
        server.execute(f'create database "{name}"')

    @property
    def quoted(self):
        return f'"{self.name}"'

    def sink(self, name="store", **options):
        """A sink into it; closed at the latest when the test ends."""
        from mdfeedd.sinks.postgres import PostgresOptions, PostgresSink

        given = {"dsn": self.server.dsn(self.name)} | options
        self._sinks.append(PostgresSink(PostgresOptions(**given), name))
        return self._sinks[-1]

    def close_sinks(self):
        for sink in self._sinks:
            sink.close()

    def execute(self, sql, parameters=None):
        """Rows of a statement in which the sink's tables need no schema."""
        with self.server.connect(self.name) as connection:
            connection.execute("set search_path = mdfeedd, public; set timezone = 'UTC'")
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def seqs(self, *tables, ring=None):
        """Sequence numbers in tables, sorted, those that came twice twice."""
        names = tables or (
            *("quote", "trade", "status", "statistic", "imbalance", "definition", "feed_event"),
        )
        every = " union all ".join(f"select source_id, seq from {name}" for name in names)
        where = "where ring = %s" if ring else ""
        rows = self.execute(
            f"select seq from ({every}) t join source using (source_id) {where} order by seq",
            (ring,) if ring else None,
        )
        return [row[0] for row in rows]


@pytest.fixture
def database(postgres_server):
    """A fresh database on the shared server."""
    made = Database(postgres_server, f"test{next(_numbers)}")
    yield made
    made.close_sinks()
    postgres_server.execute(f'drop database "{made.name}" with (force)')


@pytest.fixture
def own_database(own_server):
    """A database on the test's own server."""
    made = Database(own_server, "own")
    yield made
    made.close_sinks()


@pytest.fixture
def proxy(postgres_server):
    """A proxy before the shared server that cuts where it is told to."""
    made = load("cutting").CuttingProxy(postgres_server.folder, postgres_server.port)
    yield made
    made.close()


class Instruments:
    """An instruments table as a reader sees it."""

    def __init__(self, entries=(), feed="cme"):
        self.feed = feed
        self.entries = {entry.instrument_id: entry for entry in entries}

    def get(self, instrument_id):
        return self.entries.get(instrument_id)


def instrument(instrument_id, symbol, **fields):
    """An entry of an instruments table."""
    given = {
        "vendor_id": instrument_id + 1000,
        "publisher_id": 1,
        "source_index": 1,
        "tick_size": 250_000_000,
        "expiration": NOW,
        "multiplier": 50 * SECOND,
        "currency": "USD",
        "venue": "XCME",
        "feed": "cme",
        "vendor_symbol": symbol,
    } | fields
    return Instrument(instrument_id=instrument_id, symbol=symbol, **given)


NAMES = {i: f"S{i}" for i in range(1, 8)} | {8: "Ölpreis €/t 原油 🛢"}
TABLE = Instruments([instrument(i, name) for i, name in NAMES.items()])


def batch_of(records, **fields):
    """A batch of a ring."""
    given = {"ring": "cme", "ring_id": RING_ID, "feed": "cme", "epoch": 1, "instruments": TABLE}
    return SinkBatch(records=records, **(given | fields))


def quotes(first_seq, n, **fields):
    """Quotes, dtype TICK, seq from first_seq."""
    out = np.zeros(n, QUOTE)
    out["seq"] = np.arange(first_seq, first_seq + n)
    out["kind"] = Kind.QUOTE
    out["ts_event"] = NOW + out["seq"].astype("i8") * 1001
    out["ts_recv"] = out["ts_event"] + 50_000
    out["instrument_id"] = out["seq"] % 8 + 1
    out["bid_price"], out["ask_price"] = 4502 * SECOND, 4503 * SECOND
    for name, values in fields.items():
        out[name] = values
    return out.view(TICK)


@pytest.fixture
def give():
    """What tests store: batch_of, quotes, Instruments, instrument, and the names."""
    return SimpleNamespace(
        batch_of=batch_of,
        quotes=quotes,
        Instruments=Instruments,
        instrument=instrument,
        names=NAMES,
        ring_id=RING_ID,
        now=NOW,
    )
