"""Records of several feeds in one order. Sans-IO: records and times in, records out.

    add(feed, records) ─► chunks of each feed, in ring order ─► release() ─► what may go, merged by key

A record's key is its time (`ts_recv`, or the venue's `ts_event`), and never less than that of the record before it in
its feed: so a feed's own order stays, and a GAP comes before what it tells of. A record may go when no other feed can
bring one that belongs before it, as far as that can be known:

- a feed with more to read at once, or with a loss (or a change of its ring) to tell first, has its say: nothing later than its last key goes;
- a feed that is read to its end may still bring something: with a hold, nothing later than its last key goes before
  the hold is over; without one it is not waited for.

What comes after later keys have gone is given out at once and counted: `late`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from mdfeedd.tick import TICK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Records = npt.NDArray[np.void]
    Keys = npt.NDArray[np.int64]

__all__ = ["MAX_AHEAD_NS", "MAX_HELD", "Merger", "Order", "Released"]

Order = Literal["recv", "venue"]

MAX_HELD: Final = 1 << 18
"""Records that wait for others, of all feeds together; a feed that has its part of them waits no longer."""
MAX_AHEAD_NS: Final = 1_000_000_000
"""A venue's time so much after the arrival is not believed: it would hold up all that comes after it."""
_NEVER: Final = -(2**63)
_FOR_EVER: Final = 2**63 - 1
_OPAQUE: Final = f"V{TICK.itemsize}"
"""Picked as opaque bytes: numpy copies a structured row field by field."""


@dataclass(slots=True)
class _Chunk:
    """What one read gave. `lost` were lost just before its first record; `anew`: it is of another ring than before."""

    records: Records
    keys: Keys
    arrived_s: float = 0.0
    lost: int = 0
    anew: bool = False

    @property
    def marked(self) -> bool:
        """Is there something to tell before its first record?"""
        return self.lost > 0 or self.anew


@dataclass(slots=True)
class _Feed:
    """What waits of one feed, oldest first."""

    chunks: deque[_Chunk] = field(default_factory=deque)
    held: int = 0
    high: int = _NEVER
    """The last key that came."""
    marks: int = 0
    """Chunks with something to tell before them."""

    def visible(self) -> Iterator[_Chunk]:
        """The chunks up to the next mark: what comes after it goes apart."""
        for place, chunk in enumerate(self.chunks):
            if place and chunk.marked:
                return
            yield chunk

    def last_visible(self) -> int | None:
        """The last key before the next mark; None if there is none."""
        if self.marks <= (bool(self.chunks) and self.chunks[0].marked):
            return None
        before = None
        for place, chunk in enumerate(self.chunks):
            if place and chunk.marked:
                return before
            before = int(chunk.keys[-1]) if len(chunk.keys) else self.high
        return None

    def expired(self, until_s: float) -> int:
        """The last key of what came before `until_s`."""
        last = _NEVER
        for chunk in self.chunks:
            if chunk.arrived_s > until_s:
                break
            if len(chunk.keys):
                last = int(chunk.keys[-1])
        return last

    def candidates(self, bound: int, limit: int) -> list[_Chunk]:
        """At most `limit` records with keys up to `bound`, as slices."""
        found = []
        for chunk in self.visible():
            n = int(np.searchsorted(chunk.keys, bound, "right"))
            n = min(n, limit)
            if n:
                found.append(_Chunk(chunk.records[:n], chunk.keys[:n]))
                limit -= n
            if n < len(chunk.keys) or not limit:
                break
        return found

    def told(self) -> tuple[int, bool]:
        """The mark of the first chunk, which is none from then on."""
        head = self.chunks[0]
        mark = head.lost, head.anew
        self.marks -= head.marked
        head.lost, head.anew = 0, False
        return mark

    def consume(self, n: int) -> None:
        """Take away the first `n` records."""
        self.held -= n
        while n:
            chunk = self.chunks[0]
            gone = min(n, len(chunk.keys))
            chunk.records, chunk.keys = chunk.records[gone:], chunk.keys[gone:]
            n -= gone
            if not len(chunk.keys):
                self.chunks.popleft()

    def bare_mark(self) -> tuple[int, bool]:
        """The marks at the head with no record after them yet."""
        lost, anew = 0, False
        while self.chunks and not len(self.chunks[0].keys):
            gone, other = self.told()
            lost, anew = lost + gone, anew or other
            self.chunks.popleft()
        return lost, anew


@dataclass(frozen=True, slots=True)
class Released:
    """What goes: records (dtype `TICK`, shape (n,)), of each its feed (uint8, (n,)), and what is told before them.

    Of each feed: records `lost`, and whether it begins `anew`, in another ring. `late` records are the first ones.
    """

    records: Records
    feeds: npt.NDArray[np.uint8]
    lost: tuple[int, ...]
    anew: tuple[bool, ...]
    late: int


class Merger:
    """One merged stream. `hold_s`: how long a record waits for feeds that are silent, at most."""

    def __init__(self, feeds: int, order: Order, hold_s: float) -> None:
        self._feeds = [_Feed() for _ in range(feeds)]
        self._venue = order == "venue"
        self._hold_s = hold_s
        self._room = MAX_HELD // feeds
        self._gone = _NEVER  # the last key that was given out

    @property
    def held(self) -> int:
        """Records that wait, of all feeds."""
        return sum(feed.held for feed in self._feeds)

    def wants(self, feed: int, limit: int) -> bool:
        """Should more be read of a feed, where `limit` records are given out at a time?"""
        room = self._room if self._hold_s > 0 else min(limit, self._room)
        return self._feeds[feed].held < room

    def first_held_seq(self, feed: int) -> int | None:
        """Sequence number of the first record that waits; None: none does."""
        for chunk in self._feeds[feed].chunks:
            if len(chunk.keys):
                return int(chunk.records[:1].view(TICK)["seq"][0])
        return None

    def add(
        self, feed: int, records: Records, now_s: float, *, lost: int = 0, anew: bool = False
    ) -> None:
        """What was read of a feed: dtype `TICK`, shape (n,); `lost` and `anew` are told before the first."""
        one = self._feeds[feed]
        keys = self._times(records)
        if len(keys):
            keys = np.maximum(np.maximum.accumulate(keys), one.high)
            one.high = int(keys[-1])
        chunk = _Chunk(records.view(_OPAQUE), keys, now_s, lost, anew)
        one.chunks.append(chunk)
        one.held += len(keys)
        one.marks += chunk.marked

    def alone(self, feed: int, records: Records, *, lost: int, anew: bool) -> Released:
        """What was read of a feed, given out at once: where nothing waits, nor is waited for."""
        one = self._feeds[feed]
        keys = np.maximum(np.maximum.accumulate(self._times(records)), one.high)
        one.high = int(keys[-1])
        late = int(np.searchsorted(keys, self._gone, "left"))
        self._gone = max(self._gone, one.high)
        return Released(
            records,
            np.full(len(keys), feed, np.uint8),
            tuple(lost if i == feed else 0 for i in range(len(self._feeds))),
            tuple(anew and i == feed for i in range(len(self._feeds))),
            late,
        )

    def _times(self, records: Records) -> Keys:
        recv: Keys = records["ts_recv"]
        if not self._venue:
            return np.ascontiguousarray(recv)
        event: Keys = records["ts_event"]
        return np.where(recv > 0, np.minimum(event, recv + MAX_AHEAD_NS), event)

    def due_s(self, now_s: float) -> float | None:
        """Seconds until the hold of the oldest record is over, 0 at least; None: nothing waits."""
        arrived = [f.chunks[0].arrived_s for f in self._feeds if f.chunks]
        return max(0.0, min(arrived) + self._hold_s - now_s) if arrived else None

    def _bound(self, now_s: float, more: Sequence[bool], live: Sequence[bool]) -> int:
        """The last key that may go."""
        strict = soft = _FOR_EVER
        for feed, one in enumerate(self._feeds):
            mark = one.last_visible()
            if mark is not None:
                strict = min(strict, mark)
            elif more[feed]:
                strict = min(strict, one.high)
            elif self._hold_s > 0 and live[feed]:
                soft = min(soft, one.high)
        if any(one.held >= self._room for one in self._feeds):
            return strict
        if soft < strict:
            until_s = now_s - self._hold_s
            soft = max(soft, *(one.expired(until_s) for one in self._feeds))
        return min(strict, soft)

    def release(
        self, limit: int, now_s: float, more: Sequence[bool], live: Sequence[bool]
    ) -> Released:
        """At most `limit` records that may go now. `more`: a feed has more to read; `live`: it may bring more."""
        marks = [one.bare_mark() for one in self._feeds]
        bound = self._bound(now_s, more, live)
        found = [one.candidates(bound, limit) for one in self._feeds]
        records, keys, feeds = _merged(found, limit)
        taken = np.bincount(feeds, minlength=len(self._feeds)).tolist()
        for feed, (one, n) in enumerate(zip(self._feeds, taken, strict=True)):
            if n:
                lost, anew = one.told()
                marks[feed] = marks[feed][0] + lost, marks[feed][1] or anew
                one.consume(n)
        late = 0
        if len(keys):
            late = int(np.searchsorted(keys, self._gone, "left"))
            self._gone = max(self._gone, int(keys[-1]))
        all_lost, all_anew = zip(*marks, strict=True)
        return Released(records.view(TICK), feeds, all_lost, all_anew, late)


def _merged(
    found: Sequence[list[_Chunk]], limit: int
) -> tuple[Records, Keys, npt.NDArray[np.uint8]]:
    """The first `limit` of sorted slices, by key; of equal keys those of the first feed first."""
    slices = [(feed, chunk) for feed, chunks in enumerate(found) for chunk in chunks]
    if not slices:
        return np.empty(0, _OPAQUE), np.empty(0, np.int64), np.empty(0, np.uint8)
    if len(slices) == 1:  # what is mostly so where rates are low: nothing is copied
        feed, chunk = slices[0]
        return chunk.records, chunk.keys, np.full(len(chunk.keys), feed, np.uint8)
    keys = np.concatenate([chunk.keys for _, chunk in slices])
    records = np.concatenate([chunk.records for _, chunk in slices])
    lengths = [len(chunk.keys) for _, chunk in slices]
    feeds = np.repeat(np.array([feed for feed, _ in slices], np.uint8), lengths)
    if slices[0][0] == slices[-1][0]:  # all of one feed: in order already
        return records[:limit], keys[:limit], feeds[:limit]
    order = np.argsort(keys, kind="stable")[:limit]  # runs in order are merged, not sorted
    return records[order], keys[order], feeds[order]
