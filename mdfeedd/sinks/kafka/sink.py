"""The Kafka sink as the batch consumer sees it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from mdfeedd.sinks.kafka.client import require_client
from mdfeedd.sinks.kafka.messages import encoder_of
from mdfeedd.sinks.kafka.options import KafkaSinkOptions
from mdfeedd.sinks.kafka.stream import Stream
from mdfeedd.sinks.protocol import SinkBatch, SinkError, SinkProgress, refuse_other_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.ring import Position

__all__ = ["KafkaSink", "KafkaSinkOptions"]


class KafkaSink:
    """A sink of the batch consumer; see the package for what it writes.

    A batch is stored when `write` returns: nothing is ever pending but a commit without an answer.
    Raises `SinkError` at construction if confluent-kafka (or pyarrow, for arrow) is missing; later
    retriable, but for another writer of the same ring, which is not, nor are records without a topic.
    """

    Options: ClassVar[type[Any]] = KafkaSinkOptions
    keeps_positions: ClassVar[bool] = True

    def __init__(
        self,
        options: KafkaSinkOptions,
        name: str = "kafka",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        require_client()
        encoder_of(options.payload)
        self._options = options
        self._name = name
        self._clock = clock
        self._streams: dict[str, Stream] = {}
        self._rings: dict[str, str] = {}
        self._closed = False

    def position(self, ring: str) -> Position | None:
        """What Kafka holds of a ring, read when no earlier writer's transaction is open any more."""
        return self._stream(ring).position()

    def write(self, batch: SinkBatch) -> None:
        """Store a batch; it is there, whole, when this returns."""
        refuse_other_records(batch, "they have no topic")
        self._rings[batch.ring_id] = batch.ring
        if len(batch.records):
            self._stream(batch.ring).write(batch)

    def housekeep(self) -> None:
        """Serve the client library's callbacks."""
        for stream in self._streams.values():
            stream.housekeep()

    def flush(self) -> None:
        """Ask again for a commit that had no answer."""
        for stream in self._streams.values():
            stream.finish()

    def progress(self, ring_id: str) -> SinkProgress:
        """How far the records of one sequence space are."""
        stream = self._streams.get(self._rings.get(ring_id, ""))
        if stream is None:
            return SinkProgress()
        counts = stream.counts(ring_id)
        return SinkProgress(
            safe_seq=counts.safe_seq,
            stored_records=counts.stored + counts.repeated,
            repeated_records=counts.repeated,
            stored_bytes=counts.stored_bytes,
        )

    def close(self) -> None:
        """Let go of the brokers."""
        if self._closed:
            return
        try:
            self.flush()
        finally:
            self._closed = True
            for stream in self._streams.values():
                stream.close()

    def _stream(self, ring: str) -> Stream:
        if self._closed:
            raise SinkError("the sink is closed", retriable=False)
        if ring not in self._streams:
            self._streams[ring] = Stream(self._options, self._name, ring, clock=self._clock)
        return self._streams[ring]
