"""A broker that took a transaction for ended and never wrote its marks: each record once all the same."""

from __future__ import annotations

import itertools
import os
import struct
import time

import numpy as np
import pytest

from mdfeedd.sinks import SinkError
from mdfeedd.sinks.kafka import wire
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


def forget(broker, places):
    """Stop the broker, have partitions (folders) forget the end of the last transaction, start it."""
    folders = [broker.folder / "data" / f"md.{place}" for place in places]
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


PLACES = ("position-0", "instruments-0", "ticks-0", "ticks-1")
ALL = [subset for n in (1, 2, 3, 4) for subset in itertools.combinations(PLACES, n)]
SOME = [PLACES[2:3], PLACES[:3]]
SUBSETS = ALL if os.environ.get("MDFEEDD_KAFKA_SUBSETS") == "all" else SOME
VOIDED = [(PLACES[0], PLACES[2])] + ([PLACES[1:]] if SUBSETS is ALL else [])


@pytest.fixture
def told(source, make, rng):
    """Makes a ring and batches of it, each with an instrument that is new."""

    def build(count=4, size=300):
        ring, ids, parts = source(), [], []
        for i in range(count):
            ids += [ring.writer.instruments.add(f"S{i}{j}") for j in range(3)]
            ticks = make.ticks(rng, size)
            ticks["instrument_id"] = rng.choice(ids, size)
            ticks["instrument_id"][:3] = ids[-3:]
            parts.append(ring.publish(ticks))
        return ring, parts

    return build


def check(read, broker, ring, parts):
    """Each record once, in each partition in order, and each instrument told of."""
    found = read(broker, ring.name)
    stored = found.records()
    assert (stored == whole(parts)).all()
    for chunks in found.chunks().values():
        seqs = np.concatenate([records["seq"] for _, records in chunks])
        assert (np.diff(seqs.astype(np.int64)) > 0).all()
        marks = [head.prev for head, _ in chunks[1:]]
        assert marks == [head.end for head, _ in chunks[:-1]], "the chain"
    keys = {message.key() for message in found.messages("instruments")[0]}
    numbers = np.unique(stored["instrument_id"]).tolist()
    assert {wire.DefinitionKey(ring.ring_id, 1, n).encode() for n in numbers} <= keys


def open_and_void(broker, ring, places):
    """What a writer does that comes after and is killed: its transaction is void, with what was hidden."""
    from confluent_kafka import Producer

    producer = Producer(
        {"bootstrap.servers": broker.address, "transactional.id": f"mdfeedd.store.md.{ring.name}"}
    )
    producer.init_transactions(60)
    producer.begin_transaction()
    for place in places:
        what, _, partition = place.rpartition("-")
        producer.produce(f"md.{ring.name}.{what}", b"", b"void", partition=int(partition))
    producer.flush(60)
    producer.abort_transaction(60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_transaction_is_forgotten_in_some_of_its_partitions(own_kafka, told, sink_to, read, caplog):
    """Where any partition shows it, or its position, it is stored; else it is void and comes again.

    Some have it voided by the next transaction before anyone looks: then nothing is undecided, and the
    chain of the chunks alone says what is missing. MDFEEDD_KAFKA_SUBSETS=all tries each subset.
    """
    broker = own_kafka()
    cases = [("raw", subset, 2, False) for subset in SUBSETS]
    cases += [("raw", subset, 2, True) for subset in VOIDED]
    cases.append(("raw", (PLACES[0], PLACES[2]), 1, False))  # the first of all
    cases.append(("arrow", (PLACES[0], PLACES[2]), 2, False))
    rings, places = [], []
    for payload, subset, count, _ in cases:
        ring, parts = told()
        sink = sink_to(broker, partitions=2, records_per_message=100, payload=payload)
        for part in parts[:count]:
            persist(sink, part)
        sink.close()
        rings.append((ring, parts))
        places += [f"{ring.name}.{place}" for place in subset]
    forget(broker, places)
    for (ring, parts), (payload, subset, count, voided) in zip(rings, cases, strict=True):
        if voided:
            open_and_void(broker, ring, subset)
        again = sink_to(broker, partitions=2, records_per_message=100, payload=payload)
        position = again.position(ring.name)
        seen = {PLACES[0], *PLACES[2:]} - set(subset)
        whole_parts = count if seen else count - 1
        assert position.seq == parts[whole_parts - 1].records["seq"][-1], (payload, subset, voided)
        found = [m for of in read(broker, ring.name).messages().values() for m in of]
        stored = sum(int(dict(message.headers())["n"]) for message in found)
        assert stored == 300 * whole_parts, "it is whole at once"
        for part in parts[whole_parts - 1 :]:
            persist(again, part)
        again.close()
        if payload == "raw":
            check(read, broker, ring, parts)
    assert "forgotten to end" in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_messages_of_one_record_are_forgotten(own_kafka, told, sink_to, read):
    """Where all is hidden it is void and comes again; in part a person is told, and nothing is guessed."""
    broker = own_kafka()
    subsets = [(PLACES[0], PLACES[2]), PLACES[3:], (PLACES[0], *PLACES[2:])]
    rings, places = [], []
    for subset in subsets:
        ring, parts = told()
        sink = sink_to(broker, partitions=2, payload="raw_per_tick")
        for part in parts[:2]:
            persist(sink, part)
        sink.close()
        rings.append((ring, parts))
        places += [f"{ring.name}.{place}" for place in subset]
    forget(broker, places)
    for (ring, _), subset in zip(rings[:2], subsets[:2], strict=True):
        with pytest.raises(
            SinkError, match=r"shows in part .*ticks\[\d\].*transactions\.sh"
        ) as error:
            sink_to(broker, partitions=2, payload="raw_per_tick").position(ring.name)
        assert error.value.retriable, subset
    ring, parts = rings[2]
    again = sink_to(broker, partitions=2, payload="raw_per_tick")
    for part in parts:
        persist(again, part)
    values = [m.value() for of in read(broker, ring.name).messages().values() for m in of]
    seqs = [int.from_bytes(value[:8], "little") for value in values]
    assert sorted(seqs) == whole(parts)["seq"].tolist()
