"""Partitions back into one ring's order.

    partition 0: chunk [1..80]  chunk [81..120] ...      records that live there, in order
    partition 1: chunk [1..80]  chunk [81..120] ...      every chunk is in every partition
                   └── what all partitions have seen the end of is complete: sorted by seq, out

A chunk says which numbers it covers, whether or not a partition has any of them, so the smallest end
over all partitions is how far the ring is known. Chunks that come again (their writer was killed and
did not know how far it was) are left out by their numbers, however they are cut the second time. A
chunk whose `prev` is beyond what its partition has brought says that chunks are missing: a hole, told
once for each range, before the first record behind it. So does the first chunk of a partition where
others begin with older ones.

A topic may have more partitions than its writer knows of until it is started again. Chunks say over how
many they are spread, and each is in the first: so what is not in the others is not waited for there, and
no hole.

Sequence numbers belong to a space (ring_id). A space ends when every partition has gone on to
another; its numbers may come again later, as a repetition, and are known for `MAX_SPACES` spaces.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.sinks.kafka.wire import KINDS, ChunkHead, Mark, WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    Records = npt.NDArray[np.void]

__all__ = ["Astray", "Block", "Hole", "Merger", "Repartitioned"]

MAX_SPACES: Final = 64


class Repartitioned(Exception):
    """The topic has more partitions than are read: begin again with all of them."""

    def __init__(self, partitions: int) -> None:
        super().__init__(f"the topic has {partitions} partitions now")
        self.partitions = partitions


class Astray(Exception):
    """The first message from a noted offset does not follow what is known: the topic was made anew.

    Its numbers began again, so what is missing may lie before that offset: read from the oldest.
    """

    def __init__(self, partition: int) -> None:
        super().__init__(f"partition {partition} is not the one that was read before")
        self.partition = partition


@dataclass(frozen=True, slots=True)
class Hole:
    """Records of a ring that some partition does not have any more. `ring_id` is the space's."""

    ring_id: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Block:
    """Records in the order of the ring they came from; `seq` is still that ring's.

    holes: they lie before the first record, and none behind it: where it is read again, cut otherwise, a block with
    a hole begins at the same record. end: the last number that is complete with this block.
    """

    ring_id: str
    epoch: int
    records: Records
    holes: tuple[Hole, ...]
    end: Mark


@dataclass(slots=True)
class _Piece:
    """What one message brought that was not known yet."""

    ring_id: str
    epoch: int
    first: int
    last: int
    records: Records
    offset: int
    hole: Hole | None = None
    opens: bool = False  # the first that its partition brought
    follows: Mark | None = None  # of the first: what was before it


@dataclass(slots=True)
class _Line:
    """One partition."""

    pieces: deque[_Piece] = field(default_factory=deque)
    seen: dict[str, int] = field(default_factory=dict)
    end: Mark | None = None
    next_offset: int = 0
    brought: bool = False  # a chunk of its own
    noted: bool = False  # read from where an earlier process was, and not yet seen to be right
    spared: bool = False  # chunks were written that it is no part of

    def saw(self, mark: Mark) -> None:
        """Its end is here now; the oldest spaces are forgotten."""
        self.end = mark
        self.seen.pop(mark.ring_id, None)
        self.seen[mark.ring_id] = mark.seq
        while len(self.seen) > MAX_SPACES:
            del self.seen[next(iter(self.seen))]

    def covered(self, ring_id: str) -> int | None:
        """How far it brought a space; None: it knows nothing of it yet. Beyond all if it has left."""
        if not self.pieces:
            left = self.spared and not self.brought and self.end and self.end.ring_id != ring_id
            return 1 << 64 if left and ring_id in self.seen else self.seen.get(ring_id)
        last = self.pieces[-1]
        return last.last if last.ring_id == ring_id else 1 << 64


class Merger:
    """See the module. `partitions` are those that are read; `known` is what is complete already."""

    def __init__(
        self,
        partitions: Iterable[int],
        kind: str,
        known: Mark | None = None,
        *,
        subset: bool = False,
    ) -> None:
        self._kind = kind
        self._dtype = KINDS[kind]
        self._lines = {partition: _Line() for partition in sorted(partitions)}
        self._first = min(self._lines, default=0)
        self._subset = subset
        self._space: str | None = None
        self._done = 0
        self._told: set[Hole] = set()
        self.waiting_records: int = 0
        self.repeated_records: int = 0
        if known is not None:
            self._space, self._done = known.ring_id, known.seq
            for line in self._lines.values():
                line.saw(known)

    @property
    def end(self) -> Mark | None:
        """How far all that was taken is complete."""
        return None if self._space is None else Mark(self._space, self._done)

    def next_offsets(self) -> dict[int, int]:
        """By partition, the first message of which something was not taken yet."""
        return {
            partition: line.pieces[0].offset if line.pieces else line.next_offset
            for partition, line in self._lines.items()
        }

    def started(self, partition: int, offset: int, *, noted: bool = False) -> None:
        """Where a partition is read from. `noted`: there is older in it, which is known."""
        line = self._lines[partition]
        line.next_offset, line.noted = offset, noted

    def receive(
        self,
        partition: int,
        offset: int,
        headers: list[tuple[str, bytes]] | None,
        value: bytes,
    ) -> None:
        """A message, the messages of a partition in their order.

        Raises `WireError` for what is not one of ours, `Repartitioned` and `Astray`, all of which
        leave everything as it was.
        """
        head = ChunkHead.decode(headers, self._kind)
        if head.codec != "raw":
            raise WireError(f"its payload is {head.codec}, and this reads raw alone")
        if len(value) != head.n * self._dtype.itemsize:
            raise WireError(f"it says {head.n} records and has {len(value)} bytes")
        if head.partitions > len(self._lines) and not self._subset:
            raise Repartitioned(head.partitions)
        records = np.frombuffer(value, self._dtype)
        if head.n and not head.first <= records["seq"][0] <= records["seq"][-1] <= head.last:
            raise WireError(f"its records are not of {head.first} to {head.last}")
        if partition == self._first:
            self._spare(head)
        line = self._lines[partition]
        known = line.seen.get(head.ring_id, 0)
        hole = self._missing(line, head, known) if head.last > known else None
        if hole is not None and line.noted and not line.spared:
            raise Astray(partition)
        line.next_offset, line.noted = offset + 1, False
        if head.last <= known:
            self.repeated_records += head.n
            return
        if head.first <= known:
            fresh = records["seq"] > known
            self.repeated_records += head.n - int(np.count_nonzero(fresh))
            records = records[fresh]
        first = max(head.first, known + 1)
        piece = _Piece(head.ring_id, head.epoch, first, head.last, records, offset, hole)
        if not line.brought:
            piece.opens, piece.follows = True, head.prev
        line.pieces.append(piece)
        line.brought = True
        line.saw(head.end)
        self.waiting_records += len(records)

    def _spare(self, head: ChunkHead) -> None:
        """Have a chunk seen by the partitions that it is not in."""
        for partition, line in self._lines.items():
            if partition < head.partitions:
                continue
            line.spared = True
            if not line.brought and head.last > line.seen.get(head.ring_id, 0):
                line.saw(head.end)

    @staticmethod
    def _missing(line: _Line, head: ChunkHead, known: int) -> Hole | None:
        """What lies between the end of a partition and this chunk, if anything does."""
        if line.end is None or head.prev is None or head.prev == line.end:
            return None
        if head.prev.seq <= line.seen.get(head.prev.ring_id, 0):
            return None  # it comes again, cut otherwise, or follows what came again
        first = line.end.seq + 1 if line.end.ring_id == head.prev.ring_id else 1
        if head.prev.ring_id == head.ring_id and known:
            first = known + 1
        return Hole(head.prev.ring_id, min(first, head.prev.seq), head.prev.seq)

    def behind(self) -> list[int]:
        """Partitions that the others wait for."""
        return [partition for partition, line in self._lines.items() if not line.pieces]

    # ------------------------------------------------------------------------------------- what is complete

    def take(self) -> Block | None:
        """What is complete and not yet taken, as far as one writer wrote it; None: nothing."""
        if self._space is None and self._next_space():
            self._compare_beginnings()
        while self._space is not None:
            limit = self._limit(self._space)
            if limit is None:
                return None
            block = self._block(self._space, limit)
            if block is not None:
                return block
            if limit < 1 << 64 or not self._next_space():
                return None
        return None

    def _compare_beginnings(self) -> None:
        """What others bring from before the first chunk of a partition is missing in that one."""
        firsts: dict[str, int] = {}
        for line in self._lines.values():
            for piece in line.pieces:
                firsts[piece.ring_id] = min(piece.first, firsts.get(piece.ring_id, piece.first))
        for line in self._lines.values():
            after = line.pieces[0].follows if line.pieces else None
            if after is not None and firsts.get(after.ring_id, after.seq + 1) <= after.seq:
                line.pieces[0].hole = Hole(after.ring_id, firsts[after.ring_id], after.seq)

    def _limit(self, ring_id: str) -> int | None:
        """How far all partitions have come; None: some has not begun."""
        limit = 1 << 64
        for line in self._lines.values():
            covered = line.covered(ring_id)
            if covered is None:
                return None
            limit = min(limit, covered)
        return limit

    def _block(self, ring_id: str, limit: int) -> Block | None:
        epoch: int | None = None
        parts: list[Records] = []
        holes: list[Hole] = []
        end = self._done
        limit = min(limit, self._before_hole(ring_id, limit))
        for line in self._lines.values():
            while line.pieces and line.pieces[0].ring_id == ring_id:
                piece = line.pieces[0]
                if piece.first > limit:
                    break
                if epoch is None:
                    epoch = min(
                        other.pieces[0].epoch
                        for other in self._lines.values()
                        if other.pieces and other.pieces[0].ring_id == ring_id
                    )
                if piece.epoch != epoch:
                    limit = min(limit, piece.first - 1)
                    break
                end = max(end, min(piece.last, limit))
                self._cut(line, piece, limit, parts, holes)
        if epoch is None:
            return None
        self._done = end
        records = self._sorted(parts, limit)
        return Block(ring_id, epoch, records, tuple(holes), Mark(ring_id, end))

    def _before_hole(self, ring_id: str, limit: int) -> int:
        """The last number before the first hole that has records before it; `limit` where there is none."""
        pieces = [
            piece
            for line in self._lines.values()
            for piece in itertools.takewhile(
                lambda one: one.ring_id == ring_id and one.first <= limit, line.pieces
            )
        ]
        begin = min((piece.first for piece in pieces), default=0)
        holes = (piece.first - 1 for piece in pieces if piece.hole and piece.first > begin)
        return min(holes, default=limit)

    def _cut(
        self, line: _Line, piece: _Piece, limit: int, parts: list[Records], holes: list[Hole]
    ) -> None:
        """Take of a piece what is complete; the piece itself once nothing of it is left."""
        if piece.hole is not None:
            if piece.hole not in self._told and not (piece.opens and line.spared):
                self._told.add(piece.hole)
                holes.append(piece.hole)
            piece.hole = None
        taken = piece.records
        if piece.last > limit:
            place = int(np.searchsorted(piece.records["seq"], limit, "right"))
            taken, piece.records = piece.records[:place], piece.records[place:]
            piece.first = limit + 1
        else:
            line.pieces.popleft()
        self.waiting_records -= len(taken)
        if len(taken):
            parts.append(taken)

    def _sorted(self, parts: list[Records], limit: int) -> Records:  # noqa: ARG002
        """By their numbers; what several partitions have is there once."""
        if not parts:
            return np.empty(0, self._dtype)
        whole = np.concatenate([_opaque(part) for part in parts])
        seq = whole.view(self._dtype)["seq"]
        order = np.argsort(seq, kind="stable")
        seq = seq[order]
        first = np.ones(len(seq), np.bool_)
        np.not_equal(seq[1:], seq[:-1], out=first[1:])
        if not first.all():
            order = order[first]
        return whole[order].view(self._dtype)

    def _next_space(self) -> bool:
        """Go on to a space in which a partition is now, and which none has further back.

        The first partition has all of them in their order; another may have been added later.
        """
        if any(line.end is None for line in self._lines.values()):
            return False  # some has not begun
        heads = [line.pieces[0].ring_id for line in self._lines.values() if line.pieces]
        for ring_id in dict.fromkeys(heads):
            later = any(
                piece.ring_id == ring_id
                for line in self._lines.values()
                for i, piece in enumerate(line.pieces)
                if i and line.pieces[0].ring_id != ring_id
            )
            if not later:
                self._space, self._done = ring_id, 0
                self._told.clear()
                return True
        return False


def _opaque(records: Records) -> Any:
    """The same records without field names: numpy copies these whole, the others field by field."""
    return np.ascontiguousarray(records).view(f"V{records.dtype.itemsize}")
