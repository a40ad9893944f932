"""Records and journals for the tests of the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mdfeedd.journal import JournalReader, JournalWriter, WriterOptions
from mdfeedd.tick import TICK, layout_of

if TYPE_CHECKING:
    from pathlib import Path

    from mdfeedd.journal.disk import Disk

RING_A = "aa" * 16
RING_B = "bb" * 16
SMALL = WriterOptions(segment_bytes=1 << 16, fsync="none")


def records(first: int, n: int, dtype: np.dtype[Any] = TICK, seed: int = 0) -> np.ndarray:
    """n records of random bytes from `first` on; the same (first, seed) gives the same record."""
    out = np.zeros(n, dtype)
    words = out.view("<u8").reshape(n, dtype.itemsize // 8)
    place = np.arange(first, first + n, dtype="<u8")[:, None]
    column = np.arange(words.shape[1], dtype="<u8")[None, :]
    mixed = (place * np.uint64(0x9E3779B97F4A7C15)) ^ (column + np.uint64(seed)) * np.uint64(
        0xBF58476D1CE4E5B9
    )
    words[:] = mixed ^ (mixed >> np.uint64(31))
    out["seq"] = place[:, 0]
    return out


def begin(
    writer: JournalWriter, ring_id: str = RING_A, next_seq: int = 1, dtype: np.dtype[Any] = TICK
) -> None:
    writer.begin(
        ring_id,
        feed="feed",
        layout=layout_of(dtype),
        record_bytes=dtype.itemsize,
        next_seq=next_seq,
        epoch=1,
    )


def write(
    folder: Path,
    n: int,
    *,
    each: int = 100,
    first: int = 1,
    options: WriterOptions = SMALL,
    disk: Disk | None = None,
    close: bool = True,
    dtype: np.dtype[Any] = TICK,
) -> JournalWriter:
    """A journal of the records first..first+n-1, in blocks of `each`."""
    writer = JournalWriter(folder, "ring", options, disk=disk)
    begin(writer, next_seq=first, dtype=dtype)
    for at in range(first, first + n, each):
        writer.append(records(at, min(each, first + n - at), dtype), 1)
        writer.commit()
    if close:
        writer.close()
    return writer


def read_all(reader: JournalReader, most: int = 1000) -> tuple[np.ndarray, int]:
    """Everything that is there, and how many were lost."""
    parts, lost = [], 0
    while True:
        batch = reader.read(most)
        lost += batch.lost
        if not len(batch) and not batch.lost:
            break
        parts.append(batch.records.copy())
    return (np.concatenate(parts) if parts else np.empty(0, reader.dtype)), lost


def readable(folder: Path, most: int = 1000, **options: Any) -> tuple[np.ndarray, int, list[str]]:
    """What a reader gets, how many it says were lost, and the reasons it tells."""
    parts, why, lost = [], [], 0
    with JournalReader(folder, **options) as reader:
        while len(batch := reader.read(most)) or batch.lost:
            parts.append(batch.records.copy())
            lost += batch.lost
            if batch.why:
                why.append(batch.why)
    return np.concatenate(parts), lost, why


def same(got: np.ndarray, wanted: np.ndarray) -> bool:
    return got.dtype == wanted.dtype and got.tobytes() == wanted.tobytes()


def entry(instrument_id: int, symbol: str) -> tuple[object, ...]:
    """An instrument as a ring's reader gives it."""
    return (instrument_id, 7, 1, 0, 10**7, 0, 10**9, "USD", "XCME", "feed", symbol, symbol + ".v")
