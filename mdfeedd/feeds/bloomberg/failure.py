"""What a failure of Bloomberg's means: by its category, when to ask again, and whether to ask at all."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DAY_NS",
    "Answer",
    "Failure",
    "Flow",
    "Pauses",
    "flow",
    "hint",
    "read_failure",
    "refused_fields",
]

FIRST_S: Final = 5.0
MOST_S: Final = 300.0
SLOWLY_S: Final = 900.0
HOURLY_S: Final = 3600.0
JITTER: Final = 0.25
DAY_NS: Final = 86_400_000_000_000
_NS: Final = 1_000_000_000
_MAX_CHARACTERS: Final = 300
_LIMIT_CODE: Final = -4001


class Answer(enum.Enum):
    """What to do about it."""

    NEVER = "not asked for again"
    FIELDS = "asked for without the fields that were refused"
    HOURLY = "asked for again every hour"
    TOMORROW = "asked for again tomorrow"
    SOON = "asked for again soon"
    SLOWLY = "asked for again now and then"


class Flow(enum.IntEnum):
    """Whether data of a topic come: reasons of STATUS ticks, beyond those of DBN's status schema."""

    COMES = 10_100
    UNKNOWN = 10_101
    NOT_ENTITLED = 10_102
    LIMIT = 10_103
    TRANSIENT = 10_104
    OTHER = 10_105

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS: Final[dict[Flow, str]] = {
    Flow.COMES: "data come again",
    Flow.UNKNOWN: "no data: not known to the vendor",
    Flow.NOT_ENTITLED: "no data: not entitled",
    Flow.LIMIT: "no data: beyond a limit",
    Flow.TRANSIENT: "no data: trouble that passes",
    Flow.OTHER: "no data: failed",
}
_FLOWS: Final[dict[Answer, Flow]] = {
    Answer.NEVER: Flow.UNKNOWN,
    Answer.HOURLY: Flow.NOT_ENTITLED,
    Answer.TOMORROW: Flow.LIMIT,
    Answer.SOON: Flow.TRANSIENT,
}
_ANSWERS: Final[dict[str, Answer]] = {
    "BAD_SEC": Answer.NEVER,
    "BAD_TOPIC": Answer.NEVER,
    "NOT_MONITORABLE": Answer.NEVER,
    "BAD_ARGS": Answer.NEVER,
    "BAD_FLD": Answer.FIELDS,
    "NOT_ENTITLED": Answer.HOURLY,
    "NOT_AUTHORIZED": Answer.HOURLY,
    "NO_AUTH": Answer.HOURLY,
    "LIMIT": Answer.TOMORROW,
    "DAILY_CAPACITY_REACHED": Answer.TOMORROW,
    "WORKFLOW_REVIEW_NEEDED": Answer.TOMORROW,
    "IO_ERROR": Answer.SOON,
    "TIMEOUT": Answer.SOON,
    "CANCELED": Answer.SOON,
    "UNCLASSIFIED": Answer.SOON,
    "": Answer.SOON,
}
"""By category, and by the subcategories that mean more than theirs. The list is open."""
_AUTHORIZATION: Final = frozenset({"NO_AUTH", "NOT_AUTHORIZED", "NOT_ENTITLED"})


class Failure(NamedTuple):
    """A reason as Bloomberg gives it. `fields` are those that were refused."""

    category: str
    subcategory: str = ""
    code: int = 0
    text: str = ""
    source: str = ""
    fields: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        """What to do about it."""
        special = _ANSWERS.get(self.subcategory)
        if special is Answer.TOMORROW or self.code == _LIMIT_CODE:
            return Answer.TOMORROW
        return _ANSWERS.get(self.category, Answer.SLOWLY)

    def follows(self, before: Failure | None) -> bool:
        """Whether it is more of the same as `before`, and no news."""
        return before is not None and before[:2] == self[:2]

    @property
    def of_authorization(self) -> bool:
        """Somebody is not allowed something."""
        return self.category in _AUTHORIZATION or "AUTH" in self.category

    def __str__(self) -> str:
        named = "/".join(part for part in (self.category, self.subcategory) if part) or "no reason"
        told = f": {self.text}" if self.text else ""
        return f"{named} ({self.code}){told}" if self.code else named + told


def read_failure(body: dict[str, Any], details: str = "failureDetails") -> Failure:
    """The failure that a status message tells; nothing in it is relied on to be there."""
    found = body.get("reason")
    reason = found if isinstance(found, dict) else {}
    code = reason.get("errorCode")
    return Failure(
        _text(reason.get("category")),
        _text(reason.get("subcategory")),
        code if isinstance(code, int) else 0,
        _text(reason.get("description") or body.get("description")),
        _text(reason.get("source")),
        tuple(field for field, _ in refused_fields(body, details)),
    )


def refused_fields(body: dict[str, Any], details: str) -> list[tuple[str, str]]:
    """Fields that were refused, each with its reason."""
    found = body.get(details)
    fields = []
    for item in found if isinstance(found, list) else []:
        field = _text(item.get("fieldId")) if isinstance(item, dict) else ""
        if field:
            fields.append((field, str(read_failure(item))))
    return fields


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:_MAX_CHARACTERS]


def hint(topic: str, failure: Failure) -> str:
    """What may be wrong with the name of a topic that Bloomberg does not know, or ""."""
    if failure.category not in {"BAD_SEC", "BAD_TOPIC"} or " " in topic or topic.startswith("/"):
        return ""
    return " (a name has its market sector with it, as in 'ESZ6 Index' or 'IBM US Equity')"


def flow(answer: Answer) -> Flow:
    """Why nothing comes of a topic whose failure asks for `answer`."""
    return _FLOWS.get(answer, Flow.OTHER)


class Pauses:
    """When to ask again, in ns from now; `chance` (0 to 1) makes each up to a quarter longer."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance

    def pause_ns(self, answer: Answer, failures: int, wall_ns: int) -> int:
        """After so many failures in a row, the last of which asks for `answer`; seen at UNIX ns `wall_ns`."""
        stretch = 1 + JITTER * self._chance()
        if answer is Answer.TOMORROW:
            to_midnight_ns = DAY_NS - wall_ns % DAY_NS
            return to_midnight_ns + int(FIRST_S * _NS * 60 * (stretch - 1))
        pause_s = {
            Answer.HOURLY: HOURLY_S,
            Answer.SLOWLY: SLOWLY_S,
        }.get(answer, min(MOST_S, FIRST_S * 2 ** min(max(0, failures - 1), 16)))
        return int(pause_s * _NS * stretch)
