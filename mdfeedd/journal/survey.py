"""What a journal holds, and whether it is whole: for people, without touching it."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mdfeedd.journal.errors import JournalMismatch
from mdfeedd.journal.format import (
    BLOCK_BYTES,
    HEADER_BYTES,
    INSTRUMENTS,
    Block,
    SegmentHeader,
    payload_bytes,
)
from mdfeedd.journal.lock import writer_alive
from mdfeedd.journal.marks import MarksFile, SinkPositions
from mdfeedd.journal.recovery import Found, look, missing_behind, walk
from mdfeedd.journal.segment import Fault, SegmentFile, Window, list_segments
from mdfeedd.journal.writer import MARKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mdfeedd.journal.marks import Marks
    from mdfeedd.journal.segment import SegmentName
    from mdfeedd.ring.position import Position

__all__ = ["Checked", "Segment", "Survey", "load_marks", "survey", "verify"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One file. header: None if damaged; last_seq: None where only a scan could tell."""

    name: SegmentName
    header: SegmentHeader | None
    size_bytes: int
    last_seq: int | None


@dataclass(frozen=True, slots=True)
class Survey:
    """One ring's journal. until_ns: when the last block was written, 0 if nobody says.

    damage: sentences about the ends of its rings; the last segment is looked through where nobody
    writes it. What is wrong elsewhere `verify` tells.
    """

    folder: Path
    segments: tuple[Segment, ...]
    marks: Marks | None
    writer_alive: bool
    sinks: dict[str, Position | None]
    damage: tuple[str, ...] = ()

    @property
    def until_ns(self) -> int:
        """When the last block was written, UNIX ns; 0 if that is not known."""
        return self.marks.wall_ns if self.marks is not None else 0


@dataclass(slots=True)
class Checked:
    """What `verify` found: sentences, and how much was looked at."""

    segments: int = 0
    blocks: int = 0
    records: int = 0
    bytes: int = 0
    faults: list[str] = field(default_factory=list)


def load_marks(folder: Path) -> Marks | None:
    """The marks of a journal's writer; None if there are none."""
    try:
        file = MarksFile(folder / MARKS)
    except FileNotFoundError:
        return None
    try:
        return file.load()
    finally:
        file.close()


def survey(folder: Path) -> Survey:
    """Look at one ring's folder: file names, headers, marks, and the last segment if nobody writes it.

    Raises `JournalMismatch`, `OSError`.
    """
    marks, alive = load_marks(folder), writer_alive(folder)
    names: list[SegmentName] = []
    headers: list[SegmentHeader | None] = []
    sizes: list[int] = []
    for name in list_segments(folder):
        with (
            contextlib.suppress(FileNotFoundError),  # retention
            SegmentFile(name, Window(HEADER_BYTES)) as file,
        ):
            names.append(name)
            headers.append(file.header)
            sizes.append(file.size)
    last = [
        _last_seq(header, headers[i + 1] if i + 1 < len(headers) else None, marks)
        for i, header in enumerate(headers)
    ]
    damage = _look_at_ends(names, headers, last, marks, alive=alive)
    segments = map(Segment, names, headers, sizes, last)
    return Survey(folder, tuple(segments), marks, alive, SinkPositions(folder).all(), tuple(damage))


def _look_at_ends(
    names: list[SegmentName],
    headers: list[SegmentHeader | None],
    last: list[int | None],
    marks: Marks | None,
    *,
    alive: bool,
) -> list[str]:
    """Where headers and marks may promise more than is there: put into `last` what is; what is missing."""
    damage: list[str] = []
    good = [(i, header) for i, header in enumerate(headers) if header is not None]
    for (i, header), (j, after) in itertools.pairwise(good):
        if after.ring_id == header.ring_id or not after.before_ring_id:
            continue
        whole = after.before_ring_id == header.ring_id
        if whole and header.durable_seq < after.before_last_seq:
            continue
        tail = look(names[i], None)
        last[i] = tail.resume_seq - 1
        if not whole:
            what = f"the segments of ring {after.before_ring_id} before it are missing"
            damage.append(f"{names[j].path}: {what}, with records up to {after.before_last_seq}")
        elif tail.missing is not None:
            damage.append(f"{names[i].path}: {tail.missing}")
    if not good:
        return damage
    i, header = good[-1]
    if alive:
        end = last[i]
        missing = None if end is None else missing_behind(end, header, marks)
    else:
        tail = look(names[i], marks)
        last[i], missing = tail.resume_seq - 1, tail.missing
        damage += tail.damage
    if missing is not None and not any(str(missing) in sentence for sentence in damage):
        damage.append(f"{names[i].path}: {missing}")
    return damage


def _last_seq(
    header: SegmentHeader | None, after: SegmentHeader | None, marks: Marks | None
) -> int | None:
    if header is None:
        return None
    if after is not None:
        same = after.ring_id == header.ring_id
        return after.first_seq - 1 if same else after.before_last_seq
    if marks is not None and marks.ring_id == header.ring_id:
        return marks.written.seq
    return None


def verify(folder: Path, told: Callable[[Checked], None] = lambda _: None) -> Checked:
    """Every checksum and the whole chain of one ring's journal. `told` is called after each segment.

    What is being written is looked at as far as its writer's marks go. Raises `OSError`.
    """
    checked = Checked()
    marks, alive = load_marks(folder), writer_alive(folder)
    before: SegmentHeader | None = None
    expected: int | None = None
    window = Window()
    names = list_segments(folder)
    for i, name in enumerate(names):
        try:
            file = SegmentFile(name, window)
        except JournalMismatch as error:
            checked.faults.append(str(error))
            continue
        except FileNotFoundError:  # retention
            continue
        with file:
            header = file.header
            checked.segments += 1
            checked.bytes += file.size
            if header is None:
                checked.faults.append(f"{name.path}: the header is damaged")
                continue
            _check_order(checked, name, header, before, expected)
            if alive and marks is not None and name.number > marks.written.segment:
                break  # begun since the marks were loaded
            writing = alive and marks is not None and marks.written.segment == name.number
            limit = marks.written.offset if writing and marks is not None else file.size
            torn = _may_tear(name, marks, alive=alive) if i == len(names) - 1 else None
            expected = _check_blocks(checked, file, header, limit, torn)
            before = header
        told(checked)
    if before is not None and expected is not None:
        missing = missing_behind(expected - 1, before, marks)
        if missing is not None:
            checked.faults.append(f"{folder}: the last {missing.n} are gone: {missing}")
    return checked


def _check_order(
    checked: Checked,
    name: SegmentName,
    header: SegmentHeader,
    before: SegmentHeader | None,
    expected: int | None,
) -> None:
    """Whether a segment is the one that follows."""
    if (header.epoch, header.first_seq) != (name.epoch, name.first_seq):
        checked.faults.append(f"{name.path}: the name is not that of the header")
    if before is None or expected is None:
        return
    due = expected
    if header.ring_id != before.ring_id:
        due = header.first_seq
        missing = header.before_last_seq - expected + 1
        if header.before_ring_id == before.ring_id and missing > 0:
            checked.faults.append(
                f"{name.path}: another ring begins, and the last {missing} records of the one before, "
                f"{expected} to {header.before_last_seq}, are missing"
            )
        elif header.before_ring_id != before.ring_id or missing:
            checked.faults.append(
                f"{name.path}: another ring begins, and the one before ended elsewhere than here, "
                f"at {expected - 1}"
            )
    if header.number != before.number + 1:
        checked.faults.append(
            f"{name.path}: segments {before.number + 1} to {header.number - 1} are missing"
        )
    if header.first_seq != due:
        checked.faults.append(f"{name.path}: begins with {header.first_seq} and not with {due}")


def _may_tear(name: SegmentName, marks: Marks | None, *, alive: bool) -> int:
    """From which offset on the last segment may be unfinished and nothing is damaged: a crash did it.

    A kill takes nothing that was written, a power cut nothing that was durable.
    """
    if alive or marks is None:
        return 1 << 63
    mark = marks.written if marks.this_boot else marks.durable
    if mark.segment == name.number:
        return mark.offset
    return 0 if mark.segment < name.number else 1 << 63


def _check_blocks(
    checked: Checked, file: SegmentFile, header: SegmentHeader, limit: int, torn: int | None
) -> int:
    """All blocks of a segment; returns what the next one must begin with.

    torn: of the last one, from where on a crash may have left it unfinished.
    """
    expected, end = header.first_seq, HEADER_BYTES
    for found in walk(file, header, limit):
        if isinstance(found, Fault):
            if found.offset == end and file.last_used(end) == end:
                break  # room that nothing was written to yet
            last = torn is not None and found.offset == end
            if torn is not None and last and end >= torn and _is_tail(file, header, end):
                break
            what = "unfinished, or damaged" if last else "damaged"
            checked.faults.append(
                f"{file.name.path}: {what} at offset {found.offset}: {found.reason}"
            )
            continue
        checked.blocks += 1
        checked.records += 0 if found.block.flags & INSTRUMENTS else found.block.n
        expected = max(expected, found.block.last + 1)
        end = _end(found, header)
    return expected


def _is_tail(file: SegmentFile, header: SegmentHeader, end: int) -> bool:
    """Nothing that is whole follows behind `end`."""
    return file.find(end + BLOCK_BYTES, file.size, header.record_bytes) is None


def _end(found: Found, header: SegmentHeader) -> int:
    block: Block = found.block
    return found.offset + BLOCK_BYTES + payload_bytes(block, header.record_bytes)
