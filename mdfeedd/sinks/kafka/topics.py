"""Topics: made where they are missing, and read to their end."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sinks.kafka.client import Trouble, connection_settings, make_client, require_client
from mdfeedd.sinks.protocol import SinkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.sinks.kafka.options import KafkaConnection, KafkaSinkOptions

__all__ = ["COMPACTED", "Topics"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.kafka")

#: Small segments, so that what is read at a start is little: the last one is never compacted.
COMPACTED: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 << 20),
    "segment.ms": str(3_600_000),
    "min.cleanable.dirty.ratio": "0.1",
}
#: Looked at from the end for the last of a topic, where the marks of transactions lie, too; then all.
STEPS: Final = (4, 64, 4096)
READ_AT_ONCE: Final = 10_000
FETCH_WAIT_MS: Final = 10  # how long a broker keeps an end that has been reached to itself
_TAIL: Final = -2000  # librdkafka's RD_KAFKA_OFFSET_TAIL(n) is this less n


class Topics:
    """The brokers as one asks them, apart from producing. Raises `SinkError`, retriable."""

    def __init__(self, options: KafkaConnection) -> None:
        self._options = options
        self._trouble = Trouble(options.bootstrap_servers, options.security_protocol)
        self._settings = connection_settings(options, self._trouble)
        self._kafka = require_client()
        self._readers: dict[str, Any] = {}

    def _reader(self, isolation: str = "read_committed") -> Any:
        if isolation not in self._readers:
            ours = {
                "group.id": "mdfeedd",  # asked for by the library; nothing is committed under it
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "check.crcs": True,
                "fetch.wait.max.ms": FETCH_WAIT_MS,
            }
            self._readers[isolation] = make_client("Consumer", self._settings | ours)
        return self._readers[isolation]

    def close(self) -> None:
        """Let go."""
        for reader in self._readers.values():
            reader.close()

    def partitions(self, topic: str) -> int:
        """How many a topic has; 0: there is no such topic."""
        doing = f"looking for topic {topic}"
        try:
            found = self._reader().list_topics(topic, timeout=self._options.timeout_s).topics[topic]
        except self._kafka.KafkaException as error:
            raise self._failed(doing, error) from None
        if found.error is None:
            return len(found.partitions)
        if found.error.code() == self._kafka.KafkaError.UNKNOWN_TOPIC_OR_PART:
            return 0
        raise SinkError(self._trouble.sentence(doing, found.error), retriable=True)

    def ensure(
        self, topic: str, partitions: int, settings: dict[str, str], options: KafkaSinkOptions
    ) -> int:
        """Make a topic unless it is there; how many partitions it has."""
        found = self.partitions(topic)
        if found:
            return found
        if not options.create_topics:
            raise SinkError(
                f"Kafka at {options.bootstrap_servers} has no topic {topic}, "
                f"and create_topics is false: make it, with cleanup.policy="
                f"{settings.get('cleanup.policy', 'delete')}",
                retriable=True,
            )
        self._create(topic, partitions, settings, options.replication_factor or -1)
        deadline = time.monotonic() + options.timeout_s
        while not (found := self.partitions(topic)):
            if time.monotonic() >= deadline:
                raise SinkError(f"topic {topic} was made, but no broker shows it", retriable=True)
            time.sleep(0.05)
        return found

    def _create(self, topic: str, partitions: int, settings: dict[str, str], copies: int) -> None:
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - see client.py
        from confluent_kafka.cimpl import NewTopic  # noqa: PLC0415

        doing = f"making topic {topic}"
        admin = AdminClient(self._settings)
        made = admin.create_topics(
            [NewTopic(topic, partitions, copies, config=settings)],
            operation_timeout=self._options.timeout_s,
            request_timeout=self._options.timeout_s,
        )
        try:
            made[topic].result(self._options.timeout_s + 1)
            log.info("made topic %s of %d partitions", topic, partitions)
        except self._kafka.KafkaException as error:
            if error.args[0].code() != self._kafka.KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._failed(doing, error) from None
        except TimeoutError:
            raise SinkError(self._trouble.sentence(doing), retriable=True) from None

    def undecided(self, topics: list[str]) -> list[tuple[str, int]]:
        """Partitions with a transaction of which they have not been told how it ended.

        Asked when no transaction of ours is open any more, this names what a broker forgot: one that
        was killed and comes back may take a transaction for ended whose marks it never wrote.
        """
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - see client.py
        from confluent_kafka.admin._listoffsets import OffsetSpec  # noqa: PLC0415

        isolation = self._kafka.IsolationLevel
        places = [
            self._kafka.TopicPartition(topic, partition)
            for topic in topics
            for partition in range(self.partitions(topic))
        ]
        admin = AdminClient(self._settings)
        end: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        ends = []
        try:
            for level in (isolation.READ_COMMITTED, isolation.READ_UNCOMMITTED):
                asked = admin.list_offsets(
                    dict.fromkeys(places, end),
                    isolation_level=level,
                    request_timeout=self._options.timeout_s,
                )
                ends.append([asked[p].result(self._options.timeout_s + 1).offset for p in places])
        except self._kafka.KafkaException as error:
            raise self._failed("looking for undecided transactions", error) from None
        except TimeoutError:
            doing = "looking for undecided transactions"
            raise SinkError(self._trouble.sentence(doing), retriable=True) from None
        return [
            (place.topic, place.partition)
            for place, committed, written in zip(places, *ends, strict=True)
            if committed != written
        ]

    def last(self, topic: str) -> Any:
        """The last committed message of a topic's only partition, or None."""
        return self._lasts(topic, 1).get(0)

    def lasts(self, topic: str) -> dict[int, Any]:
        """By partition its last committed message; none of what has none, nor of a topic that is not there."""
        return self._lasts(topic, self.partitions(topic))

    def _lasts(self, topic: str, partitions: int) -> dict[int, Any]:
        left, found = set(range(partitions)), {}
        for start in (*(_TAIL - step for step in STEPS), self._kafka.OFFSET_BEGINNING):
            if left:
                for message in self._read(topic, dict.fromkeys(left, start)):
                    found[message.partition()] = message
            left -= found.keys()
        return found

    def tail(self, topic: str, partition: int, messages: int) -> Iterator[Any]:
        """The last committed messages of a partition, no more than that many, the oldest first."""
        return self._read(topic, {partition: _TAIL - messages})

    def all(self, topic: str, *, voided: bool = False) -> Iterator[Any]:
        """All committed messages of a topic's only partition, the oldest first; with `voided`, all."""
        return self._read(topic, {0: self._kafka.OFFSET_BEGINNING}, voided=voided)

    def behind(self, topic: str, partition: int, offset: int) -> Iterator[Any]:
        """All messages of a partition from an offset on, the voided and the open, too."""
        return self._read(topic, {partition: offset}, voided=True)

    def _read(self, topic: str, starts: dict[int, int], *, voided: bool = False) -> Iterator[Any]:
        """Messages by partition from an offset or one of the library's logical ones, to the end."""
        kinds = self._kafka.KafkaError
        doing = f"reading topic {topic}"
        reader = self._reader("read_uncommitted" if voided else "read_committed")
        reader.assign([self._kafka.TopicPartition(topic, *place) for place in starts.items()])
        deadline, left = time.monotonic() + self._options.timeout_s, set(starts)
        try:
            while left:
                if time.monotonic() >= deadline:
                    raise SinkError(self._trouble.sentence(doing), retriable=True)
                for message in reader.consume(READ_AT_ONCE, 0.05):
                    error = message.error()
                    if error is None:
                        deadline = time.monotonic() + self._options.timeout_s
                        yield message
                    elif error.code() == kinds._PARTITION_EOF:  # noqa: SLF001 - so it is called
                        left.discard(message.partition())
                    elif not error.retriable() and error.code() != kinds._ALL_BROKERS_DOWN:  # noqa: SLF001
                        raise SinkError(self._trouble.sentence(doing, error), retriable=True)
        except self._kafka.KafkaException as error:
            raise self._failed(doing, error) from None
        finally:
            reader.unassign()

    def _failed(self, doing: str, error: Exception) -> SinkError:
        for reader in self._readers.values():
            reader.poll(0)  # has the library say why
        return SinkError(self._trouble.sentence(doing, error.args[0]), retriable=True)
