"""What a ring really got: everything, in order, with the true time; and edits of it, for checkers to be tried on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mdfeedd.tick import TICK

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from mdfeedd.ring import Instrument
    from mdfeedd.sim.whole.process import Life

__all__ = ["Tape"]


@dataclass(frozen=True, slots=True)
class Tape:
    """Records of one ring, by a reader that is never lapped.

    rows: (n,) of the ring's dtype. at_ns: true time of appearance. life: number of the writer's life, from 1.
    wall_offset_ns: wall clock less true time, then. Edits give a new tape, whose sequence numbers are as before.
    """

    ring: str
    rows: npt.NDArray[np.void]
    at_ns: npt.NDArray[np.int64]
    life: npt.NDArray[np.int64]
    wall_offset_ns: npt.NDArray[np.int64]
    lives: list[Life] = field(default_factory=list)
    instruments: Mapping[int, Instrument] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def of_kind(self, kind: int, dtype: np.dtype[Any] = TICK) -> npt.NDArray[np.void]:
        """The rows of a kind, as `dtype` names their payload."""
        rows: npt.NDArray[np.void] = self.rows[self.rows["kind"] == kind].view(dtype)
        return rows

    def symbol(self, instrument_id: int) -> str:
        """As the ring's table has it; "" where it has none."""
        found = self.instruments.get(int(instrument_id))
        return "" if found is None else found.symbol

    def places(self, kind: int) -> list[int]:
        """Where rows of this kind are."""
        return np.flatnonzero(self.rows["kind"] == kind).tolist()

    def taken(self, places: npt.NDArray[np.int64]) -> Self:
        """These rows, in this order."""
        return dataclasses.replace(
            self,
            rows=self.rows[places],
            at_ns=self.at_ns[places],
            life=self.life[places],
            wall_offset_ns=self.wall_offset_ns[places],
        )

    def without(self, place: int) -> Self:
        """One row less."""
        return self.taken(np.delete(np.arange(len(self)), place))

    def doubled(self, place: int) -> Self:
        """One row twice."""
        return self.taken(np.insert(np.arange(len(self)), place, place))

    def swapped(self, one: int, other: int) -> Self:
        """Two rows in each other's place."""
        places = np.arange(len(self))
        places[[one, other]] = places[[other, one]]
        return self.taken(places)

    def changed(self, place: int, field_name: str, value: Any, dtype: np.dtype[Any] = TICK) -> Self:
        """A field of one row, which `dtype` names, with another value."""
        rows = self.rows.copy()
        rows.view(dtype)[field_name][place] = value
        return dataclasses.replace(self, rows=rows)

    def counting(self, **counters: int) -> Self:
        """Counters with other values."""
        return dataclasses.replace(self, counters={**self.counters, **counters})
