"""Messages on their way to the brokers: handed to the library in order, within a limit of our own.

Brokers take any number as the first one of a producer that a partition does not know. Were the first
request refused (a topic just made: "not leader") and the one behind it taken, both on the way at the
same time, the library would count the first as arrived, too, since its brokers are said to take nothing
out of turn: its messages would be gone, within a transaction that commits (confluent-kafka-go #921). So
nothing follows the first message to a partition before that one is acknowledged.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.sinks.kafka.client import require_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.sinks.kafka._each import Direct
    from mdfeedd.sinks.kafka.client import Trouble
    from mdfeedd.sinks.kafka.messages import Each

__all__ = ["MAX_IN_FLIGHT", "Outbox"]

MAX_IN_FLIGHT: Final = 100_000  # messages handed to the library and not yet acknowledged
EACH_AT_ONCE: Final = 8192  # messages of one record handed to the library at a time
KNOWN_S: Final = 3600.0  # brokers forget a producer that was silent in a partition for a day
_POLL_S: Final = 0.05


class Outbox:
    """One producer's. What fails raises the library's `KafkaException`.

    in_flight: messages without an answer, at most. direct: how messages of one record go, if not by
    the producer: those have no callback. error, failed: the first delivery that failed since `begin`, and how many in all.
    """

    def __init__(
        self,
        producer: Any,
        direct: Direct | None,
        trouble: Trouble,
        *,
        in_flight: int,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        kafka = require_client()
        self._producer = producer
        self.direct = direct
        self._trouble = trouble
        self._in_flight = in_flight
        self._timeout_s = timeout_s
        self._clock = clock
        self._exception = kafka.KafkaException
        self._kinds = kafka.KafkaError
        self._known: dict[tuple[str, int], float] = {}  # when a partition had taken what was sent
        self._first: set[tuple[str, int]] = set()  # partitions with a first message on its way
        self.error: Any = None
        self.failed: int = 0

    def begin(self) -> None:
        """Another transaction."""
        self.error = None

    def arrived(self) -> None:
        """All that was sent has been acknowledged."""
        if self._first:
            self._known |= dict.fromkeys(self._first, self._clock())
            self._first.clear()

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int = 0,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Hand over one message."""
        self._wait_for_room(1)
        self._introduce(topic, partition)
        self._producer.produce(
            topic,
            value,
            key,
            partition=partition,
            headers=headers or [],
            on_delivery=self._delivered,
        )

    def send_each(self, topic: str, partition: int, each: Each) -> None:
        """Hand over messages of one record each."""
        step, start = min(EACH_AT_ONCE, max(1, self._in_flight // 2)), 0
        while start < len(each):
            end = min(start + step, len(each))
            if self._introduce(topic, partition):
                end = start + 1  # alone
            part = each.part(start, end)
            self._wait_for_room(len(part))
            if self.direct is None:
                self._send_batch(topic, partition, part)
            else:
                self._send_directly(self.direct, topic, partition, part)
            start = end

    def _send_directly(self, direct: Direct, topic: str, partition: int, part: Each) -> None:
        taken, code = direct.produce(
            topic.encode(),
            partition,
            part.values,
            part.ends,
            b"".join(part.keys),
            np.cumsum([len(key) for key in part.keys], dtype=np.int64),
            part.places,
        )
        if taken != len(part):
            raise self._exception(self._kinds(code))

    def _send_batch(self, topic: str, partition: int, part: Each) -> None:
        messages = part.as_dicts()
        queued = self._producer.produce_batch(
            topic, messages, partition=partition, on_delivery=self._delivered
        )
        if queued != len(messages):  # those behind it may be in the queue: this one comes too late
            error = next(message["_error"] for message in messages if "_error" in message)
            raise self._exception(error)

    def _introduce(self, topic: str, partition: int) -> bool:
        """Whether the next message is the first to a partition; if that is on its way, wait for it."""
        place = topic, partition
        if place in self._first:
            left = self._producer.flush(self._timeout_s)
            if left or self.error is not None:
                raise self._exception(self.error or self._kinds(self._kinds._TIMED_OUT))  # noqa: SLF001
            self.arrived()
        if self._known.get(place, -KNOWN_S) > self._clock() - KNOWN_S:
            return False
        self._first.add(place)
        return True

    def _wait_for_room(self, messages: int) -> None:
        """Until so many more are within our own limit: what is not taken waits here."""
        if len(self._producer) + messages <= self._in_flight:
            return
        deadline = self._clock() + self._timeout_s
        while len(self._producer) + messages > self._in_flight:
            self.serve(_POLL_S)
            if self.error is not None or self._clock() >= deadline:
                raise self._exception(self.error or self._kinds(self._kinds._TIMED_OUT))  # noqa: SLF001

    def serve(self, timeout_s: float = 0.0) -> None:
        """Let the library call back: acknowledgements, and why something does not work."""
        try:
            self._producer.poll(timeout_s)
        except self._exception as error:  # what ends this producer comes this way, too
            self._trouble.tell(error.args[0])

    def _delivered(self, error: Any, message: Any) -> None:  # noqa: ARG002 - the library's callback
        if error is not None:
            self.failed += 1
            if self.error is None or error.code() == self._kinds.MSG_SIZE_TOO_LARGE:
                self.error = error
