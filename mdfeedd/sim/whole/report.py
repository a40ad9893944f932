"""Many seeds, and what is said of one that fails: its command, what it still takes to fail, its last moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mdfeedd.sim.whole.play import FAMILIES, play
from mdfeedd.sim.whole.world import START_NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.sim.whole.play import Result

__all__ = ["Shrunk", "command", "shrink", "tell", "trace"]

NOTES: Final = 40  # lines of a shortened trace
VIOLATIONS: Final = 12


class Shrunk(NamedTuple):
    """A failing seed with as few families of faults as it takes. alone: it fails with one vendor only."""

    result: Result
    without: frozenset[str]
    vendors: tuple[str, ...] | None


def command(seed: int, without: Iterable[str] = (), vendors: tuple[str, ...] | None = None) -> str:
    """What repeats it."""
    more = "".join(f" --without {name}" for name in sorted(without))
    more += "".join(f" --vendor {name}" for name in vendors or ())
    return f"python -m mdfeedd.sim --seeds 1 --start {seed}{more} --trace"


def shrink(failed: Result, vendors: tuple[str, ...] | None = None) -> Shrunk:
    """Leave out one family of faults after the other for as long as the same checker still complains."""
    kind = _kind(failed)
    best, without = failed, frozenset[str]()
    if len(failed.vendors) > 1:
        for vendor in failed.vendors:
            tried = play(failed.seed, vendors=(vendor,))
            if kind in _kinds(tried):
                best, vendors = tried, (vendor,)
                break
    for family in FAMILIES:
        fewer = without | {family}
        tried = play(failed.seed, vendors=vendors, without=fewer)
        if kind in _kinds(tried):
            best, without = tried, fewer
    return Shrunk(best, without, vendors)


def tell(shrunk: Shrunk) -> str:
    """Everything that whoever looks for the cause wants first."""
    result = shrunk.result
    lines = [
        f"seed {result.seed} ({', '.join(result.vendors)}): {len(result.violations)} violations",
        *(f"  {text}" for text in result.violations[:VIOLATIONS]),
        f"  again: {command(result.seed, shrunk.without, shrunk.vendors)}",
        *trace(result),
    ]
    return "\n".join(lines)


def trace(result: Result, most: int | None = NOTES) -> list[str]:
    """The lines of the trace, or what matters most of them: what happened to processes and the last words."""
    notes = result.notes
    if most is not None and len(notes) > most:
        events = [note for note in notes if not note[2].startswith("says: ")]
        notes = events[-most:]
    return [f"  {(at_ns - START_NS) / 1e9:12.6f} {who}: {text}" for at_ns, who, text in notes]


def _kind(result: Result) -> str:
    return result.violations[0].partition(":")[0] if result.violations else ""


def _kinds(result: Result) -> set[str]:
    return {text.partition(":")[0] for text in result.violations}
