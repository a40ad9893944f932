"""One session at work: events of the SDK in, ticks and calls of the SDK out; a turn takes one event.

::

    Link.next ─┬─ SUBSCRIPTION_DATA ─► planes ─────────────┐
               ├─ status ─► Conversation ─► Topics ────────┼─► Staging ─► publish ─► Link: unsubscribe, subscribe
               └─ TIMEOUT, the beat of a quiet session ────┘
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.feeds.bloomberg.conversation import Conversation
from mdfeedd.feeds.bloomberg.moment import NS, Now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mdfeedd.feeds.bloomberg.failure import Pauses
    from mdfeedd.feeds.bloomberg.moment import Tell
    from mdfeedd.feeds.bloomberg.options import BloombergOptions
    from mdfeedd.feeds.bloomberg.plane import DataPlane
    from mdfeedd.feeds.bloomberg.session import Link
    from mdfeedd.feeds.bloomberg.topics import Asks, Topics

__all__ = ["WAIT_MS", "Line", "clock"]

WAIT_MS: Final = 250
LOOK_NS: Final = 1_000_000
"""While market data come one event upon the other, what may be due is looked after so often."""


def clock() -> Now:
    """The time by both clocks."""
    return Now(time.monotonic_ns(), time.time_ns())


class Line:
    """`publish` is called when there may be ticks in the decoder's staging, and empties it.

    Counts: `silences`, and `odd` status messages that could not be read.
    """

    def __init__(
        self,
        blpapi: Any,
        link: Link,
        topics: Topics,
        *,
        planes: Sequence[DataPlane],
        options: BloombergOptions,
        tell: Tell,
        pauses: Pauses,
        publish: Callable[[], None],
        read_clock: Callable[[], Now] = clock,
    ) -> None:
        now = read_clock()
        self.silences: int = 0
        self.odd: int = 0
        self.topics = topics
        self.conversation: Conversation = Conversation(
            topics, options.service, tell, pauses, now, identified=options.auth != "none"
        )
        self._link = link
        self._planes = planes
        self._tell = tell
        self._publish = publish
        self._clock = read_clock
        self._data = blpapi.Event.SUBSCRIPTION_DATA
        self._timeout = blpapi.Event.TIMEOUT
        self._int_type = blpapi.CorrelationId.INT_TYPE
        self._silence_ns = round(options.silence_s * NS)
        self._heard_ns = now.monotonic_ns
        self._silent = False
        self._look_ns = 0
        self.idle: bool = False  # the last turn found nothing

    def turn(self, wait_ms: int = WAIT_MS) -> Now:
        """Wait for an event, act on it, ask for what is due. Raises `SessionEnd`."""
        event = self._link.next(wait_ms)
        now = self._clock()
        kind = event.eventType()
        self.idle = bool(kind == self._timeout)
        if kind == self._data:
            self._heard_ns = now.monotonic_ns
            for plane in self._planes:
                if plane.use(event, now):
                    break
            if now.monotonic_ns < self._look_ns and not (
                self.topics.decoder.events or self._silent
            ):
                self._publish()
                return now
        elif not self.idle:
            self._heard_ns = now.monotonic_ns
            self._status(event, now)
        self._look_ns = now.monotonic_ns + LOOK_NS
        self._hear(now)
        self.conversation.check(now)
        self.topics.handle(now)
        asks = self.topics.due(now)
        self._publish()
        if self.conversation.opens:
            self.conversation.opens = False
            self._link.open_service()
        if asks is not None:
            self._call(asks, now)
        return now

    def _status(self, event: Any, now: Now) -> None:
        for message in event:
            try:
                name = str(message.messageType())
                body = message.toPy()
                cid = self._cid(message)
            except Exception as error:  # noqa: BLE001 - the SDK raises what it likes; it is told and counted
                self.odd += 1
                self._tell("odd status", f"a status message cannot be read: {error}", now)
                continue
            self.conversation.receive(name, cid, body if isinstance(body, dict) else {}, now)

    def _cid(self, message: Any) -> int | None:
        cids = message.correlationIds()
        if not cids or cids[0].type() != self._int_type:
            return None
        return int(cids[0].value())

    def _call(self, asks: Asks, now: Now) -> None:
        if asks.unsubscribe:
            why = self._link.unsubscribe(asks.unsubscribe)
            if why:
                self._tell("unsubscribe", f"the SDK does not unsubscribe: {why}", now)
        if asks.subscribe:
            for one in self._link.subscribe(asks.subscribe):
                self.topics.preprocess_error(one.cid, invalid=one.invalid, text=one.text, now=now)

    def _hear(self, now: Now) -> None:
        """A session that is up and silent shows by nothing else."""
        quiet_ns = now.monotonic_ns - self._heard_ns
        if quiet_ns >= self._silence_ns and not self._silent:
            self._silent = True
            self.silences += 1
            self._tell("silence", f"not a message for {quiet_ns // NS} s: what is shown may be old", now)  # fmt: skip
        elif self._silent and quiet_ns < self._silence_ns:
            self._silent = False
            self._tell("silence", "messages come again", now, routine=True)
