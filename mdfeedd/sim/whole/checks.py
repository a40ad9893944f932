"""What must hold of any world: nothing lost in silence, nothing twice, nothing made up, bars as computed anew.

    Evidence: tapes of the rings, journals read back, rows of the stores, what strategies saw, what was told lost

No checker asks the code under test what it meant to do. A violation is a sentence that begins with its checker.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from mdfeedd.journal import JournalReader, folder_of
from mdfeedd.sim.whole.bar_checks import check_bars
from mdfeedd.tick import GAP, PRICE_UNDEF, QUOTE, Flag, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from mdfeedd.sim.whole.actor import Actor
    from mdfeedd.sim.whole.pipeline import Pipeline
    from mdfeedd.sim.whole.tape import Tape
    from mdfeedd.sim.whole.world import World

__all__ = ["Evidence", "Stored", "check_all"]

MOST_TOLD: Final = 8  # violations of one checker on one thing
GAPPED: Final = 1 << 1  # of a row of last values: a hole was told and is not healed
Span = tuple[int, int]
Touch = tuple[int, ...]
_TOUCH: Final = ("bid_price", "bid_size", "ask_price", "ask_size")
_VOID: Final = (PRICE_UNDEF, 0, PRICE_UNDEF, 0)


class Stored(NamedTuple):
    """What one reader of a ring has got. rows: in order of arrival; lost: spans that it was told of.

    exactly_once: nothing may come twice. lives: of its process.
    """

    name: str
    ring: str
    rows: npt.NDArray[np.void]
    lost: Sequence[Span]
    exactly_once: bool
    lives: int
    whole: bool  # must have the last record


class Last(NamedTuple):
    """The last values that a strategy had. rows: as `mdfeedd.LAST`. is_whole: nothing was lost on the way."""

    rows: npt.NDArray[np.void]
    read_to: int
    is_whole: bool


@dataclass(slots=True)
class Evidence:
    """All that is looked at after a world."""

    tapes: dict[str, Tape] = field(default_factory=dict)
    bars: dict[str, Tape] = field(default_factory=dict)
    bars_lost: dict[str, list[Span]] = field(default_factory=dict)
    intervals_s: tuple[int, ...] = ()
    stored: list[Stored] = field(default_factory=list)
    last: dict[str, Last] = field(default_factory=dict)
    actors: Sequence[Actor] = ()
    crashes: list[str] = field(default_factory=list)
    notes: list[tuple[int, str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, world: World, pipeline: Pipeline, actors: Sequence[Actor]) -> Self:
        """Of a world that has come to rest."""
        known = set(world.taps.rings)
        evidence = cls(actors=actors, intervals_s=pipeline.intervals_s, notes=world.notes)
        for ring in pipeline.rings:
            if ring in known:
                evidence.tapes[ring] = world.taps.tape(ring)
        for ring, out in pipeline.bars_of.items():
            if out in known and ring in known:
                evidence.bars[ring] = world.taps.tape(out)
                evidence.bars_lost[ring] = [
                    *_told(world, "bars", ring),
                    *_before(world, "bars", ring),
                ]
        evidence.stored = [*_journals(world, pipeline), *_stores(world, pipeline)]
        evidence.stored += _strategies(world, pipeline)
        evidence.last = {
            ring: Last(one.last, one.read_to, is_whole=not one.lost)
            for ring, one in pipeline.strategies.items()
            if one.last is not None
        }
        evidence.crashes = [
            f"{process.name} by {type(process.error).__name__}: {process.error}"
            for process in world.processes.values()
            if process.error is not None
        ]
        return evidence

    def digest(self, digest: Any) -> str:
        """Of everything that happened: the same for the same seed."""
        for at_ns, who, text in self.notes:
            if not text.startswith("says: "):
                digest.update(f"{at_ns} {who} {text}\n".encode())
        for tape in (*self.tapes.values(), *self.bars.values()):
            digest.update(tape.rows.tobytes())
            digest.update(tape.at_ns.tobytes())
        for stored in self.stored:
            digest.update(stored.name.encode() + stored.rows.tobytes())
        return str(digest.hexdigest())


def check_all(evidence: Evidence) -> list[str]:
    """All violations."""
    found = [f"crash: {text}" for text in evidence.crashes]
    for tape in evidence.tapes.values():
        found += check_sequence(tape)
    for actor in evidence.actors:
        if actor.name in evidence.tapes:
            found += actor.check(evidence.tapes[actor.name])
    for stored in evidence.stored:
        if stored.ring in evidence.tapes:
            found += list(check_stored(stored, evidence.tapes[stored.ring]))[:MOST_TOLD]
    actors = {actor.name: actor for actor in evidence.actors}
    for ring, last in evidence.last.items():
        leaves_open = getattr(actors.get(ring), "leaves_open", None)
        stays = leaves_open is not None and leaves_open(evidence.tapes[ring])
        found += list(check_last(last, evidence.tapes[ring], hole_stays=stays))[:MOST_TOLD]
    for ring, bars in evidence.bars.items():
        found += list(
            check_bars(bars, evidence.tapes[ring], evidence.intervals_s, evidence.bars_lost[ring])
        )[:MOST_TOLD]
    return found


def check_sequence(tape: Tape) -> Iterator[str]:
    """A ring's records are numbered from 1, without a hole, over all lives of its writer."""
    seqs = tape.rows["seq"].astype(np.int64)
    wrong = np.flatnonzero(seqs != np.arange(1, len(seqs) + 1))
    if len(wrong):
        place = int(wrong[0])
        yield f"sequence: record {place + 1} of {tape.ring} has the number {int(seqs[place])}"


# ------------------------------------------------------------------------------------- readers of rings


def check_stored(stored: Stored, tape: Tape) -> Iterator[str]:
    """Each record is there or told lost; once; as it was published."""
    where = f"{stored.name} of {stored.ring}"
    rows, last = stored.rows, len(tape)
    lapped = _is_lapped(rows)
    words = rows[lapped].view(GAP) if len(rows) else ()
    spans = [
        *stored.lost,
        *((int(gap["first_missing"]), int(gap["last_missing"])) for gap in words),
    ]
    own = rows[~lapped]
    seqs = own["seq"].astype(np.int64)
    beyond = seqs[(seqs < 1) | (seqs > last)]
    if len(beyond):
        yield f"invented: {where} has record {int(beyond[0])}, and {last} were published"
        return
    published = tape.rows[seqs - 1]
    for place in np.flatnonzero(_bytes(own) != _bytes(published))[:3].tolist():
        yield f"invented: {where} has record {int(seqs[place])} otherwise than it was published"
    yield from _counted(stored, where, seqs)
    yield from _missing(stored, where, seqs, spans, last)


def check_last(last: Last, tape: Tape, *, hole_stays: bool = False) -> Iterator[str]:
    """What a strategy took for the touch is what the last quote said, and it knows of no hole that is healed.

    hole_stays: the feed has one that nothing closes, as it is told to.
    """
    touch: dict[int, Touch] = {}
    for row in tape.rows[: last.read_to - 1].view(QUOTE):
        one = int(row["instrument_id"])
        if row["kind"] == Kind.QUOTE and not int(row["flags"]) & Flag.IMPLIED:
            touch[one] = tuple(int(row[name]) for name in _TOUCH)
        elif row["kind"] == Kind.CLEAR:
            touch |= dict.fromkeys([one] if one else touch, _VOID)
    for row in last.rows if last.is_whole else ():
        one = int(row["instrument_id"])
        shown, true = tuple(int(row[name]) for name in _TOUCH), touch.get(one, _VOID)
        if shown != true:
            yield f"last: {tape.symbol(one)} of {tape.ring} is {shown} to a strategy, and was told to be {true}"
        if int(row["flags"]) & GAPPED and not hole_stays:
            yield f"last: {tape.symbol(one)} of {tape.ring} has a hole to a strategy, and all is healed"


def _counted(stored: Stored, where: str, seqs: npt.NDArray[np.int64]) -> Iterator[str]:
    if stored.exactly_once or stored.lives <= 1:
        for seq, count in Counter(seqs.tolist()).items():
            if count > 1:
                yield f"duplicate: {where} has record {seq} {count} times"
        back = np.flatnonzero(np.diff(seqs) < 0)
        if len(back):
            place = int(back[0])
            yield f"order: {where} goes from record {int(seqs[place])} to {int(seqs[place + 1])}"


def _missing(
    stored: Stored, where: str, seqs: npt.NDArray[np.int64], spans: Iterable[Span], last: int
) -> Iterator[str]:
    had = np.zeros(last + 2, bool)
    had[seqs] = True
    told = np.zeros(last + 2, bool)
    for first, end in spans:
        told[max(first, 0) : end + 1] = True
    begin = (
        int(seqs.min()) if len(seqs) else last + 1
    )  # who comes late has not lost what was before
    end = last if stored.whole else int(seqs.max(initial=0))
    if stored.whole and not len(seqs) and last:
        yield f"loss: {where} has nothing of {last} records"
    gone = np.flatnonzero(~had[begin : end + 1] & ~told[begin : end + 1]) + begin
    if len(gone):
        yield (
            f"loss: {where} has not, and was not told to have lost, {len(gone)} records: "
            f"{int(gone[0])} to {int(gone[-1])}"
        )


def _bytes(rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Each row as so many bytes, to be compared whole."""
    return (
        np.ascontiguousarray(rows).view(f"S{rows.dtype.itemsize}")
        if len(rows)
        else rows[:0].view("S1")
    )


def _is_lapped(rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which rows are the journal's own words: the ring lapped it."""
    if not len(rows) or "kind" not in (rows.dtype.names or ()):
        return np.zeros(len(rows), bool)
    gaps: npt.NDArray[np.bool_] = rows["kind"] == Kind.GAP
    lapped: npt.NDArray[np.bool_] = rows.view(GAP)["reason"] == GapReason.RING_LAPPED
    return gaps & lapped


# ------------------------------------------------------------------------------------- gathering


def _told(world: World, consumer: str, ring: str) -> list[Span]:
    return [(first, last) for who, of, first, last in world.lost if (who, of) == (consumer, ring)]


def _before(world: World, consumer: str, ring: str) -> list[Span]:
    """What had been lapped when it came the first time: nobody has lost that."""
    begins = [seq for who, of, seq in world.attached if (who, of) == (consumer, ring)]
    return [(1, begins[0] - 1)] if begins else []


def _lives(world: World, name: str) -> int:
    return len(world.processes[name].lives)


def _journals(world: World, pipeline: Pipeline) -> Iterator[Stored]:
    """Read back from the files."""
    for ring in pipeline.rings:
        folder = folder_of(pipeline.journals, ring)
        if not world.taps.count(ring) or not any(folder.glob("*.mdj")):
            continue
        reader = JournalReader(folder)
        parts, lost = [], []
        while True:
            batch = reader.read(4096)
            if batch.lost:
                first = int(batch.records["seq"][0]) if len(batch) else 0
                lost.append((first - batch.lost, first - 1))
            if not len(batch):
                break
            parts.append(batch.records.copy())
        reader.close()
        rows = np.concatenate(parts) if parts else batch.records.copy()
        yield Stored("journal", ring, rows, [], exactly_once=True, lives=1, whole=True)


def _stores(world: World, pipeline: Pipeline) -> Iterator[Stored]:
    for process, ring, store in pipeline.batches:
        rows = store.rows(ring)
        if rows is None:
            if not world.taps.count(ring):
                continue
            rows = world.taps.tape(ring).rows[:0]
        lost = _told(world, store.name, ring)
        yield Stored(
            store.name,
            ring,
            rows,
            lost,
            exactly_once=store.keeps,
            lives=_lives(world, process),
            whole=True,
        )


def _strategies(world: World, pipeline: Pipeline) -> Iterator[Stored]:
    for ring, strategy in pipeline.strategies.items():
        lost = _told(world, strategy.name, ring)
        bounds = [first for _, first in strategy.lives] + [len(strategy.rows)]
        for begin, end in itertools.pairwise(bounds):
            if begin < end:
                rows = np.concatenate(strategy.rows[begin:end])
                yield Stored(
                    strategy.name, ring, rows, lost, exactly_once=True, lives=1, whole=False
                )
