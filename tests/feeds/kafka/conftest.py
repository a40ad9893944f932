"""The brokers and sinks of the sink's tests, and feeds that read what those write."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.feeds.kafka.feed import KafkaFeed
from mdfeedd.feeds.kafka.options import KafkaOptions
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring import Reader, RingMissing, list_rings
from mdfeedd.tick import TICK

NAME = "mdfeedd_test_sinks_kafka"
PLACE = Path(__file__).resolve().parents[2] / "sinks" / "kafka" / "conftest.py"
DEADLINE_S = 120
SYMBOLS = ["ESZ6", "ΑΒΓ", "株式", "a b:c", "🂡", "NQZ6", "6EZ6", "x" * 20]


def of_the_sinks_tests():
    """The module of their fixtures, which pytest's import mode gives no name."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(NAME, PLACE)
        sys.modules[NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[NAME])
    return sys.modules[NAME]


shared_kafka, kafka, apache, own_kafka, source, sink_to, read = (
    getattr(of_the_sinks_tests(), name)
    for name in ("shared_kafka", "kafka", "apache", "own_kafka", "source", "sink_to", "read")
)


@pytest.fixture
def dice():
    """A generator whose seed is printed when the test fails and taken from MDFEEDD_SEED."""
    seed = int(os.environ.get("MDFEEDD_SEED", random.randrange(2**32)))
    print(f"MDFEEDD_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def until():
    """Wait until a condition holds."""

    def wait(condition, what):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)

    return wait


@pytest.fixture
def symbols():
    """Those of `publish`, if it is not told others."""
    return SYMBOLS


@pytest.fixture
def publish(dice):
    """Publishes random ticks of some instruments into a ring, and gives them as a batch."""
    numbers = np.random.default_rng(dice.randrange(2**32))

    def build(ring, n, symbols=SYMBOLS, wide=0.01):
        ids = [ring.writer.instruments.add(s, venue="V", tick_size=25) for s in symbols]
        ticks = np.frombuffer(numbers.bytes(64 * n), TICK).copy()
        ticks["kind"] = numbers.choice([1, 1, 1, 2, 5, 9], n)
        ticks["instrument_id"] = numbers.choice(ids, n)
        ticks["instrument_id"][numbers.random(n) < wide] = 0
        return ring.publish(ticks)

    return build


class Running:
    """A feed in a thread, and its ring read to the end."""

    def __init__(
        self, name, options, directory, capacity=1 << 17, feed_index=5, shard=None, readers=()
    ):
        self.plan = RingPlan(
            name,
            capacity=capacity,
            feed_index=feed_index,
            directory=directory,
            shard=shard,
            readers={name: readers},
        )
        self._feed = KafkaFeed(name, options, self.plan)
        self._stop = threading.Event()
        self.ended = None
        self._reader = None
        self._thread = None
        self.ticks = np.empty(0, TICK)
        self.start()

    def start(self):
        self._stop.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            self._feed.run(self._stop)
        except BaseException as error:  # noqa: BLE001 - the test tells it
            self.ended = error

    def stop(self):
        self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def exists(self):
        """Whether the ring does; asking makes no consumer of us."""
        return self.plan.name in list_rings(self.plan.directory)

    def alive(self):
        return self._thread.is_alive()

    @property
    def reader(self):
        deadline = time.monotonic() + DEADLINE_S
        while self._reader is None:
            with contextlib.suppress(RingMissing):
                self._reader = Reader(self.plan.name, start="oldest", directory=self.plan.directory)
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self._reader

    def read(self, n, keep=lambda ticks: ticks["kind"] == ticks["kind"]):
        """All ticks so far, once there are `n` that count. Nothing may be lost here."""
        deadline = time.monotonic() + DEADLINE_S
        while len(self.ticks) == 0 or np.count_nonzero(keep(self.ticks)) < n:
            batch = self.reader.read(1 << 16, timeout=0.2)
            assert not batch.lost
            if len(batch):
                self.ticks = np.concatenate([self.ticks, batch.records])
            assert self.ended is None, self.ended
            assert time.monotonic() < deadline, f"{len(self.ticks)} of {n}"
        return self.ticks

    def counter(self, name):
        from mdfeedd.ring.inspect import inspect

        return inspect(self.plan.name, self.plan.directory).counters[name]

    def close(self):
        if self._thread.is_alive():
            self.stop()
        if self._reader is not None:
            self._reader.close()


@pytest.fixture
def feed_from(tmp_path, shm_dir):
    """Makes feeds into rings of another folder, as on another host."""
    made = []
    there = Path(shm_dir) / "there"
    there.mkdir()

    def make(broker, ring, name=None, **given):
        address = broker if isinstance(broker, str) else broker.address
        keys = ("capacity", "feed_index", "shard", "readers")
        plan = {key: given.pop(key) for key in keys if key in given}
        given = {"start": "earliest", "timeout_s": 5.0} | given
        options = KafkaOptions(address, ring=ring, **given)
        made.append(Running(name or ring, options, str(there), **plan))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def same():
    """Compares what came with what was published, by content and symbol."""

    def compare(ticks, instruments, batches):
        expected = np.concatenate([batch.records for batch in batches])
        names = [
            batch.instruments.symbol(number)
            for batch in batches
            for number in batch.records["instrument_id"].tolist()
        ]
        assert len(ticks) == len(expected)
        assert [instruments.symbol(number) for number in ticks["instrument_id"].tolist()] == names
        plain = [np.array(records) for records in (ticks, expected)]
        for records in plain:
            records["seq"] = records["instrument_id"] = 0
        assert (plain[0] == plain[1]).all()

    return compare
