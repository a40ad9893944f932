"""Whether an event loop stands still: a clock that is looked at from within it."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["Stall"]

STALL_S: Final = 0.25
"""A loop that came back so much too late stood still."""
EPISODE_S: Final = 10.0
"""Without another stall, until the next is told again."""


class Stall:
    """Looked at every `every_s` seconds, sees whether the loop turned. `is_first`: of an episode."""

    def __init__(self, every_s: float) -> None:
        self.is_first: bool = False
        self._every_s = every_s
        self._at_s = time.monotonic()
        self._over_s = float("-inf")

    def look(self) -> float:
        """How long it stood still; 0: not, or not noticeably."""
        now_s = time.monotonic()
        late_s = now_s - self._at_s - self._every_s
        self._at_s = now_s
        if late_s < STALL_S:
            return 0.0
        self.is_first = now_s > self._over_s
        self._over_s = now_s + EPISODE_S
        return late_s
