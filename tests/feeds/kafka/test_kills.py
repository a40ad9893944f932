"""kill -9 of the feed process, wherever it falls: its ring has each record once, in order."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.ring import Reader, RingMissing
from mdfeedd.sinks import SinkError
from mdfeedd.tick import TICK, Kind

FOLLOWER = Path(__file__).with_name("follower.py")
REPOSITORY = Path(__file__).resolve().parents[3]
ROUNDS = int(os.environ.get("MDFEEDD_KAFKA_ROUNDS", "8"))
LIMIT_S = 240
RECORDS = 120_000


class Flow(threading.Thread):
    """Writes batches into Kafka, a little at a time, until all are there."""

    def __init__(self, sink, batches, pause_s):
        super().__init__()
        self._sink, self._batches, self._pause_s = sink, batches, pause_s
        self.failed = None

    def run(self):
        try:
            for batch in self._batches:
                self._persist(batch)
                time.sleep(self._pause_s)
        except BaseException as error:  # noqa: BLE001 - the test tells it
            self.failed = error

    def _persist(self, batch):
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                self._sink.write(batch)
            except SinkError as error:
                if not error.retriable or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


class Kept:
    """What the ring of the killed feed has told so far."""

    def __init__(self, ring, directory):
        self._ring, self._directory = ring, directory
        self._reader = None
        self.parts = []
        self.count = 0

    def read(self, timeout=0.01):
        if self._reader is None:
            with contextlib.suppress(RingMissing):
                self._reader = Reader(self._ring, start="oldest", directory=self._directory)
        if self._reader is None:
            time.sleep(timeout)
            return
        batch = self._reader.read(1 << 16, timeout=timeout)
        assert not batch.lost
        self.parts.append(batch.records.copy())
        self.count += len(batch)

    @property
    def ticks(self):
        return np.concatenate([np.empty(0, TICK), *self.parts])

    @property
    def instruments(self):
        return self._reader.instruments

    def close(self):
        if self._reader is not None:
            self._reader.close()


@pytest.fixture
def follow(shm_dir):
    """Starts and kills feed processes of one ring, and reads what they publish."""
    there = Path(shm_dir) / "there"
    there.mkdir()
    made, keepers = [], []

    def start(broker, ring):
        made.append(
            subprocess.Popen(
                [sys.executable, FOLLOWER, broker.address, ring, there],
                cwd=REPOSITORY,
                stderr=subprocess.DEVNULL,
            )
        )
        return made[-1]

    def keep(ring):
        keepers.append(Kept(ring, str(there)))
        return keepers[-1]

    start.keep = keep
    yield start
    for keeper in keepers:
        keeper.close()
    for process in made:
        process.kill()
        process.wait()


def killed_until_done(broker, ring, follow, dice, between=lambda: None):
    """Rounds of a feed that is killed, then one that is not; what the ring held."""
    kept = follow.keep(ring.name)
    for _ in range(ROUNDS):
        process = follow(broker, ring.name)
        before, deadline = kept.count, time.monotonic() + LIMIT_S
        late = dice.random() < 0.8  # once it publishes; else while it starts
        until_s = time.monotonic() + dice.random() * 0.6
        while (kept.count == before if late else time.monotonic() < until_s) and (
            kept.count < RECORDS and time.monotonic() < deadline
        ):
            kept.read()
        time.sleep(dice.random() * 0.02 if late else 0)
        process.kill()
        process.wait()
        between()
    follow(broker, ring.name)
    deadline = time.monotonic() + LIMIT_S
    while kept.count < RECORDS and time.monotonic() < deadline:
        kept.read(0.2)
    for _ in range(5):
        kept.read(0.1)  # nothing may come behind
    return kept


def cut(publish, ring):
    whole = publish(ring, RECORDS, wide=0.002)
    bounds = range(0, RECORDS, 400)
    return whole, [
        type(whole)(
            ring.name, ring.ring_id, "feed", 1, whole.records[b : b + 400], whole.instruments
        )
        for b in bounds
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_feed_is_killed(apache, source, sink_to, publish, same, follow, dice):
    ring = source(capacity=1 << 18)
    whole, batches = cut(publish, ring)
    flow = Flow(sink_to(apache), batches, 0.02)
    flow.start()
    kept = killed_until_done(apache, ring, follow, dice)
    flow.join()
    assert flow.failed is None
    assert not (kept.ticks["kind"] == Kind.GAP).any()
    same(kept.ticks, kept.instruments, [whole])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_feed_and_broker_are_killed(own_kafka, source, sink_to, publish, same, follow, dice):
    broker = own_kafka()
    ring = source(capacity=1 << 18)
    whole, batches = cut(publish, ring)
    flow = Flow(sink_to(broker, timeout_s=2.0), batches, 0.02)
    flow.start()

    def between():
        if dice.random() < 0.15:
            broker.kill()
            broker.start()

    kept = killed_until_done(broker, ring, follow, dice, between)
    flow.join()
    assert flow.failed is None
    same(kept.ticks, kept.instruments, [whole])
