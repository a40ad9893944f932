"""A broker, rings whose records go into it, and what it gives back to a reader that is not ours."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.ring import Reader, Writer
from mdfeedd.sinks import SinkBatch
from mdfeedd.sinks.kafka import KafkaSink, KafkaSinkOptions, wire
from mdfeedd.tick import TICK

NAME = "mdfeedd_test_servers_kafka"
PLACE = Path(__file__).resolve().parents[1] / "servers" / "kafka.py"


def servers():
    """The module of the servers, which pytest's import mode gives no name."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(NAME, PLACE)
        sys.modules[NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[NAME])
    return sys.modules[NAME]


shared_kafka, kafka, apache, own_kafka = (
    getattr(servers(), name) for name in ("shared_kafka", "kafka", "apache", "own_kafka")
)
_numbers = itertools.count(1)


class Source:
    """A ring that is written here, and read in batches for sinks."""

    def __init__(self, directory, name, dtype=TICK, capacity=1 << 16):
        self.name = name
        self.writer = Writer(name, capacity, dtype, feed="feed", directory=directory)
        self.reader = Reader(name, start="oldest", directory=directory)

    @property
    def ring_id(self):
        return self.reader.ring_id.hex()

    def publish(self, records):
        """Publish, and return what a consumer would be given."""
        self.writer.publish(records)
        return self.batch()

    def batch(self):
        read = self.reader.read(1 << 17)
        return SinkBatch(
            self.name,
            self.ring_id,
            "feed",
            self.reader.epoch,
            read.records.copy(),
            read.instruments,
        )

    def close(self):
        self.reader.close()
        self.writer.close()


@pytest.fixture
def source(request, shm_dir):
    """Makes rings with names of their own."""
    made = []

    def make(dtype=TICK, **given):
        name = f"t{os.getpid()}-{next(_numbers)}"
        if "kafka" in request.fixturenames:
            request.getfixturevalue("kafka").prepare(name)
        made.append(Source(shm_dir, name, dtype, **given))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def sink_to():
    """Makes sinks into a broker."""
    made = []

    def make(broker, name="store", **options):
        address = broker if isinstance(broker, str) else broker.address
        options = {"timeout_s": 20.0} | options
        made.append(KafkaSink(KafkaSinkOptions(address, **options), name))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Read:
    """What lies in the topics of a ring, by a plain consumer of committed data."""

    def __init__(self, broker, ring, isolation="read_committed"):
        from confluent_kafka import Consumer

        self.address = broker.address
        self.ring = ring
        settings = {
            "bootstrap.servers": self.address,
            "group.id": "tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
        self._consumer = Consumer(settings | {"isolation.level": isolation})
        self._all = Consumer(settings | {"isolation.level": "read_uncommitted"})

    def messages(self, what="ticks"):
        """All messages of a topic, by partition.

        A commit is told to each partition a little later: the end is that of all that was written.
        """
        from confluent_kafka import KafkaError, TopicPartition

        topic = wire.topic("md", self.ring, what)
        found = self._consumer.list_topics(topic, timeout=20).topics[topic]
        partitions = sorted(found.partitions)
        ends = {
            p: self._all.get_watermark_offsets(TopicPartition(topic, p), timeout=20)[1]
            for p in partitions
        }
        self._consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        out, ended, deadline = {p: [] for p in partitions}, set(), time.monotonic() + 60
        while len(ended) < len(partitions):
            assert time.monotonic() < deadline, f"{topic}: {ended} of {ends}"
            for message in self._consumer.consume(1000, 0.2):
                p = message.partition()
                if message.error() is None:
                    out[p].append(message)
                elif (
                    message.error().code() == KafkaError._PARTITION_EOF
                    and message.offset() >= ends[p]
                ):
                    ended.add(p)
        self._consumer.unassign()
        return out

    def chunks(self, kind="ticks"):
        """All chunks, by partition: (head, records)."""
        dtype = wire.KINDS[kind]
        return {
            partition: [
                (wire.ChunkHead.decode(m.headers(), kind), np.frombuffer(m.value() or b"", dtype))
                for m in messages
            ]
            for partition, messages in self.messages(kind).items()
        }

    def records(self, kind="ticks"):
        """All records in the order of their numbers."""
        parts = [records for chunks in self.chunks(kind).values() for _, records in chunks]
        whole = np.concatenate([np.empty(0, wire.KINDS[kind]), *parts])
        return whole[np.argsort(whole["seq"], kind="stable")]

    def close(self):
        self._consumer.close()
        self._all.close()


@pytest.fixture
def read():
    """Makes readers of what a ring's topics hold."""
    made = []

    def make(broker, ring, **given):
        made.append(Read(broker, ring, **given))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def batches(source, make, rng):
    """Makes a ring and cuts what is published into batches."""

    def build(count=4, size=500, symbols=4):
        ring = source()
        ids = [ring.writer.instruments.add(f"S{i}") for i in range(symbols)]
        ticks = make.ticks(rng, count * size)
        ticks["instrument_id"] = rng.choice(ids, len(ticks))
        whole = ring.publish(ticks)
        return ring, [
            SinkBatch(ring.name, ring.ring_id, "feed", 1, part, whole.instruments)
            for part in np.split(whole.records, count)
        ]

    return build
