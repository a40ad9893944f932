"""A part of a feed's instruments, so that several daemons carry what one cannot.

::

    instruments of the feed ──crc32(symbol) * n >> 32──► 1/n ─► daemon 1      each instrument is in one of them,
                                                     ├─► 2/n ─► daemon 2      what is told of the whole feed in all
                                                     └─► n/n ─► daemon n

A symbol is the name under which an instrument is in the ring's table, at the time at which it is looked at. So an
instrument that gets another name may go to another daemon with it: a continuous contract that rolls, a number that
turns out to be ESZ6. The daemon that has it no longer says nothing more of it; the one that has it now begins its
book anew, STALE until it is known to be right. Known names (a cache, secdef.dat, a vendor that names first) avoid that.

The n parts are ranges of the number, and the Kafka sink deals instruments to P partitions by its remainder: so a
shard's instruments fill all partitions alike, whatever n and P have in common.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["MAX_SHARDS", "Shard"]

MAX_SHARDS: Final = 4096
_TEXT: Final = re.compile(r"(?P<index>[0-9]{1,9})/(?P<of>[0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `of`, counted from 1. Raises `ValueError`."""

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.of <= MAX_SHARDS:
            raise ValueError(f"must be of 1 to {MAX_SHARDS} parts, not of {self.of}")
        if not 1 <= self.index <= self.of:
            raise ValueError(f"must be part 1 to {self.of} of {self.of}, not {self.index}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that is written so: "2/4" is the second of four. Raises `ValueError`."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError(f"must be like 2/4, the second of four parts, not {text!r}")
        return cls(int(found["index"]), int(found["of"]))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def has(self, symbol: str) -> bool:
        """Whether the instrument of this name is in this part; the same on all hosts and in all versions."""
        return zlib.crc32(symbol.encode()) * self.of >> 32 == self.index - 1
