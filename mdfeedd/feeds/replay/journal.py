"""A journal as a recording: its ticks or bars, with the instruments of the replay's own ring.

Records keep their times and get the flag REPLAYED; the ring gives them new sequence numbers. What the
journal has lost to damage or retention is a GAP tick with the reason CORRUPT.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mdfeedd.feeds.replay.source import DamagedRecording, ReplayError
from mdfeedd.journal import JournalCorrupt, JournalError, JournalReader, list_journals
from mdfeedd.ring.arrow import distinct_ids
from mdfeedd.tick import BAR, GAP, TICK, Flag, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from mdfeedd.feeds.replay.rings import Rings
    from mdfeedd.feeds.shard import Shard
    from mdfeedd.journal import JournalBatch
    from mdfeedd.ring import Instrument, Instruments

__all__ = ["JournalRecording", "Read"]

logger: logging.Logger = logging.getLogger("mdfeedd.replay")

READ_RECORDS: Final = 16_384
_NOT_OURS: Final = -1
"""In place of an id, for an instrument of another shard."""


class Read(NamedTuple):
    """What was read: ticks or bars."""

    ticks: npt.NDArray[np.void]
    bars: npt.NDArray[np.void]


class JournalRecording:
    """The journal of one ring, up to where it is written when its end is reached; of a `shard`, what is ours.

    Raises `ReplayError` where there is none, or one of neither ticks nor bars, `DamagedRecording` where nothing can
    be read.
    """

    def __init__(self, path: str, shard: Shard | None = None) -> None:
        self.path = path
        self.read_bytes: int = 0
        self._missing = 0
        folders = list_journals(Path(path))
        if len(folders) != 1:
            inside = ", ".join(str(folder) for folder in folders)
            raise ReplayError(
                f"{path} holds the journals of several rings: name those to replay, of {inside}"
                if folders
                else f"{path} is a directory, and no journal: name the files in it"
            )
        try:
            self._reader = JournalReader(folders[0])
        except JournalCorrupt as error:
            raise DamagedRecording(str(error)) from None
        except JournalError as error:
            raise ReplayError(str(error)) from None
        if self._reader.dtype not in (TICK, BAR):
            self._reader.close()
            raise ReplayError(f"{path} holds neither ticks nor bars: it cannot be replayed")
        self._shard = shard
        self._ids: dict[int, tuple[Instrument | None, int]] = {}
        self._last_ns = 0

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    @property
    def damage(self) -> str:
        """What was missing in what was read, in words, or nothing."""
        return f"{self.path}: {self._missing} records are missing" if self._missing else ""

    def decoded(self, rings: Rings) -> Iterator[Read]:
        """All of it. Raises `ReplayError` where it cannot be read on."""
        try:
            while len(batch := self._reader.read(READ_RECORDS)) or batch.lost:
                self.read_bytes += batch.records.nbytes
                rings.ticks.counters.add("received_records", len(batch))
                yield self._read(batch, rings)
        except JournalError as error:
            raise ReplayError(str(error)) from None

    def _read(self, batch: JournalBatch, rings: Rings) -> Read:
        dtype = self._reader.dtype
        if dtype not in (TICK, BAR):
            raise ReplayError(f"{self.path} goes on with neither ticks nor bars")
        records = batch.records.copy()
        own_ids = self._own_ids(records["instrument_id"], batch, rings)
        records["instrument_id"] = own_ids.astype("<u4")
        if self._shard is not None:
            ours = own_ids != _NOT_OURS
            rings.ticks.counters.add("skipped_records", len(records) - int(np.count_nonzero(ours)))
            records = records[ours]
        if batch.lost:
            self._missing += batch.lost
            logger.warning("%s: %d records are missing: %s", self.path, batch.lost, batch.why)
        if dtype == BAR:
            return Read(np.empty(0, TICK), records)
        records["flags"] |= int(Flag.REPLAYED)
        if batch.lost:
            records = np.concatenate([self._gap(records), records])
        if len(records):
            self._last_ns = int(records["ts_recv"][-1])
        return Read(records, np.empty(0, BAR))

    def _gap(self, records: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The tick that stands for what is missing before `records`."""
        until_ns = int(records["ts_recv"][0]) if len(records) else self._last_ns
        gap = np.zeros(1, GAP)
        gap["kind"], gap["reason"] = Kind.GAP, GapReason.CORRUPT
        gap["ts_event"] = gap["ts_recv"] = until_ns
        gap["first_missing"], gap["last_missing"] = self._last_ns or until_ns, until_ns
        gap["flags"] = Flag.REPLAYED
        return gap.view(TICK)

    def _own_ids(
        self, ids: npt.NDArray[np.uint32], batch: JournalBatch, rings: Rings
    ) -> npt.NDArray[np.int64]:
        """The ids that the instruments have in the replay's ring, or `_NOT_OURS`."""
        if not len(ids):
            return np.empty(0, np.int64)
        unique, places = distinct_ids(ids)
        own = [self._own_id(old, batch.instruments, rings) for old in unique.tolist()]
        return np.array(own, np.int64)[places]

    def _own_id(self, old: int, instruments: Instruments, rings: Rings) -> int:
        entry = instruments.get(old)
        known = self._ids.get(old)
        if known is not None and known[0] == entry:
            return known[1]
        own = 0 if old == 0 else self._enter(old, entry, rings)
        self._ids[old] = (entry, own)
        return own

    def _enter(self, old: int, entry: Instrument | None, rings: Rings) -> int:
        symbol = f"#{old}" if entry is None else entry.symbol
        if self._shard is not None and not self._shard.has(symbol):
            return _NOT_OURS
        if entry is None:
            return rings.add(symbol)
        return rings.add(entry.symbol, **entry.attributes())
