"""The brokers as the feed sees them: messages of the topics, in order, and where to begin."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sinks.kafka import wire
from mdfeedd.sinks.kafka.client import Trouble, connection_settings, make_client, require_client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mdfeedd.feeds.kafka.options import KafkaOptions

__all__ = ["Ended", "Source"]

logger: logging.Logger = logging.getLogger("mdfeedd.kafka")

WAIT_S: Final = 0.1  # for a message, between looks at `stop` and heartbeats
AT_ONCE: Final = 2_000  # messages taken at a time
FETCH_WAIT_MS: Final = 100


class Ended(Exception):
    """The consumer cannot go on; another may. `refused`: for a login that is not accepted."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class Source:
    """One consumer, told by us what it reads from where. Raises `Ended`, and `SinkError` once made."""

    def __init__(self, options: KafkaOptions, ring: str) -> None:
        self._options = options
        self._kafka = require_client()
        self._kinds = self._kafka.KafkaError
        self.trouble: Trouble = Trouble(options.bootstrap_servers, options.security_protocol)
        self.topic: str = wire.topic(options.prefix, ring, options.kind)
        self.definitions: str = wire.topic(options.prefix, ring, wire.INSTRUMENTS)
        self._defined_to_end = False
        self._sought: set[int] = set()  # partitions, since messages were fetched last
        self._consumer = make_client(
            "Consumer",
            {
                "fetch.wait.max.ms": FETCH_WAIT_MS,
                "fetch.queue.backoff.ms": 10,
                "queued.max.messages.kbytes": max(1, options.receive_buffer_bytes >> 10),
                "check.crcs": True,
            }
            | connection_settings(options, self.trouble)
            | {
                "group.id": "mdfeedd",  # asked for by the library; nothing is committed under it
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "allow.auto.create.topics": False,
            },
        )

    def close(self) -> None:
        """Let go."""
        self._consumer.close()

    def partitions(self) -> int:
        """How many the topic has; 0: it is not there. Raises `Ended` where no broker answers."""
        doing = f"looking for topic {self.topic}"
        try:
            found = self._consumer.list_topics(self.topic, timeout=self._options.timeout_s)
            told = found.topics[self.topic]
        except self._kafka.KafkaException as error:
            raise self._ended(doing, error.args[0]) from None
        if told.error is None:
            return len(told.partitions)
        if told.error.code() == self._kinds.UNKNOWN_TOPIC_OR_PART:
            return 0
        raise self._ended(doing, told.error)

    def identity(self) -> str:
        """What the offsets of a note belong to."""
        cluster = None
        with contextlib.suppress(self._kafka.KafkaException):
            cluster = self._consumer.cluster_id(self._options.timeout_s)
        return f"{cluster}/{self.topic}"

    def edges(self, partition: int) -> tuple[int, int]:
        """The oldest and the next offset of a partition."""
        place = self._kafka.TopicPartition(self.topic, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(place, timeout=self._options.timeout_s)
        except self._kafka.KafkaException as error:
            raise self._ended(f"asking where {self.topic} begins", error.args[0]) from None
        return int(low), int(high)

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read the partitions from these offsets, and all definitions."""
        places = [self._kafka.TopicPartition(self.topic, p, at) for p, at in offsets.items()]
        beginning = self._kafka.OFFSET_BEGINNING
        places.append(self._kafka.TopicPartition(self.definitions, 0, beginning))
        self._consumer.assign(places)
        # what the numbers mean comes before what they are used in
        self._consumer.pause(places[:-1])
        self._data = places[:-1]
        self._defined_to_end = False

    def begin_data(self) -> None:
        """The definitions are read: go on with the records."""
        self._defined_to_end = True
        self._consumer.resume(self._data)

    def pause(self, partitions: Iterable[int]) -> None:
        """Take nothing of these for now."""
        self._consumer.pause([self._kafka.TopicPartition(self.topic, p) for p in partitions])

    def resume(self, partitions: Iterable[int]) -> None:
        """Take of these again."""
        self._consumer.resume([self._kafka.TopicPartition(self.topic, p) for p in partitions])

    def seek(self, partition: int, offset: int) -> None:
        """Read a partition from another offset, whatever has become of it."""
        self._sought.add(partition)
        place = self._kafka.TopicPartition(self.topic, partition, offset)
        try:  # a partition without an offset is in a state that the library's own seek refuses
            self._consumer.incremental_unassign([place])
            self._consumer.incremental_assign([place])
        except self._kafka.KafkaException as error:
            raise self._ended(f"going to {offset} of {self.topic}", error.args[0]) from None

    def messages(self) -> Iterator[Any]:
        """What there is, at once; after `WAIT_S` of nothing, nothing."""
        message = self._consumer.poll(WAIT_S)
        if message is None:
            return
        fetched = [message, *self._consumer.consume(AT_ONCE, 0)]
        self._sought.clear()
        for one in fetched:  # what was fetched before a seek is not what was sought
            if one.partition() not in self._sought or one.topic() != self.topic:
                yield one

    def sort_out(self, message: Any) -> str:
        """What a message is: data, definition, end of the definitions, reset, nothing. Raises `Ended`."""
        error = message.error()
        ours = message.topic() == self.definitions
        if error is None:
            return "definition" if ours else "data"
        code = error.code()
        if code == self._kinds._PARTITION_EOF:  # noqa: SLF001 - so it is called
            return "defined" if ours and not self._defined_to_end else "nothing"
        if code in {self._kinds._AUTO_OFFSET_RESET, self._kinds.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            return "reset"
        if error.fatal() or code in {
            self._kinds.TOPIC_AUTHORIZATION_FAILED,
            self._kinds.UNKNOWN_TOPIC_OR_PART,
            self._kinds._UNKNOWN_PARTITION,  # noqa: SLF001
            self._kinds._UNKNOWN_TOPIC,  # noqa: SLF001
        }:
            raise self._ended(f"reading {message.topic() or self.topic}", error)
        self.trouble.tell(error)
        return "nothing"

    def refused(self) -> bool:
        """Whether what was told last of the connections is that the login is refused."""
        last = self.trouble.last
        codes = {self._kinds._AUTHENTICATION, self._kinds.SASL_AUTHENTICATION_FAILED}  # noqa: SLF001
        return last is not None and last.code() in codes

    def _ended(self, doing: str, error: Any) -> Ended:
        deadline = time.monotonic() + WAIT_S
        while self.trouble.last is None and time.monotonic() < deadline:
            self._consumer.poll(WAIT_S / 10)  # has the library say why
        return Ended(self.trouble.sentence(doing, error), refused=self.refused())
