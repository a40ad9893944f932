"""When to come back after a session has ended. Sans-IO: times in, times out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.feeds.databento.session.ending import Then

__all__ = ["FIRST_S", "HEALTHY_S", "MOST_S", "Backoff"]

FIRST_S: Final = 1.0
"""The gateway allows five connections a second and address, and closes those beyond."""
MOST_S: Final = 60.0
HEALTHY_S: Final = 60.0
"""After a session that delivered for so long, the pauses begin anew."""
JITTER: Final = 0.25


class Backoff:
    """Pauses of `FIRST_S`, doubled up to `MOST_S`, each up to a quarter longer by `chance` (0 to 1)."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._next_s = FIRST_S

    def pause_s(self, then: Then, delivered_s: float) -> float:
        """How long to wait after a session that delivered for `delivered_s` and ended so."""
        if delivered_s >= HEALTHY_S:
            self._next_s = FIRST_S
        pause_s = max(self._next_s, then.least_s)
        self._next_s = min(2 * self._next_s, MOST_S)
        return pause_s * (1 + JITTER * self._chance())
