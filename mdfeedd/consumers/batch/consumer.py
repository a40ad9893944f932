"""The batch consumer: records of one or more rings, in batches, into a sink.

    ring ─read─► buffer of batch_size ─(full, or flush_interval_s old)─► queue ─► sink.write
                                                                          ▲            │ progress
                                                  retries, backing off ───┘            ▼
    ring's registry ◄──────────────────────────── ack(safe_seq) ◄──────────────── what is safe

A ring never waits for its readers. While the sink refuses batches (`SinkError`, retriable) the
queue grows to `max_pending` records; then ``overflow`` decides: "block" stops reading, so what the
ring laps meanwhile is told by the ring as lost; "drop" reads on and drops the newest batch, counted
as `dropped_records`.

Positions are acknowledged only when the sink says that they are safe. A consumer that was killed
resumes there; a sink that may see records twice because of it says in its module what it does about
it.

Ways to fail: a sink that cannot be used or fails for good (`SinkError`), a ring of another layout
or owner (`RingError`). Both end `run`; the supervisor starts the process again.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from mdfeedd.consumers.episode import Episode
from mdfeedd.ring import Reader, RingMismatch, RingMissing
from mdfeedd.ring.inspect import inspect
from mdfeedd.sinks import Sink, SinkBatch, SinkError, load_sink, sink_options
from mdfeedd.tick import BAR, TICK, layout_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from mdfeedd.ring import TickBatch

__all__ = ["BatchConsumer", "BatchOptions"]

log = logging.getLogger("mdfeedd.consumers.batch")

ATTACH_RETRY_S: Final = 0.2  # how often a ring that does not exist yet is looked for
IDLE_S: Final = 0.05  # longest sleep: bounds the notice of `stop`
SEVERAL_IDLE_S: Final = 0.005  # the same where a second ring may fill meanwhile
LINGER_S: Final = 0.002  # after a small read, let some more come before the next
LINGER_CAPACITY: Final = 1 << 14  # rings with fewer slots could be lapped meanwhile
HOUSEKEEP_S: Final = 0.25  # how often the sink is looked after when nothing is written
EARLY_FLUSH_S: Final = (
    1.0  # how often the sink is made to settle early, at most; see _keep_resumable
)
BACK_OFF_MIN_S: Final = 0.05
STOP_S: Final = 8.0  # for the last flush, retries included; systemd kills after longer
_LAYOUTS: Final = {layout_of(dtype): dtype for dtype in (TICK, BAR)}


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What goes where, how much at a time, and what happens when the sink does not keep up."""

    sink_type: str = field(metadata={"help": "which sink: parquet, ... (see mdfeedd.sinks)"})
    sink_options: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "the options of that sink"}
    )
    batch_size: int = field(default=5000, metadata={"help": "records handed over at a time"})
    flush_interval_s: float = field(
        default=0.25, metadata={"help": "a smaller batch is handed over at this age, in seconds"}
    )
    max_pending: int = field(
        default=100_000, metadata={"help": "records held while the sink refuses them"}
    )
    overflow: str = field(
        default="block",
        metadata={"help": "at max_pending: block (stop reading) or drop (the newest batch)"},
    )
    back_off_max_s: float = field(
        default=5.0, metadata={"help": "longest pause between retries, in seconds"}
    )
    follow: bool = field(
        default=True, metadata={"help": "go on when writers are gone; false: return then"}
    )
    wait_s: float = field(
        default=10.0,
        metadata={"help": "with follow false: how long to wait for rings to appear, in seconds"},
    )

    def __post_init__(self) -> None:
        if not isinstance(self.batch_size, int) or not 1 <= self.batch_size <= 1_000_000:
            raise ValueError(
                f"batch_size: must be a whole number from 1 to 1000000, not {self.batch_size!r}"
            )
        if not isinstance(self.max_pending, int) or self.max_pending < self.batch_size:
            raise ValueError(
                f"max_pending: must be at least batch_size ({self.batch_size}), "
                f"not {self.max_pending!r}"
            )
        if not 0 < self.flush_interval_s <= 3600:
            raise ValueError(
                f"flush_interval_s: must be greater than 0 and at most 3600, "
                f"not {self.flush_interval_s!r}"
            )
        if not self.back_off_max_s >= BACK_OFF_MIN_S:
            raise ValueError(
                f"back_off_max_s: must be at least {BACK_OFF_MIN_S}, not {self.back_off_max_s!r}"
            )
        if self.overflow not in ("block", "drop"):
            raise ValueError(f"overflow: must be block or drop, not {self.overflow!r}")
        if not self.wait_s >= 0:
            raise ValueError(f"wait_s: must not be negative: {self.wait_s!r}")
        sink_options(load_sink(self.sink_type), self.sink_options)


class _Source:
    """One ring: its reader, and the buffer that is being filled from it."""

    def __init__(self, name: str, reader: Reader, dtype: np.dtype[Any], batch_size: int) -> None:
        self.name = name
        self.reader = reader
        self.ring_ids: dict[str, None] = {}  # the last is the one being read
        self.acked = 0
        self.dropped = 0
        self.flushes = 0
        self.failed_flushes = 0
        self.queued = 0
        self.too_small = False  # and that was told
        self.fill = 0
        self.since = 0.0  # when the first record of the buffer was read
        self.lost = Episode(log, f"ring '{name}': %d records lost, the feed was faster")
        self.drops = Episode(log, f"ring '{name}': %d records dropped, the sink is behind")
        self._dtype = dtype
        self._batch_size = batch_size
        self._buffer = np.empty(batch_size, dtype)
        self._spare: npt.NDArray[np.void] | None = None
        self._instruments = reader.instruments
        self._epoch = reader.epoch
        self._enter(reader.next_seq)

    def _enter(self, next_seq: int) -> None:
        """Begin to read a sequence space: nothing of it is safe yet but what came before."""
        ring_id = self.reader.ring_id.hex()
        self.ring_ids.pop(ring_id, None)
        self.ring_ids[ring_id] = None
        self.acked = next_seq - 1
        self.reader.ack(self.acked)

    @property
    def ring_id(self) -> str:
        """The sequence space that is being read."""
        return next(reversed(self.ring_ids))

    def unsafe(self) -> int:
        """Records read that a kill would make us read again."""
        return self.reader.next_seq - 1 - self.acked

    def warn_if_too_small(self) -> None:
        """Once: the ring does not hold what is unsafe."""
        if self.unsafe() > self.reader.capacity and not self.too_small:
            self.too_small = True
            log.warning(
                "ring '%s' of %d records is too small for its rate: if this process is killed, "
                "what is not yet safe is lost; raise the feed's capacity",
                self.name,
                self.reader.capacity,
            )

    def room(self) -> int:
        """Records that the buffer still takes."""
        return self._batch_size - self.fill

    def take(self, batch: TickBatch, now: float) -> SinkBatch | None:
        """Add what was read; returns what came before if the ring has changed since."""
        self.lost.add(batch.lost, now)
        n = len(batch)
        if not n:
            return None
        epoch, instruments = self.reader.epoch, batch.instruments
        before = None
        if epoch != self._epoch or instruments is not self._instruments:
            before = self.seal()
            self._epoch, self._instruments = epoch, instruments
            if self.reader.ring_id.hex() != self.ring_id:
                self._enter(batch.first_seq)
        instruments.refresh()  # what these records refer to, while their ring is there
        if not self.fill:
            self.since = now
        self._buffer[self.fill : self.fill + n] = batch.records
        self.fill += n
        return before

    def seal(self) -> SinkBatch | None:
        """The buffer as a batch, and a fresh buffer; None if it is empty."""
        if not self.fill:
            return None
        records = self._buffer[: self.fill]
        self._buffer = (
            np.empty(self._batch_size, self._dtype) if self._spare is None else self._spare
        )
        self._spare = None
        self.fill = 0
        return SinkBatch(
            ring=self.name,
            ring_id=self.ring_id,
            feed=self._instruments.feed,
            epoch=self._epoch,
            records=records,
            instruments=self._instruments,
        )

    def stored(self, batch: SinkBatch) -> None:
        """The sink has taken `batch`: its memory may be used again."""
        self.flushes += 1
        self.queued -= len(batch.records)
        self._spare = batch.records.base

    def settle(self, sink: Sink) -> None:
        """Acknowledge what the sink has made safe, and publish the counters."""
        progress = [sink.progress(ring_id) for ring_id in self.ring_ids]
        safe_seq = progress[-1].safe_seq
        if safe_seq > self.acked:
            self.acked = safe_seq
            self.reader.ack(safe_seq)
        pending = sum(p.pending_records for p in progress) + self.queued + self.fill
        counters = self.reader.counters
        counters.set("stored_records", sum(p.stored_records for p in progress))
        counters.set("stored_bytes", sum(p.stored_bytes for p in progress))
        counters.set("skipped_records", sum(p.skipped_records for p in progress))
        counters.set("pending_records", pending)
        counters.set("dropped_records", self.dropped)
        counters.set("flushes", self.flushes)
        counters.set("failed_flushes", self.failed_flushes)


class _BackOff:
    """Retries with pauses that double, from `BACK_OFF_MIN_S` to a limit."""

    def __init__(self, max_s: float) -> None:
        self._max_s = max_s
        self._pause_s = 0.0
        self.until = 0.0
        self._since: float | None = None

    def failed(self, error: SinkError, now: float) -> None:
        """Wait longer than the last time; the first of a series is logged."""
        if self._since is None:
            self._since = now
            log.error("%s; retrying", error)
        self._pause_s = min(max(self._pause_s * 2, BACK_OFF_MIN_S), self._max_s)
        self.until = now + self._pause_s

    def worked(self, now: float) -> None:
        """All is well again."""
        if self._since is not None:
            log.info("the sink works again after %.1f s", now - self._since)
        self._since = None
        self._pause_s = self.until = 0.0


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
        self._sources: list[_Source] = []
        self._queue: deque[tuple[_Source, SinkBatch]] = deque()
        self._queued = 0
        self._sink_given = sink
        self._back_off = _BackOff(options.back_off_max_s)
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
                self._serve(sink, stop)
                self._finish(sink)
            except BaseException:
                with contextlib.suppress(SinkError):  # the first error is the one to tell
                    sink.close()
                raise
            sink.close()
        finally:
            for source in self._sources:
                if not source.reader.closed:
                    source.settle(sink)
                    source.reader.close()

    # ------------------------------------------------------------------------------------- the loop

    def _serve(self, sink: Sink, stop: threading.Event) -> None:
        give_up = time.monotonic() + self._options.wait_s
        while not stop.is_set():
            now = time.monotonic()
            self._attach(now)
            taken = [self._read(source, now) for source in self._sources]
            self._seal_due(now)
            self._deliver(sink, now)
            if not any(taken) and self._ended(now, give_up):
                return
            self._idle(stop, taken)

    def _attach(self, now: float) -> None:
        """Open the rings that have appeared."""
        if not self._missing or now < self._next_attach:
            return
        self._next_attach = now + ATTACH_RETRY_S
        for name in list(self._missing):
            try:
                layout = inspect(name, self._directory).layout
                dtype = _LAYOUTS.get(layout)
                if dtype is None:
                    raise RingMismatch(
                        f"ring '{name}' holds neither ticks nor bars of this version ({layout})"
                    )
                reader = Reader(
                    name,
                    start="resume",
                    consumer=self._name,
                    dtype=dtype,
                    follow=self._options.follow,
                    directory=self._directory,
                )
            except RingMissing:
                continue
            self._missing.remove(name)
            self._sources.append(_Source(name, reader, dtype, self._options.batch_size))

    def _read(self, source: _Source, now: float, timeout: float = 0.0) -> int:
        """Read once, as much as there is room for; returns how many."""
        most = source.room()
        if self._options.overflow == "block":
            held = self._queued + sum(other.fill for other in self._sources)
            most = min(most, self._options.max_pending - held)
        if most <= 0:
            source.reader.beat()
            return 0
        batch = source.reader.read(most, timeout=timeout)
        before = source.take(batch, now)
        if before is not None:
            self._enqueue(source, before, now)
        if not source.room():
            self._seal(source, now)
        return len(batch)

    def _seal(self, source: _Source, now: float) -> None:
        batch = source.seal()
        if batch is not None:
            self._enqueue(source, batch, now)

    def _enqueue(self, source: _Source, batch: SinkBatch, now: float) -> None:
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
            return
        worked = bool(self._queue)
        while self._queue and self._write(sink, now):
            pass
        if now >= self._next_housekeep and not self._queue:
            try:
                sink.housekeep()
            except SinkError as error:
                self._refused(error, now)
            else:
                self._back_off.worked(now)
        if worked or now >= self._next_housekeep:
            self._next_housekeep = now + min(HOUSEKEEP_S, self._options.flush_interval_s)
            for source in self._sources:
                source.settle(sink)
                source.lost.settle(now)
                source.drops.settle(now)
            self._keep_resumable(sink, now)

    def _keep_resumable(self, sink: Sink, now: float) -> None:
        """Settle early what the ring will not hold much longer: a kill would lose it."""
        if not self._options.follow or now < self._next_early_flush:
            return
        behind = [
            source for source in self._sources if source.unsafe() > source.reader.capacity // 2
        ]
        if not behind:
            return
        self._next_early_flush = now + EARLY_FLUSH_S
        for source in behind:
            source.warn_if_too_small()
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

    def _ended(self, now: float, give_up: float) -> bool:
        """With follow off: all rings are read to their end, and none is waited for any more."""
        if self._options.follow or self._queue or any(source.fill for source in self._sources):
            return False
        if not all(source.reader.ended for source in self._sources):
            return False
        if self._missing and now < give_up:
            return False
        if self._missing:
            self._next_attach = 0.0
            known = len(self._sources)
            self._attach(now)  # one that was made between the last look and the end of the others
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
        for source in self._sources:
            if source.fill:
                until = min(until, source.since + self._options.flush_interval_s)
        left = max(until - now, 0.0)
        first = self._sources[0] if self._sources else None
        if first is None or self._blocked() or (not self._options.follow and first.reader.ended):
            stop.wait(left)
        else:
            self._read(first, now, left)

    def _linger_below(self) -> int:
        """A read of fewer records than this says that the rings are in no hurry."""
        if any(source.reader.capacity < LINGER_CAPACITY for source in self._sources):
            return 0
        return min(LINGER_CAPACITY >> 4, self._options.batch_size)

    def _blocked(self) -> bool:
        if self._options.overflow == "drop":
            return False
        held = self._queued + sum(source.fill for source in self._sources)
        return held >= self._options.max_pending

    # -------------------------------------------------------------------------------------- the end

    def _finish(self, sink: Sink) -> None:
        """Read what was published until now and make everything safe. Raises `SinkError`."""
        deadline = time.monotonic() + STOP_S
        left = {id(source): source.reader.lag for source in self._sources}
        while True:
            now = time.monotonic()
            for source in self._sources:
                if left[id(source)]:
                    n = self._read(source, now)
                    left[id(source)] = max(left[id(source)] - n, 0) if source.reader.lag else 0
                if not left[id(source)]:
                    self._seal(source, now)
            self._deliver(sink, now)
            if not self._queue and not any(left.values()) and self._flush(sink, now):
                break
            if now >= deadline:
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
