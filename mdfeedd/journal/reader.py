"""A reader of one ring's journal: batches, exact loss, following its writer, or without one.

The writer's marks say how far blocks are whole. Where it is dead, or the marks are gone, checksums and
the chain say so: then the first thing that is no block is the end, where the next writer will go on.
Anything else that is not as it should be is damage: what it took is `lost`, and `why` says where. So is
what the marks tell to have been durable, where the journal ends before it and nobody writes it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np

from mdfeedd.journal.errors import JournalCorrupt, JournalMissing
from mdfeedd.journal.format import (
    BLOCK_BYTES,
    HEADER_BYTES,
    INSTRUMENTS,
    LAPPED,
    Block,
    SegmentHeader,
    payload_bytes,
)
from mdfeedd.journal.lock import writer_alive
from mdfeedd.journal.marks import Mark, Marks, MarksFile
from mdfeedd.journal.recovery import Missing, missing_behind
from mdfeedd.journal.segment import Fault, SegmentFile, SegmentName, Window, list_segments
from mdfeedd.journal.table import Table
from mdfeedd.journal.writer import MARKS
from mdfeedd.ring.instruments import Instruments
from mdfeedd.ring.position import Position
from mdfeedd.tick import dtype_of

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt

__all__ = ["JournalBatch", "JournalReader", "ReadLimit"]

ReadLimit = Literal["written", "durable"]

MAX_BLOCKS: Final = 1 << 15  # looked at by one `read`; more small ones wait for the next
LOOK_MIN_S: Final = 0.0005
LOOK_MAX_S: Final = 0.02  # between looks at the marks while nothing comes
REMADE_S: Final = 0.5  # between looks, while nothing comes, for a journal made anew under its name


@dataclass(frozen=True, slots=True)
class JournalBatch:
    """Records of one ring_id and one epoch. `records` is read-only, and valid until the reader is used again.

    lost: records that retention or damage (or, where records are not ticks, a lap of the ring) took
    just before the first of these; a batch without records can tell it, too. why: what took them.
    """

    records: npt.NDArray[np.void]
    ring_id: str
    epoch: int
    feed: str
    instruments: Instruments
    lost: int = 0
    why: str = ""

    def __len__(self) -> int:
        return len(self.records)


class _Space:
    """What the records of one segment after the other have in common."""

    def __init__(self, header: SegmentHeader) -> None:
        self.ring_id = header.ring_id
        self.feed = header.feed
        self.layout = header.layout
        self.record_bytes = header.record_bytes
        self.dtype: np.dtype[Any] = dtype_of(header.layout)
        self.table = Table()
        self.instruments = Instruments(self.table, header.feed)

    def holds(self, header: SegmentHeader) -> bool:
        return (self.ring_id, self.feed, self.layout) == (
            header.ring_id,
            header.feed,
            header.layout,
        )


class JournalReader:
    """Follow the journal in `folder`, behind `start` (None: from the oldest).

    A start in a sequence space of which the journal holds nothing begins at the oldest. A journal
    that is removed and made anew while it is read is gone on with, behind what was read. What is
    missing at the end of a journal that nobody writes is told once; if a writer comes back, and its
    ring still has it, it is read all the same. Raises
    `JournalMissing`, `JournalCorrupt` (nothing can be read), `JournalMismatch` (also in `read`: a
    segment of a newer version follows), `OSError`. Used by one thread.
    """

    def __init__(
        self,
        folder: Path,
        start: Position | None = None,
        *,
        read_limit: ReadLimit = "written",
    ) -> None:
        if read_limit not in {"written", "durable"}:
            raise ValueError(f"read_limit must be written or durable, not {read_limit!r}")
        self.folder = folder
        self.position = start
        self._durable = read_limit == "durable"
        self._window = Window()
        self._marks_file: MarksFile | None = None
        self._headers: dict[int, SegmentHeader | None] = {}
        self._file: SegmentFile | None = None
        self._space: _Space | None = None
        self._header: SegmentHeader | None = None  # of the last segment that was entered
        self._left = -1  # number of the last segment that is behind us
        self._offset = self._limit = 0
        self._space_first = 0  # the first record of the space that the journal ever had
        self._trusting = False  # nobody says how far blocks are whole: see the module
        self._expected: int | None = None  # the next record, by the chain
        self._ready: npt.NDArray[np.void] | None = None  # of a block, not yet given
        self._ready_epoch = 0
        self._lost = 0
        self._why = ""
        self._pending_fault = ""  # what was wrong, until it is known what it took
        self._told = ("", 0)  # ring_id and seq up to which its end was told as lost
        self._searched = (-1, 0)  # segment and offset behind which nothing good follows
        self._out: npt.NDArray[np.void] | None = None
        self._look_s = LOOK_MIN_S
        self._next_remade_s = 0.0
        self._begin(start)

    # -------------------------------------------------------------------------------------- beginning

    def _begin(self, start: Position | None) -> None:
        names = list_segments(self.folder)
        if not names:
            raise JournalMissing(
                f"no journal in {self.folder}: is its consumer running? "
                f"('mdfeedd journal ls' lists what there is)"
            )
        headers = [self._header_of(name) for name in names]
        if not any(headers):
            raise JournalCorrupt(
                f"none of the {len(names)} segments in {self.folder} has a header that is right: "
                f"'mdfeedd journal verify' tells more"
            )
        at = _place_of(start, headers)
        self._left = names[at].number - 1
        if not self._open_next():
            raise JournalMissing(f"the journal in {self.folder} has just been removed")
        self._tell_begin(start, names[at], headers[at])

    def _tell_begin(
        self, start: Position | None, name: SegmentName, header: SegmentHeader | None
    ) -> None:
        """What is missing before the first segment that can be read."""
        space = self._space
        assert space is not None
        assert self._expected is not None
        if start is not None and start.ring_id == space.ring_id:
            lost = self._expected - start.seq - 1
            self._lose(lost, f"segments before number {name.number} of {self.folder} are missing")
        elif start is not None and header is not None and header.before_ring_id == start.ring_id:
            lost = _lost_between(start.ring_id, start.seq + 1, header)
            self._lose(lost, f"segments before number {name.number} of {self.folder} are missing")
        elif header is None:  # the name says where it began, if it was of the same space
            lost = self._expected - name.first_seq if name.first_seq >= self._space_first else 0
            self._lose(lost, "")

    def _header_of(self, name: SegmentName) -> SegmentHeader | None:
        """The header of a segment, kept; None if it is damaged or the file is gone."""
        if self._headers.get(name.number) is None:
            self._headers[name.number] = self._fresh_header_of(name)
        return self._headers[name.number]

    @staticmethod
    def _fresh_header_of(name: SegmentName) -> SegmentHeader | None:
        """The same, from the file as it is now."""
        with contextlib.suppress(FileNotFoundError):
            file = SegmentFile(name, Window(HEADER_BYTES))
            file.close()
            return file.header
        return None

    # -------------------------------------------------------------------------------------- reading

    def read(self, max_records: int) -> JournalBatch:
        """What is there now, at most `max_records`; never blocks, may be empty."""
        if max_records < 1:
            raise ValueError(f"max_records must be at least 1, not {max_records}")
        if self._ready is None and not self._advance(MAX_BLOCKS):
            return self._batch(None, 0)
        space, epoch, records = self._space, self._ready_epoch, self._ready
        assert space is not None
        assert records is not None
        lost, why, self._lost, self._why = self._lost, self._why, 0, ""
        if 2 * len(records) >= max_records:  # enough, and no copy
            self._ready = records[max_records:] if len(records) > max_records else None
            records = records[:max_records]
        else:
            records = self._gather(space, epoch, max_records)
        return self._batch(records, epoch, lost, why, space)

    def _gather(self, space: _Space, epoch: int, max_records: int) -> npt.NDArray[np.void]:
        """Records of several small blocks, one behind the other."""
        out = self._out
        if out is None or len(out) < max_records or out.dtype != space.dtype:
            out = self._out = np.empty(max_records, space.dtype)
        n = 0
        while n < max_records:
            # not in a journal made anew: what is here has not moved our position yet
            if self._ready is None and not self._advance_here(MAX_BLOCKS):
                break
            if n and (self._lost or self._space is not space or self._ready_epoch != epoch):
                break  # what is ready now begins the next batch
            records = self._ready
            assert records is not None
            some = records[: max_records - n]
            out[n : n + len(some)].view("u1")[:] = some.view("u1")
            n += len(some)
            self._ready = records[len(some) :] if len(some) < len(records) else None
        batch = out[:n]
        batch.flags.writeable = False
        return batch

    def _batch(
        self,
        records: npt.NDArray[np.void] | None,
        epoch: int,
        lost: int = 0,
        why: str = "",
        space: _Space | None = None,
    ) -> JournalBatch:
        if space is None:
            space = self._space
        assert space is not None
        if records is None:
            lost, why, self._lost, self._why = self._lost, self._why, 0, ""
            records = np.empty(0, space.dtype)
        else:
            self.position = Position(space.ring_id, int(records["seq"][-1]), epoch)
            self._look_s = LOOK_MIN_S
            # by itself it looks at changes only now and then, which is millions of records here
            space.instruments.refresh()
        return JournalBatch(records, space.ring_id, epoch, space.feed, space.instruments, lost, why)

    def _advance(self, budget: int) -> bool:
        """Have the next block of records ready; False if there is none now."""
        return (
            self._advance_here(budget)
            or (self._begun_again() and self._advance_here(budget))
            or self._tell_end(budget)
        )

    def _tell_end(self, budget: int) -> bool:
        """Lose what was durable behind the end of a journal that nobody writes; True: it goes on after all."""
        marks, file = self._load_marks(), self._marks_file
        if self._missing(marks) is None or writer_alive(self.folder):
            return False
        if file is not None and not file.there:
            return False  # it is being removed: another may take its place
        if self._file is not None:
            self._file.forget()
        if self._advance_here(budget):  # its writer may have gone on before these marks
            return True
        missing = self._missing(marks)
        if missing is None or (self._file is not None and self._offset < self._limit):
            return False
        where = f"in {self.folder}"
        if self._file is not None and not missing.gone:
            where = f"at offset {self._offset} of {self._file.name.path}"
        self._lose(missing.n, f"{missing} {where}")
        self._told = missing.ring_id, missing.last
        return False

    def _missing(self, marks: Marks | None) -> Missing | None:
        """What is missing by these marks, if what there is has been read, and not yet told."""
        space, header = self._space, self._header
        assert space is not None
        assert header is not None
        missing = missing_behind(self._untold(space) - 1, header, marks)
        if missing is None or self._told == (missing.ring_id, missing.last):
            return None
        return missing

    def _begun_again(self) -> bool:
        """Where the journal was removed and made anew: begin in that one, behind what was read."""
        now = time.monotonic()
        if now < self._next_remade_s:
            return False
        self._next_remade_s = now + REMADE_S
        if self._marks_file is None or not self._marks_file.replaced:
            return False
        if not any(map(self._fresh_header_of, list_segments(self.folder))):
            return False  # there is nothing in it yet
        self.close()
        self._headers.clear()
        self._expected, self._searched, self._pending_fault = None, (-1, 0), ""
        self._begin(self.position)
        return True

    def _advance_here(self, budget: int) -> bool:
        for _ in range(budget):
            if self._file is None and not self._open_next():
                return False
            file, space = self._file, self._space
            assert file is not None
            assert space is not None
            if self._offset >= self._limit and not self._look(file):
                if not self._is_over(file):
                    return False
                if not self._look(file):  # the writer may have gone on here between the looks
                    self._leave(file)
                continue
            found = self._take(file, space)
            if isinstance(found, Fault):
                if not self._overcome(file, space, found):
                    return False
                if self._ready is not None:
                    return True
            elif found:
                return True
        return False

    def _take(self, file: SegmentFile, space: _Space) -> bool | Fault:
        """The block at the offset. True: it has records for us; False: it is done with."""
        size = space.record_bytes
        block = file.block(self._offset, self._limit, size)
        if isinstance(block, Fault):
            return block
        payload = file.intact_payload(self._offset, block, self._limit, size)
        if isinstance(payload, Fault):
            return payload
        offset, self._offset = (
            self._offset,
            self._offset + BLOCK_BYTES + payload_bytes(block, size),
        )
        due = self._due(space)
        self._follow_chain(file, block, offset, self._untold(space))
        if block.flags & INSTRUMENTS:
            space.table.load(payload)
            return False
        return self._make_ready(space, block, payload, due - 1)

    def _follow_chain(self, file: SegmentFile, block: Block, offset: int, due: int) -> None:
        if self._expected is not None:
            lost = block.first - due
            self._lose(lost, f"blocks before offset {offset} of {file.name.path} are missing")
        self._expected = max(self._expected or 0, block.last + 1)

    def _known(self, space: _Space) -> int:
        """The last record of this space that we have had, or were told that we have."""
        had = self.position
        return had.seq if had is not None and had.ring_id == space.ring_id else 0

    def _due(self, space: _Space) -> int:
        """The next record that would be no loss."""
        return max(self._expected or 0, self._known(space) + 1)

    def _untold(self, space: _Space) -> int:
        """The next record that would be no loss, or one that has been told."""
        return max(self._due(space), self._told_of(space) + 1)

    def _told_of(self, space: _Space) -> int:
        """The last record of this space that was told as lost at the end, as the end was then."""
        ring_id, seq = self._told
        return seq if ring_id == space.ring_id else 0

    def _make_ready(self, space: _Space, block: Block, payload: memoryview, known: int) -> bool:
        """Have the records behind `known` ready; False if there are none."""
        if block.last <= known:
            return False
        if block.flags & LAPPED and not block.n:
            had = max(known, block.first - 1, self._told_of(space))
            self._lose(block.last - had, "the ring lapped the journal")
            return False
        records = np.frombuffer(payload.toreadonly(), space.dtype)
        if not block.flags & LAPPED and block.first <= known:
            records = records[known - block.first + 1 :]
        self._ready, self._ready_epoch = records, block.epoch
        return True

    # -------------------------------------------------------------------------------------- how far

    def _load_marks(self) -> Marks | None:
        if self._marks_file is None:
            try:
                self._marks_file = MarksFile(self.folder / MARKS)
            except FileNotFoundError:
                return None
        return self._marks_file.load()

    def _look(self, file: SegmentFile) -> bool:
        """Find out how far the segment may be read; whether that is further than we are."""
        number = file.name.number
        mark = self._mark()
        self._trusting = False
        if mark is None:
            self._limit, self._trusting = file.size, self._is_last(number)
        elif mark.segment == number:
            self._limit = mark.offset
        else:
            self._limit = file.size if mark.segment > number else 0
        return self._offset < self._limit

    def _mark(self) -> Mark | None:
        """As far as blocks are whole, by their writer's word; None if it gave none or is gone."""
        marks = self._load_marks()
        if self._durable:
            return Mark() if marks is None else marks.durable
        if marks is None or not marks.this_boot or not writer_alive(self.folder):
            return None
        return marks.written

    def _is_last(self, number: int) -> bool:
        return all(name.number <= number for name in list_segments(self.folder))

    def _is_over(self, file: SegmentFile) -> bool:
        """Nothing more comes in this segment: a later one is there, and may be read."""
        number, mark = file.name.number, self._mark()
        if mark is not None and mark.segment <= number:
            return False
        return not self._is_last(number)

    def _overcome(self, file: SegmentFile, space: _Space, fault: Fault) -> bool:
        """Go on behind something that is no block; False if it is the end so far."""
        file.forget()  # what was held may be of before the writer came to it
        if self._trusting and not self._good_follows(file, space):
            self._limit = self._offset
            return False
        if not isinstance(self._take(file, space), Fault):
            return True
        start = self._offset
        block = file.block(start, self._limit, space.record_bytes)
        if isinstance(block, Block):  # its header is right and says where the next one is
            self._offset += BLOCK_BYTES + payload_bytes(block, space.record_bytes)
        else:
            found = file.find(start + BLOCK_BYTES, self._limit, space.record_bytes)
            self._offset = self._limit if found is None else found
        # what it took says the next block that is good: it may be all that was lost again
        self._pending_fault = f"{fault.reason} at offset {start} of {file.name.path}"
        return True

    def _good_follows(self, file: SegmentFile, space: _Space) -> bool:
        """Whether it is damage and no torn tail, as recovery tells them apart. Looked for once."""
        place = (file.name.number, self._offset)
        if self._searched == place:
            return False
        self._searched = place
        found = file.find(self._offset + BLOCK_BYTES, file.size, space.record_bytes)
        file.forget()
        return found is not None

    def _lose(self, n: int, why: str) -> None:
        if n > 0:
            self._lost += n
            self._why = self._pending_fault or why
        self._pending_fault = ""

    # -------------------------------------------------------------------------------------- segments

    def _leave(self, file: SegmentFile) -> None:
        self._left = file.name.number
        file.close()
        self._file = None

    def _open_next(self) -> bool:
        """Open the first segment behind the one that we left; False if there is none to be read."""
        for name in list_segments(self.folder):
            if name.number <= self._left:
                continue
            header = self._header_of(name)
            if header is None:  # if it is the last, its writer may still be alive, or mend it
                self._pending_fault = f"the header of {name.path} is damaged"
                continue
            try:
                file = SegmentFile(name, self._window)
            except FileNotFoundError:
                continue
            self._enter(file, header)
            return True
        return False

    def _enter(self, file: SegmentFile, header: SegmentHeader) -> None:
        space, expected, before = self._space, self._expected, self._left
        if space is None or not space.holds(header):
            if space is not None:
                space.instruments.freeze()
            self._space = _Space(header)
        if expected is not None and space is not None:
            lost = _lost_between(space.ring_id, self._untold(space), header)
            if header.before_ring_id not in {"", space.ring_id} and header.ring_id != space.ring_id:
                # of a ring between of which nothing is left nobody knows the first record
                had = self._told[1] if self._told[0] == header.before_ring_id else 0
                lost += max(0, header.before_last_seq - had)
            gone = "segments" if file.name.number > before + 1 else "records"
            self._lose(lost, f"{gone} before {file.name.path} are missing")
        self._expected = header.first_seq
        if space is not None and space.ring_id == header.ring_id and expected is not None:
            self._expected = max(expected, header.first_seq)
        self._space_first = header.space_first_seq
        self._file, self._header = file, header
        self._offset, self._limit = HEADER_BYTES, 0

    # -------------------------------------------------------------------------------------- telling

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the records are now."""
        assert self._space is not None
        return self._space.dtype

    @property
    def behind(self) -> int:
        """Records written (or durable, by read_limit) and not yet read; lapped ones count as well."""
        space, marks = self._space, self._load_marks()
        if space is None:
            return 0
        seq = self._untold(space) - 1 - (0 if self._ready is None else len(self._ready))
        ring_id, total = space.ring_id, 0
        names = [] if marks is not None and marks.ring_id == ring_id else list_segments(self.folder)
        for name in names:
            if name.number <= (self._left if self._file is None else self._file.name.number):
                continue
            header = self._header_of(name)
            if header is None or header.ring_id == ring_id:
                continue
            total += max(0, header.before_last_seq - seq)
            ring_id, seq = header.ring_id, header.space_first_seq - 1
        if marks is not None and marks.ring_id == ring_id:
            end = (marks.durable if self._durable else marks.written).seq
            total += max(0, end - seq)
        return total

    @property
    def ended(self) -> bool:
        """The journal's writer is gone, or said that the ring ended, and all is read."""
        marks = self._load_marks()
        if writer_alive(self.folder) and not (marks is not None and marks.ended):
            return False
        # to look may find that something is lost at the end
        return self._ready is None and not self._advance(MAX_BLOCKS) and not self._lost

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there is something to read; False after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while True:
            if self._ready is not None or self._lost or self._advance(MAX_BLOCKS):
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(self._look_s, left))
            self._look_s = min(2 * self._look_s, LOOK_MAX_S)

    def close(self) -> None:
        """Let go of the files. What was read stays valid."""
        if self._file is not None:
            self._leave(self._file)
        if self._marks_file is not None:
            self._marks_file.close()
            self._marks_file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _place_of(start: Position | None, headers: list[SegmentHeader | None]) -> int:
    """Which segment to begin with: what comes before it in the journal was had before `start`."""
    if start is None:
        return 0
    at: int | None = None
    for i, header in enumerate(headers):
        if header is None:
            continue
        if header.ring_id == start.ring_id:
            if at is None or header.first_seq <= start.seq + 1:
                at = i
        elif at is None and header.before_ring_id == start.ring_id:
            at = i  # the space is gone, and this is the one that followed it
    return 0 if at is None else at


def _lost_between(ring_id: str, expected: int, header: SegmentHeader) -> int:
    """Records between `expected` of one segment's space and the first of the next segment that is there."""
    if header.ring_id == ring_id:
        return max(0, header.first_seq - expected)
    lost = header.first_seq - header.space_first_seq
    if header.before_ring_id == ring_id:
        lost += max(0, header.before_last_seq + 1 - expected)
    return lost
