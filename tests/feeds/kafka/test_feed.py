"""A ring of another host by way of Kafka is that ring: order, values, names; once each."""

from __future__ import annotations

import threading
import time
import zlib

import numpy as np
import pytest

from mdfeedd.feeds.kafka.feed import KafkaFeed, _Line
from mdfeedd.feeds.kafka.options import KafkaOptions
from mdfeedd.feeds.kafka.source import Source
from mdfeedd.feeds.shard import Shard
from mdfeedd.ring import Reader
from mdfeedd.sinks import SinkBatch
from mdfeedd.sinks.kafka.stream import Stream
from mdfeedd.tick import BAR, GAP, TICK, Flag, GapReason, Kind

DEADLINE_S = 120


def test_ring_there_is_the_ring_here(kafka, source, sink_to, feed_from, publish, same):
    ring, sink = source(), sink_to(kafka, records_per_message=300)
    batches = [publish(ring, n) for n in (1, 2000, 7, 3000)]
    feed = feed_from(kafka, ring.name)
    for batch in batches:
        sink.write(batch)
    ticks = feed.read(5008)
    same(ticks, feed.reader.instruments, batches)
    assert ticks["seq"].tolist() == list(range(1, 5009))
    assert set((ticks["instrument_id"] >> 24).tolist()) <= {0, 5}
    entry = feed.reader.instruments[feed.reader.instruments.id("ESZ6")]
    assert (entry.venue, entry.tick_size, entry.feed) == ("V", 25, ring.name)
    assert feed.counter("received_records") == 5008
    assert feed.counter("gaps") == 0


def test_bars(kafka, source, sink_to, feed_from, dice, until):
    ring, sink = source(BAR), sink_to(kafka)
    numbers = np.random.default_rng(dice.randrange(2**32))
    bars = np.frombuffer(numbers.bytes(128 * 500), BAR).copy()
    ids = [(3 << 24) | 1, (4 << 24) | 1]
    for i, number in enumerate(ids):
        ring.writer.instruments.add(f"S{i}", feed=f"feed{i}", instrument_id=number)
    bars["instrument_id"] = numbers.choice(ids, 500)
    batch = ring.publish(bars)
    sink.write(batch)
    feed = feed_from(kafka, ring.name, kind="bars")
    got = []
    until(lambda: got.extend(feed.reader.read(1000).records) or len(got) == 500, "bars")
    got = np.array(got, BAR)
    names = [feed.reader.instruments[i] for i in got["instrument_id"].tolist()]
    assert [(n.symbol, n.feed) for n in names] == [
        (f"S{ids.index(i)}", f"feed{ids.index(i)}") for i in batch.records["instrument_id"].tolist()
    ]
    for name in BAR.names:
        if name not in {"seq", "instrument_id"}:
            assert (got[name] == batch.records[name]).all()


def test_feed_that_is_started_again_goes_on(kafka, source, sink_to, feed_from, publish, same):
    ring, sink = source(), sink_to(kafka)
    batches = [publish(ring, 500)]
    sink.write(batches[0])
    feed = feed_from(kafka, ring.name)
    feed.read(500)
    for _ in range(3):
        feed.stop()
        batches.append(publish(ring, 500))
        sink.write(batches[-1])
        feed.start()
        feed.read(500 * len(batches))
    same(feed.ticks, feed.reader.instruments, batches)


@pytest.mark.parametrize("notes", [0, 1, 3])
def test_kill_between_publishing_and_noting(
    kafka, source, sink_to, feed_from, publish, same, monkeypatch, notes
):
    """What was published behind the last note is told by the ring's own number, and left out."""
    ring, sink = source(), sink_to(kafka, records_per_message=100)
    batches = [publish(ring, 350) for _ in range(4)]
    save, made = _Line._save, []

    def save_some(line):
        made.append(line)
        if len(made) <= 1 + notes:  # the first is of the begin
            save(line)

    monkeypatch.setattr(_Line, "_save", save_some)
    sink.write(batches[0])
    feed = feed_from(kafka, ring.name)
    feed.read(350)
    sink.write(batches[1])
    feed.read(700)
    feed.stop()
    monkeypatch.setattr(_Line, "_save", save)
    sink.write(batches[2])
    feed.start()
    feed.read(1050)
    sink.write(batches[3])
    same(feed.read(1400), feed.reader.instruments, batches)
    assert notes or feed.counter("known_records") == 700


def test_new_ring_here_begins_with_what_comes(
    kafka, source, sink_to, feed_from, publish, same, read, until
):
    ring, sink = source(), sink_to(kafka)
    sink.write(publish(ring, 500, wide=0))
    # brokers tell each partition of a commit in its own time: until all know, it is yet to come
    until(lambda: len(read(kafka, ring.name).records()) == 500, "the commit everywhere")
    feed = feed_from(kafka, ring.name, start="latest")
    until(lambda: feed.reader and feed.counter("sessions"), "a session")
    batch = publish(ring, 300)
    sink.write(batch)
    same(feed.read(300), feed.reader.instruments, [batch])


def test_topic_comes_later_than_the_feed(apache, source, sink_to, feed_from, publish, same):
    ring = source()
    feed = feed_from(apache, ring.name)
    time.sleep(1)
    batch = publish(ring, 100)
    sink_to(apache).write(batch)
    same(feed.read(100), feed.reader.instruments, [batch])


def test_ring_there_is_made_anew(kafka, source, sink_to, feed_from, publish, same):
    """Its numbers begin again, under another ring_id, and its instruments are numbered otherwise."""
    first, second, sink = source(), source(), sink_to(kafka)
    batches = [publish(first, 400), publish(second, 300, ["NQZ6", "new"])]
    anew = SinkBatch(
        first.name, second.ring_id, "feed", 2, batches[1].records, batches[1].instruments
    )
    sink.write(batches[0])
    sink.write(anew)
    feed = feed_from(kafka, first.name)
    same(feed.read(700), feed.reader.instruments, batches)


def test_sink_did_not_know_how_far_it_was(
    kafka, source, sink_to, feed_from, publish, same, monkeypatch
):
    """Without transactions, killed before the position: it writes again, cut otherwise."""
    ring, first = source(), sink_to(kafka, mode="idempotent", records_per_message=170)
    batches = [publish(ring, 500) for _ in range(3)]
    first.write(batches[0])
    with monkeypatch.context() as patch:
        patch.setattr(Stream, "_tell", lambda *_: None)
        first.write(batches[1])
    second = sink_to(kafka, mode="idempotent", records_per_message=70)
    assert second.position(ring.name).seq == 500
    feed = feed_from(kafka, ring.name)
    feed.read(1000)
    for batch in batches[1:]:
        second.write(batch)
    same(feed.read(1500), feed.reader.instruments, batches)
    assert feed.counter("known_records") >= 500
    assert feed.counter("gaps") == 0


def test_nobody_names_an_instrument(kafka, source, sink_to, feed_from, publish, monkeypatch):
    ring, sink = source(), sink_to(kafka)
    monkeypatch.setattr(
        Stream, "_define", lambda self, batch, records, _: self._learn(batch, records)
    )
    batches = [publish(ring, 50, ["ESZ6"], wide=0) for _ in range(2)]
    sink.write(batches[0])
    feed = feed_from(kafka, ring.name, definitions_wait_s=0.3)
    feed.read(50)
    sink.write(batches[1])
    ticks = feed.read(100)
    number = int(batches[0].records["instrument_id"][0])
    assert {feed.reader.instruments.symbol(i) for i in ticks["instrument_id"].tolist()} == {
        f"#{number}"
    }
    assert feed.counter("unmapped_records") == 50


def test_instrument_gets_its_name_later(kafka, source, sink_to, feed_from, publish):
    ring, sink = source(), sink_to(kafka)
    sink.write(publish(ring, 10, ["#17"], wide=0))
    feed = feed_from(kafka, ring.name)
    feed.read(10)
    number = ring.writer.instruments.add("#17")
    ring.writer.instrument_put(
        (number & 0xFFFFFF) - 1,
        (number, 0, 0, 0, 25, 0, 0, "", "V", "feed", "ESZ6", "#17"),
    )
    time.sleep(0.15)  # a reader looks at a known entry again after a tenth of a second
    ticks = np.zeros(5, TICK)
    ticks["instrument_id"], ticks["kind"] = number, Kind.QUOTE
    sink.write(ring.publish(ticks))
    feed.read(15)
    names = [feed.reader.instruments.symbol(i) for i in feed.ticks["instrument_id"].tolist()]
    assert names == ["#17"] * 10 + ["ESZ6"] * 5


def test_some_partitions_alone(kafka, source, sink_to, feed_from, publish, symbols):
    ring, sink = source(), sink_to(kafka)
    batch = publish(ring, 3000)
    sink.write(batch)
    wide = int((batch.records["instrument_id"] == 0).sum())
    found = []
    for partitions in ((0, 2), (1, 3)):
        feed = feed_from(kafka, ring.name, f"part{partitions[0]}", partitions=partitions)
        homes = [zlib.crc32(symbol.encode()) % 4 in partitions for symbol in symbols]
        mine = {
            ring.writer.instruments.add(s, venue="V", tick_size=25)
            for s, at_home in zip(symbols, homes, strict=True)
            if at_home
        }
        expected = np.isin(batch.records["instrument_id"], [0, *mine])
        ticks = feed.read(int(expected.sum()))
        assert (ticks["payload"] == batch.records["payload"][expected]).all()
        found.append(ticks)
    assert sum(map(len, found)) == 3000 + wide


def test_partitions_are_added(apache, source, sink_to, feed_from, publish, same, until):
    """Instruments move to others, and the order stays: it is that of all partitions together."""
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewPartitions

    ring, sink = source(), sink_to(apache, partitions=2)
    batches = [publish(ring, 500)]
    sink.write(batches[0])
    feed = feed_from(apache, ring.name)
    feed.read(500)
    topic = f"md.{ring.name}.ticks"
    admin = AdminClient({"bootstrap.servers": apache.address})
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(20)
    batches.append(publish(ring, 300))
    sink.write(batches[1])  # this sink still knows of two
    feed.read(800)
    sink.close()
    until(lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 5, "five")
    again = sink_to(apache)
    batches += [publish(ring, 300), publish(ring, 300)]
    for batch in batches[2:]:
        again.write(batch)
    same(feed.read(1400), feed.reader.instruments, batches)
    feed.stop()
    feed.start()
    batches.append(publish(ring, 100))
    again.write(batches[-1])
    same(feed.read(1500), feed.reader.instruments, batches)


def test_brokers_have_dropped_what_the_feed_had_not_read(
    apache, source, sink_to, feed_from, publish, symbols
):
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    ring, sink = source(), sink_to(apache, partitions=2)
    sink.write(publish(ring, 500))
    feed = feed_from(apache, ring.name)
    feed.read(500)
    feed.stop()
    sink.write(publish(ring, 200))
    sink.write(publish(ring, 100))
    admin = AdminClient({"bootstrap.servers": apache.address})
    places = [TopicPartition(f"md.{ring.name}.ticks", p, -1) for p in range(2)]
    for done in admin.delete_records(places).values():
        done.result(20)
    after = publish(ring, 50)
    sink.write(after)
    feed.start()
    own = 1 + len(symbols) + 1
    ticks = feed.read(550 + own)
    gaps = ticks[500 : 500 + own].view(GAP)
    kinds = [Kind.GAP, *[Kind.CLEAR] * len(symbols), Kind.RECOVERED]
    assert gaps["kind"].tolist() == kinds
    for row in gaps[[0, -1]]:
        assert (row["reason"], row["instrument_id"]) == (GapReason.RING_LAPPED, 0)
        assert (row["first_missing"], row["last_missing"]) == (501, 800)
    assert set(gaps["flags"][1:-1].tolist()) == {Flag.BAD_TS}
    assert len(set(gaps["instrument_id"][1:-1].tolist())) == len(symbols)
    assert (ticks[500 + own :]["payload"] == after.records["payload"]).all()
    assert feed.counter("gaps") == 1


def test_brokers_do_not_have_an_offset(
    apache, source, sink_to, feed_from, publish, same, monkeypatch
):
    """As where a topic was made anew under a feed that runs: from its begin, known records left out."""
    assign = Source.assign

    def too_far(self, offsets):
        assign(self, offsets | {0: offsets[0] + 10**6})

    monkeypatch.setattr(Source, "assign", too_far)
    ring, sink = source(), sink_to(apache)
    batches = [publish(ring, 500), publish(ring, 300)]
    sink.write(batches[0])
    feed = feed_from(apache, ring.name)
    feed.read(500)
    sink.write(batches[1])
    same(feed.read(800), feed.reader.instruments, batches)
    assert feed.counter("gaps") == 0


def test_partition_that_is_behind_holds_the_others_back(
    kafka, source, sink_to, feed_from, publish, same, monkeypatch, until
):
    """What waits for it stays within `max_wait_records`, and nothing is lost or out of order."""
    begin, pause, messages = Source.begin_data, Source.pause, Source.messages
    held, paused, release = [], [], threading.Event()

    def hold_one(self):
        self._data = [place for place in self._data if place.partition != 2]
        begin(self)  # without the one that holds a quarter, which stays paused
        held.append(self)

    def let_go(self):
        if release.is_set() and held:
            held.pop().resume([2])
        yield from messages(self)

    monkeypatch.setattr(Source, "begin_data", hold_one)
    monkeypatch.setattr(Source, "messages", let_go)
    monkeypatch.setattr(Source, "pause", lambda self, of: (paused.append(set(of)), pause(self, of)))
    ring, sink = source(capacity=1 << 18), sink_to(kafka)
    whole = publish(ring, 1 << 17)
    for first in range(0, 1 << 17, 1 << 13):
        part = whole.records[first : first + (1 << 13)]
        sink.write(SinkBatch(ring.name, ring.ring_id, "feed", 1, part, whole.instruments))
    feed = feed_from(kafka, ring.name, max_wait_records=65_536, capacity=1 << 18)
    until(lambda: {0, 1, 3} in paused, "the others are held back")
    assert len(feed.reader.read(10, timeout=0)) == 0
    release.set()
    same(feed.read(1 << 17), feed.reader.instruments, [whole])


def test_partition_that_is_held_back_and_then_waited_for_is_read(
    kafka, source, sink_to, feed_from, publish, same
):
    """With the least memory that may be given: each is ahead of the others now and then."""
    ring, sink = source(capacity=1 << 18), sink_to(kafka, compression="none")
    batches = [publish(ring, 1 << 16, wide=0) for _ in range(6)]
    for batch in batches:
        sink.write(batch)
    least = {"max_wait_records": 65_536, "receive_buffer_bytes": 1 << 20}
    feed = feed_from(kafka, ring.name, capacity=1 << 19, **least)
    same(feed.read(6 << 16), feed.reader.instruments, batches)


def test_consumer_that_is_slow_is_waited_for(
    kafka, source, sink_to, feed_from, publish, same, until
):
    """Catching up does not lap a consumer here: what waits is kept by the brokers."""
    ring, sink = source(capacity=1 << 17), sink_to(kafka)
    batches = [publish(ring, 5000) for _ in range(4)]
    feed = feed_from(kafka, ring.name, capacity=1024, wait_for_consumers_s=DEADLINE_S)
    until(feed.exists, "a ring")
    reader = Reader(ring.name, start="oldest", consumer="slow", directory=feed.plan.directory)
    for batch in batches:
        sink.write(batch)
    got = []
    deadline = time.monotonic() + DEADLINE_S
    while sum(map(len, got)) < 20_000:
        batch = reader.read(200, timeout=1.0)
        assert not batch.lost
        got.append(batch.records.copy())
        time.sleep(0.001)
        assert time.monotonic() < deadline
    same(np.concatenate(got), reader.instruments, batches)
    reader.close()


def test_broker_is_away_for_a_while(own_kafka, source, sink_to, feed_from, publish, same, until):
    broker = own_kafka()
    ring, sink = source(), sink_to(broker, timeout_s=30.0)
    batches = [publish(ring, 500)]
    sink.write(batches[0])
    feed = feed_from(broker, ring.name)
    feed.read(500)
    for _ in range(2):
        broker.kill()
        until(lambda: feed.counter("disconnects"), "it is told")
        broker.start()
        batches.append(publish(ring, 500))
        persist(sink, batches[-1])
        feed.read(500 * len(batches))
    same(feed.ticks, feed.reader.instruments, batches)


def persist(sink, batch):
    from mdfeedd.sinks import SinkError

    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            sink.write(batch)
        except SinkError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def test_no_broker_is_waited_for(shm_dir, source, feed_from):
    feed = feed_from("127.0.0.1:1", "nothing", timeout_s=0.5)
    assert feed.reader.writer_alive
    time.sleep(1.5)
    assert feed.alive()
    feed.stop()
    assert feed.ended is None


def test_payload_that_is_not_raw_ends_it(kafka, source, sink_to, feed_from, publish, caplog, until):
    ring, sink = source(), sink_to(kafka, payload="json")
    sink.write(publish(ring, 10))
    feed = feed_from(kafka, ring.name)
    until(lambda: not feed.alive(), "its end")
    assert isinstance(feed.ended, SystemExit)
    assert feed.ended.code == 78
    assert "it is no chunk" in caplog.text


def test_wrong_password_ends_it(
    apache, source, sink_to, feed_from, publish, monkeypatch, caplog, until
):
    ring = source()
    sink_to(apache).write(publish(ring, 10))
    monkeypatch.setenv("KAFKA_TEST_PASSWORD", "wrong-secret")
    login = {
        "security_protocol": "sasl_plaintext",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "admin",
        "password_env": "KAFKA_TEST_PASSWORD",
    }
    feed = feed_from(apache.sasl_address, ring.name, **login)
    until(lambda: not feed.alive(), "its end")
    assert feed.ended.code == 77
    assert "refuses the login" in caplog.text
    assert "wrong-secret" not in caplog.text
    monkeypatch.setenv("KAFKA_TEST_PASSWORD", "admin-secret")
    feed.ended = None
    feed.start()
    assert len(feed.read(10)) == 10


def test_probe(apache, source, sink_to, publish):
    ring = source()
    options = KafkaOptions(apache.address, ring=ring.name)
    (line,) = KafkaFeed.probe("name", options)
    assert not line.ok
    assert "no topic" in line.text
    sink_to(apache).write(publish(ring, 10))
    (line,) = KafkaFeed.probe("name", options)
    assert line.ok
    assert "4 partitions" in line.text
    (line,) = KafkaFeed.probe("name", KafkaOptions("127.0.0.1:1", timeout_s=0.5))
    assert not line.ok
    assert "Connection refused" in line.text


def test_nothing_is_left_running(kafka, source, sink_to, feed_from, publish):
    ring, sink = source(), sink_to(kafka)
    sink.write(publish(ring, 10))
    before = threading.active_count()
    feed = feed_from(kafka, ring.name)
    feed.read(10)
    feed.stop()
    assert threading.active_count() <= before
    assert not feed.reader.writer_alive


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"kind": "depth"}, "kind"),
        ({"start": "now"}, "start"),
        ({"partitions": (1, 1)}, "partitions"),
        ({"partitions": (-1,)}, "partitions"),
        ({"max_wait_records": 5}, "max_wait_records"),
        ({"definitions_wait_s": -1}, "definitions_wait_s"),
        ({"wait_for_consumers_s": -1}, "wait_for_consumers_s"),
        ({"receive_buffer_bytes": 5}, "receive_buffer_bytes"),
        ({"bootstrap_servers": ""}, "bootstrap_servers"),
    ],
)
def test_option_is_refused_by_name(given, key):
    with pytest.raises(ValueError, match=f"^{key}: "):
        KafkaOptions(**({"bootstrap_servers": "b:9092"} | given))


def test_shards_are_together_the_ring_there(kafka, source, sink_to, feed_from, publish, until):
    """Also over a restart, which begins where the ring of the shard has come to."""
    ring, sink = source(), sink_to(kafka, records_per_message=300)
    batches = [publish(ring, n) for n in (700, 800, 900)]
    shards = [Shard(i, 3) for i in (1, 2, 3)]
    feeds = [feed_from(kafka, ring.name, f"s{shard.index}", shard=shard) for shard in shards]
    told = [
        (batch.instruments.symbol(int(tick["instrument_id"])), tick["payload"].tobytes())
        for batch in batches
        for tick in batch.records
    ]
    wide = sum(not symbol for symbol, _ in told)
    assert wide > 0
    wanted = [[one for one in told if not one[0] or shard.has(one[0])] for shard in shards]
    sink.write(batches[0])
    firsts = {shard: sum(not one[0] or shard.has(one[0]) for one in told[:700]) for shard in shards}
    for shard, feed in zip(shards, feeds, strict=True):
        feed.read(firsts[shard])
        feed.stop()
        feed.start()
    for batch in batches[1:]:
        sink.write(batch)
    for feed, expected in zip(feeds, wanted, strict=True):
        ticks = feed.read(len(expected))
        names = feed.reader.instruments
        assert [
            (names.symbol(int(tick["instrument_id"])), tick["payload"].tobytes()) for tick in ticks
        ] == expected
        others = len(told) - len(expected)
        until(lambda f=feed, n=others: f.counter("skipped_records") >= n, "the others are skipped")


def test_feed_is_started_while_the_sink_knows_of_fewer_partitions(
    apache, source, sink_to, feed_from, publish, same, until
):
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewPartitions

    ring, sink = source(), sink_to(apache, partitions=2)
    batches = [publish(ring, 500)]
    sink.write(batches[0])
    topic = f"md.{ring.name}.ticks"
    admin = AdminClient({"bootstrap.servers": apache.address})
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(20)
    until(lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 5, "five")
    feed = feed_from(apache, ring.name)
    feed.read(500)
    batches.append(publish(ring, 300))
    sink.write(batches[1])
    feed.read(800)
    sink.close()
    again = sink_to(apache)
    batches.append(publish(ring, 300))
    again.write(batches[2])
    same(feed.read(1100), feed.reader.instruments, batches)
    assert feed.counter("gaps") == 0


def test_topic_is_made_anew_while_the_feed_is_away(
    apache, source, sink_to, feed_from, publish, same, until
):
    """Its offsets say nothing of the new one, even where that has grown beyond them."""
    from confluent_kafka.admin import AdminClient

    ring, sink = source(), sink_to(apache)
    batches = [publish(ring, 500)]
    sink.write(batches[0])
    feed = feed_from(apache, ring.name)
    feed.read(500)
    feed.stop()
    sink.close()
    topic = f"md.{ring.name}.ticks"
    admin = AdminClient({"bootstrap.servers": apache.address})
    admin.delete_topics([topic])[topic].result(20)
    until(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic to go")
    again = sink_to(apache)
    for _ in range(5):
        batches.append(publish(ring, 100))
        again.write(batches[-1])
    feed.start()
    same(feed.read(1000), feed.reader.instruments, batches)
    assert feed.counter("gaps") == 0
