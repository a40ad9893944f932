"""The journal consumer: everything that goes through its rings, into files, as it lay there.

    ring ─read─► buffer ─(full, or max_delay_s old)─► JournalWriter ─► PATH/RING/*.mdj
                                                            │
    ring's registry ◄──────── ack(safe seq) ◄───────────────┘

The first consumer of a ring from which nothing may be lost: it only copies memory to disk, and what is
slower (see `mdfeedd.journal`) reads the files. One thread per ring; rings do not wait for each other.

After a restart each ring goes on behind the journal's own end. What the ring has lapped meanwhile is a
LAPPED block with a GAP record in it. While the disk is full the oldest files that all sinks have read
are removed before their time; without such the buffer is kept and tried again, told once; the ring laps
what comes then, and it goes on by itself when there is room. Acknowledged is what
is durable (with fsync none: what the kernel has taken).

Ways to fail: another journal of the same folder, a segment of a newer version, a failed sync
(`JournalError`), a ring of another owner (`RingError`), a disk that refuses for other reasons than room
(`OSError`). All end `run`; the supervisor starts the process again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast

import numpy as np

from mdfeedd.consumers.episode import Episode
from mdfeedd.journal import JournalError, JournalWriter, WriterOptions, folder_of
from mdfeedd.journal.disk import RETRIABLE
from mdfeedd.journal.writer import MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES
from mdfeedd.options import refuse, values
from mdfeedd.ring import Reader, RingMissing
from mdfeedd.ring.arrow import distinct_ids
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.instruments import INDEX_BITS
from mdfeedd.tick import dtype_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    Entries = list[tuple[int, tuple[object, ...]]]

__all__ = ["JournalConsumer", "JournalOptions"]

log: logging.Logger = logging.getLogger("mdfeedd.consumers.journal")

ATTACH_RETRY_S: Final = 0.2  # how often a ring that does not exist yet is looked for
IDLE_S: Final = 0.05  # longest sleep: bounds the notice of `stop`
RETRY_S: Final = 0.25  # pause after the disk was full
SETTLE_S: Final = 0.02  # how often what is safe is acknowledged
RETAIN_S: Final = 1.0  # how often old segments are looked at
BUFFER_RECORDS: Final = 8192  # read at a time: stays in the processor's cache
SYNC_RECORDS: Final = 65_536  # the same where each time ends with a sync
SCAN_ENTRIES: Final = 2048  # of the instruments table, looked through at a time
STOP_S: Final = 5.0  # to read what is left in the ring at the end


_LEAST_BYTES: Final = {"segment_bytes": MIN_SEGMENT_BYTES, "keep_bytes": 0, "hard_cap_bytes": 0}
_RANGES_S: Final = {
    "fsync_interval_s": (0.001, 3600.0),
    "keep_s": (0.0, 1e9),
    "max_delay_s": (0.0, 10.0),
    "wait_s": (0.0, float("inf")),
}


@dataclass(frozen=True, slots=True)
class JournalOptions:
    """Where the journal lies, when it is durable, and what is kept of it."""

    path: str = field(metadata={"help": "folder; each ring gets one of its name in it"})
    segment_bytes: int = field(
        default=256 << 20, metadata={"help": "size of a file, for which room is taken at once"}
    )
    fsync: Literal["none", "interval", "batch"] = field(
        default="interval",
        metadata={
            "help": "none (the kernel's pace), interval (a thread syncs), batch (after each write); "
            "a killed process loses nothing in any of them, a power cut what was not synced"
        },
    )
    fsync_interval_s: float = field(
        default=0.2, metadata={"help": "with interval: seconds between syncs"}
    )
    keep_bytes: int = field(
        default=64 << 30,
        metadata={"help": "of each ring; beyond, the oldest files go; 0: no limit by size"},
    )
    keep_s: float = field(
        default=0.0, metadata={"help": "older files go, in seconds; 0: no limit by age"}
    )
    hard_cap_bytes: int = field(
        default=256 << 30,
        metadata={
            "help": "files that a sink has not read are kept up to this size of each ring; 0: no limit"
        },
    )
    max_delay_s: float = field(
        default=0.001, metadata={"help": "a record waits at most so long for others, in seconds"}
    )
    follow: bool = field(
        default=True, metadata={"help": "go on when writers are gone; false: return then"}
    )
    wait_s: float = field(
        default=10.0,
        metadata={"help": "with follow false: how long to wait for rings to appear, in seconds"},
    )

    def __post_init__(self) -> None:
        refuse(self._check_sizes(), self._check_times(), self._check_path())

    def _check_sizes(self) -> Iterator[str]:
        for key, value in values(self, _LEAST_BYTES):
            low = _LEAST_BYTES[key]
            if not isinstance(value, int) or value < low:
                yield f"{key}: must be a whole number from {low} on, not {value!r}"
        if self.segment_bytes > MAX_SEGMENT_BYTES:
            yield f"segment_bytes: must be at most {MAX_SEGMENT_BYTES}, not {self.segment_bytes!r}"

    def _check_times(self) -> Iterator[str]:
        for key, seconds in values(self, _RANGES_S):
            least, most = _RANGES_S[key]
            if not least <= seconds <= most:
                yield f"{key}: must be from {least} to {most}, not {seconds!r}"
        if self.fsync not in {"none", "interval", "batch"}:
            yield f"fsync: must be none, interval or batch, not {self.fsync!r}"

    def _check_path(self) -> Iterator[str]:
        if not isinstance(self.path, str) or not self.path or "\0" in self.path:
            yield f"path: must name a folder, not {self.path!r}"
        if self.keep_bytes and self.hard_cap_bytes and self.hard_cap_bytes < self.keep_bytes:
            raise ValueError(
                f"hard_cap_bytes: must be at least keep_bytes ({self.keep_bytes}), "
                f"not {self.hard_cap_bytes}"
            )

    def writer(self) -> WriterOptions:
        """The part that is the writer's."""
        return WriterOptions(
            segment_bytes=self.segment_bytes,
            fsync=self.fsync,
            fsync_interval_s=self.fsync_interval_s,
            keep_bytes=self.keep_bytes,
            keep_s=self.keep_s,
            hard_cap_bytes=self.hard_cap_bytes,
        )


class _Names:
    """What of a ring's instruments table the journal does not have yet.

    Additions are taken as they come. After a change in place (and at the start, of a table that may be
    large) the whole table is looked through a piece at a time, and meanwhile the entries that records
    refer to before those records are written.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._version = -1
        self._count = 0
        self._scanned = 0
        self._places: dict[int, int] = {}

    def missing(self, records: npt.NDArray[np.void]) -> Entries:
        """Entries to be written before `records`."""
        reader = self._reader
        version = reader.instruments_version
        if version == self._version and self._scanned >= self._count:
            return []
        count = reader.instruments_count
        if version - self._version != count - self._count or self._version < 0:
            self._scanned = 0
        self._version, self._count = version, count
        piece = list(self._read(range(self._scanned, min(count, self._scanned + SCAN_ENTRIES))))
        self._scanned = min(count, self._scanned + SCAN_ENTRIES)
        if self._scanned < count and "instrument_id" in (records.dtype.names or ()):
            piece += self._of(records)
        return piece

    def _read(self, places: range) -> Iterator[tuple[int, tuple[object, ...]]]:
        for place in places:
            entry = self._reader.instrument_get(place)
            if entry is not None:  # else its writer died while changing it
                self._places[cast("int", entry[0])] = place
                yield place, entry

    def _of(self, records: npt.NDArray[np.void]) -> Entries:
        """The entries of the instruments of `records`."""
        found: Entries = []
        for instrument_id in distinct_ids(records["instrument_id"])[0].tolist():
            if not instrument_id:
                continue
            place = self._places.get(instrument_id, (instrument_id & ((1 << INDEX_BITS) - 1)) - 1)
            some = list(self._read(range(place, place + 1))) if place < self._count else []
            if some and some[0][1][0] == instrument_id:
                found += some
            else:  # a table of other feeds' instruments: it may stand anywhere
                found += self._read(range(self._scanned, self._count))
                self._scanned = self._count
        return found


class _Copy:
    """One ring into its folder."""

    def __init__(
        self,
        consumer: str,
        ring: str,
        options: JournalOptions,
        directory: str,
        stopping: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._ring = ring
        self._options = options
        self._directory = directory
        self._stopping = stopping
        self._fill = 0
        self._since = 0.0
        self._blocks = self._refusals = 0
        self._retry_at = self._next_settle = self._next_retain = 0.0
        self._refused_since: float | None = None
        self._lost = Episode(log, f"ring '{ring}': %d records lost, the feed was faster")
        self._cut = Episode(
            log,
            f"ring '{ring}': %d segments removed that a sink had not read: it is too far behind",
        )
        self._early = Episode(
            log,
            f"ring '{ring}': the disk is full: %d segments removed before their time, which all "
            f"sinks have read",
        )

    def run(self) -> None:
        """Until `stopping`, or with follow off until the ring has ended."""
        writer = self._open_writer()
        if writer is None:
            return
        self._writer = writer
        ended = False
        try:
            reader = self._attach()
            if reader is not None:
                with reader:
                    self._reader = reader
                    reader.counters.set("torn_bytes", writer.recovered.torn_bytes)
                    self._enter()
                    ended = self._serve()
                    self._settle(time.monotonic(), over=True)
        except BaseException:
            with contextlib.suppress(JournalError, OSError):  # the first error is the one to tell
                writer.close()
            raise
        finally:
            self._lost.settle(time.monotonic(), over=True)
            self._cut.settle(time.monotonic(), over=True)
            self._early.settle(time.monotonic(), over=True)
        writer.close(ended=ended)

    def _open_writer(self) -> JournalWriter | None:
        """The journal, mended; None if it was stopped before there was room for it."""
        folder = folder_of(self._options.path, self._ring)
        while True:
            try:
                writer = JournalWriter(folder, self._ring, self._options.writer())
                break
            except OSError as error:
                self._refused(error)
            if self._stopping():
                return None
            time.sleep(RETRY_S)
        self._accepted()
        found = writer.recovered
        for sentence in found.damage:
            log.error("%s; it is kept as it is, and a new segment begins", sentence)
        if found.torn_bytes:
            log.warning(
                "ring '%s': %d bytes cut from the end of the journal that a crash had left unfinished",
                self._ring,
                found.torn_bytes,
            )
        return writer

    def _attach(self) -> Reader | None:
        """Open the ring behind the journal's end, once it exists; None if it is waited for no more."""
        give_up = time.monotonic() + self._options.wait_s
        while not self._stopping():
            try:
                ring_id = inspect(self._ring, self._directory).ring_id
                end = self._writer.end
                known = end is not None and end.ring_id == ring_id.hex()
                reader = Reader(
                    self._ring,
                    start=end.seq + 1 if end is not None and known else "oldest",
                    consumer=self._consumer,
                    follow=self._options.follow,
                    directory=self._directory,
                )
                if reader.ring_id == ring_id:
                    return reader
                reader.close()  # it was replaced meanwhile: look again
            except RingMissing:
                if not self._options.follow and time.monotonic() >= give_up:
                    log.warning("never appeared: ring '%s'", self._ring)
                    return None
                time.sleep(ATTACH_RETRY_S)
        return None

    def _enter(self) -> None:
        """Begin with a ring, or another that has taken its name."""
        reader = self._reader
        header = reader.header()
        dtype = dtype_of(header["layout"])
        size = SYNC_RECORDS if self._options.fsync == "batch" else BUFFER_RECORDS
        self._buffer = np.empty(size, dtype)
        self._instruments = reader.instruments
        self._names = _Names(reader)
        self._ring_id: str = header["ring_id"].hex()
        self._layout: str = header["layout"]
        self._epoch: int = header["epoch"]
        self._epoch_first: int = header["epoch_first_seq"]
        self._begun = self._writer.holds(self._ring_id, reader.feed, self._layout)
        self._first_seq = reader.next_seq
        self._told_lost = reader.lost

    # ------------------------------------------------------------------------------------- the loop

    def _serve(self) -> bool:
        """Read and write; True if the ring has ended."""
        reader, delay_s = self._reader, self._options.max_delay_s
        while not self._stopping():
            now = time.monotonic()
            n = self._read(now)
            if self._fill and (
                self._fill >= BUFFER_RECORDS or now - self._since >= delay_s or not delay_s
            ):
                self._store(now)
            if now >= self._next_settle:
                self._settle(now)
            if n >= BUFFER_RECORDS // 2:
                continue
            if self._fill:
                reader.beat()
                time.sleep(min(delay_s, IDLE_S) if now >= self._retry_at else RETRY_S / 5)
            elif not reader.available:
                if reader.stop_waiting():
                    return True
                if not reader.wait_ready(IDLE_S):
                    reader.beat()
                elif not reader.available:
                    reader.on_change()
        self._drain()
        return False

    def _read(self, now: float) -> int:
        """Into the buffer what there is; how many."""
        reader = self._reader
        if reader.instruments is not self._instruments:  # another ring has the name now
            assert not self._fill  # the reader changes over only where it waits, and so do we
            self._enter()
        room = self._buffer[self._fill :]
        if not len(room):
            return 0
        n = reader.poll_into(room)
        if not n:
            return 0
        if reader.lost != self._told_lost:
            self._lost.add(reader.lost - self._told_lost, now)
            self._told_lost = reader.lost
        if not self._fill:
            self._since = now
        self._fill += n
        return n

    def _drain(self) -> None:
        """What is in the ring when we are stopped, if the disk takes it."""
        give_up = time.monotonic() + STOP_S
        left = self._reader.available
        while (now := time.monotonic()) < give_up:
            if left > 0:
                left -= self._read(now)
            if not self._fill:
                break
            self._store(now)
            if self._refused_since is not None:
                break
        if self._fill:
            log.error(
                "ring '%s': %d records are not in the journal yet; they are in the ring, and read "
                "at the next start if that comes in time",
                self._ring,
                self._fill,
            )

    # ------------------------------------------------------------------------------------- storing

    def _store(self, now: float) -> None:
        """Write the buffer; what the disk does not take stays in it."""
        if now < self._retry_at:
            return
        records = self._buffer[: self._fill]
        try:
            if not self._begun:
                self._begin()
            self._writer.put_instruments(self._names.missing(records))
            for part in self._runs(records):
                self._writer.append(part, self._epoch_at(int(part["seq"][0])))
                self._blocks += 1
            self._writer.commit()
        except OSError as error:
            if not self._made_room(error, now):
                self._refused(error)
            return
        self._accepted()
        self._fill = 0

    def _begin(self) -> None:
        self._writer.begin(
            self._ring_id,
            feed=self._reader.feed,
            layout=self._layout,
            record_bytes=self._buffer.dtype.itemsize,
            next_seq=self._first_seq,
            epoch=self._epoch,
        )
        self._begun = True

    def _runs(self, records: npt.NDArray[np.void]) -> Iterator[npt.NDArray[np.void]]:
        """`records` in pieces without a hole, each of one epoch."""
        first, last = int(records["seq"][0]), int(records["seq"][-1])
        self._note_epoch()
        if last - first + 1 == len(records) and not first < self._epoch_first <= last:
            yield records
            return
        seqs = records["seq"]
        breaks = (np.diff(seqs) != 1) | (seqs[1:] == self._epoch_first)
        at = 0
        for end in [*(np.flatnonzero(breaks) + 1).tolist(), len(records)]:
            yield records[at:end]
            at = end

    def _note_epoch(self) -> None:
        if self._reader.epoch != self._epoch:
            header = self._reader.header()
            if header["ring_id"].hex() == self._ring_id:
                self._epoch, self._epoch_first = header["epoch"], header["epoch_first_seq"]

    def _epoch_at(self, seq: int) -> int:
        """The epoch of a record; of one before the living writer's first, that of the writer before."""
        return self._epoch if seq >= self._epoch_first else max(0, self._epoch - 1)

    def _made_room(self, error: OSError, now: float) -> bool:
        """On a full disk, by what all sinks have read; whether there was something."""
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            return False
        removed = self._writer.retain(full=True).remove
        self._early.add(removed, now)
        return removed > 0

    def _refused(self, error: OSError) -> None:
        """The disk is full (told once), or the error is another and raised."""
        if error.errno not in RETRIABLE:
            raise error
        now = time.monotonic()
        self._retry_at = now + RETRY_S
        self._refusals += 1
        if self._refused_since is None:
            self._refused_since = now
            log.error(
                "ring '%s': the journal in %s cannot be written: %s; it goes on when there is room, "
                "and what the ring laps until then is lost",
                self._ring,
                self._options.path,
                error.strerror,
            )

    def _accepted(self) -> None:
        if self._refused_since is not None:
            log.info(
                "ring '%s': the journal is written again after %.1f s",
                self._ring,
                time.monotonic() - self._refused_since,
            )
            self._refused_since = None
        self._retry_at = 0.0

    def _settle(self, now: float, *, over: bool = False) -> None:
        """Acknowledge what is safe, publish the counters, and at times remove what is old."""
        self._next_settle = now + SETTLE_S
        writer, reader = self._writer, self._reader
        if over:
            writer.settle()
        if now >= self._next_retain:
            self._next_retain = now + RETAIN_S
            self._cut.add(writer.retain().cut, now)
            self._cut.settle(now)
            self._early.settle(now)
            self._lost.settle(now)
        if not self._begun:
            return
        safe = writer.written_seq if self._options.fsync == "none" else writer.durable_seq
        if safe:
            reader.ack(safe)
        counters = reader.counters
        counters.set("stored_records", writer.stored_records)
        counters.set("stored_bytes", writer.stored_bytes)
        counters.set(
            "pending_records", self._fill + writer.written_seq - safe if safe else self._fill
        )
        counters.set("behind_records", reader.available)
        counters.set("flushes", self._blocks)
        counters.set("failed_flushes", self._refusals)
        counters.set("cut_segments", writer.cut_segments)


class JournalConsumer:
    """See the module. `name` is the consumer's name in the registry of each ring."""

    Options: ClassVar[type[Any]] = JournalOptions

    def __init__(
        self, name: str, options: JournalOptions, rings: Sequence[str], directory: str
    ) -> None:
        self._name = name
        self._options = options
        self._rings = list(rings)
        self._directory = directory

    def run(self, stop: threading.Event) -> None:
        """Copy until `stop` is set, or with follow off until all rings ended.

        Raises `JournalError`, `RingError`, `OSError`.
        """
        halted = threading.Event()
        copies = [
            _Copy(
                self._name,
                ring,
                self._options,
                self._directory,
                lambda: stop.is_set() or halted.is_set(),
            )
            for ring in self._rings
        ]
        if len(copies) == 1:
            copies[0].run()
            return
        with ThreadPoolExecutor(len(copies), thread_name_prefix="journal") as pool:
            running = [pool.submit(copy.run) for copy in copies]
            wait(running, return_when=FIRST_EXCEPTION)
            if any(one.done() and one.exception() for one in running):
                halted.set()
        for one in running:
            one.result()


if TYPE_CHECKING:
    from mdfeedd.consumers.protocol import Consumer

    _conforms: type[Consumer] = JournalConsumer
