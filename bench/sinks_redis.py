"""Ticks into Redis: our sink in each of its modes beside redis-py, on one server, in turns.

    python bench/sinks_redis.py [--ticks 200000] [--rounds 5] [--save]

redis-py gets channels and JSON texts that are ready, and pipelines of 1000; the sink makes its own, and
moves its position. Nobody subscribes. The limit is a connection that sends the same bytes, ready made, and
reads replies: what the server itself takes. A figure is the median of the rounds, a ratio the median of the
ratios within each round.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import machine
import numpy as np
import redis

from mdfeedd.ring import Instrument
from mdfeedd.sinks import SinkBatch
from mdfeedd.sinks.jsontext import JsonText
from mdfeedd.sinks.redis import RedisOptions, RedisSink
from mdfeedd.sinks.redis.wire import Wire
from mdfeedd.tick import QUOTE, TICK

RESULT = Path(__file__).parent / "results" / "sinks_redis.json"
INSTRUMENTS = 200
BATCH = 5000
PIPELINE = 1000
PEER = "redis-py, pipelined"


class Table:
    """Names of the instruments."""

    feed = "bench"

    def __init__(self):
        numbers = range(1, INSTRUMENTS + 1)
        self._entries = {
            i: Instrument(
                i, i, 1, 1, 250_000_000, 0, 0, "USD", "XCME", "bench", f"SYM{i}", f"SYM{i}"
            )
            for i in numbers
        }

    def get(self, number):
        return self._entries.get(number)

    def symbol(self, number):
        return self._entries[number].symbol


TABLE = Table()


def make_ticks(n):
    """Quotes like those of a busy market."""
    rng = np.random.default_rng(1)
    out = np.zeros(n, QUOTE)
    out["kind"] = 1
    out["ts_event"] = 1_772_461_800 * 10**9 + np.cumsum(rng.integers(1, 20_000, n))
    out["ts_recv"] = out["ts_event"] + 50_000
    out["instrument_id"] = rng.integers(1, INSTRUMENTS + 1, n)
    out["flags"], out["count"] = 1, 3
    out["bid_price"] = 6000 * 10**9 + rng.integers(-200, 200, n) * 250_000_000
    out["ask_price"] = out["bid_price"] + 250_000_000
    out["bid_size"], out["ask_size"] = rng.integers(1, 300, n), rng.integers(1, 300, n)
    return out.view(TICK)


class Sinks:
    """Our sink in one mode; the sequence goes on from round to round."""

    def __init__(self, port, modes, ticks):
        options = RedisOptions(modes=modes, stream_maxlen=50, port=port, prefix="-".join(modes))
        self._sink = RedisSink(options, "bench")
        self._ticks = ticks
        self._next = 1

    def __call__(self):
        n = len(self._ticks)
        self._ticks["seq"] = np.arange(self._next, self._next + n)
        self._next += n
        for at in range(0, n, BATCH):
            records = self._ticks[at : at + BATCH]
            self._sink.write(SinkBatch("bench", "a" * 32, "bench", 1, records, TABLE))


def redis_py(port, ticks):
    """PUBLISH in pipelines of ready texts."""
    client = redis.Redis(port=port, protocol=2)
    text, lengths = JsonText().lines(ticks, TABLE)
    ends = np.cumsum(lengths).tolist()
    messages = [bytes(text[e - n : e]) for e, n in zip(ends, lengths.tolist(), strict=True)]
    channels = [f"md:bench:SYM{i}:quote" for i in ticks["instrument_id"].tolist()]

    def run():
        for at in range(0, len(ticks), PIPELINE):
            pipeline = client.pipeline(transaction=False)
            for i in range(at, min(at + PIPELINE, len(ticks))):
                pipeline.publish(channels[i], messages[i])
            pipeline.execute()

    return run


def ready_made(port, ticks):
    """The bytes of the mode ticks, made beforehand."""
    wire = Wire(RedisOptions(modes=["ticks"], port=port), None)
    makes = JsonText(lambda feed, symbol, kind: f"md:{feed}:{symbol}:{kind}")
    chunks = [
        (bytes(makes.lines(some, TABLE)[0]), len(some))
        for some in (ticks[at : at + BATCH] for at in range(0, len(ticks), BATCH))
    ]

    def run():
        for data, n in chunks:
            wire.send(memoryview(data), n)
        wire.settle()

    return run


def encode_only(ticks):
    """Making the commands, without a server."""
    makes = JsonText(lambda feed, symbol, kind: f"md:{feed}:{symbol}:{kind}")

    def run():
        for at in range(0, len(ticks), BATCH):
            makes.lines(ticks[at : at + BATCH], TABLE)

    return run


def contenders(port, ticks):
    """By name, what is run in each round."""
    modes = {
        "sink, ticks": ["ticks"],
        "sink, publish": ["publish"],
        "sink, stream": ["stream"],
        "sink, stream and publish": ["stream", "publish"],
        "sink, stream and last": ["stream", "last"],
    }
    ours = {name: Sinks(port, given, ticks.copy()) for name, given in modes.items()}
    return {
        PEER: redis_py(port, ticks),
        "ready-made bytes (limit)": ready_made(port, ticks),
        "commands made, not sent": encode_only(ticks),
    } | ours


def start_server(folder):
    """A server of our own on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", folder]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    for _ in range(100):
        try:
            client.ping()
            return server, port, client.info("server")["redis_version"]
        except redis.exceptions.ConnectionError:
            time.sleep(0.1)
    raise SystemExit("redis-server does not answer")


def measure(runs, n, rounds):
    """Ticks a second, per contender and round."""
    rates = {name: [] for name in runs}
    for name in runs:
        runs[name]()  # warm
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            rates[name].append(n / (time.perf_counter() - begin))
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.name}")
    parser.add_argument("--quick", action="store_true", help="one short round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.ticks, arguments.rounds = 50_000, 1
    folder = tempfile.mkdtemp(prefix="mdfeedd-bench-")
    server, port, version = start_server(folder)
    try:
        runs = contenders(port, make_ticks(arguments.ticks))
        rates = measure(runs, arguments.ticks, arguments.rounds)
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)
    rows = {}
    print(f"{'':28}{'M ticks/s':>10}{'x redis-py':>12}")
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates[PEER], strict=True))
        rows[name] = {
            "m_ticks_s": round(statistics.median(found) / 1e6, 3),
            "times_redis_py": round(ratio, 2),
        }
        print(f"{name:28}{rows[name]['m_ticks_s']:10.3f}{ratio:12.1f}")
    if arguments.save:
        told = {"redis_server": version, "batch": BATCH, "pipeline": PIPELINE}
        told |= {"ticks": arguments.ticks, "rounds": arguments.rounds, "instruments": INSTRUMENTS}
        result = {"machine": machine.describe("redis", "numpy"), "what": told, "rows": rows}
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
