"""The part of a session that is not about subscriptions."""
# ruff: noqa: N802, N803 - the names are those that were published

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.bloomberg import Misuse, SessionCore, current
from mdfeedd.sim.bloomberg.events import Item, Kind

from .correlationid import CorrelationId, generated
from .exception import (
    NOT_STARTED,
    SERVICE_NOT_OPENED,
    InvalidStateException,
    NotFoundException,
    raise_misuse,
)
from .identity import Identity
from .service import Service
from .sessionoptions import SessionOptions, core_options, session_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .auth import AuthOptions

# one for all sessions of a process: they may share a world
GATE: Final = threading.Condition(threading.RLock())


class AbstractSession:
    """Made as a `Session`."""

    def __init__(self, options: SessionOptions | None = None) -> None:
        options = options or SessionOptions()
        self._world = current()
        self._clock = self._world.clock
        self._core: SessionCore = self._world.connect(core_options(options))
        self._name = session_name(options)
        self._advanced_ns = 0

    def openService(self, serviceName: str) -> bool:
        """Wait until it is open, or is not; False before the start."""
        with GATE:
            if self._core.state not in ("up", "down"):
                return False
            self._core.open_service(serviceName, None, self._clock.now_ns())
            while serviceName not in self._core.answered and self._core.state != "ended":
                self._wait(None)
            return serviceName in self._core.services

    def openServiceAsync(
        self, serviceName: str, correlationId: CorrelationId | None = None
    ) -> CorrelationId:
        """The answer is a SERVICE_STATUS."""
        cid = correlationId or generated()
        with GATE:
            self._need_started("openServiceAsync")
            self._core.open_service(serviceName, cid, self._clock.now_ns(), cid.value())
            GATE.notify_all()
        return cid

    def getService(self, serviceName: str) -> Service:
        """An open one; raises NotFound."""
        with GATE:
            if serviceName not in self._core.services:
                text = f"{serviceName} has not been opened"
                raise NotFoundException(text, SERVICE_NOT_OPENED)
        return Service(serviceName)

    def cancel(self, correlationId: CorrelationId | Sequence[CorrelationId]) -> None:
        """As unsubscribe."""
        single = isinstance(correlationId, CorrelationId)
        cids = [correlationId] if single else list(correlationId)  # type: ignore[arg-type]
        with GATE:
            try:
                self._core.unsubscribe(cids, self._clock.now_ns())
            except Misuse as misuse:
                raise_misuse(misuse)
            GATE.notify_all()

    def getAuthorizedIdentity(self, correlationId: CorrelationId | None = None) -> Identity:
        """The session's; raises NotFound if it has none."""
        with GATE:
            known = correlationId in (None, self._core.options.identity_cid)
            if not self._core.identified or not known:
                raise NotFoundException("no identity is authorised", SERVICE_NOT_OPENED)
        return Identity()

    def generateAuthorizedIdentity(
        self, authOptions: AuthOptions, correlationId: CorrelationId | None = None
    ) -> CorrelationId:
        """Another one; the answer is an AUTHORIZATION_STATUS."""
        del authOptions
        cid = correlationId or generated()
        with GATE:
            self._need_started("generateAuthorizedIdentity")
            self._core.post(Kind.AUTHORIZATION_STATUS, Item("AuthorizationSuccess", {}, cid))
            GATE.notify_all()
        return cid

    def sessionName(self) -> str:
        """As set in the options."""
        return self._name

    def _need_started(self, what: str) -> None:
        if self._core.state not in ("up", "down"):
            raise InvalidStateException(f"{what}: the session is not started", NOT_STARTED)

    def _wait(self, deadline_ns: int | None) -> None:
        """Until something falls due, somebody calls, or the deadline; then do what has fallen due."""
        next_ns = self._core.next_ns()
        if next_ns is not None and (deadline_ns is None or next_ns < deadline_ns):
            deadline_ns = next_ns
        if deadline_ns is None or deadline_ns > self._clock.now_ns():
            self._clock.wait(GATE, deadline_ns)
        self._advance(self._clock.now_ns())

    def _advance(self, now_ns: int) -> None:
        self._advanced_ns = now_ns
        self._core.advance(now_ns)
