"""Which holes a ring tells of and never closes: what a writer has to know of the one before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.ring._ring import START_OLDEST
from mdfeedd.ring.look import Look
from mdfeedd.tick import GAP, TICK, Kind

if TYPE_CHECKING:
    from collections.abc import Container

    from mdfeedd.ring.writer import Writer

__all__ = ["unclosed"]

_AT_ONCE: Final = 8192
_OF_INTEREST: Final = np.array([Kind.GAP, Kind.RECOVERED, Kind.CLEAR], np.uint8)


def unclosed(writer: Writer, reasons: Container[int] | None = None) -> dict[int, int]:
    """Where the holes begin that are open, by instrument (0: the feed): the earliest `first_missing` of its GAPs.

    A hole is closed by a RECOVERED of its instrument, or by a CLEAR, after which nothing is shown. Only GAPs of
    `reasons` count, if some are given. As far back as the ring goes; reads it once, so not for a data path.
    """
    found: dict[int, int] = {}
    with Look(writer.path) as look:
        look.begin(TICK, START_OLDEST)
        for batch in look.until(writer.next_seq, _AT_ONCE):
            records = batch.records
            rows = records[np.isin(records["kind"], _OF_INTEREST)].view(GAP)
            for row in rows:
                instrument_id = int(row["instrument_id"])
                if row["kind"] != Kind.GAP:
                    found.pop(instrument_id, None)
                elif reasons is None or int(row["reason"]) in reasons:
                    first = int(row["first_missing"])
                    found[instrument_id] = min(first, found.get(instrument_id, first))
    return found
