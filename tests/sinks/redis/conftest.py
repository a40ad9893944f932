"""A Redis server for each test, sinks into it, batches to store, and what is stored."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mdfeedd.ring import Instrument
from mdfeedd.sinks import SinkBatch
from mdfeedd.tick import BAR, QUOTE, TICK, TRADE, Kind

SERVERS = Path(__file__).resolve().parents[1] / "servers"
SPACE = "0123456789abcdef0123456789abcdef"
SECOND = 10**9
NOW = 1_700_000_000 * SECOND


def load(name):
    """A module of tests/sinks/servers."""
    spec = importlib.util.spec_from_file_location(f"servers_{name}", SERVERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


servers = load("redis")


@pytest.fixture
def make_server():
    """Start a server with settings of redis.conf."""
    pytest.importorskip("redis")
    if servers.binary() is None:
        pytest.skip(servers.NOT_INSTALLED)
    made = []

    def start(**settings):
        made.append(servers.RedisServer(**settings))
        return made[-1].start()

    yield start
    for server in made:
        server.remove()


@pytest.fixture
def server(make_server):
    """A server that keeps nothing over its death."""
    return make_server()


class Instruments:
    """An instruments table as a reader sees it."""

    def __init__(self, names, feed="cme"):
        self.feed = feed
        self.entries = {
            i: Instrument(i, i + 1000, 1, 1, 250_000_000, 0, 0, "USD", "XCME", feed, name, name)
            for i, name in names.items()
        }

    def get(self, instrument_id):
        return self.entries.get(instrument_id)

    def symbol(self, instrument_id):
        found = self.get(instrument_id)
        if found is not None:
            return found.symbol
        return f"#{instrument_id}" if instrument_id else ""


NAMES = {i: f"S{i}" for i in range(1, 8)} | {8: 'Ölpreis "€"/t 原油'}
TABLE = Instruments(NAMES)


def batch(records, **fields):
    """A batch of a ring."""
    given = {"ring": "cme", "ring_id": SPACE, "feed": "cme", "epoch": 1, "instruments": TABLE}
    return SinkBatch(records=records, **(given | fields))


def quotes(first_seq, n, **fields):
    """Quotes as a ring holds them: dtype TICK, seq from first_seq."""
    out = np.zeros(n, QUOTE)
    out["seq"] = np.uint64(first_seq) + np.arange(n, dtype="u8")
    out["kind"] = Kind.QUOTE
    out["ts_event"] = NOW + out["seq"].astype("i8") * 1001
    out["ts_recv"] = out["ts_event"] + 50_000
    out["instrument_id"] = out["seq"] % 8 + 1
    out["bid_price"], out["ask_price"] = 4502 * SECOND, 4502 * SECOND + 250_000_000
    out["bid_size"], out["ask_size"] = 3, 4
    for name, values in fields.items():
        out[name] = values
    return out.view(TICK)


def stored(server, ring="cme", prefix="md"):
    """The records of a ring's stream, in the order of the stream, with ids and headers."""
    entries = server.client().xrange(f"{prefix}:{{{ring}}}:stream")
    parts, heads = [], []
    for entry_id, fields in entries:
        data = fields.pop(b"d")
        n = int(fields[b"n"])
        dtype = {64: TICK, 128: BAR}[len(data) // n]
        part = np.frombuffer(data, dtype)
        assert (int(part["seq"][0]), int(part["seq"][-1])) == (
            int(fields[b"first"]),
            int(fields[b"last"]),
        )
        parts.append(part)
        heads.append((entry_id.decode(), {k.decode(): v.decode() for k, v in fields.items()}))
    records = np.concatenate(parts) if parts else np.empty(0, TICK)
    return SimpleNamespace(records=records, heads=heads, ids=[one for one, _ in heads])


@pytest.fixture
def sink(server):
    """Make a sink into the server."""
    return sinks_into(server)


def sinks_into(server):
    """Makes sinks into a server."""
    from mdfeedd.sinks.redis import RedisOptions, RedisSink

    def make(*modes, name="store", clock_ns=None, **options):
        given = {"port": server.port, "stream_maxlen": 1_000_000, "timeout_s": 30.0} | options
        clock = {} if clock_ns is None else {"clock_ns": clock_ns}
        return RedisSink(RedisOptions(modes=list(modes or ["stream"]), **given), name, **clock)

    return make


@pytest.fixture
def given():
    """What tests store and look for."""
    return SimpleNamespace(
        batch=batch,
        quotes=quotes,
        stored=stored,
        sinks_into=sinks_into,
        free_port=servers.free_port,
        has_tls=servers.has_tls,
        Instruments=Instruments,
        names=NAMES,
        table=TABLE,
        space=SPACE,
        trade=TRADE,
    )
