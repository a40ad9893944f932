"""What `blpapi` does, as a table: facts that the stand-in must show, and the real package, too.

    run(blpapi) ─► Outcome per fact

Facts need no server: the real package was seen doing these things (R), or its source (S) or only its documentation
(D) says so. What a live Terminal or B-PIPE alone could show is not in here; what this host cannot show, because it
refuses no connection or because what leads up to it fails, is not tried. Expressions are evaluated with `blpapi`,
the names bound by `given`, and

    options(port=...)   session options without a second attempt
    refused()           the events of a start at a port where nothing listens: [(type, [messages])]
"""

from __future__ import annotations

import builtins
import errno
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

__all__ = ["FACTS", "Fact", "Outcome", "first_event", "run"]

_PATIENCE_MS: Final = 10_000
_QUIET_MS: Final = 300


@dataclass(frozen=True, slots=True)
class Fact:
    """`doing` gives a value, or raises (the name of a published or built-in exception, and its code)."""

    name: str
    doing: str
    gives: Any = None
    raises: str = ""
    code: int | None = None
    given: tuple[tuple[str, str], ...] = ()
    seen: str = "R"

    @property
    def needs_refusal(self) -> bool:
        """Whether it is about a port that refuses a connection."""
        texts = (self.doing, *(expression for _, expression in self.given))
        return any("refused()" in text or ".start()" in text for text in texts)

    @property
    def wanted(self) -> str:
        """What should come of it, in words."""
        code = "" if self.code is None else f" {self.code:#010x}"
        return f"{self.raises}{code}" if self.raises else repr(self.gives)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a fact. got: in words; or why it was not tried."""

    fact: Fact
    holds: bool
    got: str
    tried: bool = True


_SESSION: Final = (("s", "blpapi.Session(options())"),)
_LIST: Final = (
    ("l", "blpapi.SubscriptionList()"),
    ("_", "l.add('IBM US Equity', correlationId=blpapi.CorrelationId(1))"),
)
_HANDLER: Final = (("s", "blpapi.Session(options(), lambda event, session: None)"),)
_REFUSED: Final = (("m", "refused()[0][1][0]"),)
_OPTIONS: Final = (("o", "blpapi.SessionOptions()"),)

FACTS: Final = (
    Fact("an integer id is a uint64", "blpapi.CorrelationId(-1).value()", 2**64 - 1),
    Fact("True is an integer id", "blpapi.CorrelationId(True).type()", 1),
    Fact("an object is an id", "blpapi.CorrelationId(object()).type()", 2),
    Fact("an id of nothing", "blpapi.CorrelationId().type() in (0, 3)", True),
    Fact("the class is part of an id", "blpapi.CorrelationId(1, 7) != blpapi.CorrelationId(1)", True),
    Fact("equal ids have one hash", "len({blpapi.CorrelationId(5), blpapi.CorrelationId(5)})", 1),
    Fact("a name equals its letters", "blpapi.Name('BID') == 'BID'", True),
    Fact("a dict of strings misses a name", "{'BID': 1}.get(blpapi.Name('BID'))", None),
    Fact("a name has a length", "len(blpapi.Name('LAST_PRICE'))", 10),
    Fact(
        "topic, fields and options make a string",
        "l.topicStringAt(0)",
        "IBM US Equity?fields=LAST_PRICE,BID&interval=2&delayed",
        given=(
            ("l", "blpapi.SubscriptionList()"),
            ("_", "l.add('IBM US Equity', ['LAST_PRICE', 'BID'], {'interval': 2, 'delayed': None})"),
        ),
    ),
    Fact("add gives 0", "blpapi.SubscriptionList().add('IBM US Equity')", 0),
    Fact(
        "a list takes an id twice",
        "l.size()",
        2,
        given=(*_LIST, ("_", "l.add('SPY US Equity', correlationId=blpapi.CorrelationId(1))")),
    ),
    Fact(
        "a list knows its end",
        "l.correlationIdAt(1)",
        raises="IndexOutOfRangeException",
        code=0x0005_000B,
        given=_LIST,
    ),
    Fact(
        "nobody subscribes before the start",
        "s.subscribe(l)",
        raises="InvalidStateException",
        code=0x0001_0009,
        given=(*_SESSION, *_LIST),
    ),
    Fact(
        "nobody unsubscribes before the start",
        "s.unsubscribe(l)",
        raises="InvalidStateException",
        code=0x0001_0009,
        given=(*_SESSION, *_LIST),
    ),
    Fact("no service opens before the start", "s.openService('//blp/mktdata')", False, given=_SESSION),
    Fact(
        "a service that is not open",
        "s.getService('//blp/mktdata')",
        raises="NotFoundException",
        code=0x0006_0010,
        given=_SESSION,
    ),
    Fact("waiting ends with a TIMEOUT", "s.nextEvent(50).eventType()", 10, given=_SESSION),
    Fact("a TIMEOUT has no messages", "list(s.nextEvent(50))", [], given=_SESSION),
    Fact("nothing to take before the start", "s.tryNextEvent()", None, given=_SESSION),
    Fact(
        "after stop waiting ends with a TIMEOUT",
        "s.nextEvent(50).eventType()",
        10,
        given=(*_SESSION, ("_", "s.stop()")),
    ),
    Fact(
        "nextEvent is not for sessions with a handler",
        "s.nextEvent(50)",
        raises="InvalidStateException",
        given=_HANDLER,
    ),
    Fact("tryNextEvent gives nothing with a handler", "s.tryNextEvent()", None, given=_HANDLER),
    Fact(
        "a water mark above the queue",
        "o.setSlowConsumerWarningHiWaterMark(1.5)",
        raises="InvalidArgumentException",
        code=0x0002_0002,
        given=_OPTIONS,
    ),
    Fact(
        "water marks are compared at the start",
        "blpapi.Session(o).start()",
        raises="Exception",
        given=(
            ("o", "options()"),
            ("_", "o.setSlowConsumerWarningHiWaterMark(0.3)"),
            ("_", "o.setSlowConsumerWarningLoWaterMark(0.6)"),
        ), seen="D"),
    Fact(
        "a port that is none", "o.setServerAddress('127.0.0.1', 70000, 0)", raises="ValueError", given=_OPTIONS
    ),
    Fact("no time to connect", "o.setConnectTimeout(0)", raises="Exception", given=_OPTIONS, seen="D"),
    Fact("too long to connect", "o.setConnectTimeout(120001)", raises="Exception", given=_OPTIONS, seen="D"),
    Fact("the queue holds 10,000 events", "o.maxEventQueueSize()", 10_000, given=_OPTIONS, seen="D"),
    Fact("the server is here", "(o.serverHost(), o.serverPort())", ("127.0.0.1", 8194), given=_OPTIONS, seen="D"),
    Fact("a refused start is False", "s.start()", False, given=_SESSION, seen="S"),
    Fact(
        "after a failed start waiting ends with a TIMEOUT",
        "[s.nextEvent(500).eventType() for _ in range(2)]",
        [2, 10],
        given=(*_SESSION, ("_", "s.start()")),
    ),
    Fact("a refused port is one event", "[kind for kind, _ in refused()]", [2]),
    Fact(
        "a refused port says so",
        "str(m.messageType()), m.toPy()",
        (
            "SessionStartupFailure",
            {
                "reason": {
                    "source": "Session",
                    "category": "IO_ERROR",
                    "errorCode": 9,
                    "description": "Connection failed",
                }
            },
        ),
        given=_REFUSED,
    ),
    Fact("a session's own message has no id", "m.correlationId().type()", 0, given=_REFUSED),
    Fact(
        "an element that is not there",
        "m.getElement('NOTHING')",
        raises="NotFoundException",
        code=0x0006_000D,
        given=_REFUSED,
    ),
    Fact(
        "a string is no float",
        "m.getElement('reason').getElementAsFloat('description')",
        raises="InvalidConversionException",
        code=0x0004_000C,
        given=_REFUSED,
    ),
    Fact("whether it is there", "m.hasElement('reason'), m.hasElement('NOTHING')", (True, False), given=_REFUSED),
    Fact("a number of a message", "m.getElement('reason').getElementAsInteger('errorCode')", 9, given=_REFUSED),
    Fact("when it came nobody noted", "m.timeReceived()", raises="ValueError", given=_REFUSED, seen="S"),
    Fact("errors are of one family", "issubclass(blpapi.NotFoundException, blpapi.Exception)", True),
    Fact(
        "errors are no KeyError, no ValueError",
        "issubclass(blpapi.Exception, (KeyError, ValueError))",
        False,
    ),
    Fact(
        "errors print their code",
        "str(blpapi.NotFoundException('text', 0x6000d))",
        "text (0x0006000d)",
        seen="S",
    ),
)  # fmt: skip


class _Stage:
    """What the expressions may call."""

    def __init__(self, blpapi: ModuleType, port: int) -> None:
        self._blpapi = blpapi
        self._port = port

    def options(self, port: int | None = None) -> Any:
        options = self._blpapi.SessionOptions()
        options.setServerAddress("127.0.0.1", port or self._port, 0)
        options.setNumStartAttempts(1)
        return options

    def refused(self) -> list[tuple[int, list[Any]]]:
        session = self._blpapi.Session(self.options())
        session.startAsync()
        events: list[tuple[int, list[Any]]] = []
        wait_ms = _PATIENCE_MS
        while (event := session.nextEvent(wait_ms)).eventType() != self._blpapi.Event.TIMEOUT:
            events.append((event.eventType(), list(event)))
            wait_ms = _QUIET_MS
        session.stop()
        return events


def closed_port() -> int:
    """A port of this host on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(
    blpapi: ModuleType, facts: Iterable[Fact] = FACTS, port: int | None = None
) -> list[Outcome]:
    """Try them all. port: one where nothing listens, if not any."""
    return [_tried(blpapi, fact, port) for fact in facts]


def first_event(blpapi: ModuleType) -> Any:
    """An event of the package's own that needs no server: that of a start which was refused."""
    session = blpapi.Session(_Stage(blpapi, closed_port()).options())
    session.startAsync()
    event = session.nextEvent(_PATIENCE_MS)
    session.stop()
    return event


def _refusal(port: int) -> str:
    """Why a port of this host cannot be relied on to refuse a connection, or ""."""
    with socket.socket() as client:
        client.settimeout(1.0)
        try:
            code = client.connect_ex(("127.0.0.1", port))
        except OSError as error:
            code = error.errno or errno.EIO
    return "" if code == errno.ECONNREFUSED else f"127.0.0.1 port {port}: {os.strerror(code)}"


def _tried(blpapi: ModuleType, fact: Fact, port: int | None) -> Outcome:
    try:
        where = port or closed_port()
        why = "" if port or not fact.needs_refusal else _refusal(where)
    except OSError as error:
        why = f"no port of 127.0.0.1 can be had: {error.strerror}"
    if why:
        return Outcome(fact, False, why, tried=False)
    stage = _Stage(blpapi, where)
    names = {"blpapi": blpapi, "options": stage.options, "refused": stage.refused}
    for name, expression in fact.given:
        try:
            names[name] = eval(expression, names)  # noqa: S307 - our own table
        except Exception as error:  # noqa: BLE001 - the fact is about what comes after it
            told = f"{expression} raises {type(error).__name__}: {error}"
            return Outcome(fact, False, told, tried=False)
    try:
        got = eval(fact.doing, names)  # noqa: S307
    except Exception as error:  # noqa: BLE001 - it is compared with what was expected, and reported
        return _raised(blpapi, fact, error)
    return Outcome(fact, not fact.raises and got == fact.gives, repr(got))


def _raised(blpapi: ModuleType, fact: Fact, error: Exception) -> Outcome:
    wanted = getattr(blpapi, fact.raises, getattr(builtins, fact.raises or "Exception", None))
    holds = bool(fact.raises) and wanted is not None and isinstance(error, wanted)
    if fact.code is not None:
        holds = holds and error.args[1:] == (fact.code,)
    return Outcome(fact, holds, f"{type(error).__name__}: {error}")
