"""Which holes a ring tells of and never closes: what a writer has to know of the one before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.ring._ring import START_OLDEST
from mdfeedd.ring.look import Look
from mdfeedd.tick import GAP, TICK, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    import numpy.typing as npt

    from mdfeedd.ring.writer import Writer

__all__ = ["LeftOpen", "left_open", "unclosed"]

_AT_ONCE: Final = 8192
_OF_INTEREST: Final = np.array([Kind.GAP, Kind.RECOVERED, Kind.CLEAR], np.uint8)


def unclosed(writer: Writer, reasons: Container[int] | None = None) -> dict[int, int]:
    """Where the holes begin that are open, by instrument (0: the feed): the earliest `first_missing` of its GAPs.

    A hole is closed by a RECOVERED of its instrument, or by a CLEAR, after which nothing is shown. Only GAPs of
    `reasons` count, if some are given. As far back as the ring goes; reads it once, so not for a data path.
    """
    found: dict[int, int] = {}
    for row in _told(writer):
        instrument_id = int(row["instrument_id"])
        if row["kind"] != Kind.GAP:
            found.pop(instrument_id, None)
        elif reasons is None or int(row["reason"]) in reasons:
            first = int(row["first_missing"])
            found[instrument_id] = min(first, found.get(instrument_id, first))
    return found


@dataclass(slots=True)
class LeftOpen:
    """What a reader of the ring still holds to be open.

    lines: of holes of the whole feed; from when on, UNIX ns, if one of them is of a RESTART. instruments: those
    that have a hole of their own.
    """

    lines: dict[int, int | None] = field(default_factory=dict)
    instruments: set[int] = field(default_factory=set)


def left_open(writer: Writer) -> LeftOpen:
    """The same as readers count it: by line for the whole feed, and nothing but a RECOVERED closes."""
    found = LeftOpen()
    for row in _told(writer):
        instrument_id, line = int(row["instrument_id"]), int(row["line"])
        if row["kind"] == Kind.CLEAR:
            continue
        if row["kind"] == Kind.RECOVERED:
            if instrument_id:
                found.instruments.discard(instrument_id)
            else:
                found.lines.pop(line, None)
        elif instrument_id:
            found.instruments.add(instrument_id)
        else:
            first = int(row["first_missing"]) if row["reason"] == GapReason.RESTART else None
            before = found.lines.get(line)
            known = [one for one in (before, first) if one is not None]
            found.lines[line] = min(known, default=None)
    return found


def _told(writer: Writer) -> Iterator[npt.NDArray[np.void]]:
    """GAPs, RECOVEREDs and CLEARs, in order."""
    with Look(writer.path) as look:
        look.begin(TICK, START_OLDEST)
        for batch in look.until(writer.next_seq, _AT_ONCE):
            records = batch.records
            yield from records[np.isin(records["kind"], _OF_INTEREST)].view(GAP)
