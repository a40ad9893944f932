"""The one writer of a ring."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final, Self

from mdfeedd.ring import segment
from mdfeedd.ring._ring import MAX_CAPACITY, MIN_CAPACITY, WriterCore
from mdfeedd.ring.counters import FEED_INDEX, Counters
from mdfeedd.ring.instruments import WriterInstruments
from mdfeedd.tick import TICK, layout_of

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np

DEFAULT_CAPACITY: Final = 65_536
DEFAULT_INSTRUMENTS: Final = 65_536
_FEED_BYTES: Final = 31


def check_dtype(dtype: np.dtype[Any]) -> str:
    """The layout text of a dtype that can be a slot; raises `TypeError`."""
    layout = layout_of(dtype)
    fields = dtype.fields
    if fields is None or dtype.itemsize % 64 or not layout.partition(";")[2].startswith("seq:u8@0"):
        raise TypeError(
            f"a slot must begin with a field 'seq' of 8 bytes and be a multiple of 64 bytes: {dtype}"
        )
    return layout


class Writer(WriterCore):
    """Create the ring `name`, or go on where an earlier writer of it left off.

    A ring of the same geometry is continued: the sequence goes on, attached readers see no break,
    `epoch` is raised. A ring of another capacity or dtype is replaced, with the sequence going on.
    `capacity` is rounded up to a power of two (slots), 256 at least. `feed_index` (0 to 255) makes the ids of the
    instruments unique on the host.

    Raises `RingBusy` (another writer is alive), `RingSpace` (no memory), `RingDenied`, `ValueError`.
    """

    def __init__(
        self,
        name: str,
        capacity: int = DEFAULT_CAPACITY,
        dtype: np.dtype[Any] = TICK,
        *,
        feed: str | None = None,
        feed_index: int = 0,
        instruments_capacity: int = DEFAULT_INSTRUMENTS,
        directory: str = segment.DEFAULT_DIRECTORY,
    ) -> None:
        path = segment.ring_path(name, directory)
        layout = check_dtype(dtype)
        capacity = operator.index(capacity)  # numpy's integers, too
        if not 1 <= capacity <= MAX_CAPACITY:
            raise ValueError(f"capacity must be 1 to {MAX_CAPACITY} records, not {capacity}")
        if not 0 <= feed_index <= 255:
            raise ValueError(f"feed_index must be 0 to 255, not {feed_index}")
        slots = max(MIN_CAPACITY, 1 << (capacity - 1).bit_length())
        feed_name = name[:_FEED_BYTES] if feed is None else feed
        if len(feed_name.encode()) > _FEED_BYTES:
            raise ValueError(f"the feed's name is longer than {_FEED_BYTES} bytes: {feed_name!r}")
        self.open(
            bytes(path),
            feed_name.encode(),
            feed_index,
            layout.encode(),
            dtype,
            slots,
            instruments_capacity,
        )
        self.name = name
        self.feed = feed_name
        self.path = path
        self.counters: Counters = Counters(self, FEED_INDEX)
        self.instruments: WriterInstruments = WriterInstruments(self, feed_name)
        segment.track(self)

    def close(self) -> None:
        """Announce the end and detach. The ring stays, for readers and for the next writer."""
        self.close_core(announce=True)

    def abandon(self) -> None:
        """Let go without a word, as a forked child must."""
        self.close_core(announce=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"next {self.next_seq}, epoch {self.epoch}"
        return f"<Writer of {self.path}: {state}>"
