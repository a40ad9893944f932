"""Why a session ended, and what follows from that."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

__all__ = ["CODES", "Ending", "SessionEnd", "Then", "refusal"]

CREDENTIALS: Final = 77
CONFIG: Final = 78


class Then(NamedTuple):
    """What to do after an ending: stop for good with `status`, or come back after `least_s` at least."""

    status: int = 0
    least_s: float = 0.0
    hint: str = ""


class Ending(enum.Enum):
    """How a session ends. Only PLANNED is not a disconnect."""

    PLANNED = "as planned"
    CLOSED = "closed by the gateway"
    RESET = "the connection broke"
    SILENT = "no bytes for too long"
    UNREACHABLE = "no connection"
    MALFORMED = "a control line that is none"
    BROKEN = "a stream that cannot be read on"
    REFUSED = "refused, for a reason that may pass"
    INTERNAL = "an error within the gateway"
    LIMIT = "too many sessions"
    AGED_OUT = "a replay that is not kept any more"
    KEY = "no key, or one that is not accepted"
    ENTITLEMENT = "no licence for the data"
    DATASET = "no such dataset"
    SUBSCRIPTION = "a subscription that the gateway does not take"
    VERSION = "a version of DBN that is not known"

    @property
    def then(self) -> Then:
        """What follows."""
        return _THEN.get(self, _COME_BACK)


_COME_BACK: Final = Then()
_THEN: Final[dict[Ending, Then]] = {
    Ending.LIMIT: Then(least_s=60.0, hint="close other sessions of this account, or wait"),
    Ending.KEY: Then(
        CREDENTIALS, hint="check the key at databento.com/portal/keys, and where it is read from"
    ),
    Ending.ENTITLEMENT: Then(
        CREDENTIALS, hint="check the account's live data licences at databento.com/portal"
    ),
    Ending.DATASET: Then(CONFIG, hint="see `dataset`: such as GLBX.MDP3, XNAS.ITCH, OPRA.PILLAR"),
    Ending.SUBSCRIPTION: Then(CONFIG, hint="see `subscriptions`"),
    Ending.VERSION: Then(
        CONFIG, hint="upgrade mdfeedd, or set accept_newer_dbn to go on at your own risk"
    ),
}


class SessionEnd(Exception):
    """The session is over. The text is a sentence without its subject: "closed by the gateway"."""

    def __init__(self, ending: Ending, text: str) -> None:
        super().__init__(text)
        self.ending = ending
        self.text = text


CODES: Final[dict[int, Ending]] = {
    1: Ending.KEY,
    2: Ending.KEY,
    3: Ending.LIMIT,
    5: Ending.SUBSCRIPTION,
    6: Ending.INTERNAL,
    8: Ending.AGED_OUT,
}
"""By the code of an error record, for those that end a session."""

_WORDS: Final[tuple[tuple[Ending, tuple[str, ...]], ...]] = (
    # first: an authentication service that is down says "auth", too, and must not stop us for good
    (Ending.REFUSED, ("temporar", "unavailable", "internal", "try again", "timed out", "timeout")),
    (Ending.LIMIT, ("limit", "too many", "maximum")),
    (
        Ending.DATASET,
        ("unknown dataset", "invalid dataset", "no such dataset", "dataset not found"),
    ),
    (
        Ending.ENTITLEMENT,
        (
            "entitle",
            "licen",
            "permission",
            "not authorized",
            "unauthorized",
            "subscription required",
        ),
    ),
    (Ending.KEY, ("auth", "key", "cram", "deactivated")),
    (Ending.DATASET, ("dataset",)),
)


MAX_TOLD_CHARACTERS: Final = 400


def refusal(error: str) -> SessionEnd:
    """What the gateway's ``error=`` comes to. What is not understood is tried again."""
    text = error.lower()
    told = "".join(c if c.isprintable() else "?" for c in error[:MAX_TOLD_CHARACTERS])
    for ending, words in _WORDS:
        if any(word in text for word in words):
            return SessionEnd(ending, f"refused: {told}")
    return SessionEnd(Ending.REFUSED, f"refused: {told}")
