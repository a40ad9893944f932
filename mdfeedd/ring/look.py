"""A look at what a ring holds, by a reader that is in no registry: no operator sees it, and it waits for nothing.

Look(path) ─► header() ─► begin(dtype, start) ─► until(end, most): batches
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from mdfeedd.ring._ring import START_NOW, ReaderCore
from mdfeedd.ring.instruments import Instruments
from mdfeedd.tick import layout_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import numpy as np

    from mdfeedd.ring._ring import TickBatch

__all__ = ["Look"]


class Look(ReaderCore):
    """The ring at `path`, whatever it holds, until the end of the ``with``. Raises what attaching raises."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fsencode(path)
        self.open_core(self._path, None, None, START_NOW, None, 0, False, 0.0)

    def begin(self, dtype: np.dtype[Any], start: int) -> Instruments:
        """Go to the sequence number `start` of records of `dtype`; the table of what they are of."""
        self.open_core(self._path, layout_of(dtype).encode(), dtype, start, None, 0, False, 0.0)
        instruments = Instruments(self, self.header()["feed"])
        self.set_instruments(instruments)
        return instruments

    def until(self, end: int, most: int) -> Iterator[TickBatch]:
        """What there is before `end`, `most` records at a time: a fast writer does not keep us.

        The last batch may be empty: it tells what was lost.
        """
        while self.next_seq < end:
            batch = self.poll(min(most, end - self.next_seq))
            if len(batch) or batch.lost:
                yield batch
            if not len(batch):
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_core()
