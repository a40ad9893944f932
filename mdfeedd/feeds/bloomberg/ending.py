"""Why a session ended, what follows from that, and when to come back."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONFIG", "CREDENTIALS", "FIRST_S", "HEALTHY_S", "MOST_S", "Backoff", "Ending", "SessionEnd", "Then"]  # fmt: skip

CREDENTIALS: Final = 77
CONFIG: Final = 78
FIRST_S: Final = 1.0
MOST_S: Final = 60.0
HEALTHY_S: Final = 60.0
"""After a session that delivered for so long, the pauses begin anew."""
JITTER: Final = 0.25


class Then(NamedTuple):
    """What to do after an ending: stop for good with `status`, or come back after a pause."""

    status: int = 0
    hint: str = ""


class Ending(enum.Enum):
    """How a session ends. A session starts once: what follows is another one."""

    STARTUP = "could not be started"
    TERMINATED = "terminated"
    SILENT = "no answer for too long"
    BROKEN = "the SDK does not take a call"
    IDENTITY = "the identity is refused or revoked"
    NO_CREDENTIALS = "what identifies us cannot be read"
    NO_PACKAGE = "without Bloomberg's package"
    NO_NATIVE = "the native path, which is required, cannot be used"
    OPTIONS = "the SDK does not take the options"

    @property
    def then(self) -> Then:
        """What follows."""
        return _THEN.get(self, _COME_BACK)


_COME_BACK: Final = Then()
_THEN: Final[dict[Ending, Then]] = {
    Ending.STARTUP: Then(
        hint="check servers, and for a terminal that it runs here and is logged in"
    ),
    Ending.IDENTITY: Then(
        CREDENTIALS, "check auth and its keys, and the entitlements of this identity with Bloomberg"
    ),
    Ending.NO_CREDENTIALS: Then(CREDENTIALS),  # what cannot be read says itself where it should be
    Ending.NO_PACKAGE: Then(
        CONFIG,
        "pip install --index-url=https://blpapi.bloomberg.com/repository/releases/python/simple/ blpapi",
    ),
    Ending.NO_NATIVE: Then(
        CONFIG, "native: auto takes the Python path then; mdfeedd check --blpapi says more"
    ),
    Ending.OPTIONS: Then(CONFIG, "see the feed's options"),
}


class SessionEnd(Exception):
    """The session is over. The text is a sentence without its subject: "terminated: ..."."""

    def __init__(self, ending: Ending, text: str) -> None:
        super().__init__(text)
        self.ending = ending
        self.text = text


class Backoff:
    """Pauses of `FIRST_S`, doubled up to `MOST_S`, each up to a quarter longer by `chance` (0 to 1)."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._next_s = FIRST_S

    def pause_s(self, delivered_s: float) -> float:
        """How long to wait after a session that delivered for so long."""
        if delivered_s >= HEALTHY_S:
            self._next_s = FIRST_S
        pause_s = self._next_s
        self._next_s = min(2 * self._next_s, MOST_S)
        return pause_s * (1 + JITTER * self._chance())
