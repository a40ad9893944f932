"""kill -9 of the writer, of the server, of both, at random points: what is stored is what was given.

    python tests/sinks/postgres/killing.py --rounds 300 [--connections 3] [--transaction-records 120]
                                           [--seed 1] [--dsn DSN]

A parent starts a server and, again and again, forks a writer: a sink that goes on at its position in an endless
list of records, which its sequence numbers say. New sequence spaces begin in it now and then. After a random
time somebody is killed (of a server that was there before, --dsn, only its writers). At the end one more writer comes to a full stop, and the tables are compared with the list.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

import numpy as np
import psycopg

from mdfeedd.ring import Instrument
from mdfeedd.sinks import SinkBatch, SinkError
from mdfeedd.sinks.postgres import PostgresOptions, PostgresSink
from mdfeedd.sinks.postgres import sink as sinks
from mdfeedd.tick import GAP, PRICE_UNDEF, QUOTE, STATUS, TICK, TRADE, Kind

SCHEMA = f"killed_{os.getpid()}"  # of whom starts; a fork keeps it
SPACE_RECORDS = 20_000
BATCH_RECORDS = 700
RING = "killed"
BEGIN_NS = 1_700_000_000 * 10**9
DRIFT_NS = 3_600 * 10**9 // 50  # a few batches a partition, and several partitions in all
PATIENCE_S = 120


def records(space, first, n):
    """Records first to first + n - 1 of a space: all that is in them follows from these numbers."""
    seq = np.arange(first, first + n, dtype="u8")
    out = np.zeros(n, TICK)
    out["seq"] = seq
    order = seq.astype("i8") + space * SPACE_RECORDS
    out["kind"] = np.where(order % 7 < 4, Kind.QUOTE, Kind.TRADE)
    out["kind"][order % 101 == 0] = Kind.GAP
    out["kind"][order % 103 == 0] = Kind.STATUS
    out["ts_event"] = BEGIN_NS + order * (DRIFT_NS // 100)
    out["ts_recv"] = out["ts_event"] + order
    out["instrument_id"] = order * 2654435761 % 50 + 1
    quotes, trades = out.view(QUOTE), out.view(TRADE)
    is_quote, is_trade = out["kind"] == Kind.QUOTE, out["kind"] == Kind.TRADE
    price = order * 1_000_003 - 7_000_000_000
    quotes["bid_price"][is_quote] = np.where(order % 11 == 0, PRICE_UNDEF, price)[is_quote]
    quotes["ask_price"][is_quote] = price[is_quote] + 1
    quotes["ask_size"][is_quote] = (order * 7919 % 2**32)[is_quote]
    trades["price"][is_trade] = price[is_trade]
    trades["size"][is_trade] = (order * 104_729 % 2**32)[is_trade]
    out.view(GAP)["first_missing"][out["kind"] == Kind.GAP] = seq[out["kind"] == Kind.GAP]
    out.view(STATUS)["state"][out["kind"] == Kind.STATUS] = 7
    return out


class Names:
    """The instruments table."""

    feed = "venue"

    def get(self, number):
        return Instrument(number, number, 1, 1, 1, 0, 0, "USD", "X", "venue", f"S{number}", "")


NAMES = Names()


def ring_id(space):
    return f"{space + 1:032x}"


def retried(step):
    """What the batch consumer does: again, while it may help."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return step()
        except SinkError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def write(dsn, connections, seed, until_spaces, told):
    """A writer's life: from the position on, to the end of a space or until it is killed.

    Writes a byte to the descriptor `told` before each batch.
    """
    rng = random.Random(seed)
    sink = PostgresSink(
        PostgresOptions(
            dsn=dsn, schema=SCHEMA, connections=connections, timeout_s=20, lock_timeout_s=5
        ),
        "kill",
    )
    position = retried(lambda: sink.position(RING))
    space, seq = (int(position.ring_id, 16) - 1, position.seq) if position else (0, 0)
    while until_spaces is None or space < until_spaces:
        n = min(rng.randint(1, BATCH_RECORDS), SPACE_RECORDS - seq)
        if n:
            os.write(told, b".")
            batch = SinkBatch(
                RING, ring_id(space), "venue", space + 1, records(space, seq + 1, n), NAMES
            )
            retried(lambda batch=batch: sink.write(batch))
            seq += n
        if seq == SPACE_RECORDS:
            space, seq = space + 1, 0
        if rng.random() < 0.05:
            sink.housekeep()
    sink.close()


def forked(*arguments):
    """The process id of a writer, and a descriptor with a byte for each batch that it begins."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        return pid, ready
    status = 1
    try:
        write(*arguments, told)
        status = 0
    except BaseException as error:  # noqa: BLE001  a fork must not return into its parent's code
        print(f"writer: {error}", file=sys.stderr)
    os._exit(status)


def kill_writer(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def wait_for_batches(ready, n):
    """So that there is progress on a busy machine, too."""
    while n and select.select([ready], [], [], PATIENCE_S)[0] and os.read(ready, 1):
        n -= 1


def one_round(server, rng, connections, counts):
    """Start a writer, kill somebody; a writer that outlives its server has to go on by itself."""
    pid, ready = forked(server.dsn(), connections, rng.random(), None)
    if rng.random() < 0.8:  # the others are killed in their beginnings
        wait_for_batches(ready, rng.randint(1, 12))
    time.sleep(rng.uniform(0.0, 0.1))
    what = rng.choices(("writer", "server", "both"), (6, 2, 2) if server.ours else (1, 0, 0))[0]
    counts[what] += 1
    if what == "both":
        kill_writer(pid)
    if what != "writer":
        server.kill()
        time.sleep(rng.uniform(0, 0.1))
        server.start()
    if what != "both":
        wait_for_batches(ready, rng.randint(0, 3) if what == "server" else 0)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            raise SystemExit(f"a writer ended by itself: {status}")
        kill_writer(pid)
    os.close(ready)


def wanted(spaces):
    """By table what must be there: count, and exact sums over all."""
    everything = np.concatenate([records(s, 1, SPACE_RECORDS) for s in range(spaces)])
    kinds = everything["kind"]
    quotes = everything[kinds == Kind.QUOTE].view(QUOTE)
    trades = everything[kinds == Kind.TRADE].view(TRADE)
    gaps = everything[kinds == Kind.GAP].view(GAP)
    bids = quotes["bid_price"][quotes["bid_price"] != PRICE_UNDEF]

    def exact(values):
        return sum(values.tolist())

    return {
        "quote": [
            len(quotes), len(quotes), len(bids), exact(bids), exact(quotes["ask_price"]),
            exact(quotes["ask_size"]), exact(quotes["ts_recv"]),
        ],
        "trade": [
            len(trades), len(trades), exact(trades["price"]), exact(trades["size"]),
            exact(trades["ts_event"]),
        ],
        "feed_event": [len(gaps), len(gaps), exact(gaps["first_missing"])],
        "status": [int(np.sum(kinds == Kind.STATUS))] * 2 + [7 * int(np.sum(kinds == Kind.STATUS))],
        "instrument": [50],
    }  # fmt: skip


SUMS = {
    "quote": "count(bid_price), sum(bid_price), sum(ask_price), sum(ask_size), sum(ts_recv)",
    "trade": "sum(price), sum(size), sum(ts_event)",
    "feed_event": "sum(first_missing)",
    "status": "sum(state)",
}


def stored(dsn):
    """The same from the tables."""
    found = {}
    for table, sums in SUMS.items():
        (row,) = read(
            dsn, f"select count(*), count(distinct (source_id, seq)), {sums} from {SCHEMA}.{table}"
        )
        found[table] = [int(value) for value in row]
    found["instrument"] = [read(dsn, f"select count(*) from {SCHEMA}.instrument")[0][0]]
    return found


def read(dsn, sql):
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


class Theirs:
    """A server that was there before."""

    ours = False

    def __init__(self, dsn):
        self._dsn = dsn

    def dsn(self):
        return self._dsn

    def start(self):
        pass

    def remove(self):
        read(self._dsn, f"drop schema if exists {SCHEMA} cascade")


def own_server():
    """One that may be killed."""
    spec = importlib.util.spec_from_file_location(
        "server", Path(__file__).resolve().parents[1] / "servers" / "postgres.py"
    )
    servers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(servers)
    server = servers.PostgresServer()
    server.ours = True
    return server


def run(server, rounds, connections, seed):
    """Raises `SystemExit` with what is wrong."""
    rng = random.Random(seed)
    counts = {"writer": 0, "server": 0, "both": 0}
    try:
        server.start()
        for _ in range(rounds):
            one_round(server, rng, connections, counts)
        ((ring, takeovers),) = read(
            server.dsn(),
            f"select ring_id::text, fence from {SCHEMA}.mdfeedd_position "
            f"where ring_id is not null order by space desc limit 1",
        )
        spaces = int(ring.replace("-", ""), 16)
        pid, ready = forked(server.dsn(), connections, rng.random(), spaces)
        if os.waitpid(pid, 0)[1]:
            raise SystemExit("the last writer failed")
        os.close(ready)
        must, have = wanted(spaces), stored(server.dsn())
        if must != have:
            raise SystemExit(f"stored is not what was given:\n{must}\n{have}")
        total = sum(have[table][0] for table in SUMS)
        print(f"{total:,} records, each once; killed: {counts}; takeovers: {takeovers}")
    finally:
        server.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--transaction-records", type=int, default=sinks.TRANSACTION_RECORDS)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--dsn", help="a server that is there")
    arguments = parser.parse_args()
    sinks.TRANSACTION_RECORDS = arguments.transaction_records
    print(f"--seed {arguments.seed}", flush=True)
    server = Theirs(arguments.dsn) if arguments.dsn else own_server()
    run(server, arguments.rounds, arguments.connections, arguments.seed)


if __name__ == "__main__":
    main()
