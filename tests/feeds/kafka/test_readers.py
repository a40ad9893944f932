"""Brokers keep what nobody reads here yet: the feed waits for consumers before its first record."""

from __future__ import annotations

import logging
import threading
import time

import numpy as np
import pytest

from mdfeedd.feeds.kafka.options import KafkaOptions
from mdfeedd.ring import Reader
from mdfeedd.ring.inspect import inspect

DEADLINE_S = 120
TICKS = 5000
CAPACITY = 1024


def consumer(feed, name, start="resume"):
    return Reader(feed.plan.name, start=start, consumer=name, directory=feed.plan.directory)


def read(reader, n):
    """The next `n` ticks, none of them lost."""
    got, deadline = [], time.monotonic() + DEADLINE_S
    while sum(map(len, got)) < n:
        batch = reader.read(200, timeout=1.0)
        assert not batch.lost
        got.append(batch.records.copy())
        assert time.monotonic() < deadline
    return np.concatenate(got)


def held(feed, until, published):
    """Until the feed has something to publish; it publishes nothing."""
    until(lambda: feed.exists() and feed.counter("received_packets"), "a message")
    time.sleep(0.3)
    assert inspect(feed.plan.name, feed.plan.directory).tail == published


def test_consumers_of_the_daemon_are_waited_for_at_each_start(
    kafka, source, sink_to, feed_from, publish, same, until
):
    """By name: a strategy that stays at the ring meanwhile is not taken for one of them."""
    ring, sink = source(capacity=1 << 16), sink_to(kafka)
    batches = [publish(ring, TICKS)]
    sink.write(batches[0])
    feed = feed_from(
        kafka, ring.name, capacity=CAPACITY, readers=("one", "two"), wait_for_consumers_s=DEADLINE_S
    )
    held(feed, until, 0)
    stranger = consumer(feed, "stranger", "now")
    got = {"one": [], "two": []}
    for start in range(2):
        before = feed.counter("received_packets") if start else 0
        if start:
            feed.stop()
            batches.append(publish(ring, TICKS))
            sink.write(batches[-1])
            feed.start()
            until(lambda b=before: feed.counter("received_packets") > b, "a message")
            held(feed, until, start * TICKS)
        one, two = consumer(feed, "one"), consumer(feed, "two")
        stranger.close()
        threads = [
            threading.Thread(target=lambda n=n, r=r: got[n].append(read(r, TICKS)))
            for n, r in (("one", one), ("two", two))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        names = one.instruments
        names.refresh()
        if not start:
            one.close()
            two.close()
            stranger = consumer(feed, "stranger", "now")
    for parts in got.values():
        same(np.concatenate(parts), names, batches)
    for reader in (one, two, stranger):
        reader.close()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "consumer never did not come within 0.2 s"),
        ({"min_consumers": 3}, "only 0 of 3 consumers came within 0.2 s"),
        ({"min_consumers": 0}, ""),
    ],
)
def test_who_does_not_come_is_waited_for_so_long_only(
    kafka, source, sink_to, feed_from, publish, until, caplog, given, sentence
):
    ring, sink = source(), sink_to(kafka)
    sink.write(publish(ring, 300))
    sink.write(publish(ring, 300))
    with caplog.at_level(logging.WARNING, "mdfeedd.kafka"):
        feed = feed_from(kafka, ring.name, readers=("never",), min_consumers_limit_s=0.2, **given)
        until(lambda: feed.exists() and feed.counter("received_records") == 600, "all of it")
    told = [r.message for r in caplog.records if r.name == "mdfeedd.kafka"]
    assert told == ([f"{ring.name}: {sentence}: going on without"] if sentence else [])


def test_feed_that_waits_is_stopped(kafka, source, sink_to, feed_from, publish, until):
    ring, sink = source(), sink_to(kafka)
    sink.write(publish(ring, 300))
    feed = feed_from(kafka, ring.name, readers=("never",), min_consumers_limit_s=3600)
    held(feed, until, 0)
    feed.stop()
    assert inspect(feed.plan.name, feed.plan.directory).tail == 0


@pytest.mark.parametrize("given", [{"min_consumers": -1}, {"min_consumers_limit_s": -1.0}])
def test_numbers_are_checked(given):
    (key,) = given
    with pytest.raises(ValueError, match=f"^{key}: must be 0 to "):
        KafkaOptions("localhost:9092", **given)
