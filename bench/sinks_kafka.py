"""Ticks into Kafka: the sink, exactly once, beside what the client library can do; and back by the feed.

    python bench/sinks_kafka.py [--broker apache|mock] [--rounds 15] [--save]

The broker is one of its own, in memory of 1 GB and with the JVM's full compiler: Apache Kafka where
tests/sinks/servers/kafka.py finds its jars, else librdkafka's mock, which keeps all in this process. All
write the same ticks, 65,536 of them a transaction, into topics of four partitions, in turn, so that a
busy moment hits all; each is the best of its rounds.

many ticks a message:
    sink             KafkaSink.write of 65,536 ticks, packed, position and all (--compression lz4)
    sink 5000        batches as by default
    sink arrow       the same as Arrow IPC
    ready messages   the sink's own messages made beforehand, produce() and commit: the client's limit
a tick a message, 64 bytes, keyed by symbol:
    sink raw         payload raw_per_tick
    sink json        payload json (about 230 bytes)
    C limit          rd_kafka_produce_batch of message structs made beforehand, a call a partition
    produce_batch    confluent-kafka's, of dicts made beforehand
    produce          confluent-kafka's, a call a tick
feed:
    feed             KafkaFeed from the topic of `sink` into a ring, a consumer keeping up
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import machine
import numpy as np
from confluent_kafka import Producer, cimpl

from mdfeedd.feeds.kafka.feed import KafkaFeed
from mdfeedd.feeds.kafka.options import KafkaOptions
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring import Reader, RingMissing, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.sinks import SinkBatch
from mdfeedd.sinks.kafka import KafkaSink, KafkaSinkOptions
from mdfeedd.sinks.kafka.messages import _parts
from mdfeedd.tick import QUOTE, TICK, Kind

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "sinks" / "servers"))
import kafka as servers

RESULT = Path(__file__).parent / "results" / "sinks_kafka.json"
N = 65_536
INSTRUMENTS = 500
PARTITIONS = 4
PYTHON_TICKS = 16_384  # for those that are slow
MESSAGE = np.dtype(
    {
        "names": ["err", "topic", "partition", "payload", "bytes", "key", "key_bytes", "state"],
        "formats": ["<i4", "<u8", "<i4", "<u8", "<u8", "<u8", "<u8", "<u8"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 64],
        "itemsize": 72,
    }
)


def ticks_of(ids, rng):
    """Quotes of a random walk, as a ring gives them."""
    ticks = np.zeros(N, QUOTE)
    ticks["ts_event"] = 1_790_000_000 * 10**9 + np.cumsum(rng.integers(0, 20_000, N))
    ticks["ts_recv"] = ticks["ts_event"] + rng.integers(20_000, 90_000, N)
    ticks["instrument_id"] = rng.choice(ids, N)
    ticks["kind"] = Kind.QUOTE
    ticks["venue_seq"] = np.arange(N) // 3
    mid = (20_000 + np.cumsum(rng.integers(-1, 2, N))) * 250_000_000
    ticks["bid_price"], ticks["ask_price"] = mid, mid + 250_000_000
    ticks["bid_size"], ticks["ask_size"] = rng.integers(1, 200, (2, N))
    return ticks.view(TICK)


class Bench:
    """A broker, a ring, and batches of it."""

    def __init__(self, broker, folder, compression):
        self.broker, self.folder, self.compression = broker, folder, compression
        self.rng = np.random.default_rng(7)
        self._numbers = itertools.count(1)
        self.writer = Writer("bench", 1 << 17, TICK, directory=folder)
        self.ids = [self.writer.instruments.add(f"SYM{i}") for i in range(INSTRUMENTS)]
        self.ticks = ticks_of(self.ids, self.rng)
        self.reader = Reader("bench", start="oldest", directory=folder)
        self.seq = 0

    def batch(self, ring, n=N):
        """The next batch of a ring of that name."""
        records = self.ticks[:n].copy()
        records["seq"] = np.arange(self.seq + 1, self.seq + n + 1)
        self.seq += n
        self.reader.instruments.refresh()
        return SinkBatch(
            ring, self.reader.ring_id.hex(), "bench", 1, records, self.reader.instruments
        )

    def topic(self):
        ring = f"bench{os.getpid()}-{next(self._numbers)}"
        self.broker.prepare(ring)
        return ring

    def producer(self, **more):
        settings = {
            "bootstrap.servers": self.broker.address, "enable.idempotence": True, "linger.ms": 5,
            "batch.size": 1_000_000, "compression.type": self.compression,
            "queue.buffering.max.messages": 1_000_000, "log_level": 0,
        }  # fmt: skip
        producer = Producer(settings | {"transactional.id": self.topic()} | more)
        producer.init_transactions(30)
        return producer


def by_sink(bench, payload, size=N):
    """Seconds of a write of all, for each call."""
    options = KafkaSinkOptions(
        bench.broker.address, payload=payload, compression=bench.compression, partitions=PARTITIONS
    )
    ring, sink = bench.topic(), KafkaSink(options, "bench")
    sink.position(ring)

    def run():
        batches = [bench.batch(ring, min(size, N - at)) for at in range(0, N, size)]
        begin = time.perf_counter()
        for batch in batches:
            sink.write(batch)
        return (time.perf_counter() - begin) / N

    run.ring, run.sink = ring, sink
    return run


def ready_messages(bench, sink):
    """The sink's own messages, made beforehand."""
    batch, stream, made = bench.batch(sink.ring), sink.sink._streams[sink.ring], []

    class Taker:
        records_per_message = 8192
        chunk_prev = stream.chunk_prev
        symbol = stream.symbol

        @staticmethod
        def produce(_kind, partition, value, headers):
            made.append((partition, value, headers))

    stream._encode(Taker(), batch, batch.records, stream._splitter)
    topic, producer = f"md.{sink.ring}.ticks", bench.producer()

    def run():
        begin = time.perf_counter()
        producer.begin_transaction()
        for partition, value, headers in made:
            producer.produce(topic, value, None, partition=partition, headers=headers)
        producer.commit_transaction(60)
        return (time.perf_counter() - begin) / N

    return run


def parts_of(bench, sink):
    """Records by partition, and the key of each."""
    batch, stream = bench.batch(sink.ring), sink.sink._streams[sink.ring]
    for partition, part in _parts(stream._splitter, batch.records):
        keys = [stream.symbol(i).encode() for i in part["instrument_id"].tolist()]
        yield partition, part.copy(), keys


def c_limit(bench, sink):
    """rd_kafka_produce_batch, a call a partition, nothing made on the way."""
    library = ctypes.CDLL(cimpl.__file__)
    library.rd_kafka_topic_new.restype = ctypes.c_void_p
    library.rd_kafka_topic_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    library.rd_kafka_topic_destroy.argtypes = [ctypes.c_void_p]
    library.rd_kafka_produce_batch.argtypes = [
        ctypes.c_void_p, ctypes.c_int32, ctypes.c_int, ctypes.c_void_p, ctypes.c_int,
    ]  # fmt: skip
    producer = bench.producer()
    handle = ctypes.c_void_p.from_address(id(producer) + 16).value
    kept, calls = [], []
    for partition, part, keys in parts_of(bench, sink):
        blob = np.frombuffer(b"".join(keys), np.uint8)
        lengths = np.array([len(key) for key in keys])
        messages = np.zeros(len(part), MESSAGE)
        messages["partition"] = partition
        messages["payload"] = part.ctypes.data + 64 * np.arange(len(part))
        messages["bytes"], messages["key_bytes"] = 64, lengths
        messages["key"] = blob.ctypes.data + np.cumsum(lengths) - lengths
        kept.append((part, blob))
        calls.append((partition, messages))

    def run():
        begin = time.perf_counter()
        producer.begin_transaction()
        topic = library.rd_kafka_topic_new(handle, f"md.{sink.ring}.ticks".encode(), None)
        for partition, messages in calls:
            queued = library.rd_kafka_produce_batch(
                topic, partition, 2, messages.ctypes.data, len(messages)
            )
            assert queued == len(messages)
        library.rd_kafka_topic_destroy(topic)
        producer.commit_transaction(60)
        return (time.perf_counter() - begin) / N

    run.kept = kept
    return run


def by_python(bench, sink, batched):
    """confluent-kafka's own calls, with ready dicts or arguments."""
    producer, topic = bench.producer(), f"md.{sink.ring}.ticks"
    ready = []
    for partition, part, keys in parts_of(bench, sink):
        values = [bytes(part[i : i + 1].tobytes()) for i in range(PYTHON_TICKS // PARTITIONS)]
        ready.append((partition, list(zip(keys, values, strict=False))))
    count = sum(len(messages) for _, messages in ready)

    def run():
        dicts = [(p, [{"key": k, "value": v} for k, v in messages]) for p, messages in ready]
        begin = time.perf_counter()
        producer.begin_transaction()
        for partition, messages in dicts if batched else ready:
            if batched:
                producer.produce_batch(topic, messages, partition=partition)
            else:
                for key, value in messages:
                    producer.produce(topic, value, key, partition=partition)
        producer.commit_transaction(60)
        return (time.perf_counter() - begin) / count

    return run


def by_feed(bench, ring, records):
    """Seconds a tick of reading a topic into a ring, the last of it included."""
    options = KafkaOptions(bench.broker.address, ring=ring, start="earliest")
    name, stop = f"feed{next(bench._numbers)}", threading.Event()
    plan = RingPlan(name, capacity=1 << 17, directory=bench.folder)
    feed = threading.Thread(target=KafkaFeed(name, options, plan).run, args=(stop,))
    feed.start()
    first = None
    while True:
        try:
            seen = inspect(name, bench.folder).tail
        except RingMissing:
            seen = 0
        if seen and first is None:
            first = (time.perf_counter(), seen)
        if seen >= records:
            break
        time.sleep(0.001)
    took = time.perf_counter() - first[0]
    stop.set()
    feed.join()
    return took / (records - first[1])


def contenders(bench):
    sink = by_sink(bench, "raw")
    sink()
    raw, text = by_sink(bench, "raw_per_tick"), by_sink(bench, "json")
    raw()
    made = {
        "sink": sink,
        "sink 5000": by_sink(bench, "raw", 5000),
        "sink arrow": by_sink(bench, "arrow"),
        "ready messages": ready_messages(bench, by_warm(bench)),
        "sink raw per tick": raw,
        "sink json per tick": text,
        "C limit per tick": c_limit(bench, raw),
        "produce_batch per tick": by_python(bench, raw, batched=True),
        "produce per tick": by_python(bench, raw, batched=False),
    }
    return sink, made


def by_warm(bench):
    sink = by_sink(bench, "raw")
    sink()
    return sink


def measure(bench, rounds):
    sink, made = contenders(bench)
    written, times = 1, {name: [] for name in made}
    for _ in range(rounds + 2):  # the first two warm the broker's compiler
        for name, run in made.items():
            times[name].append(run())
            written += name == "sink"
    rates = {name: 1e-6 / min(took[2:]) for name, took in times.items()}
    if bench.broker.hides_aborted:
        rates["feed"] = 1e-6 / by_feed(bench, sink.ring, written * N)
    return rates


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", choices=("apache", "mock"), default="apache")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compression", default="lz4")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 2
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/dev/shm") as folder:
        real = arguments.broker == "apache" and servers.usable()
        data = tempfile.mkdtemp(prefix="bench-kafka-")
        broker = (
            servers.ApacheBroker(data, heap_mb=1024, flags=()) if real else servers.MockBroker()
        )
        print(f"{broker.kind}, {arguments.rounds} rounds, {arguments.compression}")
        try:
            rates = measure(Bench(broker, folder, arguments.compression), arguments.rounds)
        finally:
            broker.stop()
    for name, rate in rates.items():
        print(f"{name:24} {rate:8.2f} M ticks/s")
    ratios = {
        "sink / ready messages": rates["sink"] / rates["ready messages"],
        "raw per tick / C limit": rates["sink raw per tick"] / rates["C limit per tick"],
        "raw per tick / produce_batch": rates["sink raw per tick"]
        / rates["produce_batch per tick"],
        "json per tick / produce_batch": rates["sink json per tick"]
        / rates["produce_batch per tick"],
        "sink / produce": rates["sink"] / rates["produce per tick"],
    }
    for name, ratio in ratios.items():
        print(f"{name:32} {ratio:6.2f}")
    if arguments.save:
        told = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        told[arguments.broker] = {
            "broker": broker.kind,
            "machine": machine.describe("confluent-kafka", "numpy", "pyarrow"),
            "compression": arguments.compression,
            "million_ticks_per_s": {name: round(rate, 3) for name, rate in rates.items()},
            "ratios": {name: round(ratio, 2) for name, ratio in ratios.items()},
        }
        RESULT.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
