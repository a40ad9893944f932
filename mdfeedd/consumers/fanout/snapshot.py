"""The last quote and the last trade of each instrument of a ring, for those who come later. Sans-IO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.ring.instruments import INDEX_MASK
from mdfeedd.tick import BAR, TICK, Flag, Kind

if TYPE_CHECKING:
    import numpy.typing as npt

    Records = npt.NDArray[np.void]

__all__ = ["Snapshot"]

_KINDS: Final = (Kind.QUOTE, Kind.TRADE, Kind.STATUS)


class Snapshot:
    """Last values of one life of a ring of ticks or bars: 192 bytes an instrument, at most.

    A CLEAR takes the quote away: the book is void until the next. Quotes of the implied book, which is
    another one, are left out.
    """

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._dtype = dtype
        self._ticks = [np.zeros(0, f"V{TICK.itemsize}") for _ in _KINDS]
        self._bars: dict[tuple[int, int], Records] = {}

    def take(self, records: Records) -> None:
        """Take over records, in ring order."""
        if self._dtype == BAR:
            for i, key in enumerate(
                zip(records["instrument_id"].tolist(), records["interval_s"].tolist(), strict=True)
            ):
                self._bars[key] = records[i : i + 1].copy()
            return
        kinds = records["kind"]
        index = records["instrument_id"] & np.uint32(INDEX_MASK)
        self._make_room(int(index.max(initial=0)) + 1)
        opaque = records.view(f"V{TICK.itemsize}")
        clears = kinds == Kind.CLEAR
        for place, kind in enumerate(_KINDS):
            mask = kinds == kind
            if kind == Kind.QUOTE:
                mask &= records["flags"] & Flag.IMPLIED == 0
                mask |= clears
            if mask.any():  # of an index that comes several times the last counts
                self._ticks[place][index[mask]] = opaque[mask]

    def records(self) -> Records:
        """All of them, oldest first; the memory is the caller's."""
        if self._dtype == BAR:
            bars = list(self._bars.values())
            found = np.concatenate(bars) if bars else np.empty(0, BAR)
        else:
            found = np.concatenate(self._ticks).view(TICK)
            there = (found["seq"] != 0) & (found["kind"] != Kind.CLEAR)
            found = found.view(f"V{TICK.itemsize}")[there].view(TICK)
        order = np.argsort(found["seq"], kind="stable")
        sorted_ones: Records = found.view(f"V{found.dtype.itemsize}")[order].view(self._dtype)
        return sorted_ones

    def _make_room(self, n: int) -> None:
        have = len(self._ticks[0])
        if n <= have:
            return
        size = max(n, 2 * have, 64)
        for place, old in enumerate(self._ticks):
            self._ticks[place] = np.zeros(size, old.dtype)
            self._ticks[place][:have] = old
