"""A broker that took a transaction for ended and never wrote its marks: each record once all the same."""

from __future__ import annotations

import os
import struct
import time

import numpy as np
import pytest

from mdfeedd.sinks import SinkError
from tests.sinks.kafka.test_outages import persist, whole

IS_CONTROL = 1 << 5  # of a record batch's attributes
HEAD = struct.Struct(">qiibIh")  # base offset, length, leader epoch, magic, crc, attributes


def last_batch(log):
    """Where the last batch of a partition's log begins, and whether it is a mark."""
    data = log.read_bytes()
    at = last = 0
    control = False
    while at + HEAD.size <= len(data):
        _, length, _, _, _, attributes = HEAD.unpack_from(data, at)
        last, control = at, bool(attributes & IS_CONTROL)
        at += 12 + length
    return last, control


def forget(broker, ring, places):
    """Stop the broker, make partitions of a ring forget the end of the last transaction, start it."""
    folders = [broker.folder / "data" / f"md.{ring.name}.{place}" for place in places]
    logs = [max(folder.glob("*.log")) for folder in folders]
    deadline = time.monotonic() + 60
    while not all(last_batch(log)[1] for log in logs):  # marks are written behind the answer
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # for the coordinator to note that all are
    broker.kill()
    for folder, log in zip(folders, logs, strict=True):
        os.truncate(log, last_batch(log)[0])
        for derived in (*folder.glob("*.snapshot"), *folder.glob("*index")):
            derived.unlink()
    broker.start()


EVERYWHERE = ["position-0", "ticks-0", "ticks-1"]


@pytest.mark.slow
def test_forgotten_transaction_is_void_and_written_again(
    own_kafka,
    batches,
    sink_to,
    read,
    caplog,
):
    broker = own_kafka()
    ring, (first, second, third, _) = batches()
    sink = sink_to(broker, partitions=2)
    persist(sink, first)
    persist(sink, second)
    sink.close()
    forget(broker, ring, EVERYWHERE)
    again = sink_to(broker, partitions=2)
    position = again.position(ring.name)
    assert position.seq == first.records["seq"][-1], "the second is hidden"
    assert "forgotten to end" in caplog.text
    persist(again, second)
    persist(again, third)
    stored = read(broker, ring.name).records()
    assert (stored == whole([first, second, third])).all()
    assert len(np.unique(stored["seq"])) == len(stored)


@pytest.mark.slow
def test_transaction_that_is_forgotten_in_some_partitions_only_is_told(
    own_kafka,
    batches,
    sink_to,
):
    broker = own_kafka()
    ring, (first, second, *_) = batches()
    sink = sink_to(broker, partitions=2)
    persist(sink, first)
    persist(sink, second)
    sink.close()
    forget(broker, ring, ["position-0", "ticks-0"])
    with pytest.raises(SinkError, match=r"ticks\[1\] and forgotten it in .*position\[0\]") as error:
        sink_to(broker, partitions=2).position(ring.name)
    assert error.value.retriable
