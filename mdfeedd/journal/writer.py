"""The one writer of a journal: blocks at known offsets, segments one after the other, marks behind them.

    begin(ring_id, ...) ─► append(records) ─► commit() ─► ... ─► close()
                                │                │
                      one pwritev a block     by policy: sync, then the mark `durable`
                      then the mark `written`

Whoever reads the marks sees a block only when all of it has been taken by write(2), so a kill of this
process loses nothing that `written` tells. What a power cut takes is what `durable` does not tell yet.

A full disk is an `OSError` out of `append` or `put_instruments` with an errno of `RETRIABLE`: nothing of
the call was told, and the same call may be made again. A sync that fails is a `JournalError` and the end
of the writer: the kernel may have dropped the pages, and a second sync would succeed without them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from mdfeedd.journal import recovery, retention
from mdfeedd.journal.disk import Disk
from mdfeedd.journal.errors import JournalError
from mdfeedd.journal.format import (
    BLOCK_BYTES,
    HEADER_BYTES,
    INSTRUMENTS,
    LAPPED,
    MAX_BLOCK_RECORDS,
    Block,
    SegmentHeader,
    checksum,
    encode_block,
    encode_header,
    lapped_record,
)
from mdfeedd.journal.lock import WriterLock
from mdfeedd.journal.marks import Mark, Marks, MarksFile, SinkPositions
from mdfeedd.journal.segment import SegmentFile, Window, list_segments, segment_file_name
from mdfeedd.journal.sync import Syncer
from mdfeedd.journal.table import Table
from mdfeedd.ring.position import Position
from mdfeedd.ring.segment import track
from mdfeedd.tick import TICK, layout_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from mdfeedd.journal.segment import SegmentName

__all__ = ["MARKS", "JournalWriter", "Recovered", "WriterOptions"]

MARKS: Final = "position"
TEMPORARY: Final = ".new"
MIN_SEGMENT_BYTES: Final = 1 << 16
MAX_SEGMENT_BYTES: Final = 1 << 36
BLOCK_RECORDS: Final = 8192  # at most, in one block
_ENTRIES: Final = 4096  # instruments in one block, at most
_TICKS: Final = layout_of(TICK)


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """How a journal is written and kept. 0 for keep_* or hard_cap_bytes: no such limit."""

    segment_bytes: int = 256 << 20
    fsync: Literal["none", "interval", "batch"] = "interval"
    fsync_interval_s: float = 0.2
    keep_bytes: int = 0
    keep_s: float = 0.0
    hard_cap_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the writer found. end: the last record; torn_bytes: cut; damage: sentences, kept as it is."""

    end: Position | None = None
    torn_bytes: int = 0
    damage: tuple[str, ...] = ()


class JournalWriter:
    """Open the journal of `ring` in `folder`, made if need be, and mend what a crash has left.

    Raises `JournalBusy`, `JournalMismatch`, `JournalError`, `OSError`. Used by one thread.
    """

    def __init__(
        self,
        folder: Path,
        ring: str,
        options: WriterOptions | None = None,
        *,
        disk: Disk | None = None,
    ) -> None:
        self.folder = folder
        self.ring = ring
        self._options = WriterOptions() if options is None else options
        self._disk = Disk() if disk is None else disk
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = WriterLock(folder)
        self._fd = -1
        self._path = ""  # of the segment that is being written
        self._size = self._offset = 0
        self._number = 0
        self._header: SegmentHeader | None = None
        self._next_seq = 1
        self._epoch = 0
        self._missing: recovery.Missing | None = None  # of what was durable, when we began
        self._sealed = False  # the segment is cut to its length, and the next one must come
        self._wall_ns = 0
        self._table = Table()
        self._head = bytearray(BLOCK_BYTES)
        self._unwritten: list[bytes] = []  # instruments that are in the table and not yet on disk
        self._headers: dict[int, SegmentHeader | None] = {}  # of segments that are closed
        self._publishing = threading.Lock()
        self._written = Mark()
        self._ended = False
        self.stored_records: int = 0  # by this object
        self.stored_bytes: int = 0
        #: segments removed although a sink had not read them
        self.cut_segments: int = 0
        self._sinks = SinkPositions(folder)
        self._window = Window(HEADER_BYTES)
        self._syncer = Syncer(self._disk, self._options.fsync, self._options.fsync_interval_s)
        try:
            self._marks = MarksFile(folder / MARKS, write=True)
        except BaseException:
            self._lock.close()
            raise
        try:
            self.recovered: Recovered = self._recover()
        except BaseException:
            self._let_go()
            raise
        self._syncer.start(self._publish_durable)
        track(self)

    # -------------------------------------------------------------------------------------- recovery

    def _recover(self) -> Recovered:
        self._remove_temporaries()
        segments = list_segments(self.folder)
        self._number = segments[-1].number if segments else 0
        marks = self._marks.load()
        damage: list[str] = []
        torn = 0
        while segments:
            tail = recovery.look(segments[-1], marks)
            torn += tail.torn_bytes
            damage += tail.damage
            if tail.header is None and not tail.damage:  # a crash while it was made
                self._disk.remove(str(tail.name.path))
                segments.pop()
                continue
            if tail.header is None:
                guess = self._guess(marks)
                self._next_seq = guess.seq + 1 if guess is not None else 1
                return Recovered(guess, torn, tuple(damage))
            return self._go_on(tail, tail.header, torn, damage)
        return Recovered(None, torn, tuple(damage))

    def _remove_temporaries(self) -> None:
        for name in os.listdir(self.folder):
            if name.endswith(TEMPORARY):
                self._disk.remove(str(self.folder / name))

    @staticmethod
    def _guess(marks: Marks | None) -> Position | None:
        """Where the records of a segment without a header end: the marks say so, or nobody does."""
        if marks is None or not marks.written.segment:
            return None
        return Position(marks.ring_id, marks.written.seq)

    def _go_on(
        self, tail: recovery.Tail, header: SegmentHeader, torn: int, damage: list[str]
    ) -> Recovered:
        """Take up the last segment; a damaged one only for what it says."""
        self._header, self._table, self._epoch = header, tail.table, tail.epoch
        self._next_seq, self._wall_ns = tail.resume_seq, tail.wall_ns
        self._missing = tail.missing
        fd = os.open(tail.name.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if not tail.damage:
                self._disk.truncate(fd, tail.end)  # old bytes cannot come back
            self._syncer.sync(fd)
        except BaseException:
            os.close(fd)
            raise
        if tail.damage:
            os.close(fd)
        else:
            self._fd, self._size, self._path = fd, tail.end, str(tail.name.path)
            self._syncer.use(fd)
        self._offset = tail.end
        end = Position(header.ring_id, self._next_seq - 1, self._epoch)
        if tail.damage:  # readers find what is good in it, once another segment follows
            # until that one is there the marks are all that knows what had been durable
            self._open_segment(header, self._table, self._next_seq, self._epoch)
        else:
            self._publish(written_seq=end.seq)
        self._syncer.assume()
        self._publish_durable()
        return Recovered(end, torn, tuple(damage))

    # -------------------------------------------------------------------------------------- the space

    @property
    def end(self) -> Position | None:
        """The last record of the journal; None if it never had one."""
        header = self._header
        if header is None:
            return self.recovered.end
        return Position(header.ring_id, self._next_seq - 1, self._epoch)

    @property
    def next_seq(self) -> int:
        """What the next record's sequence number should be; a higher one means that some are missing."""
        return self._next_seq

    @property
    def written_seq(self) -> int:
        """The last record of this ring_id that write(2) has taken."""
        return self._next_seq - 1

    @property
    def durable_seq(self) -> int:
        """The last record of this ring_id that outlives a power cut, by what the policy has told."""
        header, mark = self._header, self._syncer.durable
        if header is None or mark.segment == 0 or self._syncer.durable_space != header.ring_id:
            return 0
        return mark.seq

    def holds(self, ring_id: str, feed: str, layout: str) -> bool:
        """Whether records of this sequence space and layout go on in the segment there is."""
        old = self._header
        return old is not None and (old.ring_id, old.feed, old.layout) == (ring_id, feed, layout)

    def begin(
        self,
        ring_id: str,
        *,
        feed: str,
        layout: str,
        record_bytes: int,
        next_seq: int,
        epoch: int = 0,
    ) -> None:
        """The records from now on are those of this sequence space; a new one gets a new segment."""
        old = self._header
        if self.holds(ring_id, feed, layout):
            return
        end = self.end
        same_space = end is not None and end.ring_id == ring_id
        first = self._next_seq if same_space else next_seq  # what is missing is told by `append`
        before_ring_id, before_last_seq = _space_before(old, end, ring_id, self._missing)
        header = SegmentHeader(
            number=0,
            ring=self.ring,
            ring_id=ring_id,
            feed=feed,
            layout=layout,
            record_bytes=record_bytes,
            epoch=epoch,
            first_seq=first,
            space_first_seq=old.space_first_seq if same_space and old is not None else first,
            created_ns=0,
            before_ring_id=before_ring_id,
            before_last_seq=before_last_seq,
        )
        self._open_segment(header, Table(), first, epoch)
        if self._missing is not None and self._missing.ring_id != ring_id:
            self._missing = None  # it is in the header now

    def put_instruments(self, entries: Iterable[tuple[int, tuple[object, ...]]]) -> int:
        """Write what is new or changed among entries (place in the ring's table, entry); how many."""
        changed = [raw for raw in (self._table.put(*entry) for entry in entries) if raw is not None]
        self._unwritten.extend(changed)
        self._write_entries()
        return len(changed)

    # -------------------------------------------------------------------------------------- blocks

    def append(self, records: npt.NDArray[np.void], epoch: int = 0) -> None:
        """Write records of one epoch, shape (n,), contiguous, in ring order without a hole.

        Where they begin behind `next_seq` a LAPPED block comes first; those before it are there
        already and are left out, so that a call that failed can be made again.
        """
        header = self._header
        if header is None:
            raise ValueError("append before begin")
        self._syncer.check()
        size = records.dtype.itemsize
        first, last = int(records["seq"][0]), int(records["seq"][-1])
        if size != header.record_bytes or last - first + 1 != len(records):
            raise ValueError(
                f"{len(records)} records of {size} bytes from {first} to {last} do not fit a "
                f"journal of {header.record_bytes} bytes a record"
            )
        if self._unwritten:
            self._write_entries()
        if first > self._next_seq:
            self._lapped(first - 1, epoch)
        data = records.view("u1").data
        most = self._block_records(size)
        while self._next_seq <= last:
            at = self._next_seq - first
            n = min(most, len(records) - at)
            payload = data[at * size : (at + n) * size]
            self._write(0, n, payload, epoch=epoch, last=self._next_seq + n - 1)

    def _block_records(self, record_bytes: int) -> int:
        """At most in a block: a segment must hold several."""
        room = (self._options.segment_bytes - HEADER_BYTES) // 4 - BLOCK_BYTES
        return max(1, min(BLOCK_RECORDS, MAX_BLOCK_RECORDS, room // record_bytes))

    def _lapped(self, last: int, epoch: int) -> None:
        """The records up to `last` are lost."""
        assert self._header is not None
        if self._header.layout != _TICKS:
            self._write(LAPPED, 0, memoryview(b""), epoch=epoch, last=last)
            return
        gap = lapped_record(self._next_seq, last, time.time_ns())
        self._write(LAPPED, 1, gap.view("u1").data, epoch=epoch, last=last)

    def _write_entries(self) -> None:
        while self._unwritten:
            some = self._unwritten[:_ENTRIES]
            payload = memoryview(b"".join(some))
            self._write(INSTRUMENTS, len(some), payload, epoch=self._epoch, last=self._next_seq - 1)
            del self._unwritten[: len(some)]

    def _write(self, flags: int, n: int, payload: memoryview, *, epoch: int, last: int) -> None:
        """One block, whole, and the mark behind it. Rotates before it if there is no room for it."""
        self._syncer.check()
        size = BLOCK_BYTES + payload.nbytes
        if self._sealed or self._offset + size > self._room():
            self._rotate(size)
        self._wall_ns = time.time_ns()
        block = Block(
            flags,
            n,
            epoch,
            self._next_seq,
            last,
            self._wall_ns,
            checksum(payload),
            self.durable_seq,
        )
        encode_block(self._head, self._number, block)
        self._disk.write(self._fd, (self._head, payload), self._offset)
        self._offset += size
        self._next_seq, self._epoch = last + 1, epoch
        self.stored_records += n if not flags else 0
        self.stored_bytes += size
        self._publish(written_seq=last)

    def settle(self) -> None:
        """Make durable what is written, unless the policy is none. Raises `JournalError`."""
        self._syncer.settle()

    def commit(self) -> None:
        """With fsync `batch`: return when everything appended is durable. Raises `JournalError`."""
        self._syncer.commit()

    def _room(self) -> int:
        """Up to where the segment may be written; gives it its room again after a restart."""
        if self._size < self._options.segment_bytes and self._fd >= 0:
            self._disk.allocate(self._fd, self._options.segment_bytes)
            self._size = self._options.segment_bytes
        return self._size

    # -------------------------------------------------------------------------------------- segments

    def _rotate(self, block_bytes: int) -> None:
        """Go on in the next segment."""
        assert self._header is not None
        self._open_segment(self._header, self._table, self._next_seq, self._epoch, block_bytes)

    def _open_segment(
        self, like: SegmentHeader, table: Table, first_seq: int, epoch: int, block_bytes: int = 0
    ) -> None:
        """Seal the segment, make the next one, whole, and only then give it its name."""
        self._seal()
        number = self._number + 1
        header = replace(
            like,
            number=number,
            epoch=epoch,
            first_seq=first_seq,
            created_ns=time.time_ns(),
            durable_seq=self._missing_until(like.ring_id, first_seq),
        )
        head = _instrument_blocks(number, list(table.raw()), first_seq, epoch)
        used = HEADER_BYTES + sum(len(part) for part in head)
        path = str(self.folder / segment_file_name(number, epoch, first_seq))
        size = max(self._options.segment_bytes, used + 4 * (block_bytes + BLOCK_BYTES))
        fd = self._disk.create(path + TEMPORARY)
        try:
            self._disk.allocate(fd, size)
            self._disk.write(fd, [encode_header(header), *head], 0)
            if self._options.fsync != "none":
                self._syncer.sync(fd)
            self._disk.rename(path + TEMPORARY, path)
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                self._disk.remove(path + TEMPORARY)
            raise
        if self._options.fsync != "none":
            self._disk.sync_folder(str(self.folder))
        self._number, self._header, self._table = number, header, table
        self._fd, self._size, self._offset, self._sealed = fd, size, used, False
        self._path = path
        self._next_seq, self._epoch = first_seq, epoch
        self._unwritten.clear()
        self._syncer.use(fd)
        self._publish(written_seq=first_seq - 1)

    def _missing_until(self, ring_id: str, first_seq: int) -> int:
        """For the header: what had been durable from `first_seq` on, and is missing; 0 if nothing."""
        missing = self._missing
        if missing is None or missing.ring_id != ring_id or missing.last < first_seq:
            return 0
        return missing.last

    def _seal(self) -> None:
        """Cut the segment to its length; who syncs it is the policy's business."""
        if self._fd < 0:
            return
        if not self._sealed:
            self._disk.truncate(self._fd, self._offset)
            self._size = self._offset
            self._sealed = True
        self._syncer.retire(self._fd)
        self._fd = -1

    # -------------------------------------------------------------------------------------- marks

    def _publish(self, written_seq: int) -> None:
        assert self._header is not None
        mark = Mark(self._number, self._offset, written_seq)
        self._syncer.note(mark, self._header.ring_id)
        with self._publishing:
            self._written = mark
            self._store_marks()

    def _publish_durable(self) -> None:
        """Called by the thread that synced."""
        with self._publishing:
            self._store_marks()

    def _store_marks(self) -> None:
        header = self._header
        if header is None:
            return
        durable = self._syncer.durable
        if self._syncer.durable_space != header.ring_id:
            durable = replace(durable, seq=0)  # of the space before: nothing of this one yet
        self._marks.store(
            Marks(header.ring_id, self._written, durable, self._wall_ns, os.getpid(), self._ended)
        )

    # -------------------------------------------------------------------------------------- retention

    def retain(self, *, full: bool = False) -> retention.Verdict:
        """Remove what may go; tells how many segments, and how many a sink had not read.

        full: the disk is, so that the oldest may go before its time, if all sinks have read it.
        Raises `JournalError` where the segment that is being written is not in the folder any more.
        """
        self._check_place()
        options = self._options
        names, segments = self._retained(list_segments(self.folder))
        verdict = retention.decide(
            segments,
            self._sinks.all().items(),
            keep_bytes=options.keep_bytes,
            keep_s=options.keep_s,
            hard_cap_bytes=options.hard_cap_bytes,
            now_ns=time.time_ns(),
            full=full,
        )
        for name in names[: verdict.remove]:
            with contextlib.suppress(FileNotFoundError):  # somebody else made room
                self._disk.remove(str(name.path))
            self._headers.pop(name.number, None)
        self.cut_segments += verdict.cut
        return verdict

    def _check_place(self) -> None:
        """What goes into a file without a name is seen by nobody, and gone with this process."""
        if self._fd < 0:
            return
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            there = None
        if there is None or not os.path.samestat(there, os.fstat(self._fd)):
            raise JournalError(
                f"{self._path} was removed while it was being written: the journal begins anew "
                f"with the next start, and with what the ring still holds then"
            )

    def _retained(
        self, found: list[SegmentName]
    ) -> tuple[list[SegmentName], list[retention.Retained]]:
        """Those of the segments that are still there, and what retention sees of them."""
        names, stats = [], []
        for name in found:
            with contextlib.suppress(FileNotFoundError):
                self._header_of(name)
                stats.append(os.stat(name.path))
                names.append(name)
        headers = [self._header_of(name) for name in names]
        out = []
        for i, (name, header, stat) in enumerate(zip(names, headers, stats, strict=True)):
            after = headers[i + 1] if i + 1 < len(headers) else None
            out.append(
                retention.Retained(
                    name.number,
                    "" if header is None else header.ring_id,
                    name.first_seq,
                    stat.st_size,
                    stat.st_mtime_ns if after is None else after.created_ns,
                )
            )
        return names, out

    def _header_of(self, name: SegmentName) -> SegmentHeader | None:
        if name.number not in self._headers:
            file = SegmentFile(name, self._window)
            self._headers[name.number] = file.header
            file.close()
        return self._headers[name.number]

    # -------------------------------------------------------------------------------------- the end

    def close(self, *, ended: bool = False) -> None:
        """Make durable what is written and let go. ended: no record will follow. Raises `JournalError`."""
        try:
            if self._fd >= 0 and self._size > self._offset:
                with contextlib.suppress(OSError):  # the next writer cuts it as well
                    self._disk.truncate(self._fd, self._offset)
            self._ended = ended
            self._syncer.close()
            with self._publishing:
                self._store_marks()
        finally:
            self._let_go()

    def abandon(self) -> None:
        """Let go without a word, as a forked child must."""
        self._let_go()

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._marks.close()
        self._sinks.close()
        self._lock.close()


def _space_before(
    old: SegmentHeader | None,
    end: Position | None,
    ring_id: str,
    missing: recovery.Missing | None,
) -> tuple[str, int]:
    """ring_id and last seq of the sequence space before `ring_id` in the journal, with what is missing."""
    if old is not None and old.ring_id == ring_id:
        return old.before_ring_id, old.before_last_seq
    if end is None or end.ring_id == ring_id:
        return "", 0
    if missing is None or missing.ring_id == ring_id:
        return end.ring_id, end.seq
    return missing.ring_id, max(missing.last, end.seq if missing.ring_id == end.ring_id else 0)


def _instrument_blocks(number: int, entries: list[bytes], seq: int, epoch: int) -> list[bytes]:
    """The blocks at a segment's start, that name every instrument known so far."""
    out = []
    for at in range(0, len(entries), _ENTRIES):
        some = entries[at : at + _ENTRIES]
        payload = b"".join(some)
        head = bytearray(BLOCK_BYTES)
        block = Block(
            INSTRUMENTS, len(some), epoch, seq, seq - 1, time.time_ns(), checksum(payload), 0
        )
        encode_block(head, number, block)
        out.append(bytes(head) + payload)
    return out
