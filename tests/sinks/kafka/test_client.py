"""The client library: absent, under a hand of its own, and what it says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mdfeedd.sinks.kafka import KafkaSink, KafkaSinkOptions, client
from mdfeedd.sinks.kafka._each import Direct
from mdfeedd.tick import TICK


def test_library_is_missing():
    """A configuration can be checked without it; a sink says what to install."""
    program = (
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "from mdfeedd.sinks.kafka import KafkaSink, KafkaSinkOptions\n"
        "options = KafkaSinkOptions('b:9092')\n"
        "try: KafkaSink(options)\n"
        "except Exception as error: print(error, error.retriable)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "Kafka needs confluent-kafka: pip install 'mdfeedd[kafka]' False\n"


def test_importing_the_sink_does_not_import_the_library():
    program = "import sys, mdfeedd.sinks.kafka; print('confluent_kafka' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_nothing_is_connected_to_by_the_constructor():
    KafkaSink(KafkaSinkOptions("no-such-host.invalid:1"), "store").close()


def test_handle_that_is_not_there_is_not_used():
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    assert client.direct_of(producer) is not None

    class Other:
        __slots__ = ("a", "b", "c", "d")

    with pytest.raises(ValueError, match="handle"):
        Direct(object(), (0, 0, 0, 0))
    with pytest.raises(ValueError, match="handle"):
        Direct(Other(), (0, 0, 0, 0))  # its field is empty


def test_arrays_that_do_not_fit_are_refused():
    from confluent_kafka import Producer

    direct = client.direct_of(Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}))
    values, keys = np.zeros(128, np.uint8), b"ab"
    ends, key_ends = np.array([64, 128]), np.array([1, 2])
    for broken in (
        (ends, key_ends, np.array([0])),
        (np.array([64, 129]), key_ends, np.array([0, 1])),
        (np.array([128, 64]), key_ends, np.array([0, 1])),
        (ends, key_ends, np.array([0, 2])),
        (ends, key_ends, np.array([-1, 0])),
    ):
        with pytest.raises(ValueError, match="must"):
            direct.produce(b"t", 0, values, broken[0], keys, broken[1], broken[2])


@pytest.mark.parametrize("mode", ["transactional", "idempotent"])
def test_a_message_each_is_the_same_by_either_way(kafka, source, sink_to, read, make, rng, mode):
    """By librdkafka's calls, and by those of confluent-kafka where they cannot be had."""
    ticks = make.ticks(rng, 3000)
    found = []
    for direct in (True, False):
        ring, sink = source(), sink_to(kafka, payload="raw_per_tick", mode=mode)
        ids = [ring.writer.instruments.add(symbol) for symbol in ("ESZ6", "ΑΒΓ", "x" * 20)]
        ticks["instrument_id"] = np.array([0, *ids])[np.arange(3000) % 4]
        sink.position(ring.name)
        if not direct:
            sink._streams[ring.name]._outbox.direct = None
        assert (sink._streams[ring.name]._outbox.direct is not None) == (
            direct and mode == "transactional"
        )
        sink.write(ring.publish(ticks))
        found.append(
            {
                partition: [(m.key(), m.value()) for m in messages]
                for partition, messages in read(kafka, ring.name).messages().items()
            }
        )
    assert found[0] == found[1]
    whole = np.frombuffer(b"".join(v for of in found[0].values() for _, v in of), TICK)
    assert len(whole) == 3000 + 3 * 750


def test_sentences_name_the_server_and_the_cause():
    from confluent_kafka import KafkaError

    trouble = client.Trouble("b:9092", "plaintext")
    assert trouble.sentence("looking") == "Kafka at b:9092 does not answer: looking"
    trouble.tell(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert (
        trouble.sentence("looking")
        == "Kafka at b:9092: no connection lasts (is security_protocol plaintext right?): looking"
    )
    trouble.tell(
        KafkaError(KafkaError._TRANSPORT, "b:9092/1: Connect failed (after 1ms in state X)")
    )
    trouble.tell(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    timed_out = KafkaError(KafkaError._TIMED_OUT, "timed out")
    assert (
        trouble.sentence("looking", timed_out)
        == "Kafka at b:9092: b:9092/1: Connect failed: looking"
    )
    trouble.tell(KafkaError(KafkaError._AUTHENTICATION, "no"))
    assert "refuses the login (no)" in trouble.sentence("looking")
    trouble.clear()
    assert "does not answer" in trouble.sentence("looking", timed_out)
