"""A ring of another host, by way of Kafka, as a process.

::

    Source ──► definitions ──► Translator ─┐
       └─────► chunks ──► Merger ──► Block ┴─► ring ──► note: how far, and where in each partition
       ▲                                                    │
       └────────────── Pause ◄── Ended ◄── brokers          └── read again by the process after this
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from mdfeedd.feeds.core_file import forbid_core_file
from mdfeedd.feeds.kafka.codec import Astray, Merger, Note, Repartitioned, Translator, WireError
from mdfeedd.feeds.kafka.ending import gone
from mdfeedd.feeds.kafka.memory import open_notes
from mdfeedd.feeds.kafka.options import KafkaOptions
from mdfeedd.feeds.kafka.source import Ended, Source
from mdfeedd.feeds.protocol import ProbeLine, Severity
from mdfeedd.feeds.readers import wait_for_consumers
from mdfeedd.ring.restart import last_beat_ns
from mdfeedd.sinks.kafka.client import require_client
from mdfeedd.sinks.kafka.wire import KINDS
from mdfeedd.sinks.protocol import SinkError
from mdfeedd.tick import GapReason, Kind

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    import numpy.typing as npt

    from mdfeedd.feeds.kafka.codec import Block, Hole, Notes
    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.ring import Writer
    from mdfeedd.ring.instruments import Instrument

__all__ = ["KafkaFeed", "KafkaOptions"]

logger: logging.Logger = logging.getLogger("mdfeedd.kafka")

BEAT_S: Final = 0.1
FIRST_PAUSE_S: Final = 0.5
MOST_PAUSE_S: Final = 30.0
SLICES: Final = 8  # records for this part of the ring are published at a time
SPARE_SLOTS: Final = 64  # the writer reserves in blocks: a slot so far ahead may be taken already
POLL_S: Final = 0.0005
_CREDENTIALS: Final = 77
_CONFIG: Final = 78


class KafkaFeed:
    """Writes the ring of `ring` with the records of a ring of another host.

    Records are as they were there but for `seq` and `instrument_id`, which are this ring's. Ends by
    `SystemExit` with 77 (login, missing secret) or 78 (no client library, a payload that is not
    raw, another layout), after a sentence; all else is tried again. Raises `RingError` or `OSError`
    if the ring or the file beside it cannot be made.
    """

    Options: ClassVar[type[Any]] = KafkaOptions

    def __init__(self, name: str, options: KafkaOptions, ring: RingPlan) -> None:
        self.name = name
        self.options = options
        self.ring = ring

    @classmethod
    def probe(cls, name: str, options: KafkaOptions) -> Iterable[ProbeLine]:
        """Look for the topic and how many partitions it has."""
        try:
            source = Source(options, options.ring or name)
        except SinkError as error:
            severity = Severity.CREDENTIALS if error.retriable else Severity.CONFIG
            yield ProbeLine(ok=False, text=str(error), severity=severity)
            return
        try:
            found = source.partitions()
        except Ended as end:
            severity = Severity.CREDENTIALS if end.refused else Severity.UNAVAILABLE
            yield ProbeLine(ok=False, text=str(end), severity=severity)
        else:
            if found:
                yield ProbeLine(ok=True, text=f"topic {source.topic} has {found} partitions")
            else:
                text = f"there is no topic {source.topic} yet: the sink there makes it"
                yield ProbeLine(ok=False, text=text, severity=Severity.UNAVAILABLE)
        finally:
            source.close()

    def run(self, stop: threading.Event) -> None:
        """Follow the other ring until `stop` is set."""
        try:
            require_client()
        except SinkError as error:
            raise self._exit(error, _CONFIG) from None
        options = self.options
        if options.password_env or options.password_file or options.password_credential:
            forbid_core_file("the password")
        left_ns = last_beat_ns(self.ring.name, self.ring.directory)
        with self.ring.writer(self.name, KINDS[self.options.kind]) as writer:
            line = _Line(self, writer, left_ns)
            pause_s = FIRST_PAUSE_S
            while not stop.is_set():
                began_s = time.monotonic()
                try:
                    line.run(stop)
                except Repartitioned as change:
                    logger.info("%s: %s: reading all of them", self.name, change)
                    continue
                except (Ended, SinkError) as end:
                    self._exit_for(end, line)
                    if time.monotonic() - began_s > MOST_PAUSE_S:
                        pause_s = FIRST_PAUSE_S
                    logger.warning("%s: %s; again in %.1f s", self.name, end, pause_s)
                    line.wait(pause_s * (1 + random.random() / 4), stop)  # noqa: S311 - not a secret
                    pause_s = min(2 * pause_s, MOST_PAUSE_S)

    def _exit_for(self, end: Ended | SinkError, line: _Line) -> None:
        """End the process where only a human can help."""
        if isinstance(end, SinkError) and not end.retriable:
            raise self._exit(end, _CONFIG) from None
        refused = isinstance(end, SinkError) or end.refused
        if refused and not line.received:
            raise self._exit(end, _CREDENTIALS) from None

    def _exit(self, why: Exception | str, status: int) -> SystemExit:
        logger.error("%s: %s", self.name, why)
        return SystemExit(status)


class _Line:
    """What outlives a connection: the ring, its notes, the merger and what numbers mean."""

    def __init__(self, feed: KafkaFeed, writer: Writer, left_ns: int | None) -> None:
        self._name = feed.name
        self._options = feed.options
        self._plan = feed.ring
        self._ring = feed.options.ring or feed.name
        self._writer = writer
        self._left_ns = left_ns
        self._fresh = writer.epoch == 1 or writer.next_seq == 1
        self._notes: Notes | None = None
        self._note: Note | None = None
        self._merger = Merger((), feed.options.kind)
        self._translator = Translator(self._add, feed.ring.shard)
        self._block: Block | None = None
        self._block_since_s = 0.0
        self._skip = 0
        self._is_told = False  # the next block's holes, by the process before
        self._paused: list[int] = []
        self._beat_s = 0.0
        self._told_missing = False
        self._left_behind: int | None = None
        self._waited = False  # for consumers that had not come yet
        self._silent = False
        self.received = False

    def run(self, stop: threading.Event) -> None:
        """Read until `stop`. Raises `Ended`, `Repartitioned`, `SinkError`."""
        source = Source(self._options, self._ring)
        try:
            partitions = self._wait_for_topic(source, stop)
            if not partitions:
                return
            source.assign(self._begin(source, partitions, stop))
            self._writer.counters.add("sessions")
            logger.info("%s: reading topic %s, %d partitions", self._name, source.topic, partitions)
            defined = False
            while not stop.is_set():
                for message in source.messages():
                    what = source.sort_out(message)
                    if what == "data":
                        self._receive(source, message)
                    elif what == "definition":
                        self._define(message)
                    elif what == "defined" and not defined:
                        defined = True
                        source.begin_data()
                    elif what == "reset":
                        self._find_again(source, message.partition())
                if defined:
                    self._publish_complete(stop)
                self._beat()
                self._hold_back(source)
                self._tell_silence(source)
        finally:
            source.close()

    # ------------------------------------------------------------------------------------------- beginning

    def _wait_for_topic(self, source: Source, stop: threading.Event) -> int:
        while not stop.is_set():
            found = source.partitions()
            if found:
                return found
            if not self._told_missing:
                self._told_missing = True
                logger.warning("%s: there is no topic %s yet", self._name, source.topic)
            self.wait(FIRST_PAUSE_S, stop)
        return 0

    def _begin(self, source: Source, partitions: int, stop: threading.Event) -> dict[int, int]:
        """Where each partition is read from: behind what the ring has, wherever that is known."""
        mine = [p for p in self._options.partitions or range(partitions) if p < partitions]
        if not mine:
            raise Ended(f"topic {source.topic} has {partitions} partitions, none of those to read")
        note = self._note = self._load(source, stop)
        known = note.end if note else None
        subset = bool(self._options.partitions)
        self._merger = Merger(mine, self._options.kind, known, subset=subset)
        self._block, self._paused = None, []
        offsets = {}
        for partition in mine:
            low, high = source.edges(partition)
            offsets[partition] = low if note or self._options.start == "earliest" else high
            if note is not None and low <= note.offsets.get(partition, -1) <= high:
                offsets[partition] = note.offsets[partition]
            noted = note is not None and offsets[partition] > low
            self._merger.started(partition, offsets[partition], noted=noted)
        if note is None:
            self._save()
        return offsets

    def _load(self, source: Source, stop: threading.Event) -> Note | None:
        """The note of what the ring has, and how many of its records are beyond that."""
        before = self._note
        self._notes = open_notes(self._plan, source.identity())
        note = self._notes.load()
        if before is None and (
            self._fresh or (note is not None and note.next_seq > self._writer.next_seq)
        ):
            note = None  # of a ring that is gone
        self._skip, self._is_told = 0, False
        if note is None:
            if not self._fresh:
                self._tell_lost(stop)
            return None
        beyond = self._writer.next_seq - note.next_seq
        own = min(beyond, note.told)
        self._skip, self._is_told = beyond - own, own == note.told > 0
        return note

    def _tell_lost(self, stop: threading.Event) -> None:
        """What an earlier process has published goes on somewhere else than where it ended."""
        logger.warning("%s: it is not known how far the ring was", self._name)
        if self._options.kind != "ticks":
            return
        now_ns = time.time_ns()
        first_ns = now_ns if self._left_ns is None else min(self._left_ns, now_ns)
        self._writer.counters.add("gaps")
        told = gone(self._writer, GapReason.RESTART, [(first_ns, now_ns)], now_ns)
        self._give(told, stop)

    def _find_again(self, source: Source, partition: int) -> None:
        """An offset is not what it was: from the oldest there is; the chain tells what is missing."""
        low, _ = source.edges(partition)
        logger.warning(
            "%s: partition %d of %s begins at offset %d now",
            self._name,
            partition,
            source.topic,
            low,
        )
        self._merger.started(partition, low)
        source.seek(partition, low)

    # ------------------------------------------------------------------------------------------- messages

    def _define(self, message: Any) -> None:
        try:
            self._translator.define(message.key(), message.value())
        except WireError as error:
            self._malformed(message, error)

    def _receive(self, source: Source, message: Any) -> None:
        value = message.value() or b""
        counters = self._writer.counters
        counters.add("received_packets")
        counters.add("received_bytes", len(value))
        repeated = self._merger.repeated_records
        try:
            self._merger.receive(message.partition(), message.offset(), message.headers(), value)
        except Astray:
            self._find_again(source, message.partition())
            return
        except WireError as error:
            self._malformed(message, error)
            if (
                not self.received
            ):  # not one chunk yet: this topic is another's, or of another payload
                raise SystemExit(_CONFIG) from None
            return
        self.received = True
        if self._silent:
            self._silent = False
            logger.info("%s: brokers answer again", self._name)
        counters.add("known_records", self._merger.repeated_records - repeated)
        sent_ms = message.timestamp()[1]
        now_ns = time.time_ns()
        counters.set("latency_ns", max(0, now_ns - sent_ms * 1_000_000))
        counters.set("last_record_ns", now_ns)

    def _malformed(self, message: Any, error: WireError) -> None:
        """What cannot be read is left out; the next chunk's chain says which records those were."""
        self._writer.counters.add("malformed_packets")
        logger.error(
            "%s: message %d of partition %d of %s is left out: %s",
            self._name,
            message.offset(),
            message.partition(),
            message.topic(),
            error,
        )

    # ------------------------------------------------------------------------------------------- publishing

    def _publish_complete(self, stop: threading.Event) -> None:
        """Publish what all partitions have brought and whose instruments are known."""
        while not stop.is_set():
            if self._block is None:
                self._block = self._merger.take()
                self._block_since_s = time.monotonic()
            block = self._block
            if block is None:
                return
            unknown = self._translator.unknown(block.ring_id, block.epoch, block.records)
            waited_s = time.monotonic() - self._block_since_s
            if unknown and waited_s < self._options.definitions_wait_s:
                return
            if unknown:
                logger.warning("%s: nobody has named %s", self._name, unknown[:10])
                ids = block.records["instrument_id"]
                self._writer.counters.add(
                    "unmapped_records", int(np.isin(ids, np.array(unknown, "<u4")).sum())
                )
            skipped = self._translator.skipped
            records = self._translator.translate(block.ring_id, block.epoch, block.records)
            self._writer.counters.add("skipped_records", self._translator.skipped - skipped)
            if not self._publish(block, records, stop):
                return  # stopped in the middle: the ring says how far
            self._block, self._is_told = None, False
            self._save()

    def _publish(self, block: Block, records: npt.NDArray[np.void], stop: threading.Event) -> bool:
        """The holes, then the records, less what an earlier process had published of them."""
        if block.holes and not self._is_told and not self._tell_holes(block.holes, stop):
            return False
        self._is_told = bool(block.holes)  # where we are stopped within it, as well
        if self._skip:
            n = min(self._skip, len(records))
            self._skip -= n
            self._writer.counters.add("known_records", n)
            records = records[n:]
        return self._give(records, stop)

    def _give(self, records: npt.NDArray[np.void], stop: threading.Event) -> bool:
        """Publish, as consumers have room. False: stopped."""
        step = max(1, self._writer.capacity // SLICES)
        for start in range(0, len(records), step):
            part = records[start : start + step]
            if not self._wait_for_consumers(len(part), stop):
                return False
            self._writer.publish(part)
            self._count(part)
            self._beat()
        return True

    def _wait_for_consumers(self, wanted: int, stop: threading.Event) -> bool:
        """Brokers keep what waits here, so consumers that are behind need not lose it. False: stopped."""
        self._wait_for_the_first(stop)
        limit_s = self._options.wait_for_consumers_s
        since_s, stalled_at = time.monotonic(), None
        while limit_s and not stop.is_set():
            slowest = self._writer.slowest_consumer()
            if slowest is None or slowest == self._left_behind:
                break
            free = slowest + self._writer.capacity - SPARE_SLOTS - (self._writer.next_seq - 1)
            if free >= wanted:
                self._left_behind = None
                break
            now_s = time.monotonic()
            if slowest != stalled_at:
                since_s, stalled_at = now_s, slowest
            elif now_s - since_s > limit_s:
                self._left_behind = slowest
                logger.warning(
                    "%s: a consumer stands still for %g s: it loses", self._name, limit_s
                )
                break
            self._beat()
            stop.wait(POLL_S)
        return not stop.is_set()

    def _wait_for_the_first(self, stop: threading.Event) -> None:
        """Before anything is published: who has not come yet cannot hold us back, and would lose it."""
        if self._waited:
            return
        self._waited = True
        options = self._options
        wanted, limit_s = options.min_consumers, options.min_consumers_limit_s
        missing = wait_for_consumers(
            self._writer, self._plan, wanted, limit_s, stop=stop, beat=self._beat
        )
        if missing:
            logger.warning("%s: going on without", missing)

    def _tell_holes(self, holes: tuple[Hole, ...], stop: threading.Event) -> bool:
        """What brokers do not have any more, in the numbers of the ring there. False: stopped.

        Noted first, so that a process after us knows which records are of the ring there.
        """
        for hole in holes:
            logger.error(
                "%s: records %d to %d of ring '%s' are not in Kafka any more",
                self._name,
                hole.first,
                hole.last,
                self._ring,
            )
        self._writer.counters.add("gaps", len(holes))
        if self._options.kind != "ticks":
            return True
        bounds = [(hole.first, hole.last) for hole in holes]
        told = gone(self._writer, GapReason.RING_LAPPED, bounds, time.time_ns())
        if not self._skip:
            assert self._notes is not None
            assert self._note is not None
            # what is there behind the note is ours too: an earlier process was stopped within it
            begun = self._writer.next_seq - self._note.next_seq
            self._note = replace(self._note, told=begun + len(told))
            self._notes.save(self._note)
        return self._give(told, stop)

    def _count(self, records: npt.NDArray[np.void]) -> None:
        counters = self._writer.counters
        counters.add("received_records", len(records))
        if self._options.kind == "bars":
            counters.add("published_bars", len(records))
            return
        kinds = np.bincount(records["kind"], minlength=Kind.TRADE + 1)
        quotes, trades = int(kinds[Kind.QUOTE]), int(kinds[Kind.TRADE])
        counters.add("published_quotes", quotes)
        counters.add("published_trades", trades)
        counters.add("published_others", len(records) - quotes - trades)

    def _save(self) -> None:
        """Note how far the ring is: what comes later is told by the ring's own number."""
        assert self._notes is not None
        if self._skip:
            return  # of the note as it is, more is in the ring than has come again yet
        self._note = Note(self._writer.next_seq, self._merger.end, self._merger.next_offsets())
        self._notes.save(self._note)

    # ------------------------------------------------------------------------------------------- by and by

    def _hold_back(self, source: Source) -> None:
        """While too much waits, take nothing more of partitions but those that the others wait for."""
        waiting = self._merger.waiting_records
        if self._block is not None:
            waiting += len(self._block.records)
        most, behind = self._options.max_wait_records, set(self._merger.behind())
        held = [p for p in self._paused if p not in behind]
        if waiting > most:
            held = [p for p in self._merger.next_offsets() if p not in behind]
        elif waiting < most // 2:
            held = []
        if held == self._paused:
            return
        source.resume([p for p in self._paused if p not in held])
        source.pause([p for p in held if p not in self._paused])
        self._paused = held

    def _tell_silence(self, source: Source) -> None:
        """Brokers that do not answer are told of once, and once that they are back."""
        trouble = source.trouble
        if trouble.last is not None and not self._silent:
            if source.refused() and not self.received:
                raise Ended(trouble.sentence("reading"), refused=True)
            self._silent = True
            self._writer.counters.add("disconnects")
            logger.warning("%s: %s", self._name, trouble.sentence(f"reading {source.topic}"))
        trouble.clear()

    def _beat(self) -> None:
        now_s = time.monotonic()
        if now_s - self._beat_s >= BEAT_S:
            self._beat_s = now_s
            self._writer.beat()

    def wait(self, pause_s: float, stop: threading.Event) -> None:
        """Wait, alive."""
        until_s = time.monotonic() + pause_s
        while not stop.wait(min(BEAT_S, max(0.0, until_s - time.monotonic()))):
            self._beat()
            if time.monotonic() >= until_s:
                return

    def _add(self, instrument: Instrument) -> int:
        """Enter an instrument of the other host into this ring's table."""
        origin = instrument.feed if self._options.kind == "bars" else None
        return self._writer.instruments.add(
            instrument.symbol, **instrument.attributes() | {"feed": origin or None}
        )
