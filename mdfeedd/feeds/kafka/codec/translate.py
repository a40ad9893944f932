"""The numbers of instruments: from those of the writer there to those of the ring here.

What a number means is told by the topic of instruments, under the writer's (ring_id, epoch). Records
of a number that was not told yet wait: the topic's message was sent before theirs, but comes by
another way.

With a shard, records of instruments whose name is not in it are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.ring.arrow import distinct_ids
from mdfeedd.ring.instruments import Instrument
from mdfeedd.sinks.kafka.wire import DefinitionKey, decode_instrument

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mdfeedd.feeds.shard import Shard

    Records = npt.NDArray[np.void]
    _Writer = tuple[str, int]

__all__ = ["Translator"]

MAX_DEFINITIONS: Final = 1 << 22
"""Of all writers whose definitions the topic has."""
_NOT_OURS: Final = -1
"""In place of a number, for an instrument of another shard."""


class Translator:
    """`add` enters an instrument into the ring's table and returns its number there."""

    def __init__(self, add: Callable[[Instrument], int], shard: Shard | None = None) -> None:
        self._add = add
        self._shard = shard
        self._told: dict[_Writer, dict[int, Instrument]] = {}
        self._own: dict[_Writer, dict[int, int]] = {}
        self._count = 0
        self.unnamed: int = 0
        self.skipped: int = 0

    def define(self, key: bytes | None, value: bytes | None) -> None:
        """A message of the topic of instruments. Raises `WireError`."""
        told = DefinitionKey.decode(key)
        writer, number = (told.ring_id, told.epoch), told.instrument_id
        if not value:
            self._count -= self._told.get(writer, {}).pop(number, None) is not None
            self._own.get(writer, {}).pop(number, None)
            return
        instrument = decode_instrument(value)
        known = self._told.setdefault(writer, {})
        self._count += number not in known
        if known.get(number) != instrument:
            known[number] = instrument
            self._own.get(writer, {}).pop(number, None)
        while self._count > MAX_DEFINITIONS and len(self._told) > 1:
            oldest = next(iter(self._told))
            self._count -= len(self._told.pop(oldest))
            self._own.pop(oldest, None)

    def unknown(self, ring_id: str, epoch: int, records: Records) -> list[int]:
        """Numbers in these records that have no name yet, not even "#NUMBER"."""
        own = self._own.get((ring_id, epoch), {})
        told = self._told.get((ring_id, epoch), {})
        unique, _ = distinct_ids(records["instrument_id"])
        return [n for n in unique.tolist() if n and n not in own and n not in told]

    def translate(self, ring_id: str, epoch: int, records: Records) -> Records:
        """The records of our shard, with our numbers in place of theirs. What is unknown still becomes "#NUMBER"."""
        writer = (ring_id, epoch)
        own = self._own.setdefault(writer, {0: 0})
        unique, places = distinct_ids(records["instrument_id"])
        ours: list[int] = []
        for number in unique.tolist():
            found = own.get(number)
            if found is None:
                told = self._told.get(writer, {}).get(number)
                if told is None:
                    told = _unnamed(number)
                    self.unnamed += 1
                found = own[number] = self._own_number(told)
            ours.append(found)
        numbers = np.array(ours, np.int64)
        records["instrument_id"] = numbers.astype("<u4")[places]
        if _NOT_OURS not in ours:
            return records
        kept: Records = records[(numbers != _NOT_OURS)[places]]
        self.skipped += len(records) - len(kept)
        return kept

    def _own_number(self, instrument: Instrument) -> int:
        if self._shard is not None and not self._shard.has(instrument.symbol):
            return _NOT_OURS
        return self._add(instrument)


def _unnamed(number: int) -> Instrument:
    name = f"#{number}"
    return Instrument(number, 0, 0, number >> 24, 0, 0, 0, "", "", "", name, name)
