"""What goes wrong, as data: which fault, in which session, when, to which topic.

    Script((Fault("refused", session=0), Fault("data_loss", 1, "ESZ6 Index", at_s=2.0, count=40)))
    Fault.parse("disconnect:at_s=5,seconds=3,session=all")

Sessions count from 0 in the order of their starts, refused ones included; `session=None` is every one. An
empty topic is every topic. Events happen so many seconds after SessionStarted, or when so many data messages
have been put into the queue; modes (see `MODES`) hold as long as their session does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CATEGORIES", "KINDS", "MODES", "ODDITIES", "Fault", "Script"]

#: What a topic's refusal may say, with an error code; those of the note that were not seen are in it, too.
CATEGORIES: Final = {
    "BAD_SEC": 11,
    "BAD_TOPIC": 2,
    "BAD_FLD": 10,
    "NOT_MONITORABLE": 12,
    "NOT_ENTITLED": 5,
    "NOT_AUTHORIZED": 7,
    "NO_AUTH": 8,
    "LIMIT": -4001,
    "IO_ERROR": 9,
    "TIMEOUT": 13,
    "CANCELED": 14,
    "UNCLASSIFIED": 1,
    "SOMETHING_NEW": 99,
}
#: Unusual data messages, one at a time.
ODDITIES: Final = {
    "null_bid": "the bid is cleared: present and null",
    "null_ask": "the ask is cleared",
    "zero_bid": "a bid of 0 with a null size",
    "correct": "the last trade is corrected",
    "cancel": "the last trade is cancelled",
    "no_price": "a trade without any price",
    "unknown_type": "an event type that nobody knows",
    "unknown_subtype": "a subtype of QUOTE that nobody knows",
    "mid": "QUOTE/MID, without bid and ask",
    "paired": "both sides in one message",
    "decimal": "an element of type DECIMAL, on which toPy raises",
    "null_sequence": "a sequence without content",
    "no_parts": "a datetime of which no part is set",
    "time_only": "a trade whose only time is a time of day",
    "negative": "a trade at a negative price",
    "huge_size": "a trade of more than 2**32",
    "newday": "SUMMARY/NEWDAY",
    "intraday": "SUMMARY/INTRADAY",
    "recap": "an image that nobody asked for",
}
#: Hold from the beginning of the session on.
MODES: Final = {
    "refused": "nothing listens: one SessionStartupFailure",
    "closed": "accepted and closed at once: SessionStartupFailure with error 3",
    "auth_refused": "the identity is refused, if the session has one",
    "service_refused": "ServiceOpenFailure",
    "refuse": "the topic's subscription fails (category; count: so many times)",
    "bad_topic": "the topic's string is invalid already to the SDK",
    "reject_field": "the subscription lives without that field (text)",
    "delayed": "the topic's stream is delayed",
    "fragmented": "images of the topic come in so many pieces (count)",
    "no_stamps": "images of the topic carry no times",
    "no_image": "the topic's stream never begins with an image",
}
#: Happen at some point.
EVENTS: Final = {
    "disconnect": "SessionConnectionDown, and up again after so long (seconds); the SDK restores",
    "terminated": "SessionTerminated",
    "revoked": "AuthorizationRevoked, then SessionTerminated",
    "service_down": "ServiceDown, and up again (seconds)",
    "data_loss": "so many messages are lost on the way, and DataLoss says it (count)",
    "summary_loss": "so many messages are lost before a SUMMARY/DATALOSS (count)",
    "streams": "streams deactivated, and activated again (seconds; recap: with an image)",
    "ended": "SubscriptionTerminated by the service (category)",
    "silence": "nothing more comes, and nobody says so (seconds)",
    "slow_consumer": "SlowConsumerWarning, and its end, without any loss",
    "odd": "an unusual message (text: see ODDITIES)",
}
KINDS: Final = MODES | EVENTS
#: After these no later session comes further either, or a topic never does.
_PERMANENT: Final = frozenset({"auth_refused", "service_refused", "bad_topic", "no_image"})
_MAX_COUNT: Final = 1_000_000
_MAX_SECONDS: Final = 86_400.0
_LASTING: Final = frozenset({"BAD_SEC", "BAD_TOPIC", "BAD_FLD", "NOT_MONITORABLE"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Of the numbers, each kind reads those that `KINDS` names for it."""

    kind: str
    session: int | None = 0
    topic: str = ""
    at_s: float | None = None
    after_messages: int | None = None
    seconds: float = 1.0
    count: int = 1
    category: str = "IO_ERROR"
    text: str = ""
    recap: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a fault is one of {', '.join(sorted(KINDS))}, not {self.kind!r}")
        if self.at_s is not None and self.after_messages is not None:
            raise ValueError(f"{self.kind}: happens at_s or after_messages, not both")
        if self.kind == "odd" and self.text not in ODDITIES:
            raise ValueError(f"odd: text: one of {', '.join(ODDITIES)}, not {self.text!r}")
        if self.category not in CATEGORIES:
            raise ValueError(f"{self.kind}: category: one of {', '.join(CATEGORIES)}")
        if self.kind == "reject_field" and not self.text:
            raise ValueError("reject_field: text: names the field")
        if not 1 <= self.count <= _MAX_COUNT or not 0 <= self.seconds <= _MAX_SECONDS:
            raise ValueError(
                f"{self.kind}: count: 1 to {_MAX_COUNT}, seconds: 0 to {_MAX_SECONDS:.0f}"
            )
        late = self.at_s is not None or self.after_messages is not None
        if self.is_mode and late:
            raise ValueError(f"{self.kind}: holds from the beginning")

    @property
    def is_mode(self) -> bool:
        """Whether it holds from the beginning."""
        return self.kind in MODES

    def hits(self, session: int, topic: str = "") -> bool:
        """Whether it is of that session and, if one is given, of that topic."""
        if self.session is not None and self.session != session:
            return False
        return not topic or not self.topic or self.topic == topic

    @classmethod
    def parse(cls, text: str) -> Self:
        """``refused``, ``data_loss:topic=ESZ6 Index,at_s=2,count=40``, ``odd:text=cancel,session=all``."""
        kind, _, rest = text.partition(":")
        known = {field.name: str(field.type) for field in fields(cls)}
        values: dict[str, Any] = {}
        for item in rest.split(",") if rest else ():
            name, _, value = item.partition("=")
            if name not in known or name == "kind":
                names = ", ".join(n for n in known if n != "kind")
                raise ValueError(f"{kind}: has {names}, not {name!r}")
            values[name] = _read(kind, name, known[name], value)
        return cls(kind, **values)

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        usual = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in values.items() if value != usual[name]}


def _read(kind: str, name: str, of: str, value: str) -> Any:
    try:
        if of.startswith("bool"):
            return {"": True, "1": True, "true": True, "0": False, "false": False}[value]
        if name == "session" and value == "all":
            return None
        if of.startswith("int"):
            return int(value)
        if of.startswith("float"):
            return float(value)
    except (KeyError, ValueError):
        raise ValueError(f"{kind}: {name}: {value!r} is no {of.partition(' ')[0]}") from None
    return value


@dataclass(frozen=True, slots=True)
class Script:
    """The faults of all sessions."""

    faults: tuple[Fault, ...] = ()

    def modes(self, kind: str, session: int, topic: str = "") -> list[Fault]:
        """The modes of a kind that hold there."""
        return [f for f in self.faults if f.kind == kind and f.hits(session, topic)]

    def events(self, session: int) -> list[Fault]:
        """What will happen in a session."""
        return [f for f in self.faults if not f.is_mode and f.hits(session)]

    @classmethod
    def random(
        cls,
        seed: int,
        topics: Sequence[str] = (),
        *,
        seconds: float = 30.0,
        sessions: int = 3,
        permanent: bool = False,
    ) -> Self:
        """A handful of faults over the first sessions and `seconds` of each.

        None after which a topic or a session has nothing to hope for, unless `permanent`.
        """
        rng = random.Random(f"bloomberg {seed}")  # noqa: S311 - chance, not secrets
        kinds = sorted(KINDS if permanent else KINDS.keys() - _PERMANENT)
        faults: list[Fault] = []
        for session in range(sessions):
            for _ in range(rng.randint(1, 4)):
                fault = _draw(rng, rng.choice(kinds), topics, seconds, permanent=permanent)
                faults.append(replace(fault, session=session))
        return cls(tuple(faults))


def _draw(
    rng: random.Random, kind: str, topics: Sequence[str], seconds: float, *, permanent: bool
) -> Fault:
    topic = rng.choice(topics) if topics and rng.random() < 0.8 else ""
    text = {
        "odd": rng.choice(list(ODDITIES)),
        "reject_field": rng.choice(("PX_BID", "OPEN_INT", "VOLUME")),
    }.get(kind, "")
    names = [c for c in CATEGORIES if permanent or c not in _LASTING]
    fault = Fault(
        kind, topic=topic, text=text, category=rng.choice(names), count=rng.randint(1, 30)
    )
    if kind == "refuse":
        return replace(fault, count=rng.randint(1, 2))
    if kind == "fragmented":
        return replace(fault, count=rng.randint(2, 5))
    if fault.is_mode:
        return fault
    fault = replace(fault, recap=rng.random() < 0.7, seconds=round(rng.uniform(0.05, 5.0), 3))
    if rng.random() < 0.3:
        return replace(fault, after_messages=rng.randint(1, 2000))
    return replace(fault, at_s=round(rng.uniform(0.0, seconds), 3))
