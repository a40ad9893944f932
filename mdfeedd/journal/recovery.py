"""What a journal's folder holds when its writer starts: the end of the last segment, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mdfeedd.journal.format import (
    BLOCK_BYTES,
    HEADER_BYTES,
    INSTRUMENTS,
    Block,
    SegmentHeader,
    payload_bytes,
)
from mdfeedd.journal.segment import Fault, SegmentFile, Window
from mdfeedd.journal.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.journal.marks import Marks
    from mdfeedd.journal.segment import SegmentName

__all__ = ["Found", "Missing", "Tail", "look", "missing_behind", "walk"]


@dataclass(frozen=True, slots=True)
class Found:
    """A block in its place. `payload` is valid until the next one is asked for."""

    offset: int
    block: Block
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Missing:
    """The records `first` to `last` of a ring_id had been made durable, and the journal's end lacks them.

    gone: all segments of the ring_id are; nobody knows its first record then, and `first` is 1.
    """

    ring_id: str
    first: int
    last: int
    gone: bool = False

    @property
    def n(self) -> int:
        """How many."""
        return self.last - self.first + 1

    def __str__(self) -> str:
        if self.gone:
            return (
                f"the segments of ring {self.ring_id} that followed, with records up to {self.last}, "
                f"had been made durable and are missing"
            )
        return f"records {self.first} to {self.last} had been made durable and are missing"


def missing_behind(last_seq: int, header: SegmentHeader, marks: Marks | None) -> Missing | None:
    """What is missing of a journal whose last segment has this header and ends with `last_seq`.

    Exact for marks that were loaded before the segment was read to its end.
    """
    durable = header.durable_seq
    if marks is not None and marks.ring_id == header.ring_id:
        durable = max(durable, marks.durable.seq)
    elif marks is not None and marks.durable.segment > header.number and marks.durable.seq:
        return Missing(marks.ring_id, 1, marks.durable.seq, gone=True)
    return Missing(header.ring_id, last_seq + 1, durable) if durable > last_seq else None


@dataclass(slots=True)
class Tail:
    """The last segment, scanned.

    end: offset behind the last block that is good and in its place; last_seq: the last sequence number
    before it. torn_bytes: what lies behind it and never was whole. damage: sentences; if there are
    any, the segment stays as it is and the journal goes on in a new one, at `resume_seq`. missing: what
    had been durable behind `resume_seq`, also of damage that an earlier writer has told.
    """

    name: SegmentName
    header: SegmentHeader | None
    end: int = HEADER_BYTES
    last_seq: int = 0
    epoch: int = 0
    wall_ns: int = 0
    torn_bytes: int = 0
    resume_seq: int = 1
    missing: Missing | None = None
    damage: list[str] = field(default_factory=list)
    table: Table = field(default_factory=Table)


def walk(file: SegmentFile, header: SegmentHeader, limit: int) -> Iterator[Found | Fault]:
    """Every block of a segment up to `limit`, and a fault for everything that should be one and is not.

    Behind a fault it goes on with the next intact block. A fault is not followed by the next one before
    something is right again.
    """
    offset, expected, record_bytes = HEADER_BYTES, header.first_seq, header.record_bytes
    while offset < limit:
        block = file.block(offset, limit, record_bytes)
        if isinstance(block, Fault):
            yield block
            found = file.find(offset + BLOCK_BYTES, limit, record_bytes)
            if found is None:
                return
            offset = found
            continue
        payload = file.intact_payload(offset, block, limit, record_bytes)
        if isinstance(payload, Fault):
            yield payload
            if len(file.payload(offset, block, limit, record_bytes)) < payload_bytes(
                block, record_bytes
            ):
                return
        elif block.first == expected:
            yield Found(offset, block, payload)
        elif block.first > expected:
            yield Fault(offset, f"{expected} to {block.first - 1} are missing")
            yield Found(offset, block, payload)
        else:
            yield Fault(offset, f"{block.first} to {block.last} come again")
        offset += BLOCK_BYTES + payload_bytes(block, record_bytes)
        expected = max(expected, block.last + 1)


def look(name: SegmentName, marks: Marks | None, window: Window | None = None) -> Tail:
    """Scan the last segment of a journal.

    What is missing up to the largest sequence number that is known to have been durable, or before
    blocks that are whole, is damage; what is beyond is a torn tail, which a crash leaves. Raises
    `JournalMismatch` for a segment of a newer version, `OSError`.
    """
    file = SegmentFile(name, window)
    try:
        header = file.header
        tail = Tail(name, header)
        if header is None:
            _look_headless(file, tail)
            return tail
        tail.last_seq = header.first_seq - 1
        tail.epoch = header.epoch
        durable, behind = _scan(file, header, tail)
        used = file.last_used(tail.end)
        last = max(behind, tail.last_seq)
        tail.resume_seq = last + 1
        fresh = missing_behind(last, replace(header, durable_seq=durable), marks)
        durable = max(durable, header.durable_seq)
        tail.missing = missing_behind(last, replace(header, durable_seq=durable), marks)
        if behind > tail.last_seq:
            tail.damage.append(
                f"{name.path} is damaged at offset {tail.end}: records behind {tail.last_seq} are "
                f"missing, and good ones follow up to {behind}"
            )
        if fresh is not None:
            tail.damage.append(f"{name.path} is damaged at offset {tail.end}: {fresh}")
        if not tail.damage and used > tail.end:
            tail.torn_bytes = used - tail.end
        return tail
    finally:
        file.close()


def _scan(file: SegmentFile, header: SegmentHeader, tail: Tail) -> tuple[int, int]:
    """Fill in `tail`. Returns the largest durable_seq, and the last seq of blocks behind a fault."""
    durable = behind = 0
    whole = True
    for found in walk(file, header, file.size):
        if isinstance(found, Fault):
            whole = False
            continue
        block = found.block
        durable = max(durable, block.durable_seq)
        if block.flags & INSTRUMENTS:
            tail.table.load(found.payload)
        if whole:
            tail.end = found.offset + BLOCK_BYTES + payload_bytes(block, header.record_bytes)
            tail.last_seq, tail.epoch, tail.wall_ns = block.last, block.epoch, block.wall_ns
        else:
            behind = max(behind, block.last)
    return durable, behind


def _look_headless(file: SegmentFile, tail: Tail) -> None:
    """A segment whose header is no good: nothing in it at all, or damage."""
    used = file.last_used(0)
    if used <= HEADER_BYTES:
        tail.torn_bytes = used
        return
    tail.damage.append(f"the header of {tail.name.path} is damaged: none of it can be read")
