"""The instruments of one sequence space, as the journal has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.journal.format import ENTRY_BYTES, decode_entry, encode_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Table"]

_CHANGE: Final = 1 << 32  # versions that a change in place counts for: more than there are entries


class Table:
    """Entries by their place in the ring's table; what `mdfeedd.ring.Instruments` reads.

    A place that no entry was given for reads as None, as one does that is being changed.
    """

    closed = False

    def __init__(self) -> None:
        self._entries: dict[int, bytes] = {}
        self._count = 0
        self._version = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, index: int, entry: tuple[object, ...]) -> bytes | None:
        """Set an entry; its bytes if that changes anything."""
        raw = encode_entry(index, entry)
        return raw if self._put(index, raw) else None

    def load(self, payload: memoryview) -> None:
        """Take over a block's entries."""
        for at in range(0, len(payload), ENTRY_BYTES):
            raw = bytes(payload[at : at + ENTRY_BYTES])
            self._put(decode_entry(raw)[0], raw)

    def _put(self, index: int, raw: bytes) -> bool:
        if self._entries.get(index) == raw:
            return False
        # as many more versions as entries: to a reader of the table, additions at its end
        self._version += index + 1 - self._count if index >= self._count else _CHANGE
        self._entries[index] = raw
        self._count = max(self._count, index + 1)
        return True

    def raw(self) -> Iterator[bytes]:
        """The bytes of all entries."""
        yield from self._entries.values()

    @property
    def instruments_count(self) -> int:
        """Places in use, and such that are skipped."""
        return self._count

    @property
    def instruments_version(self) -> int:
        """Raised by each change."""
        return self._version

    def instrument_get(self, index: int) -> tuple[object, ...] | None:
        """The entry at a place, as a ring's reader gives it."""
        raw = self._entries.get(index)
        return None if raw is None else decode_entry(raw)[1]
