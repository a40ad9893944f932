"""From a ring over a journal into a real database, while the consumer and the server are killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mdfeedd import Writer
from mdfeedd.consumers.journal import JournalConsumer, JournalOptions

RECORDS = 120_000
PATIENCE_S = 120
CONSUMER = """
import signal, sys, threading
from mdfeedd.consumers.batch import BatchConsumer, BatchOptions
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
dsn, journal, shm_dir = sys.argv[1:]
options = BatchOptions(
    sink_type="postgres", sink_options={"dsn": dsn, "connections": 2, "timeout_s": 20.0},
    journal=journal, batch_size=500, catch_up_size=3000, back_off_max_s=0.1,
)
BatchConsumer("store", options, ["venue"], shm_dir).run(stop)
"""


def start_consumer(*arguments):
    root = Path(__file__).resolve().parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", CONSUMER, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path[1:]])},
    )


def publish(writer, give, stop):
    """At the pace of the journal, which a feed would not wait for; this test is not about laps."""
    ids = [writer.instruments.add(name) for name in give.names.values()]
    for first in range(1, RECORDS + 1, 1000):
        while writer.slowest_consumer() + writer.capacity // 2 < first:
            if stop.wait(0.001):
                return
        ticks = give.quotes(first, 1000)
        ticks["instrument_id"] = [ids[i % len(ids)] for i in range(1000)]
        writer.publish(ticks)


@pytest.mark.slow
def test_consumer_and_server_are_killed_on_the_way(own_database, give, shm_dir, tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    stop = threading.Event()
    journal = tmp_path / "journal"
    keeper = JournalConsumer(
        "journal", JournalOptions(path=str(journal), fsync="none"), ["venue"], shm_dir
    )
    writer = Writer("venue", 1 << 14, directory=shm_dir)
    threads = [threading.Thread(target=keeper.run, args=(stop,))]
    threads[0].start()
    where = (own_database.server.dsn(own_database.name), journal, shm_dir)
    consumer = start_consumer(*where)
    try:
        while not writer.consumer_count():
            time.sleep(0.01)
        threads.append(threading.Thread(target=publish, args=(writer, give, stop)))
        threads[1].start()
        for round_number in range(6):
            time.sleep(rng.uniform(0.3, 1.5))
            if round_number % 3 == 2:
                own_database.server.kill()
                time.sleep(rng.uniform(0, 0.5))
                own_database.server.start()
            else:
                consumer.kill()
                consumer.wait()
                consumer = start_consumer(*where)
        deadline = time.monotonic() + PATIENCE_S
        while stored(own_database) < RECORDS:
            assert consumer.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        consumer.terminate()
        assert consumer.wait(PATIENCE_S) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        consumer.kill()
        consumer.wait()
        writer.close()
    assert own_database.seqs() == list(range(1, RECORDS + 1))
    symbols = own_database.execute("select distinct symbol from quotes")
    assert {symbol for (symbol,) in symbols} == set(give.names.values())


def stored(database):
    """How far it is, by the position."""
    if database.execute("select to_regclass('mdfeedd.mdfeedd_position')") == [(None,)]:
        return 0
    rows = database.execute("select coalesce(min(seq), 0) from mdfeedd_position")
    return rows[0][0]
