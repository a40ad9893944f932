"""One line when trouble begins, one with the sum when it is over: not one per occurrence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging

__all__ = ["Episode"]

QUIET_S: Final = 10.0  # an episode is over when nothing has happened for so long


class Episode:
    """Counts occurrences of one kind of trouble. `text` has one %d for the number."""

    def __init__(self, log: logging.Logger, text: str, *, quiet_s: float = QUIET_S) -> None:
        self._log = log
        self._text = text
        self._quiet_s = quiet_s
        self._count = 0
        self._told = 0
        self._last = 0.0

    def add(self, n: int, now: float) -> None:
        """`n` more at the time `now` (seconds, monotonic); the first of an episode is logged."""
        if not n:
            return
        self.settle(now)
        self._count += n
        self._last = now
        if not self._told:
            self._told = n
            self._log.warning(self._text, n)

    def settle(self, now: float, *, over: bool = False) -> None:
        """End the episode if it has been quiet long enough, or is `over` for another reason."""
        if not self._told or not (over or now - self._last >= self._quiet_s):
            return
        if self._count > self._told:
            self._log.warning(self._text + " in all, over now", self._count)
        self._count = self._told = 0
