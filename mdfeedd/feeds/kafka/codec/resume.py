"""What a feed remembers beside its ring: how far Kafka's topic is in it. Bytes in, bytes out.

Two slots of `SLOT_BYTES`, written in turn, so that one is whole when the process is killed in the
middle of the other:

     0 8s magic      8 u64 number (the larger is the newer)    16 u64 next_seq of our ring
    24 16s ring_id  40 u64 seq: all of that space up to it is in our ring
    48 u32 identity: CRC-32 of what the topic is               52 u32 partitions
    56 u32 told     60 u32 CRC-32 of all but these four bytes  64 i64 next offset, by partition

The note is made after each publication. What was published after the last note is told by the
ring itself: as many records as it has more, which are the next ones, since their order is that of
the ring they come from. But for the first `told` of them, where there are some: those are ours, and
say that records are missing; they are noted before they are published.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdfeedd.sinks.kafka.wire import Mark

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_PARTITIONS", "SLOT_BYTES", "Note", "Notes"]

_MAGIC: Final = b"MDFKFK01"
_HEAD: Final = struct.Struct("<8sQQ16sQIIII")
_CRC_AT: Final = 60
_NO_SPACE: Final = bytes(16)
MAX_PARTITIONS: Final = 4096
SLOT_BYTES: Final = _HEAD.size + 8 * MAX_PARTITIONS
assert _HEAD.size == 64


@dataclass(frozen=True, slots=True)
class Note:
    """How far the feed was. `offsets` has the next message of each partition that is read.

    From next_seq on come first, if they come at all, `told` records of our own.
    """

    next_seq: int
    end: Mark | None
    offsets: Mapping[int, int]
    told: int = 0


class Notes:
    """The two slots, of `2 * SLOT_BYTES`. `memory` is shared with whoever comes after us."""

    def __init__(self, memory: memoryview, identity: str) -> None:
        if len(memory) != 2 * SLOT_BYTES:
            raise ValueError(f"two slots have {2 * SLOT_BYTES} bytes, not {len(memory)}")
        self._memory = memory
        self._identity = zlib.crc32(identity.encode())
        self._number = 0

    def load(self) -> Note | None:
        """The newest whole note of this topic, or None."""
        found: tuple[int, Note] | None = None
        for place in (0, SLOT_BYTES):
            told = self._decode(bytes(self._memory[place : place + SLOT_BYTES]))
            if told is not None and (found is None or told[0] > found[0]):
                found = told
        if found is None:
            return None
        self._number = found[0]
        return found[1]

    def _decode(self, data: bytes) -> tuple[int, Note] | None:
        magic, number, next_seq, space, seq, identity, partitions, told, crc = _HEAD.unpack(
            data[: _HEAD.size]
        )
        if (magic, identity) != (_MAGIC, self._identity) or partitions > MAX_PARTITIONS:
            return None
        body = data[_HEAD.size : _HEAD.size + 8 * partitions]
        if crc != zlib.crc32(data[:_CRC_AT] + body):
            return None
        offsets = struct.unpack(f"<{partitions}q", body)
        end = None if space == _NO_SPACE else Mark(space.hex(), seq)
        known = {p: offset for p, offset in enumerate(offsets) if offset >= 0}
        return number, Note(next_seq, end, known, told)

    def save(self, note: Note) -> None:
        """Write over the older slot. Raises `ValueError` for too many partitions."""
        partitions = 1 + max(note.offsets, default=-1)
        if partitions > MAX_PARTITIONS:
            raise ValueError(f"a topic may have {MAX_PARTITIONS} partitions, not {partitions}")
        self._number += 1
        space, seq = _NO_SPACE, 0
        if note.end is not None:
            space, seq = bytes.fromhex(note.end.ring_id), note.end.seq
        body = struct.pack(f"<{partitions}q", *(note.offsets.get(p, -1) for p in range(partitions)))
        where = space, seq, self._identity, partitions
        head = _HEAD.pack(_MAGIC, self._number, note.next_seq, *where, note.told, 0)[:_CRC_AT]
        place = (self._number & 1) * SLOT_BYTES
        data = head + struct.pack("<I", zlib.crc32(head + body)) + body
        self._memory[place : place + len(data)] = data
