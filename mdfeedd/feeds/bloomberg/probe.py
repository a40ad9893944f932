"""``mdfeedd check --connect``: start a session, subscribe, and tell what Bloomberg says. Writes no ring."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.feeds.bloomberg.codec import Decoder, Staging
from mdfeedd.feeds.bloomberg.conversation import Stage as Session
from mdfeedd.feeds.bloomberg.credentials import read_credentials
from mdfeedd.feeds.bloomberg.ending import CONFIG, CREDENTIALS, Ending, SessionEnd
from mdfeedd.feeds.bloomberg.failure import Pauses, hint
from mdfeedd.feeds.bloomberg.line import Line, clock
from mdfeedd.feeds.bloomberg.moment import NS, Now, Tell
from mdfeedd.feeds.bloomberg.native.loaded import Unusable, open_library
from mdfeedd.feeds.bloomberg.plane import PythonPlane
from mdfeedd.feeds.bloomberg.sdk import describe, load
from mdfeedd.feeds.bloomberg.session import Link
from mdfeedd.feeds.bloomberg.topics import Stage, Topics
from mdfeedd.feeds.protocol import ProbeLine, Severity
from mdfeedd.tick import Flag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.feeds.bloomberg.options import BloombergOptions

__all__ = ["PROBE_S", "probe"]

PROBE_S: Final = 20.0
"""For all of it."""
MAX_TOLD: Final = 10
"""Topics of one kind that are named."""
MAX_HEARD: Final = 100
_TURN_MS: Final = 50
_OF_TOPICS: Final = frozenset({"delayed"})  # which are told in the end
_SEVERITY: Final = {CREDENTIALS: Severity.CREDENTIALS, CONFIG: Severity.CONFIG}


class _Heard(Tell):
    """Keeps what was said of refused fields, and what was said of the session that is not as it should be."""

    def __init__(self) -> None:
        self.fields: list[str] = []
        self._session: list[str] = []

    def of_session(self) -> Iterator[ProbeLine]:
        """Each sentence once."""
        for sentence in dict.fromkeys(self._session):
            yield ProbeLine(True, sentence, Severity.WARNING)
        self._session.clear()

    def __call__(
        self,
        kind: str,
        sentence: str,
        now: Now,  # noqa: ARG002
        *,
        routine: bool = False,
        each: bool = False,
    ) -> None:
        if kind == "rejected field":
            self.fields.append(sentence)
        elif not routine and not each and kind not in _OF_TOPICS and len(self._session) < MAX_HEARD:
            self._session.append(sentence)


def probe(name: str, options: BloombergOptions) -> Iterator[ProbeLine]:  # noqa: ARG001 - it is the caller's
    """A line as soon as it is known; after one that is not ok for the session there is no other."""
    link = None
    try:
        blpapi = load(options.package_folder)
        yield ProbeLine(True, f"the SDK is {describe(blpapi)}")
        yield from _native(blpapi, options)
        link = Link(blpapi, options, read_credentials(options))
        heard = _Heard()
        staging = Staging()
        decoder = Decoder(staging, refuse_delayed=options.delayed == "refuse")
        pauses = Pauses(lambda: 0.0)
        topics = Topics(
            decoder,
            heard,
            pauses,
            lambda: 0.0,
            fields=options.fields,
            image_wait_ns=round(PROBE_S * NS),
            refuse_delayed=options.delayed == "refuse",
        )
        numbers = itertools.count(1)
        topics.follow(options.topics, lambda _topic: next(numbers), clock())
        planes = [PythonPlane(decoder, heard)]
        line = Line(
            blpapi,
            link,
            topics,
            planes=planes,
            options=options,
            tell=heard,
            pauses=pauses,
            publish=staging.clear,
        )
        link.start()
        yield from _watch(line, options, heard)
        yield from _found(topics, heard)
    except SessionEnd as end:
        then = end.ending.then
        hint = f": {then.hint}" if then.hint else ""
        yield ProbeLine(False, end.text + hint, _SEVERITY.get(then.status, Severity.UNAVAILABLE))
    finally:
        if link is not None:
            link.close()


def _native(blpapi: Any, options: BloombergOptions) -> Iterator[ProbeLine]:
    """By which path market data would come. Raises `SessionEnd`."""
    if options.native == "off":
        return
    try:
        library = open_library(blpapi)
    except Unusable as why:
        if options.native == "require":
            raise SessionEnd(Ending.NO_NATIVE, f"the native path cannot be used: {why}") from None
        yield ProbeLine(True, f"market data take the Python path: {why}")
    else:
        yield ProbeLine(True, f"market data take the native path, by {library.path}")


def _watch(line: Line, options: BloombergOptions, heard: _Heard) -> Iterator[ProbeLine]:
    """Until every topic has been answered, or the time is over."""
    end_s = time.monotonic() + PROBE_S
    conversation, topics = line.conversation, line.topics
    told = Session.STARTING
    while time.monotonic() < end_s:
        line.turn(_TURN_MS)
        yield from heard.of_session()
        if told is Session.STARTING and conversation.stage is not told:
            told = Session.OPENING
            yield ProbeLine(True, "the session has started")
        if told is Session.OPENING and conversation.stage is Session.OPEN:
            told = Session.OPEN
            yield ProbeLine(True, f"{options.service} is open")
        if told is Session.OPEN and all(
            entry.stage in (Stage.LIVE, Stage.WAITING, Stage.REFUSED) for entry in topics
        ):
            return
    if told is not Session.OPEN:
        what = "start the session" if told is Session.STARTING else f"open {options.service}"
        yield ProbeLine(False, f"no answer within {PROBE_S:.0f} s: waited to {what}", Severity.UNAVAILABLE)  # fmt: skip


def _found(topics: Topics, heard: _Heard) -> Iterator[ProbeLine]:
    if not any(entry.stage is not Stage.IDLE for entry in topics):
        return
    live = [entry.listing.topic for entry in topics if entry.stage is Stage.LIVE]
    told = f"{len(live)} of {len(topics)} topics are live"
    yield ProbeLine(bool(live), told, _severity(topics, len(live)))
    late = [entry.listing.topic for entry in topics if entry.touch.flags & Flag.DELAYED]
    yield from _list("delayed, for want of an entitlement", late)
    yield from _list("no answer yet", [e.listing.topic for e in topics if e.stage in (Stage.IDLE, Stage.ASKED, Stage.STARTED)])  # fmt: skip
    yield from _list("refused field", heard.fields)
    failed = [
        f"{entry.listing.topic}: {entry.failure}: {entry.failure.answer.value}"
        f"{hint(entry.listing.topic, entry.failure)}"
        for entry in topics
        if entry.failure is not None and entry.stage is not Stage.LIVE
    ]
    yield from _list("failed", failed)


def _severity(topics: Topics, live: int) -> Severity:
    """Some that are not live are a warning. With none at all nothing would come, for want of an entitlement or not."""
    if live:
        return Severity.OK if live == len(topics) else Severity.WARNING
    refused = any(entry.failure and entry.failure.of_authorization for entry in topics)
    return Severity.CREDENTIALS if refused else Severity.UNAVAILABLE


def _list(what: str, items: list[str]) -> Iterator[ProbeLine]:
    for item in items[:MAX_TOLD]:
        yield ProbeLine(True, f"{what}: {item}", Severity.WARNING)
    if len(items) > MAX_TOLD:
        yield ProbeLine(True, f"... and {len(items) - MAX_TOLD} more: {what}", Severity.WARNING)
