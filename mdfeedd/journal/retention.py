"""Which segments of a journal may go: by size and age, as far as the slowest sink allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mdfeedd.ring.position import Position

__all__ = ["Retained", "Verdict", "decide"]


@dataclass(frozen=True, slots=True)
class Retained:
    """A segment as retention sees it. ring_id "": not known. closed_ns: when the next one began."""

    number: int
    ring_id: str
    first_seq: int
    size_bytes: int
    closed_ns: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """remove: how many of the oldest segments go; cut: how many of those a sink had not read."""

    remove: int
    cut: int
    slowest: str = ""


def _needed_from(segments: Sequence[Retained], position: Position | None) -> int:
    """Index of the first segment that a sink at `position` still needs."""
    if position is None:
        return 0
    at = 0
    for i, segment in enumerate(segments):
        if segment.ring_id == position.ring_id and segment.first_seq <= position.seq + 1:
            at = i
    return at


def decide(
    segments: Sequence[Retained],
    sinks: Iterable[tuple[str, Position | None]],
    *,
    keep_bytes: int,
    keep_s: float,
    hard_cap_bytes: int,
    now_ns: int,
    full: bool = False,
) -> Verdict:
    """What to remove of `segments` (in order; the last is being written and always stays).

    0 for keep_bytes, keep_s or hard_cap_bytes: no such limit. full: the disk is; then the oldest goes
    before its time if there are sinks and all have read it: what comes is worth more.
    """
    needed, slowest, read = len(segments), "", False
    for name, position in sinks:
        read = True
        at = _needed_from(segments, position)
        if at < needed:
            needed, slowest = at, name
    total = sum(segment.size_bytes for segment in segments)
    remove = cut = 0
    for i, segment in enumerate(segments[:-1]):
        over = bool(keep_bytes) and total > keep_bytes
        old = bool(keep_s) and now_ns - segment.closed_ns > keep_s * 1e9
        forced = bool(hard_cap_bytes) and total > hard_cap_bytes
        early = full and read and not i
        if not (forced or (i < needed and (over or old or early))):
            break
        total -= segment.size_bytes
        remove += 1
        cut += i >= needed
    return Verdict(remove, cut, slowest if cut else "")
