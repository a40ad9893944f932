"""What the SDK says of the session, from its start to its end. Sans-IO: messages and times in, `Asks` out.

::

    STARTING ──SessionStarted──► OPENING ──ServiceOpened──► OPEN
        │            ▲              │ ServiceOpenFailure: again, by its category
        │            └──────────────┘
        └── SessionStartupFailure, SessionTerminated, AuthorizationRevoked, deadlines ──► SessionEnd

A session starts once; after its end there is a new `Conversation`. A lost connection is no end: the SDK makes
another by itself, and `SessionTerminated` tells that it has given up.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mdfeedd.feeds.bloomberg.ending import Ending, SessionEnd
from mdfeedd.feeds.bloomberg.failure import Answer, read_failure
from mdfeedd.feeds.bloomberg.moment import NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.feeds.bloomberg.failure import Failure, Pauses
    from mdfeedd.feeds.bloomberg.moment import Now, Tell
    from mdfeedd.feeds.bloomberg.topics import Topics

__all__ = ["DOWN_S", "OPEN_S", "START_S", "Conversation", "Stage"]

START_S: Final = 300
"""Without an answer for so long, a start is given up."""
OPEN_S: Final = 240
"""The same of a service: longer than the SDK's own limits for checking and downloading it."""
DOWN_S: Final = 900
"""A connection that is down for so long is given up, should the SDK not do it."""


class Stage(enum.Enum):
    """How far the session has come."""

    STARTING = "starting"
    OPENING = "opening the service"
    OPEN = "open"


class Conversation:
    """`opens` is true when the service is to be opened; whoever does it sets it to false.

    `identified`: the session has an identity of its own, and without it nothing works. `unknown` counts messages
    that mean nothing to us.
    """

    def __init__(
        self,
        topics: Topics,
        service: str,
        tell: Tell,
        pauses: Pauses,
        now: Now,
        *,
        identified: bool,
    ) -> None:
        self.stage: Stage = Stage.STARTING
        self.opens: bool = False
        self.unknown: int = 0
        self.opened_ns: int = 0
        self._topics = topics
        self._service = service
        self._tell = tell
        self._pauses = pauses
        self._identified = identified
        self._deadline_ns = now.monotonic_ns + START_S * NS
        self._open_at_ns = 0
        self._open_failures = 0
        self._down_ns = 0
        self._servers: set[tuple[str, str]] = set()

    def receive(self, name: str, cid: int | None, body: dict[str, Any], now: Now) -> None:
        """One message that is not market data. Raises `SessionEnd`."""
        act = self._ACTS.get(name)
        if act is None:
            self.unknown += 1
            self._tell(f"unknown {name}", f"a message that is not known: {name}", now)
            return
        act(self, cid, body, now)

    def check(self, now: Now) -> None:
        """Give up what has taken too long. Raises `SessionEnd`."""
        if self._open_at_ns and now.monotonic_ns >= self._open_at_ns:
            self._open_service(now)
        if self._down_ns and now.monotonic_ns - self._down_ns >= DOWN_S * NS:
            raise SessionEnd(Ending.SILENT, f"no connection for {DOWN_S} s")
        if self._deadline_ns and now.monotonic_ns >= self._deadline_ns:
            if self.stage is Stage.STARTING:
                raise SessionEnd(Ending.SILENT, f"no answer to the start within {START_S} s")
            self._service_failed(f"no answer within {OPEN_S} s", Answer.SOON, now)

    def _open_service(self, now: Now) -> None:
        self._open_at_ns = 0
        self.opens = True
        self._deadline_ns = now.monotonic_ns + OPEN_S * NS

    def _service_failed(self, why: str, answer: Answer, now: Now) -> None:
        self._open_failures += 1
        self._deadline_ns = 0
        pause_ns = self._pauses.pause_ns(answer, self._open_failures, now.wall_ns)
        self._open_at_ns = now.monotonic_ns + pause_ns
        told = f"{self._service} cannot be opened: {why}; again in {pause_ns // NS} s"
        self._tell("service", told, now)

    # the session

    def _connection_up(self, _cid: int | None, body: dict[str, Any], now: Now) -> None:
        self._tell("connection", f"connected to {_server(body)}", now, routine=True)
        self._down_ns = 0
        self._servers.add(_key(body))
        self._topics.up(now)

    def _started(self, _cid: int | None, _body: dict[str, Any], now: Now) -> None:
        if self.stage is Stage.STARTING:
            self.stage = Stage.OPENING
            self._open_service(now)

    def _connection_down(self, _cid: int | None, body: dict[str, Any], now: Now) -> None:
        why = body.get("description")
        self._tell("connection", f"the connection to {_server(body)} is lost{f': {why}' if why else ''}; the SDK makes another, or ends the session", now)  # fmt: skip
        if _key(body) in self._servers:
            self._servers.remove(_key(body))
        else:
            self._servers.clear()  # it does not say which: all may be lost
        self._topics.down(now)
        if (
            self._servers
        ):  # which topics came from which server is not told, but another is there already
            self._topics.up(now)
        else:
            self._down_ns = now.monotonic_ns

    def _not_started(self, _cid: int | None, body: dict[str, Any], _now: Now) -> None:
        raise self._over(Ending.STARTUP, "could not be started", read_failure(body))

    def _terminated(self, _cid: int | None, body: dict[str, Any], _now: Now) -> None:
        raise self._over(Ending.TERMINATED, "terminated", read_failure(body))

    def _over(self, ending: Ending, verb: str, failure: Failure) -> SessionEnd:
        refused = self._identified and failure.of_authorization
        return SessionEnd(Ending.IDENTITY if refused else ending, f"the session {verb}: {failure}")

    def _not_authorized(self, _cid: int | None, body: dict[str, Any], _now: Now) -> None:
        raise SessionEnd(Ending.IDENTITY, f"the identity is refused: {read_failure(body)}")

    def _revoked(self, _cid: int | None, body: dict[str, Any], _now: Now) -> None:
        raise SessionEnd(Ending.IDENTITY, f"the identity was revoked: {read_failure(body)}")

    def _no_token(self, _cid: int | None, body: dict[str, Any], now: Now) -> None:
        self._tell("token", f"no token was generated: {read_failure(body)}", now)

    # the service

    def _service_opened(self, _cid: int | None, body: dict[str, Any], now: Now) -> None:
        if body.get("serviceName", self._service) != self._service or self.stage is Stage.OPEN:
            return
        self.stage = Stage.OPEN
        self.opened_ns = now.monotonic_ns
        self._deadline_ns = self._open_at_ns = self._open_failures = 0
        self._topics.open(now)

    def _service_not_opened(self, _cid: int | None, body: dict[str, Any], now: Now) -> None:
        if self.stage is Stage.OPENING:
            failure = read_failure(body)
            answer = failure.answer
            lasting = answer in (Answer.NEVER, Answer.FIELDS, Answer.TOMORROW)
            self._service_failed(str(failure), Answer.SLOWLY if lasting else answer, now)

    def _service_down(self, _cid: int | None, body: dict[str, Any], now: Now) -> None:
        told = f"{body.get('serviceName', 'a service')} is down at {body.get('endpoint') or 'Bloomberg'}"
        self._tell("service", told, now)

    def _service_up(self, _cid: int | None, body: dict[str, Any], now: Now) -> None:
        told = f"{body.get('serviceName', 'a service')} is up"
        self._tell("service", told, now, routine=True)

    # the topics

    def _subscribed(self, cid: int | None, body: dict[str, Any], now: Now) -> None:
        if cid is not None:
            self._topics.started(cid, body, now)

    def _failed(self, cid: int | None, body: dict[str, Any], now: Now) -> None:
        if cid is not None:
            self._topics.failed(cid, body, now)

    def _deactivated(self, cid: int | None, body: dict[str, Any], now: Now) -> None:
        if cid is not None:
            self._topics.deactivated(cid, body, now)

    def _activated(self, cid: int | None, _body: dict[str, Any], now: Now) -> None:
        if cid is not None:
            self._topics.activated(cid, now)

    def _data_loss(self, cid: int | None, body: dict[str, Any], now: Now) -> None:
        self._topics.data_loss(cid, body, now)

    def _slow(self, _cid: int | None, _body: dict[str, Any], now: Now) -> None:
        self._topics.slow(now)

    def _slow_over(self, _cid: int | None, body: dict[str, Any], now: Now) -> None:
        self._topics.slow_over(body, now)

    def _nothing(self, _cid: int | None, _body: dict[str, Any], _now: Now) -> None:
        """What is as it should be."""

    _ACTS: ClassVar[dict[str, Callable[[Conversation, int | None, dict[str, Any], Now], None]]] = {
        "SessionConnectionUp": _connection_up,
        "SessionStarted": _started,
        "SessionConnectionDown": _connection_down,
        "SessionStartupFailure": _not_started,
        "SessionTerminated": _terminated,
        "ServiceOpened": _service_opened,
        "ServiceOpenFailure": _service_not_opened,
        "ServiceUp": _service_up,
        "ServiceDown": _service_down,
        "SubscriptionStarted": _subscribed,
        "SubscriptionFailure": _failed,
        "SubscriptionTerminated": _failed,
        "SubscriptionStreamsActivated": _activated,
        "SubscriptionStreamsDeactivated": _deactivated,
        "SlowConsumerWarning": _slow,
        "SlowConsumerWarningCleared": _slow_over,
        "DataLoss": _data_loss,
        "AuthorizationSuccess": _nothing,
        "AuthorizationFailure": _not_authorized,
        "AuthorizationRevoked": _revoked,
        "TokenGenerationSuccess": _nothing,
        "TokenGenerationFailure": _no_token,
    }
    """By the type of the message. What a token is, is told nowhere."""


def _key(body: dict[str, Any]) -> tuple[str, str]:
    return str(body.get("server")), str(body.get("serverId"))


def _server(body: dict[str, Any]) -> str:
    return str(body.get("server") or "Bloomberg")
