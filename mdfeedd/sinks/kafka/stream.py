"""One ring on its way into Kafka: a producer, its transactions, and how far they have come.

    DOWN ──connect──► READY ──produce──► ENDING ──committed──► READY
      ▲                                    │  └─── no answer: ENDING, the same call again later
      └── the producer can go on no more ──┤
                                           └── must be aborted: ABORTING ──aborted──► READY

A batch is one transaction: its chunks, the instruments in it that the topic does not have yet, and
last the position, so records and position are there together or not at all. A commit that was not
answered is undecided: it is asked for again, for as long as brokers leave it open (of a topic that was
removed no answer comes), and what it held is left out of the batch that comes again once it is known to
be stored. A new producer of the same transactional.id ends what an earlier one left open; only then the
position is read, so it is the truth.

Of two that write the same ring the older stops: its epoch is fenced by the brokers. Brokers fence
those, too, whose transaction took longer than they allow, as after a stop of the machine; the owner
told with the position says which it was.

Without transactions (`mode: idempotent`) the position follows the acknowledgements, so that after a
crash chunks come again: the same records, which a reader knows by their numbers.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.ring.instruments import Instrument
from mdfeedd.ring.position import Position
from mdfeedd.sinks.kafka import wire
from mdfeedd.sinks.kafka._split import Splitter
from mdfeedd.sinks.kafka.client import (
    Trouble,
    connection_settings,
    direct_of,
    make_client,
    require_client,
)
from mdfeedd.sinks.kafka.forgotten import (
    VOID_KEY,
    find_definitions,
    find_in_chunks,
    find_incomplete,
    named,
    read_position,
    refuse_to_guess,
)
from mdfeedd.sinks.kafka.messages import encoder_of
from mdfeedd.sinks.kafka.outbox import MAX_IN_FLIGHT, Outbox
from mdfeedd.sinks.kafka.topics import COMPACTED, Topics
from mdfeedd.sinks.protocol import SinkBatch, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mdfeedd.sinks.kafka.messages import Each
    from mdfeedd.sinks.kafka.options import KafkaSinkOptions

    Records = npt.NDArray[np.void]
    Chunks = tuple[tuple[str, int, Any], ...]

__all__ = ["Stream"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.kafka")

QUEUE_SETTING: Final = "queue.buffering.max.messages"  # the library's limit, twice ours: never met
BATCH_BYTES: Final = 1_000_000  # of messages that the library sends as one, which brokers look at
SLOT_BYTES: Final = 64
LEAST_PER_MESSAGE: Final = 64  # records; brokers that refuse so small a message are told of
TRANSACTION_TIMEOUT_MS: Final = 60_000
DAY_MS: Final = 86_400_000
TOMBSTONES: Final = 10_000  # definitions of writers long gone that one start removes, at most
LOOK_S: Final = 0.05  # between looks for the end of a transaction


class _State(enum.Enum):
    DOWN = enum.auto()
    READY = enum.auto()
    ENDING = enum.auto()
    ABORTING = enum.auto()


class _TooLarge(Exception):
    """A broker takes no messages of this size."""


@dataclass(slots=True)
class _Counts:
    """What became of the records of one sequence space."""

    safe_seq: int = 0
    stored: int = 0
    repeated: int = 0
    stored_bytes: int = 0


@dataclass(slots=True)
class _Pending:
    """What a transaction that has not ended holds."""

    position: Position
    records: int
    payload_bytes: int = 0
    defined: dict[bytes, Instrument | None] = field(default_factory=dict)


class Stream:
    """See the module. `name` is the consumer's. All methods but `counts` raise `SinkError`."""

    def __init__(
        self,
        options: KafkaSinkOptions,
        name: str,
        ring: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._name = name
        self._ring = ring
        self._clock = clock
        self._kafka = require_client()
        self._kinds = self._kafka.KafkaError
        self._transactional = options.mode == "transactional"
        self.owner: str = f"{socket.gethostname()}/{name}/{os.getpid()}/{os.urandom(4).hex()}"
        self._owned = False
        self._trouble = Trouble(options.bootstrap_servers, options.security_protocol)
        self._chunks = {kind: self._topic(kind) for kind in wire.KINDS}
        self._state = _State.DOWN
        self._producer: Any = None
        self._outbox: Outbox | None = None
        self._position: Position | None = None
        self._pending: _Pending | None = None
        self._ending_s = 0.0  # since when a commit is asked for
        self._records_per_message = options.records_per_message
        self._batch_bytes = BATCH_BYTES
        given = options.client.get(QUEUE_SETTING, 2 * MAX_IN_FLIGHT)
        self._in_flight = max(1, min(int(given) // 2, MAX_IN_FLIGHT))
        self._outages = 0  # of the brokers, when all was known to be well last
        self._asked_again = False  # for a commit, since then
        self._defined: dict[bytes, Instrument | None] = {}
        self._splitter: Splitter | None = None
        self._space: tuple[str, int] | None = None
        self._known: dict[int, Instrument] = {}
        self._counts: dict[str, _Counts] = {}
        self._encode = encoder_of(options.payload)

    # ------------------------------------------------------------------------------------ what is asked

    def position(self) -> Position | None:
        """What Kafka holds of the ring."""
        self._settle()
        return self._position

    def counts(self, ring_id: str) -> _Counts:
        """What became of the records of a sequence space."""
        return self._counts.setdefault(ring_id, _Counts())

    def write(self, batch: SinkBatch) -> None:
        """Store the records of a batch that are not yet stored."""
        self._settle()
        records = batch.records
        counts = self.counts(batch.ring_id)
        if self._position is not None and self._position.ring_id == batch.ring_id:
            first = int(np.searchsorted(records["seq"], self._position.seq, "right"))
            counts.safe_seq = max(counts.safe_seq, self._position.seq)
            counts.repeated += first
            records = records[first:]
        if not len(records):
            return
        while True:
            try:
                self._store(batch, records)
            except _TooLarge:
                self._shrink(records.dtype.itemsize)
                self._settle()
            else:
                return

    def finish(self) -> None:
        """Return when nothing is pending."""
        if self._state in {_State.ENDING, _State.ABORTING}:
            self._settle()

    def housekeep(self) -> None:
        """Serve the library's callbacks; look closer where there was trouble."""
        if self._outbox is not None:
            self._outbox.serve()
        if self._state is _State.READY and self._in_doubt():
            self._settle()

    def close(self) -> None:
        """Let go of the producer; what was not committed is not stored."""
        if not self._transactional and self._state is _State.READY:
            with contextlib.suppress(self._kafka.KafkaException):
                self._producer.flush(self._options.timeout_s)  # the last position is on its way
        self._drop()

    # ---------------------------------------------------------------------------------------- connecting

    def _settle(self) -> None:
        """Be READY: connect, or end what an earlier call began."""
        if self._state is _State.ABORTING:
            self._abort()
            self._drop()
        if self._state is _State.ENDING:
            try:
                self._end()
            except _TooLarge:
                self._shrink(SLOT_BYTES)
        if self._state is _State.READY and self._in_doubt():
            self._drop()
        if self._state is _State.DOWN:
            self._connect()

    def _connect(self) -> None:
        topics = Topics(self._options)
        try:
            position_topic = self._topic(wire.POSITION)
            topics.ensure(position_topic, 1, COMPACTED, self._options)
            topics.ensure(self._topic(wire.INSTRUMENTS), 1, COMPACTED, self._options)
            if self._owned:
                self._check_owner(self._stored(topics))
            self._producer = self._make_producer()
            # without a callback for each message: a transaction tells whether all are there
            direct = direct_of(self._producer) if self._transactional else None
            self._outbox = Outbox(
                self._producer,
                direct,
                self._trouble,
                in_flight=self._in_flight,
                timeout_s=self._options.timeout_s,
                clock=self._clock,
            )
            again, defined = self._complete(topics)
            self._state = _State.READY
            self._begin()
            for topic, partition, message in again:
                self._produce(topic, None, message.value(), partition, message.headers())
            for key, value in defined.items():
                self._produce(self._topic(wire.INSTRUMENTS), key, value)
            self._produce(position_topic, wire.POSITION_KEY, self._told(self._position))
            self._bury(topics)
            self._end()
            self._owned = True
        except _TooLarge as error:  # of a position: two hundred bytes
            self._drop()
            raise SinkError(f"Kafka takes no message at all: {error}", retriable=True) from None
        except BaseException:
            self._drop()
            raise
        finally:
            topics.close()
        self._trouble.clear()
        self._outages, self._asked_again = self._trouble.outages, False
        where = self._position
        log.info("ring '%s' is stored up to %s", self._ring, where.seq if where else "nothing yet")

    def _make_producer(self) -> Any:
        settings = connection_settings(self._options, self._trouble)
        settings |= {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 5,
            "batch.size": self._batch_bytes,
            "compression.type": self._options.compression,
            QUEUE_SETTING: 2 * MAX_IN_FLIGHT,
            "allow.auto.create.topics": False,
        }
        if not self._transactional:
            return make_client("Producer", settings | dict(self._options.client))
        settings["transactional.id"] = f"mdfeedd.{self._name}.{self._options.prefix}.{self._ring}"
        settings["transaction.timeout.ms"] = TRANSACTION_TIMEOUT_MS
        producer = make_client("Producer", settings | dict(self._options.client))
        try:
            producer.init_transactions(self._options.timeout_s)
        except self._kafka.KafkaException as error:
            with contextlib.suppress(self._kafka.KafkaException):
                producer.poll(0)  # has the library say why
            text = self._trouble.sentence("beginning to write", error.args[0])
            raise SinkError(text, retriable=True) from None
        return producer

    def _complete(self, topics: Topics) -> tuple[Chunks, dict[bytes, bytes]]:
        """Find the position; what is stored by it, and has to be written again to be shown."""
        self._pending = None
        hidden = self._void_forgotten(topics) if self._transactional else []
        stored = self._stored(topics)
        if stored is not None:
            position = stored.position
        else:
            position = find_in_chunks(topics, self._chunks, whole=self._transactional)
        found = find_incomplete(topics, self._chunks, position) if self._transactional else None
        if found is not None:
            position = found.position
        self._position = position
        if found is None and not hidden:
            return (), {}
        definitions = find_definitions(topics, self._topic(wire.INSTRUMENTS))
        return found.chunks if found is not None else (), definitions

    def _void_forgotten(self, topics: Topics) -> list[tuple[str, int]]:
        """Void what a broker has forgotten to end; where that was."""
        assert self._outbox is not None
        records, told = list(self._chunks.values()), self._topic(wire.POSITION)
        names = [told, self._topic(wire.INSTRUMENTS), *records]
        if not (found := topics.undecided(names)):
            return found
        refuse_to_guess(topics, records, told, found)
        text = f"what a broker had forgotten to end in {named(found)}"
        self._begin()
        for topic, partition in found:
            self._produce(topic, VOID_KEY, b"", partition)
        left = self._producer.flush(self._options.timeout_s)
        failure = self._outbox.error
        self._abort()
        if left or failure is not None:
            raise SinkError(self._trouble.sentence(f"voiding {text}", failure), retriable=True)
        deadline = self._clock() + self._options.timeout_s
        while still := topics.undecided(names):  # brokers tell each partition in its own time
            if self._clock() >= deadline:
                raise SinkError(
                    f"a transaction of another writer is open in {named(still)}: brokers end it "
                    f"after a minute, or else kafka-transactions.sh does",
                    retriable=True,
                )
            time.sleep(LOOK_S)
        log.warning("ring '%s': %s is void, and is written again", self._ring, text)
        return found

    def _stored(self, topics: Topics) -> wire.Stored | None:
        return read_position(topics, self._topic(wire.POSITION), self._ring)

    def _check_owner(self, stored: wire.Stored | None) -> None:
        if stored is not None and stored.owner != self.owner:
            raise SinkError(
                f"another writer has taken over ring '{self._ring}' at "
                f"{self._options.bootstrap_servers}: {stored.owner}",
                retriable=False,
            )

    def _bury(self, topics: Topics) -> None:
        """Learn what is defined, and remove what writers long gone had defined."""
        self._defined.clear()
        self._space = None
        keep_ms = self._options.retention_s * 1000
        limit_ms = time.time() * 1000 - keep_ms - DAY_MS if keep_ms else 0
        topic, buried = self._topic(wire.INSTRUMENTS), 0
        current = (self._position.ring_id, self._position.epoch) if self._position else None
        for message in topics.all(topic):
            key, value = message.key(), message.value()
            if value is None:
                self._defined.pop(key, None)
                continue
            try:
                told = wire.DefinitionKey.decode(key)
                self._defined[key] = wire.decode_instrument(value)
            except wire.WireError:  # of a later version
                continue
            if message.timestamp()[1] < limit_ms and (told.ring_id, told.epoch) != current:
                self._defined[key] = None
        for key in [key for key, value in self._defined.items() if value is None][:TOMBSTONES]:
            del self._defined[key]
            self._produce(topic, key, None)
            buried += 1
        if buried:
            log.info("removed %d definitions of earlier writers from %s", buried, topic)

    def _drop(self) -> None:
        """Let go of the producer, at once."""
        producer, self._producer, self._outbox = self._producer, None, None
        self._state, self._pending = _State.DOWN, None
        if producer is not None:
            with contextlib.suppress(self._kafka.KafkaException):
                producer.purge(in_queue=True, in_flight=True)
                producer.poll(0)

    # --------------------------------------------------------------------------------------- a transaction

    def _store(self, batch: SinkBatch, records: Records) -> None:
        kind = wire.kind_of(records.dtype)
        if kind is None:
            raise SinkError(f"ring '{batch.ring}' has no topic for its records", retriable=False)
        splitter = self._prepare(batch, kind)
        last = int(records["seq"][-1])
        pending = _Pending(Position(batch.ring_id, last, batch.epoch), len(records))
        self._pending = pending
        try:
            self._begin()
            self._define(batch, records, pending)
            self._encode(self, batch, records, splitter)
            self._state = _State.ENDING
            if self._transactional:
                self._tell(pending)
        except self._kafka.KafkaException as error:
            self._state = _State.ENDING
            self._failed(error.args[0], "writing")
        self._end()

    def _prepare(self, batch: SinkBatch, kind: str) -> Splitter:
        """The splitter for the topic's partitions, which is made if need be."""
        if self._splitter is None:
            topics = Topics(self._options)
            try:
                keep_ms = int(self._options.retention_s * 1000) or -1
                found = topics.ensure(
                    self._topic(kind),
                    self._options.partitions,
                    {"retention.ms": str(keep_ms)},
                    self._options,
                )
            finally:
                topics.close()
            self._splitter = Splitter(found)
        if self._space != (batch.ring_id, batch.epoch):  # another may number otherwise
            self._space = (batch.ring_id, batch.epoch)
            self._splitter.forget()
            self._known.clear()
        return self._splitter

    def _define(self, batch: SinkBatch, records: Records, pending: _Pending) -> None:
        """Tell of the instruments of these records what the topic does not have."""
        changed = self._learn(batch, records)
        topic = self._topic(wire.INSTRUMENTS)
        for instrument in changed:
            key = wire.DefinitionKey(batch.ring_id, batch.epoch, instrument.instrument_id).encode()
            if self._defined.get(key) != instrument:
                self._produce(topic, key, wire.encode_instrument(instrument))
                pending.defined[key] = instrument

    def _learn(self, batch: SinkBatch, records: Records) -> list[Instrument]:
        """Instruments of these records that are new or were changed; where each goes."""
        assert self._splitter is not None
        ids, changed = np.unique(records["instrument_id"]).tolist(), []
        for instrument_id in ids:
            if not instrument_id:
                continue
            found = batch.instruments.get(instrument_id)
            if found is None:
                found = _unnamed(instrument_id, batch.feed)
            before = self._known.get(instrument_id)
            if before == found:
                continue
            self._known[instrument_id] = found
            changed.append(found)
            # where it was first seen it stays, or its order would be in two partitions
            if before is None:
                place = wire.partition_of(found.symbol, self._splitter.partitions)
                self._splitter.learn(instrument_id, place)
        return changed

    def chunk_prev(self) -> wire.Mark | None:
        """The end of what is stored: what the first chunk of a transaction follows."""
        where = self._position
        return None if where is None else wire.Mark(where.ring_id, where.seq)

    @property
    def records_per_message(self) -> int:
        """At most, as brokers take them."""
        return self._records_per_message

    def symbol(self, instrument_id: int) -> str:
        """The name of an instrument of the batch at hand."""
        found = self._known.get(instrument_id)
        return found.symbol if found else f"#{instrument_id}" if instrument_id else ""

    def produce(
        self, kind: str, partition: int, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        """A chunk's message."""
        if self._pending is not None:
            self._pending.payload_bytes += len(value)
        self._produce(self._topic(kind), None, value, partition, headers)

    def produce_each(self, kind: str, partition: int, each: Each) -> None:
        """Messages of one record each."""
        if self._pending is not None:
            self._pending.payload_bytes += int(each.ends[-1])
        assert self._outbox is not None
        self._outbox.send_each(self._topic(kind), partition, each)

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int = 0,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        assert self._outbox is not None
        self._outbox.send(topic, key, value, partition, headers)

    def _told(self, position: Position | None) -> bytes:
        return wire.Stored(self.owner, position).encode()

    def _tell(self, pending: _Pending) -> None:
        self._produce(self._topic(wire.POSITION), wire.POSITION_KEY, self._told(pending.position))

    def _topic(self, what: str) -> str:
        return wire.topic(self._options.prefix, self._ring, what)

    # --------------------------------------------------------------------------------------- how it ends

    def _in_doubt(self) -> bool:
        """Whether a broker may have ended since what was stored last, and forgotten some of it."""
        return self._transactional and (self._asked_again or self._trouble.outages != self._outages)

    def _begin(self) -> None:
        assert self._outbox is not None
        self._outbox.begin()
        self._ending_s = float("inf")
        if self._transactional:
            self._producer.begin_transaction()

    def _end(self) -> None:
        """Commit, or wait for the acknowledgements; on return all of it is stored."""
        self._state, self._ending_s = _State.ENDING, min(self._ending_s, self._clock())
        if not self._transactional:
            self._acknowledged()
        else:
            try:
                self._producer.commit_transaction(self._options.timeout_s)
            except self._kafka.KafkaException as error:
                self._failed(error.args[0], "committing")
        self._ended()

    def _acknowledged(self) -> None:
        """Wait for the acknowledgements of a batch, then tell the position."""
        assert self._outbox is not None
        left = self._producer.flush(self._options.timeout_s)
        error = self._outbox.error
        if error is not None and error.code() == self._kinds.MSG_SIZE_TOO_LARGE and not left:
            self._state = _State.READY
            raise _TooLarge(error.str())
        if error is not None or self._trouble.fatal is not None:
            cause = self._trouble.fatal or error
            if self._trouble.fatal is not None or not left:
                self._lost(cause)
        if left:
            text = self._trouble.sentence(
                f"{left} messages of '{self._ring}' wait for their answer"
            )
            raise SinkError(text, retriable=True)
        if self._pending is not None:
            self._tell(self._pending)

    def _ended(self) -> None:
        pending, self._pending = self._pending, None
        self._state = _State.READY
        assert self._outbox is not None
        self._outbox.arrived()
        if pending is None:
            return
        self._position = pending.position
        self._defined |= pending.defined
        counts = self.counts(pending.position.ring_id)
        counts.safe_seq = pending.position.seq
        counts.stored += pending.records
        counts.stored_bytes += pending.payload_bytes
        if self._trouble.seen:
            self._trouble.clear()

    def _failed(self, error: Any, doing: str) -> None:
        """What an error within a transaction means. Always raises."""
        assert self._outbox is not None
        self._outbox.serve()
        failure = self._outbox.error
        committing = doing == "committing"
        doing = f"{doing} ring '{self._ring}'"
        if error.fatal() or self._trouble.fatal is not None:
            self._lost(self._trouble.fatal or error)
        if not self._transactional:
            text = self._trouble.sentence(doing, failure or error)
            raise SinkError(text, retriable=True)
        if committing and error.retriable():
            if self._clock() - self._ending_s >= TRANSACTION_TIMEOUT_MS / 1000:
                self._lost(error)  # brokers have ended it by now, and a new producer finds out how
            self._asked_again = True
            text = self._trouble.sentence(f"{doing}: not known yet whether it was stored", error)
            raise SinkError(text, retriable=True)
        cause = failure or error
        if committing and failure is None:
            self._lost(error)  # whether it was stored only a new producer can find out
        self._abort()
        self._drop()  # what a broker forgot of the transaction before is void now, too: look again
        if cause.code() == self._kinds.MSG_SIZE_TOO_LARGE:
            raise _TooLarge(cause.str())
        raise SinkError(self._trouble.sentence(doing, cause), retriable=True)

    def _abort(self) -> None:
        """Void the open transaction."""
        self._state = _State.ABORTING
        try:
            self._producer.abort_transaction(self._options.timeout_s)
        except self._kafka.KafkaException as error:
            cause = error.args[0]
            if not cause.retriable() or cause.fatal():
                self._lost(cause)
            text = self._trouble.sentence(f"voiding a transaction of ring '{self._ring}'", cause)
            raise SinkError(text, retriable=True) from None
        self._pending = None
        self._state = _State.READY

    def _lost(self, error: Any) -> None:
        """The producer can go on no more; a new one finds out what is stored. Always raises."""
        self._trouble.clear()
        self._drop()
        log.warning("the producer of ring '%s' begins anew: %s", self._ring, error.str())
        self._splitter = None  # its topic may have been made anew
        raise SinkError(
            f"Kafka at {self._options.bootstrap_servers} closed what was being written of ring "
            f"'{self._ring}' ({error.str()}): beginning anew",
            retriable=True,
        )

    def _shrink(self, record_bytes: int) -> None:
        """Smaller messages, and fewer sent as one, from now on: a new producer is told so."""
        before = self._records_per_message
        self._drop()
        if before <= LEAST_PER_MESSAGE:
            raise SinkError(
                f"Kafka at {self._options.bootstrap_servers} refuses messages of {before} records "
                f"of ring '{self._ring}' as too large: raise max.message.bytes of their topic",
                retriable=True,
            )
        self._records_per_message = max(before // 2, LEAST_PER_MESSAGE)
        self._batch_bytes = self._records_per_message * record_bytes
        log.warning(
            "ring '%s': brokers refuse messages of %d records as too large: %d from now on",
            self._ring,
            before,
            self._records_per_message,
        )


def _unnamed(instrument_id: int, feed: str) -> Instrument:
    """An instrument that the ring's table does not have."""
    name = f"#{instrument_id}"
    source = instrument_id >> 24
    return Instrument(instrument_id, 0, 0, source, 0, 0, 0, "", "", feed, name, name)
