"""Retries with pauses that double."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mdfeedd.sinks import SinkError

__all__ = ["BACK_OFF_MIN_S", "BackOff"]

log: logging.Logger = logging.getLogger("mdfeedd.consumers.batch")

BACK_OFF_MIN_S: Final = 0.05


class BackOff:
    """Pauses from `BACK_OFF_MIN_S` to a limit. One log line when trouble begins, one when it ends,
    and one when the reason changes meanwhile.
    """

    def __init__(self, max_s: float) -> None:
        self._max_s = max_s
        self._pause_s = 0.0
        self._since: float | None = None
        self._told = ""
        self.until: float = 0.0

    def failed(self, error: SinkError, now: float) -> None:
        """Wait longer than the last time."""
        if self._since is None:
            self._since = now
        if str(error) != self._told:
            self._told = str(error)
            log.error("%s; retrying", error)
        self._pause_s = min(max(self._pause_s * 2, BACK_OFF_MIN_S), self._max_s)
        self.until = now + self._pause_s

    def worked(self, now: float) -> None:
        """All is well again."""
        if self._since is not None:
            log.info("the sink works again after %.1f s", now - self._since)
        self._since = None
        self._told = ""
        self._pause_s = self.until = 0.0
