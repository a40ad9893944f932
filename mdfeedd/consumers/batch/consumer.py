"""The loop of the batch consumer: read, seal, deliver, settle."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mdfeedd.consumers.batch.back_off import BackOff
from mdfeedd.consumers.batch.heart import Heart
from mdfeedd.consumers.batch.options import BatchOptions
from mdfeedd.consumers.batch.ring_source import RingSource
from mdfeedd.ring import RingMissing
from mdfeedd.sinks import Sink, SinkBatch, SinkError, load_sink, sink_options

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from mdfeedd.consumers.batch.source import Source

__all__ = ["BatchConsumer"]

log: logging.Logger = logging.getLogger("mdfeedd.consumers.batch")

ATTACH_RETRY_S: Final = 0.2  # how often a ring that does not exist yet is looked for
IDLE_S: Final = 0.05  # longest sleep: bounds the notice of `stop`
SEVERAL_IDLE_S: Final = 0.005  # the same where a second ring may fill meanwhile
LINGER_S: Final = 0.002  # after a small read, let some more come before the next
LINGER_RECORDS: Final = 1 << 10  # a smaller read than this is a small one
HOUSEKEEP_S: Final = 0.25  # how often the sink is looked after when nothing is written
EARLY_FLUSH_S: Final = 1.0  # how often the sink is made to settle early, at most
STOP_S: Final = 8.0  # for the last flush, retries included; systemd kills after longer
STOP_READ_S: Final = 4.0  # of which reading on in a journal takes at most so long


class BatchConsumer:
    """See the module. `name` is the consumer's in each ring's registry, from which it resumes.

    `sink`, for use as a library, takes the place of the one that the options name.
    """

    Options: ClassVar[type[Any]] = BatchOptions

    def __init__(
        self,
        name: str,
        options: BatchOptions,
        rings: Sequence[str],
        directory: str,
        *,
        sink: Sink | None = None,
    ) -> None:
        self._name = name
        self._options = options
        self._directory = directory
        self._missing = list(rings)
        self._sources: list[Source] = []
        self._queue: deque[tuple[Source, SinkBatch]] = deque()
        self._queued = 0
        self._sink_given = sink
        self._back_off = BackOff(options.back_off_max_s)
        self._next_attach = 0.0
        self._next_housekeep = 0.0
        self._next_early_flush = 0.0

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set, or with follow off until all rings ended; then flush."""
        options = self._options
        sink = self._sink_given
        if sink is None:
            sink_class = load_sink(options.sink_type)
            sink = sink_class(sink_options(sink_class, options.sink_options), self._name)
        try:
            try:
                with Heart(self._sources) as heart:
                    self._serve(sink, stop, heart)
                    self._finish(sink)
            except BaseException:
                with contextlib.suppress(SinkError):  # the first error is the one to tell
                    sink.close()
                raise
            self._close(sink)
        finally:
            for source in self._sources:
                source.settle(sink, final=True)
                source.close()

    def _close(self, sink: Sink) -> None:
        try:
            sink.close()
        except SinkError as error:
            if not (self._options.through_journal and error.retriable):
                raise
            log.warning("%s: the journal has what is not stored", error)

    # ------------------------------------------------------------------------------------- the loop

    def _serve(self, sink: Sink, stop: threading.Event, heart: Heart) -> None:
        give_up = time.monotonic() + self._options.wait_s
        while not stop.is_set():
            now = heart.turn_s = time.monotonic()
            self._attach(sink, now)
            taken = [self._read(source, now) for source in self._sources]
            self._seal_due(now)
            self._deliver(sink, now)
            if not any(taken) and self._ended(sink, now, give_up):
                return
            self._idle(stop, taken)

    def _attach(self, sink: Sink, now: float) -> None:
        """Open the rings or journals that have appeared, behind what the sink has of them."""
        if not self._missing or now < max(self._next_attach, self._back_off.until):
            return
        self._next_attach = now + ATTACH_RETRY_S
        for name in list(self._missing):
            try:
                source = self._open(sink, name)
            except RingMissing:
                continue
            except SinkError as error:  # it could not say how far it is
                self._refused(error, now)
                return
            self._missing.remove(name)
            self._sources.append(source)

    def _open(self, sink: Sink, name: str) -> Source:
        options = self._options
        stored = sink.position(name) if sink.keeps_positions else None
        if options.through_journal:
            # its checksums cost an import that a consumer of rings does not need
            from mdfeedd.consumers.batch.journal_source import JournalSource  # noqa: PLC0415

            return JournalSource(
                name,
                options.journal,
                self._directory,
                consumer=self._name,
                batch_size=options.batch_size,
                catch_up_size=min(options.catch_up_size, options.max_pending),
                read_limit=options.read_limit,
                stored=stored,
                by_store=sink.keeps_positions,
            )
        return RingSource(
            name,
            self._directory,
            consumer=self._name,
            follow=options.follow,
            batch_size=options.batch_size,
            stored=stored,
            by_store=sink.keeps_positions,
        )

    def _read(self, source: Source, now: float, timeout: float = 0.0) -> int:
        """Read once, as much as there is room for; returns how many."""
        most = source.room()
        if self._options.overflow == "block":
            held = self._queued + sum(other.fill for other in self._sources)
            most = min(most, self._options.max_pending - held)
        if most <= 0:
            source.alive()
            return 0
        batch = source.read(most, timeout)
        before = source.take(batch, now)
        if before is not None:
            self._enqueue(source, before, now)
        if source.full():
            self._seal(source, now)
        return len(batch)

    def _seal(self, source: Source, now: float) -> None:
        batch = source.seal()
        if batch is not None:
            self._enqueue(source, batch, now)

    def _enqueue(self, source: Source, batch: SinkBatch, now: float) -> None:
        n = len(batch.records)
        if self._options.overflow == "drop" and self._queued + n > self._options.max_pending:
            source.dropped += n
            source.drops.add(n, now)
            return
        self._queue.append((source, batch))
        self._queued += n
        source.queued += n

    def _seal_due(self, now: float) -> None:
        if self._queue:  # it would only wait behind the others: let it fill up
            return
        for source in self._sources:
            if source.fill and now - source.since >= self._options.flush_interval_s:
                self._seal(source, now)

    def _deliver(self, sink: Sink, now: float) -> None:
        """Give the sink what it takes, and settle what it made safe."""
        if now < self._back_off.until:
            if now >= self._next_housekeep:
                self._settle(sink, now)
            return
        worked = bool(self._queue)
        while self._queue and self._write(sink, now):
            pass
        if now >= self._next_housekeep and not self._queue and self._sources:
            try:
                sink.housekeep()
            except SinkError as error:
                self._refused(error, now)
            else:
                self._back_off.worked(now)
        if worked or now >= self._next_housekeep:
            self._settle(sink, now)
            self._keep_resumable(sink, now)

    def _settle(self, sink: Sink, now: float) -> None:
        """Confirm what is safe, and publish the counters."""
        self._next_housekeep = now + min(HOUSEKEEP_S, self._options.flush_interval_s)
        for source in self._sources:
            source.settle(sink)
            source.lost.settle(now)
            source.drops.settle(now)

    def _keep_resumable(self, sink: Sink, now: float) -> None:
        """Settle early what the ring will not hold much longer: a kill would lose it."""
        if not self._options.follow or now < self._next_early_flush:
            return
        urgent = [source for source in self._sources if source.must_settle()]
        if not urgent:
            return
        self._next_early_flush = now + EARLY_FLUSH_S
        if self._flush(sink, now):
            for source in self._sources:
                source.settle(sink)

    def _write(self, sink: Sink, now: float) -> bool:
        """Hand over the oldest batch; False if the sink refused it."""
        source, batch = self._queue[0]
        try:
            sink.write(batch)
        except SinkError as error:
            source.failed_flushes += 1
            self._refused(error, now)
            return False
        self._back_off.worked(now)
        self._queue.popleft()
        self._queued -= len(batch.records)
        source.stored(batch)
        return True

    def _refused(self, error: SinkError, now: float) -> None:
        if not error.retriable:
            raise error
        self._back_off.failed(error, now)

    def _ended(self, sink: Sink, now: float, give_up: float) -> bool:
        """With follow off: all rings are read to their end, and none is waited for any more."""
        if self._options.follow or self._queue or any(source.fill for source in self._sources):
            return False
        if not all(source.ended for source in self._sources):
            return False
        if self._missing and now < give_up:
            return False
        if self._missing:
            self._next_attach = 0.0
            known = len(self._sources)
            self._attach(
                sink, now
            )  # one that was made between the last look and the end of the others
            if len(self._sources) > known:
                return False
            log.warning("never appeared: %s", ", ".join(f"ring '{n}'" for n in self._missing))
        return True

    def _idle(self, stop: threading.Event, taken: list[int]) -> None:
        """Sleep until there may be something to do."""
        if any(taken):
            if max(taken) < self._linger_below():
                stop.wait(min(LINGER_S, self._options.flush_interval_s))
            return
        now = time.monotonic()
        until = now + (IDLE_S if len(self._sources) <= 1 else SEVERAL_IDLE_S)
        if self._queue:  # the sink refuses them: what is due behind them waits, too
            until = min(until, self._back_off.until)
        else:
            for source in self._sources:
                if source.fill:
                    until = min(until, source.since + self._options.flush_interval_s)
        left = max(until - now, 0.0)
        first = self._sources[0] if self._sources else None
        if first is None or self._blocked() or (not self._options.follow and first.ended):
            stop.wait(left)
        else:
            self._read(first, now, left)

    def _linger_below(self) -> int:
        """A read of fewer records than this says that the rings are in no hurry."""
        if not all(source.patient() for source in self._sources):
            return 0
        return min(LINGER_RECORDS, self._options.batch_size)

    def _blocked(self) -> bool:
        if self._options.overflow == "drop":
            return False
        held = self._queued + sum(source.fill for source in self._sources)
        return held >= self._options.max_pending

    # -------------------------------------------------------------------------------------- the end

    def _finish(self, sink: Sink) -> None:
        """Read what was there until now and make everything safe. Raises `SinkError`.

        From a journal only as much as there is time for.
        """
        began = time.monotonic()
        kept = self._options.through_journal  # what is not stored now is stored at the next start
        left = {id(source): source.behind() for source in self._sources}
        while True:
            now = time.monotonic()
            for source in self._sources:
                if left[id(source)]:
                    n = self._read(source, now)
                    left[id(source)] = max(left[id(source)] - n, 0) if source.behind() else 0
                    if kept and now - began >= STOP_READ_S:
                        left[id(source)] = 0
                if not left[id(source)]:
                    self._seal(source, now)
            self._deliver(sink, now)
            if not self._queue and not any(left.values()) and self._flush(sink, now):
                break
            if kept and now - began >= STOP_S:
                log.warning(
                    "stopped with %d records that the sink did not take or make safe in %g s: "
                    "the journal has them, and the next start goes on there",
                    self._unsafe(sink),
                    STOP_S,
                )
                break
            if now - began >= STOP_S:
                raise SinkError(
                    f"stopped with {self._unsafe(sink)} records that the sink did not take or make "
                    f"safe in {STOP_S:g} s",
                    retriable=False,
                )
            time.sleep(min(max(self._back_off.until - now, 0.0), IDLE_S))
        for source in self._sources:
            source.settle(sink)
            source.lost.settle(now, over=True)
            source.drops.settle(now, over=True)

    def _flush(self, sink: Sink, now: float) -> bool:
        if now < self._back_off.until:
            return False
        try:
            sink.flush()
        except SinkError as error:
            self._refused(error, now)
            return False
        return True

    def _unsafe(self, sink: Sink) -> int:
        pending = sum(
            sink.progress(ring_id).pending_records
            for source in self._sources
            for ring_id in source.ring_ids
        )
        return pending + self._queued


if TYPE_CHECKING:
    from mdfeedd.consumers.protocol import Consumer

    _conforms: type[Consumer] = BatchConsumer
