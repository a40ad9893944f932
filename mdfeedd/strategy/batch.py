"""`MultiBatch`: records of several feeds in one order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mdfeedd.tick import QUOTE, TICK, TRADE, Kind, Tick, tick_from_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from mdfeedd.strategy.merge import Released
    from mdfeedd.strategy.merged import MergedInstruments

__all__ = ["MultiBatch"]

_OPAQUE = f"V{TICK.itemsize}"


class MultiBatch(Sequence[Tick]):
    """Ticks of several feeds: a sequence of `Tick` (built only when iterated or indexed) over an array of `TICK`.

    Sequence numbers are those of each feed's own ring; instrument ids are unique over the feeds, and over rings of one
    name that follow each other.
    """

    __slots__ = ("feed", "feeds", "instruments", "late", "lost_by_feed", "records")

    def __init__(
        self, released: Released, feeds: tuple[str, ...], instruments: MergedInstruments
    ) -> None:
        self.records: npt.NDArray[np.void] = released.records
        """The records, dtype `TICK`, shape (n,); writeable."""
        self.feed: npt.NDArray[np.uint8] = released.feeds
        """Of each record its feed, as an index into `feeds`; shape (n,)."""
        self.feeds: tuple[str, ...] = feeds
        """The names of the feeds, in the order that the reader was given."""
        self.lost_by_feed: tuple[int, ...] = released.lost
        """Records that the reader lost of each feed, just before that feed's first record here."""
        self.late: int = released.late
        """Records here that belong before some that were given out earlier; they are the first ones."""
        self.instruments: MergedInstruments = instruments
        """What names the instruments."""

    @property
    def lost(self) -> int:
        """Records that the reader lost, of all feeds."""
        return sum(self.lost_by_feed)

    def __len__(self) -> int:
        return len(self.records)

    def of_kind(self, kind: Kind | int, dtype: np.dtype[Any]) -> npt.NDArray[np.void]:
        """The rows of one `Kind` as `dtype`, a copy; ``feed[records["kind"] == kind]`` are their feeds.

        Raises `ValueError` for a dtype that is not as long as a tick.
        """
        if np.dtype(dtype).itemsize != TICK.itemsize:
            raise ValueError(f"a tick has {TICK.itemsize} bytes, and {dtype} has not")
        return self._where(self.records["kind"] == int(kind)).view(dtype)

    def of_feed(self, feed: str | int) -> npt.NDArray[np.void]:
        """The rows of one feed, by its name or index, dtype `TICK`, a copy. Raises `ValueError` for another name."""
        index = self.feeds.index(feed) if isinstance(feed, str) else feed
        return self._where(self.feed == index)

    def _where(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.void]:
        found: npt.NDArray[np.void] = self.records.view(_OPAQUE)[mask].view(TICK)
        return found

    @property
    def quotes(self) -> npt.NDArray[np.void]:
        """The QUOTE rows, dtype `QUOTE`, a copy."""
        return self.of_kind(Kind.QUOTE, QUOTE)

    @property
    def trades(self) -> npt.NDArray[np.void]:
        """The TRADE rows, dtype `TRADE`, a copy. Cancels and corrections are not among them."""
        return self.of_kind(Kind.TRADE, TRADE)

    @overload
    def __getitem__(self, index: int) -> Tick: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tick]: ...
    def __getitem__(self, index: int | slice) -> Tick | list[Tick]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise IndexError(index)
        record = self.records[i : i + 1]
        symbol = self.instruments.symbol(int(record["instrument_id"][0]))
        return tick_from_record(record, symbol, self.feeds[self.feed[i]])

    def __iter__(self) -> Iterator[Tick]:
        for i in range(len(self)):
            yield self[i]

    def to_arrow(self) -> Any:
        """A pyarrow Table as of `TickBatch.to_arrow`, with a column ``feed``. Needs the extra ``mdfeedd[parquet]``."""
        from mdfeedd.ring.arrow import require_pyarrow, ticks_to_arrow  # noqa: PLC0415 - optional

        pa = require_pyarrow()
        table = ticks_to_arrow(self.records, self.instruments)
        column = pa.DictionaryArray.from_arrays(
            pa.array(self.feed.astype(np.int16)), pa.array(self.feeds, pa.string())
        )
        return table.append_column("feed", column)

    def to_pandas(self) -> Any:
        """A pandas DataFrame with the columns of `to_arrow`. Needs pandas and ``mdfeedd[parquet]``."""
        from mdfeedd.ring.arrow import table_to_pandas  # noqa: PLC0415 - optional

        return table_to_pandas(self.to_arrow())

    def __repr__(self) -> str:
        names = ", ".join(self.feeds)
        return (
            f"<MultiBatch of {len(self)} records from {names}, lost {self.lost}, late {self.late}>"
        )
