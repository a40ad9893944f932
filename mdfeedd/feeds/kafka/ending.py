"""Records that will not come any more: what readers hold to be true is void, and the holes are over.

What came before a hole may have changed within it, and so may the holes that the writer there had told: whether it
closed them is among what is missing. So each book is told to be void, which is true until its next quote, and every
hole that readers still count as open ends with this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.ring.instruments import Instrument
from mdfeedd.ring.unclosed import left_open
from mdfeedd.tick import CLEAR, GAP, TICK, Flag, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from mdfeedd.ring import Writer

    Bounds = tuple[int, int]

__all__ = ["gone"]

_OWN_LINE: Final = 0


def gone(
    writer: Writer, reason: GapReason, bounds: Sequence[Bounds], now_ns: int
) -> npt.NDArray[np.void]:
    """GAPs of these `bounds`, a CLEAR of each instrument, RECOVEREDs: to be published before anything else.

    As of our clock, which no clock of bars may follow: hence BAD_TS.
    """
    left = left_open(writer)
    widest = (min(first for first, _ in bounds), max(last for _, last in bounds))
    whole = [(*bound, _OWN_LINE, 0) for bound in bounds]
    others = [(*widest, line, 0) for line in sorted(left.lines.keys() - {_OWN_LINE})]
    single = [(*widest, _OWN_LINE, number) for number in sorted(left.instruments)]
    gaps = _rows(Kind.GAP, reason, whole, now_ns)
    ends = _rows(Kind.RECOVERED, reason, [*single, *others, *whole], now_ns)
    return np.concatenate([gaps, _void(writer, now_ns), ends])


def _rows(
    kind: Kind, reason: GapReason, told: Sequence[tuple[int, int, int, int]], now_ns: int
) -> npt.NDArray[np.void]:
    rows = np.zeros(len(told), GAP)
    rows["ts_event"] = rows["ts_recv"] = now_ns
    rows["kind"], rows["reason"] = kind, reason
    for place, name in enumerate(("first_missing", "last_missing", "line", "instrument_id")):
        rows[name] = [one[place] for one in told]
    return rows.view(TICK)


def _void(writer: Writer, now_ns: int) -> npt.NDArray[np.void]:
    entries = map(writer.instrument_get, range(writer.instruments_count))
    known = [Instrument(*entry).instrument_id for entry in entries if entry is not None]  # type: ignore[arg-type]
    rows = np.zeros(len(known), CLEAR)
    rows["ts_event"] = rows["ts_recv"] = now_ns
    rows["kind"], rows["flags"] = Kind.CLEAR, Flag.BAD_TS
    rows["instrument_id"] = known
    return rows
