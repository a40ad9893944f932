"""What the Kafka sink stores is what the ring held: values, order, names, positions."""

from __future__ import annotations

import io
import json
import zlib

import numpy as np
import pyarrow as pa
import pytest

from mdfeedd.ring import Position
from mdfeedd.ring.arrow import ticks_to_arrow
from mdfeedd.sinks import SinkBatch, SinkError
from mdfeedd.sinks.kafka import KafkaSinkOptions, wire
from mdfeedd.tick import BAR, DEPTH, TICK, Kind

UNICODE = ["ESZ6", "ΑΒΓ", "株式", "🂡", "a b:c", "x" * 20]


@pytest.fixture
def batch_of(make, rng):
    """Publishes random ticks into a ring, and gives them as a batch."""

    def build(source, n, symbols=UNICODE):
        ids = [source.writer.instruments.add(symbol) for symbol in symbols]
        ticks = make.ticks(rng, n)
        ticks["instrument_id"] = rng.choice([0, *ids], n)
        return source.publish(ticks)

    return build


def test_values_come_back_as_they_were(kafka, source, sink_to, read, batch_of):
    ring, sink = source(), sink_to(kafka)
    batch = batch_of(ring, 5000)
    assert sink.position(ring.name) is None
    sink.write(batch)
    wide = batch.records["instrument_id"] == 0
    stored = read(kafka, ring.name).records()
    copies = 1 + 3 * wide  # of four partitions, each has what is of the whole feed
    assert (stored == np.repeat(batch.records, copies)).all()
    last = int(batch.records["seq"][-1])
    assert sink.position(ring.name) == Position(ring.ring_id, last, 1)
    progress = sink.progress(ring.ring_id)
    assert (progress.safe_seq, progress.stored_records, progress.pending_records) == (last, 5000, 0)


def test_instrument_is_in_one_partition_whatever_its_number(kafka, source, sink_to, read, batch_of):
    """By its symbol: of two rings that number them otherwise, each symbol is in the same partition."""
    where = []
    for symbols in (UNICODE, UNICODE[::-1]):
        ring, sink = source(), sink_to(kafka)
        batch = batch_of(ring, 2000, symbols)
        sink.write(batch)
        found = {}
        for partition, chunks in read(kafka, ring.name).chunks().items():
            for _, records in chunks:
                assert (np.diff(records["seq"].astype("i8")) > 0).all()
                for number in set(records["instrument_id"].tolist()) - {0}:
                    symbol = batch.instruments.symbol(number)
                    assert found.setdefault(symbol, partition) == partition
        where.append(found)
    assert where[0] == where[1] == {s: zlib.crc32(s.encode()) % 4 for s in UNICODE}


def test_every_partition_has_every_chunk_and_the_chain_holds(
    kafka, source, sink_to, read, batch_of
):
    ring, sink = source(), sink_to(kafka, records_per_message=700)
    for n in (1, 5000, 3, 2500):
        sink.write(batch_of(ring, n, UNICODE[:2]))
    chunks = read(kafka, ring.name).chunks()
    heads = [[(h.first, h.last, h.prev) for h, _ in of] for of in chunks.values()]
    assert all(of == heads[0] for of in heads)
    assert len(heads[0]) == 1 + 8 + 1 + 4
    end, last = None, 0
    for first, until, prev in heads[0]:
        assert prev == end
        assert first == last + 1
        end, last = wire.Mark(ring.ring_id, until), until
    assert last == 7504
    for of in chunks.values():
        for head, records in of:
            assert head.n == len(records)
            assert head.partitions == 4


@pytest.fixture
def bars(make, rng):
    return make.bars(rng, 300)


def test_bars_have_a_topic_of_their_own(kafka, source, sink_to, read, bars):
    ring, sink = source(BAR), sink_to(kafka)
    batch = ring.publish(bars)
    sink.write(batch)
    assert (read(kafka, ring.name).records("bars") == batch.records).all()


def test_records_that_are_neither_are_refused_for_good(kafka, source, sink_to):
    ring, sink = source(DEPTH), sink_to(kafka)
    depth = np.zeros(1, DEPTH)
    depth["seq"] = 1
    with pytest.raises(SinkError, match="neither ticks nor bars") as error:
        sink.write(SinkBatch(ring.name, ring.ring_id, "feed", 1, depth, ring.reader.instruments))
    assert not error.value.retriable


def test_instruments_are_told_once_and_again_when_changed(kafka, source, sink_to, read, batch_of):
    ring, sink = source(), sink_to(kafka)
    sink.write(batch_of(ring, 500))
    sink.write(batch_of(ring, 500))
    sink.close()
    again = sink_to(kafka)
    ring.writer.instruments.add("ESZ6", venue="XCME", tick_size=250_000_000)
    again.write(batch_of(ring, 500))
    told = read(kafka, ring.name).messages("instruments")[0]
    entries = [wire.decode_instrument(message.value()) for message in told]
    assert sorted(e.symbol for e in entries) == sorted([*UNICODE, "ESZ6"])
    assert [e.venue for e in entries if e.symbol == "ESZ6"] == ["", "XCME"]
    assert entries[-1] == next(e for e in ring.reader.instruments if e.symbol == "ESZ6")
    for message, entry in zip(told, entries, strict=True):
        assert wire.DefinitionKey.decode(message.key()) == wire.DefinitionKey(
            ring.ring_id, 1, entry.instrument_id
        )


@pytest.mark.parametrize("mode", ["transactional", "idempotent"])
def test_sink_that_is_started_again_leaves_out_what_is_stored(
    kafka, source, sink_to, read, batch_of, mode
):
    ring, first = source(), sink_to(kafka, mode=mode)
    batch = batch_of(ring, 3000, UNICODE[:1])
    batch.records["instrument_id"] = batch.records["instrument_id"].max()
    part = SinkBatch(ring.name, ring.ring_id, "feed", 1, batch.records[:1700], batch.instruments)
    first.write(part)
    first.close()
    second = sink_to(kafka, mode=mode)
    assert second.position(ring.name) == Position(ring.ring_id, 1700, 1)
    second.write(batch)
    assert (read(kafka, ring.name).records() == batch.records).all()
    progress = second.progress(ring.ring_id)
    assert (progress.stored_records, progress.repeated_records) == (3000, 1700)


def test_ring_made_anew_begins_another_space(kafka, source, sink_to, read, batch_of):
    """Numbers that come again under another ring_id are other records."""
    ring, sink = source(), sink_to(kafka)
    batch = batch_of(ring, 100, UNICODE[:1])
    other = "f" * 32
    sink.write(batch)
    sink.write(SinkBatch(ring.name, other, "feed", 2, batch.records, batch.instruments))
    chunks = read(kafka, ring.name).chunks()[0]
    assert [(h.ring_id, h.first, h.last, h.epoch) for h, _ in chunks] == [
        (ring.ring_id, 1, 100, 1),
        (other, 1, 100, 2),
    ]
    assert chunks[1][0].prev == wire.Mark(ring.ring_id, 100)
    assert sink.position(ring.name) == Position(other, 100, 2)


def test_json_has_a_message_for_each_record(kafka, source, sink_to, read, batch_of):
    ring, sink = source(), sink_to(kafka, payload="json")
    batch = batch_of(ring, 1500)
    sink.write(batch)
    by_seq = {}
    for partition, messages in read(kafka, ring.name).messages().items():
        for message in messages:
            told = json.loads(message.value())
            assert told["symbol"].encode() == (message.key() or b"")
            if told["symbol"]:
                assert zlib.crc32(message.key()) % 4 == partition
            by_seq[told["seq"]] = told
    assert sorted(by_seq) == batch.records["seq"].tolist()
    for record in batch.records:
        told = by_seq[int(record["seq"])]
        assert told["kind"] == Kind(record["kind"]).name
        assert told["venue_seq"] == record["venue_seq"]


def test_raw_per_tick_has_the_record_itself(kafka, source, sink_to, read, batch_of):
    ring, sink = source(), sink_to(kafka, payload="raw_per_tick")
    batch = batch_of(ring, 1500, UNICODE)
    sink.write(batch)
    found = []
    for messages in read(kafka, ring.name).messages().values():
        records = np.frombuffer(b"".join(m.value() for m in messages), TICK)
        assert [batch.instruments.symbol(i) for i in records["instrument_id"].tolist()] == [
            (m.key() or b"").decode() for m in messages
        ]
        found += [r for r in records if r["instrument_id"]]
    found = np.array(sorted(found, key=lambda r: r["seq"]), TICK)
    assert (found == batch.records[batch.records["instrument_id"] != 0]).all()


def test_arrow_is_a_stream_that_arrow_reads(kafka, source, sink_to, read, batch_of):
    ring, sink = source(), sink_to(kafka, payload="arrow")
    batch = batch_of(ring, 1000, UNICODE)
    sink.write(batch)
    tables = [
        pa.ipc.open_stream(io.BytesIO(message.value())).read_all()
        for messages in read(kafka, ring.name).messages().values()
        for message in messages
    ]
    rows = {row["seq"]: row for table in tables for row in table.to_pylist()}
    expected = ticks_to_arrow(batch.records, batch.instruments).to_pylist()
    assert [rows[row["seq"]] for row in expected] == expected


@pytest.fixture
def next_day(monkeypatch):
    """Has a day pass."""
    return lambda: monkeypatch.setattr("mdfeedd.sinks.kafka.stream.DAY_MS", -1000)


def test_old_writers_definitions_are_removed(kafka, source, sink_to, read, batch_of, next_day):
    """What no record that is still there can need goes when a sink starts."""
    ring, first = source(), sink_to(kafka, retention_s=0.001)
    batch = batch_of(ring, 100, UNICODE[:2])
    first.write(batch)
    first.write(SinkBatch(ring.name, "e" * 32, "feed", 2, batch.records, batch.instruments))
    first.close()
    next_day()
    second = sink_to(kafka, retention_s=0.001)
    assert second.position(ring.name).ring_id == "e" * 32
    told = read(kafka, ring.name).messages("instruments")[0]
    removed = {m.key() for m in told if m.value() is None}
    keys = {wire.DefinitionKey.decode(key) for key in removed}
    assert {key.ring_id for key in keys} == {ring.ring_id}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"bootstrap_servers": "nowhere"}, "bootstrap_servers"),
        ({"prefix": "a/b"}, "prefix"),
        ({"mode": "exactly"}, "mode"),
        ({"payload": "avro"}, "payload"),
        ({"compression": "rar"}, "compression"),
        ({"partitions": 0}, "partitions"),
        ({"records_per_message": 100_000}, "records_per_message"),
        ({"replication_factor": -1}, "replication_factor"),
        ({"retention_s": -1}, "retention_s"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"security_protocol": "tls"}, "security_protocol"),
        ({"security_protocol": "sasl_ssl"}, "sasl_mechanism"),
        ({"sasl_username": "me"}, "sasl_mechanism"),
        ({"client": {"acks": 0}}, "client"),
    ],
)
def test_option_is_refused_by_name(given, key):
    with pytest.raises(ValueError, match=f"^{key}: "):
        KafkaSinkOptions(**({"bootstrap_servers": "b:9092"} | given))
