"""Sessions: calls go to a core, nextEvent waits for what falls due there. No thread unless there is a handler."""
# ruff: noqa: N802, N803 - the names are those that were published

from __future__ import annotations

import os
import threading
import traceback
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.bloomberg import Misuse
from mdfeedd.sim.bloomberg.content import datetime_of
from mdfeedd.sim.bloomberg.events import Kind, Occurrence

from .abstractsession import GATE, AbstractSession
from .event import Event
from .exception import (
    INVALID_ARGUMENT,
    NOT_STARTED,
    InvalidArgumentException,
    InvalidStateException,
    raise_misuse,
)
from .logger import Logger, log
from .preprocess import SubscriptionPreprocessError, SubscriptionPreprocessMode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mdfeedd.sim.bloomberg.core import Rejected

    from .correlationid import CorrelationId
    from .eventdispatcher import EventDispatcher
    from .identity import Identity
    from .sessionoptions import SessionOptions
    from .subscriptionlist import SubscriptionList

    Handler = Callable[[Event, "Session"], Any]

_MS: Final = 1_000_000
POLL_NS: Final = 5 * _MS  # of the handler's thread
FRESH_NS: Final = _MS  # while events wait, what is due is made no more often
_WARNINGS: Final = frozenset({"SessionStartupFailure", "SessionConnectionDown"})


class Session(AbstractSession):
    """Starts once. After its end it can only be thrown away."""

    UNSUBSCRIBED: Final = 0
    SUBSCRIBING: Final = 1
    SUBSCRIBED: Final = 2
    CANCELLED: Final = 3
    PENDING_CANCELLATION: Final = 4

    def __init__(
        self,
        options: SessionOptions | None = None,
        eventHandler: Handler | None = None,
        eventDispatcher: EventDispatcher | None = None,
    ) -> None:
        if eventDispatcher is not None and eventHandler is None:
            raise InvalidArgumentException("a dispatcher needs a handler", INVALID_ARGUMENT)
        super().__init__(options)
        self._handler = eventHandler
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------------------------------- start, stop

    def start(self) -> bool:
        """Wait until it has started, or has not."""
        with GATE:
            self.startAsync()
            while self._core.state == "starting":
                self._wait(None)
            return self._core.state in ("up", "down")

    def startAsync(self) -> bool:
        """True; what becomes of it is an event."""
        with GATE:
            try:
                self._core.start(self._clock.now_ns())
            except Misuse as misuse:
                raise_misuse(misuse)
            GATE.notify_all()
        if self._handler is not None:
            self._thread = threading.Thread(target=self._handle, name="blpapi-handler", daemon=True)
            self._thread.start()
        return True

    def stop(self) -> None:
        """For good; a handler's thread has ended then."""
        self.stopAsync()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def stopAsync(self) -> None:
        """For good."""
        with GATE:
            self._core.stop()
            GATE.notify_all()

    # ------------------------------------------------------------------------------------------- events

    def nextEvent(self, timeout: int = 0) -> Event:
        """The next, waiting so many ms; then one of type TIMEOUT. 0 waits for ever."""
        if self._handler is not None:
            raise InvalidStateException("the session has a handler", NOT_STARTED)
        with GATE:
            now_ns = self._clock.now_ns()
            deadline_ns = now_ns + int(timeout) * _MS if timeout else None
            while True:
                event = self._taken(now_ns)
                if event is not None:
                    break
                if deadline_ns is not None and now_ns >= deadline_ns:
                    return Event(Occurrence(Kind.TIMEOUT))
                self._wait(deadline_ns)
                now_ns = self._clock.now_ns()
        self._log(event, now_ns)
        return Event(event)

    def tryNextEvent(self) -> Event | None:
        """The next, if there is one; None, too, if the session has a handler."""
        if self._handler is not None:
            return None
        with GATE:
            now_ns = self._clock.now_ns()
            event = self._taken(now_ns)
        if event is None:
            return None
        self._log(event, now_ns)
        return Event(event)

    def _taken(self, now_ns: int) -> Occurrence | None:
        if not self._core.queue.has_any or now_ns - self._advanced_ns >= FRESH_NS:
            self._advance(now_ns)
        return self._core.take()

    @staticmethod
    def _log(event: Occurrence, now_ns: int) -> None:
        for item in event.items if event.kind == Kind.SESSION_STATUS else ():
            if item.kind in _WARNINGS:
                log(Logger.SEVERITY_WARN, datetime_of(now_ns), item.kind)

    def _handle(self) -> None:
        """The handler's thread: asks every 5 ms. An exception of the handler ends the process, as published."""
        assert self._handler is not None
        while True:
            with GATE:
                now_ns = self._clock.now_ns()
                event = self._taken(now_ns)
                is_over = event is None and self._core.state == "ended"
            if is_over:
                return
            if event is None:
                self._clock.sleep(POLL_NS)
                continue
            self._log(event, now_ns)
            try:
                self._handler(Event(event), self)
            except BaseException:  # noqa: BLE001 - whatever it is, it ends the process
                traceback.print_exc()
                os._exit(1)

    # ------------------------------------------------------------------------------------------- subscriptions

    def subscribe(
        self,
        subscriptionList: SubscriptionList,
        identity: Identity | None = None,
        requestLabel: str = "",
        mode: SubscriptionPreprocessMode = SubscriptionPreprocessMode.FAIL_ON_FIRST_ERROR,
    ) -> list[SubscriptionPreprocessError] | None:
        """What becomes of each is an event; with RETURN_INDIVIDUAL_ERRORS the wrong ones are returned."""
        del identity, requestLabel
        individual = mode is SubscriptionPreprocessMode.RETURN_INDIVIDUAL_ERRORS
        with GATE:
            now_ns = self._clock.now_ns()
            wanted = _wanted(subscriptionList)
            try:
                bad = self._core.subscribe(wanted, now_ns, individual=individual)
            except Misuse as misuse:
                raise_misuse(misuse)
            GATE.notify_all()
        return _errors(bad) if individual else None

    def unsubscribe(self, subscriptionList: SubscriptionList) -> None:
        """By correlation id; unknown ones are ignored."""
        with GATE:
            cids = [cid for _, cid, _ in _wanted(subscriptionList)]
            try:
                self._core.unsubscribe(cids, self._clock.now_ns())
            except Misuse as misuse:
                raise_misuse(misuse)
            GATE.notify_all()

    def resubscribe(
        self,
        subscriptionList: SubscriptionList,
        requestLabel: str = "",
        resubscriptionId: int | None = None,
        mode: SubscriptionPreprocessMode = SubscriptionPreprocessMode.FAIL_ON_FIRST_ERROR,
    ) -> list[SubscriptionPreprocessError] | None:
        """Other fields or options for living ones."""
        del requestLabel
        individual = mode is SubscriptionPreprocessMode.RETURN_INDIVIDUAL_ERRORS
        with GATE:
            now_ns = self._clock.now_ns()
            wanted = _wanted(subscriptionList)
            number = resubscriptionId or 0
            try:
                bad = self._core.resubscribe(wanted, number, now_ns, individual=individual)
            except Misuse as misuse:
                raise_misuse(misuse)
            GATE.notify_all()
        return _errors(bad) if individual else None

    def setStatusCorrelationId(
        self, service: str, correlationId: CorrelationId, identity: Identity | None = None
    ) -> None:
        """Accepted; service statuses carry none here."""
        del service, correlationId, identity
        with GATE:
            self._need_started("setStatusCorrelationId")


def _wanted(listed: SubscriptionList) -> list[tuple[str, CorrelationId, Any]]:
    cids = [listed.correlationIdAt(i) for i in range(listed.size())]
    return [(listed.topicStringAt(i), cid, cid.value()) for i, cid in enumerate(cids)]


def _errors(bad: Sequence[Rejected]) -> list[SubscriptionPreprocessError]:
    codes = SubscriptionPreprocessError.ErrorCode
    return [
        SubscriptionPreprocessError(
            one.cid,  # type: ignore[arg-type]
            one.text,
            codes.SUBSCRIPTIONPREPROCESS_INVALID_SUBSCRIPTION_STRING
            if one.is_string
            else codes.SUBSCRIPTIONPREPROCESS_CORRELATIONID_ERROR,
            one.why,
        )
        for one in bad
    ]
