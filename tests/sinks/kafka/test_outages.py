"""What goes wrong with brokers: a sentence each, nothing lost, nothing twice, and it goes on by itself."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from mdfeedd.ring import Position
from mdfeedd.sinks import SinkError
from mdfeedd.sinks.kafka import KafkaSink, KafkaSinkOptions, stream

DEADLINE_S = 120


def persist(sink, batch):
    """What the batch consumer does: the same batch again until it is taken. Returns the sentences."""
    told, deadline = [], time.monotonic() + DEADLINE_S
    while True:
        try:
            sink.write(batch)
        except SinkError as error:
            told.append(str(error))
            if not error.retriable or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return told


def whole(batches):
    return np.concatenate([batch.records for batch in batches])


def test_no_broker_at_the_start(batches, sink_to):
    _, (batch, *_) = batches()
    sink = sink_to("127.0.0.1:1", timeout_s=1.0)
    started = time.monotonic()
    with pytest.raises(SinkError, match=r"Kafka at 127\.0\.0\.1:1.*Connection refused") as error:
        sink.position(batch.ring)
    assert error.value.retriable
    assert time.monotonic() - started < 30
    with pytest.raises(SinkError, match="Connection refused"):
        sink.write(batch)


def test_wrong_host_name(batches, sink_to):
    _, (batch, *_) = batches()
    sink = sink_to("no-such-host.invalid:9092", timeout_s=1.0)
    with pytest.raises(SinkError, match="no-such-host") as error:
        sink.write(batch)
    assert error.value.retriable


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"client": {"no.such.setting": 1}}, "no.such.setting"),
        ({"client": {"socket.timeout.ms": "soon"}}, "socket.timeout.ms"),
        (
            {
                "security_protocol": "sasl_plaintext",
                "sasl_mechanism": "MAGIC",
                "sasl_username": "me",
            },
            "sasl",
        ),
    ],
)
def test_option_that_the_library_does_not_take(batches, sink_to, given, text):
    _, (batch, *_) = batches()
    sink = sink_to("127.0.0.1:1", timeout_s=0.5, **given)
    with pytest.raises(SinkError, match="librdkafka does not take") as error:
        sink.write(batch)
    assert not error.value.retriable
    assert text in str(error.value)


def test_certificate_is_not_there_yet(batches, sink_to, tmp_path):
    _, (batch, *_) = batches()
    path = tmp_path / "ca.pem"
    sink = sink_to("127.0.0.1:1", timeout_s=0.5, security_protocol="ssl", tls_ca_file=str(path))
    with pytest.raises(
        SinkError, match=r"tls_ca_file: .*ca\.pem cannot be read: No such file"
    ) as error:
        sink.write(batch)
    assert error.value.retriable
    path.write_text("no certificate")
    with pytest.raises(SinkError, match=r"ssl\.ca\.location"):
        sink.write(batch)


def test_broker_comes_later_than_the_sink(own_kafka, batches, sink_to, read):
    broker = own_kafka()
    broker.kill()
    ring, cut = batches()
    sink = sink_to(broker, timeout_s=1.0)
    with pytest.raises(SinkError) as error:
        sink.position(ring.name)
    assert error.value.retriable
    broker.start()
    for batch in cut:
        persist(sink, batch)
    assert (read(broker, ring.name).records() == whole(cut)).all()


@pytest.mark.parametrize("mode", ["transactional", "idempotent"])
def test_broker_is_killed_and_comes_back(own_kafka, batches, sink_to, read, mode):
    broker = own_kafka()
    ring, cut = batches(count=4)
    sink = sink_to(broker, timeout_s=2.0, mode=mode)
    persist(sink, cut[0])
    broker.kill()
    with pytest.raises(SinkError, match="Kafka at") as error:
        sink.write(cut[1])
    assert error.value.retriable
    broker.start()
    for batch in cut[1:]:
        persist(sink, batch)
    stored = read(broker, ring.name).records()
    if mode == "idempotent":
        stored = stored[np.unique(stored["seq"], return_index=True)[1]]
    assert (stored == whole(cut)).all()
    assert sink.progress(ring.ring_id).safe_seq == cut[-1].records["seq"][-1]


def test_broker_stands_still_longer_than_a_transaction_may_take(
    own_kafka, batches, sink_to, read, monkeypatch
):
    """The broker voids what was open; the same writer goes on, for nobody has taken over."""
    monkeypatch.setattr(stream, "TRANSACTION_TIMEOUT_MS", 2000)
    broker = own_kafka(transaction_abort_timed_out_transaction_cleanup_interval_ms=500)
    ring, cut = batches(count=4)
    sink = sink_to(broker, timeout_s=1.0, client={"message.timeout.ms": 2000})
    persist(sink, cut[0])
    for batch in cut[1:]:
        broker.freeze()
        with pytest.raises(SinkError) as error:
            sink.write(batch)
        assert error.value.retriable
        time.sleep(3)
        broker.thaw()
        persist(sink, batch)
    assert (read(broker, ring.name).records() == whole(cut)).all()


def test_another_writer_takes_over(apache, batches, sink_to, read):
    ring, cut = batches(count=3)
    old, new = sink_to(apache), sink_to(apache)
    old.write(cut[0])
    assert new.position(ring.name).seq == cut[0].records["seq"][-1]
    for _ in range(3):
        try:
            old.write(cut[1])
        except SinkError as error:
            fate = error
            if not error.retriable:
                break
    assert not fate.retriable
    assert "another writer has taken over" in str(fate)
    new.write(cut[1])
    new.write(cut[2])
    assert (read(apache, ring.name).records() == whole(cut)).all()


def test_message_too_large_is_sent_in_smaller_ones(apache, batches, sink_to, read):
    from confluent_kafka.admin import AdminClient, NewTopic

    ring, cut = batches(count=2, size=8000)
    admin = AdminClient({"bootstrap.servers": apache.address})
    topic = NewTopic(f"md.{ring.name}.ticks", 2, 1, config={"max.message.bytes": "40000"})
    admin.create_topics([topic])[topic.topic].result(20)
    sink = sink_to(apache, compression="none")
    for batch in cut:
        persist(sink, batch)
    reader = read(apache, ring.name)
    assert (reader.records() == whole(cut)).all()
    sizes = [head.n for chunks in reader.chunks().values() for head, _ in chunks]
    assert max(sizes) * 64 < 40_000


def test_broker_takes_no_size_at_all(apache, batches, sink_to, read):
    from confluent_kafka.admin import AdminClient, NewTopic

    ring, cut = batches(count=2, size=2000)
    admin = AdminClient({"bootstrap.servers": apache.address})
    topic = NewTopic(f"md.{ring.name}.ticks", 1, 1, config={"max.message.bytes": "300"})
    admin.create_topics([topic])[topic.topic].result(20)
    sink = sink_to(apache, compression="none")
    with pytest.raises(SinkError, match=r"max\.message\.bytes") as error:
        sink.write(cut[0])
    assert error.value.retriable
    assert len(read(apache, ring.name).records()) == 0


def test_topic_is_missing_and_not_to_be_made(apache, batches, sink_to):
    _, (batch, *_) = batches()
    sink = sink_to(apache, create_topics=False)
    with pytest.raises(SinkError, match=r"has no topic md\..*create_topics is false") as error:
        sink.write(batch)
    assert error.value.retriable


def test_queue_of_the_library_is_full(kafka, batches, sink_to, read):
    """Back-pressure: what does not fit waits, in order."""
    ring, cut = batches(count=2, size=3000)
    sink = sink_to(kafka, payload="raw_per_tick", client={"queue.buffering.max.messages": 50})
    for batch in cut:
        sink.write(batch)
    for messages in read(kafka, ring.name).messages().values():
        seqs = [int.from_bytes(message.value()[:8], "little") for message in messages]
        assert seqs == sorted(set(seqs))
    assert sum(map(len, read(kafka, ring.name).messages().values())) == 6000


def sasl(password, **rest):
    return {
        "security_protocol": "sasl_plaintext",
        "sasl_mechanism": "PLAIN",
        "password_env": password,
    } | rest


def test_wrong_password_then_the_right_one(apache, batches, sink_to, read, monkeypatch):
    ring, cut = batches(count=1)
    monkeypatch.setenv("KAFKA_TEST_PASSWORD", "wrong-secret")
    sink = sink_to(
        apache.sasl_address, **sasl("KAFKA_TEST_PASSWORD", sasl_username="admin", timeout_s=3.0)
    )
    with pytest.raises(SinkError, match="refuses the login") as error:
        sink.write(cut[0])
    assert error.value.retriable
    assert "wrong-secret" not in str(error.value)
    monkeypatch.setenv("KAFKA_TEST_PASSWORD", "admin-secret")
    persist(sink, cut[0])
    assert (read(apache, ring.name).records() == whole(cut)).all()


def test_password_is_missing(apache, batches, sink_to, monkeypatch):
    _, (batch, *_) = batches()
    monkeypatch.delenv("KAFKA_TEST_PASSWORD", raising=False)
    sink = sink_to(apache.sasl_address, **sasl("KAFKA_TEST_PASSWORD", sasl_username="admin"))
    with pytest.raises(SinkError, match="KAFKA_TEST_PASSWORD is not set"):
        sink.write(batch)


def test_user_may_not_write(apache, batches, sink_to, monkeypatch):
    _, (batch, *_) = batches()
    monkeypatch.setenv("KAFKA_TEST_PASSWORD", "guest-secret")
    sink = sink_to(
        apache.sasl_address, **sasl("KAFKA_TEST_PASSWORD", sasl_username="guest", timeout_s=3.0)
    )
    with pytest.raises(SinkError, match=r"[Aa]uthoriz") as error:
        sink.write(batch)
    assert error.value.retriable
    assert os.environ["KAFKA_TEST_PASSWORD"] not in str(error.value)


def remove_topic(broker, topic):
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.delete_topics([topic])[topic].result(20)
    deadline = time.monotonic() + 60
    while topic in admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("mode", ["transactional", "idempotent"])
def test_topic_of_positions_is_removed(apache, batches, sink_to, read, caplog, mode):
    """The chunks say how far the ring is: nothing is written again."""
    ring, parts = batches()
    first = sink_to(apache, mode=mode)
    for part in parts[:2]:
        first.write(part)
    first.close()
    remove_topic(apache, f"md.{ring.name}.position")
    again = sink_to(apache, mode=mode)
    assert again.position(ring.name) == Position(ring.ring_id, int(parts[1].records["seq"][-1]), 1)
    assert "the topic of positions is empty" in caplog.text
    for part in parts:
        again.write(part)
    whole = np.concatenate([part.records for part in parts])
    assert (read(apache, ring.name).records() == whole[np.argsort(whole["seq"])]).all()


def test_topic_of_positions_is_removed_while_it_writes(apache, batches, sink_to, read, monkeypatch):
    monkeypatch.setattr(stream, "TRANSACTION_TIMEOUT_MS", 15_000)  # it waits for so long
    ring, parts = batches()
    sink = sink_to(apache, timeout_s=5.0)
    sink.write(parts[0])
    remove_topic(apache, f"md.{ring.name}.position")
    for part in parts[1:]:
        persist(sink, part)
    records = read(apache, ring.name).records()
    assert records["seq"].tolist() == list(range(1, 1 + sum(len(p.records) for p in parts)))


def test_topic_of_positions_is_removed_where_messages_do_not_say_what_they_are(
    apache, batches, sink_to
):
    ring, parts = batches()
    first = sink_to(apache, payload="json")
    first.write(parts[0])
    first.close()
    remove_topic(apache, f"md.{ring.name}.position")
    with pytest.raises(SinkError, match=r"Remove .* as well, and it is written anew") as told:
        sink_to(apache, payload="json").position(ring.name)
    assert told.value.retriable


class Silent:
    """A producer whose commits have no answer."""

    def __init__(self, producer):
        self._producer = producer

    def __len__(self):
        return len(self._producer)

    def __getattr__(self, name):
        return getattr(self._producer, name)

    def commit_transaction(self, timeout):
        from confluent_kafka import KafkaError, KafkaException

        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "silence", retriable=True))


def test_commit_that_is_never_answered_is_given_up_with_its_producer(apache, batches, read):
    """As where a topic was removed under it; a new producer finds out what is stored."""
    ring, parts = batches()
    now = [1000.0]
    sink = KafkaSink(KafkaSinkOptions(apache.address), "store", clock=lambda: now[0])
    sink.write(parts[0])
    sink._streams[ring.name]._producer = Silent(sink._streams[ring.name]._producer)
    for _ in range(3):
        with pytest.raises(SinkError, match="not known yet whether it was stored"):
            sink.write(parts[1])
    now[0] += stream.TRANSACTION_TIMEOUT_MS / 1000 + 1
    with pytest.raises(SinkError, match="beginning anew") as told:
        sink.write(parts[1])
    assert told.value.retriable
    for part in parts[1:]:
        persist(sink, part)
    sink.close()
    assert (read(apache, ring.name).records()["seq"] == whole(parts)["seq"]).all()


def test_outage_is_looked_into_though_nothing_is_to_be_written(
    own_kafka, batches, sink_to, read, caplog
):
    """A broker that was killed behind an answer may have forgotten what it answered for."""
    caplog.set_level("INFO")
    broker = own_kafka()
    ring, cut = batches(count=2)
    sink = sink_to(broker, timeout_s=2.0)
    persist(sink, cut[0])
    producer = sink._streams[ring.name]._producer
    broker.kill()
    deadline = time.monotonic() + DEADLINE_S
    while not sink._streams[ring.name]._in_doubt():
        assert time.monotonic() < deadline
        sink._streams[ring.name]._outbox.serve(0.05)
    with pytest.raises(SinkError):
        sink.housekeep()
    broker.start()
    while sink._streams[ring.name]._producer in {None, producer}:
        assert time.monotonic() < deadline
        try:
            sink.housekeep()
            sink.position(ring.name)
        except SinkError:
            time.sleep(0.1)
    found = sink.position(ring.name)  # None: it had forgotten, and the only transaction is void
    assert found is None or found.seq == cut[0].records["seq"][-1]
    for batch in cut:
        persist(sink, batch)
    assert (read(broker, ring.name).records() == whole(cut)).all()
