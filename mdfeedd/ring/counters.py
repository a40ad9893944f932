"""Names for the counters that lie in shared memory. The lists are those of `mdfeedd.h`."""

from __future__ import annotations

from typing import Final, Protocol

from mdfeedd.ring._ring import CONSUMER_COUNTERS, FEED_COUNTERS

__all__ = ["CONSUMER_COUNTERS", "FEED_COUNTERS", "Counters"]

FEED_INDEX: Final = {name: i for i, (name, _) in enumerate(FEED_COUNTERS)}
CONSUMER_INDEX: Final = {name: i for i, (name, _) in enumerate(CONSUMER_COUNTERS)}
TIMES: Final = frozenset({"last_record_ns", "doubted_since_ns"})
"""Counters that are a time, UNIX ns; 0: there is none to be told."""


class _Slots(Protocol):
    def count(self, index: int, n: int) -> None: ...
    def count_set(self, index: int, value: int) -> None: ...
    def count_get(self, index: int) -> int: ...


class Counters:
    """Counters of one owner, by name; a name that is not in the list raises `KeyError`."""

    __slots__ = ("_index", "_slots")

    def __init__(self, slots: _Slots, index: dict[str, int]) -> None:
        self._slots = slots
        self._index = index

    def add(self, name: str, n: int = 1) -> None:
        """Add n >= 0."""
        self._slots.count(self._index[name], n)

    def set(self, name: str, value: int) -> None:
        """Set a value, for what goes up and down."""
        self._slots.count_set(self._index[name], value)

    def get(self, name: str) -> int:
        """The value now."""
        return self._slots.count_get(self._index[name])

    def as_dict(self) -> dict[str, int]:
        """All of them."""
        return {name: self._slots.count_get(i) for name, i in self._index.items()}
