"""What is on its way to brokers: nothing follows a first message that has no answer yet."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd.sinks.kafka import outbox
from mdfeedd.sinks.kafka.client import Trouble
from mdfeedd.sinks.kafka.messages import Each
from mdfeedd.sinks.kafka.outbox import Outbox
from tests.sinks.kafka.test_outages import whole

KNOWN_S = outbox.KNOWN_S


class Broker:
    """A library and the brokers behind it, as bad as they may be: each request of which one is on its way
    before the first was answered may be taken in its place, so what was first is lost."""

    def __init__(self):
        self.known = set()
        self.waiting = []
        self.lost = []

    def __len__(self):
        return len(self.waiting)

    def produce(self, topic, value, key, *, partition, headers, on_delivery):
        self.take(topic, partition, [value])

    def produce_batch(self, topic, messages, *, partition, on_delivery):
        self.take(topic, partition, [message["value"] for message in messages])
        return len(messages)

    def take(self, topic, partition, values):
        for value in values:
            place = topic, partition
            if place not in self.known and any(place == other for other, _ in self.waiting):
                self.lost.append(place)
            self.waiting.append((place, value))

    def flush(self, timeout):
        self.known |= {place for place, _ in self.waiting}
        self.waiting.clear()
        return 0

    def poll(self, timeout):
        self.flush(timeout)

    def forget(self):
        self.known.clear()


@pytest.fixture
def given():
    pytest.importorskip("confluent_kafka")
    broker, now = Broker(), [1000.0]
    trouble = Trouble("b:9092", "plaintext")
    return (
        broker,
        now,
        Outbox(broker, None, trouble, in_flight=100, timeout_s=1.0, clock=lambda: now[0]),
    )


def each(n):
    ends = np.arange(1, n + 1, dtype=np.int64) * 8
    return Each(np.zeros(8 * n, np.uint8), ends, [b"k"], np.zeros(n, np.int64))


def test_first_message_to_a_partition_goes_alone(given):
    broker, _, box = given
    for _ in range(3):
        for partition in range(4):
            box.send("t", None, b"x", partition)
    box.send_each("u", 0, each(500))
    box.send_each("u", 1, each(1))
    box.send_each("u", 1, each(10))
    assert not broker.lost


def test_partition_that_is_known_is_not_waited_for(given, monkeypatch):
    broker, _, box = given
    box.send("t", None, b"x")
    broker.flush(0)
    box.arrived()  # as a commit says
    monkeypatch.setattr(broker, "flush", None)
    for _ in range(50):
        box.send("t", None, b"x")
    assert len(broker) == 50


def test_broker_forgets_a_producer_in_the_end(given):
    broker, now, box = given
    box.send("t", None, b"x")
    box.send("t", None, b"x")
    broker.flush(0)
    box.arrived()
    broker.forget()
    now[0] += KNOWN_S + 1
    box.send("t", None, b"x")
    box.send("t", None, b"x")
    assert not broker.lost


def test_first_message_has_no_answer(given, monkeypatch):
    broker, _, box = given
    box.send("t", None, b"x")
    monkeypatch.setattr(broker, "flush", lambda _: 1)
    from confluent_kafka import KafkaException

    with pytest.raises(KafkaException):
        box.send("t", None, b"x")
    assert len(broker) == 1


@pytest.mark.slow
def test_first_batch_of_a_topic_that_was_just_made(apache, source, make, rng, sink_to, read):
    """Its partitions may be "not led" yet when the first request comes, and led when the second does."""
    for _ in range(4):
        ring = source()
        ticks = make.ticks(rng, 60_000)
        ids = [ring.writer.instruments.add(symbol) for symbol in ("ESZ6", "NQZ6", "6EZ6")]
        ticks["instrument_id"] = rng.choice(ids, len(ticks))
        batch = ring.publish(ticks)
        sink_to(apache, compression="none").write(batch)
        stored = read(apache, ring.name).records()
        assert len(stored) == len(batch.records)
        assert (stored == whole([batch])).all()
