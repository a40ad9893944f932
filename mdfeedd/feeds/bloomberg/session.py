"""One session of the SDK: its options, and the few calls that the feed makes. All of them from one thread.

No event handler: events are fetched by ``nextEvent``, which waits without the GIL and returns at once when one
comes. A handler would be a thread that polls every 5 ms, and an exception in it the end of the process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mdfeedd.feeds.bloomberg.ending import Ending, SessionEnd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.feeds.bloomberg.credentials import Credentials
    from mdfeedd.feeds.bloomberg.options import BloombergOptions
    from mdfeedd.feeds.bloomberg.topics import Ask

__all__ = ["Link", "Refused", "session_options", "subscription_options"]

_MS: Final = 1_000_000  # ns
STOP_S: Final = 0.4
"""How long to wait for the SDK to end a session in good order."""
HIGH_WATER: Final = 0.75
LOW_WATER: Final = 0.5
KEEP_ALIVE_MS: Final = 20_000
KEEP_ALIVE_ANSWER_MS: Final = 5_000
CHECK_MS: Final = 60_000
DOWNLOAD_MS: Final = 120_000
TLS_MS: Final = 10_000
CRL_MS: Final = 20_000
_STOP_STEP_MS: Final = 50
_STOP_STEPS: Final = round(STOP_S * 1000 / _STOP_STEP_MS)


class Refused(NamedTuple):
    """A topic that the SDK does not send. `invalid`: for its text."""

    cid: int
    invalid: bool
    text: str


def session_options(blpapi: Any, options: BloombergOptions, credentials: Credentials) -> Any:
    """All that matters is set: what the documentation says of defaults is not what they are.

    Raises `SessionEnd` (OPTIONS).
    """
    try:
        tls = _tls(blpapi, credentials)
        if options.leased_line:
            made = blpapi.ZfpUtil.getZfpOptionsForLeasedLines(options.leased_line, tls)
        else:
            made = blpapi.SessionOptions()
            _set_servers(blpapi, made, options)
            if tls is not None:
                made.setTlsOptions(tls)
        _set_habits(blpapi, made, options)
        identity = _identity(blpapi, options, credentials)
        if identity is not None:
            made.setSessionIdentityOptions(identity)
    except (blpapi.Exception, ValueError) as error:
        raise SessionEnd(Ending.OPTIONS, f"the SDK does not take the options: {error}") from None
    return made


def _tls(blpapi: Any, credentials: Credentials) -> Any:
    if not credentials.client:
        return None
    tls = blpapi.TlsOptions.createFromBlobs(
        credentials.client, credentials.password, credentials.trust
    )
    tls.setTlsHandshakeTimeoutMs(TLS_MS)
    tls.setCrlFetchTimeoutMs(CRL_MS)
    return tls


def _set_servers(blpapi: Any, made: Any, options: BloombergOptions) -> None:
    proxy = options.proxy()
    for index, (host, port) in enumerate(options.addresses()):
        if proxy is None:
            made.setServerAddress(host, port, index)
        else:
            made.setServerAddress(host, port, index, blpapi.Socks5Config(*proxy))


def _set_habits(blpapi: Any, made: Any, options: BloombergOptions) -> None:
    modes = blpapi.SessionOptions
    made.setClientMode(
        {"auto": modes.AUTO, "terminal": modes.DAPI, "server": modes.SAPI}[options.client]
    )
    made.setAutoRestartOnDisconnection(True)
    made.setNumStartAttempts(options.start_attempts)
    made.setConnectTimeout(round(options.connect_timeout_s * 1000))
    made.setMaxEventQueueSize(options.queue_events)
    made.setSlowConsumerWarningHiWaterMark(HIGH_WATER)
    made.setSlowConsumerWarningLoWaterMark(LOW_WATER)
    made.setKeepAliveEnabled(True)
    made.setDefaultKeepAliveInactivityTime(KEEP_ALIVE_MS)
    made.setDefaultKeepAliveResponseTimeout(KEEP_ALIVE_ANSWER_MS)
    made.setServiceCheckTimeout(CHECK_MS)
    made.setServiceDownloadTimeout(DOWNLOAD_MS)
    made.setDefaultSubscriptionService(options.service)
    made.setAllowMultipleCorrelatorsPerMsg(False)


def _identity(blpapi: Any, options: BloombergOptions, credentials: Credentials) -> Any:
    """Whose identity the session is to have; None: that of the terminal."""
    users, auth = blpapi.AuthUser, blpapi.AuthOptions
    if options.auth == "app":
        return auth.createWithApp(options.app_name)
    if options.auth == "user":
        return auth.createWithUser(users.createWithLogonName())
    if options.auth == "directory":
        user = users.createWithActiveDirectoryProperty(options.directory_property)
        return auth.createWithUser(user)
    if options.auth == "manual":
        return auth.createWithUser(
            users.createWithManualOptions(options.user_id, options.ip_address)
        )
    if options.auth == "user_app":
        return auth.createWithUserAndApp(users.createWithLogonName(), options.app_name)
    if options.auth == "token":
        return auth.createWithToken(credentials.token)
    return None


def subscription_options(options: BloombergOptions) -> dict[str, Any]:
    """Of every topic. Without ``useGMT``, times of day are those of the terminal's user."""
    made: dict[str, Any] = {"useGMT": None}
    if options.interval_s:
        made["interval"] = f"{options.interval_s:g}"
    if options.conflate:
        made["conflate"] = None
    if options.delayed == "force":
        made["delayed"] = None
    return made


class Link:
    """A session. `close` it once, whatever has happened."""

    def __init__(self, blpapi: Any, options: BloombergOptions, credentials: Credentials) -> None:
        self._blpapi = blpapi
        self._options = subscription_options(options)
        self._service = options.service
        self._spin_ns = options.spin_us * 1000
        self._came_ns = 0
        self._started = False
        self._session = blpapi.Session(session_options(blpapi, options, credentials))

    def start(self) -> None:
        """Begin; what comes of it comes as events. Raises `SessionEnd`."""
        try:
            self._started = self._session.startAsync()
        except self._blpapi.Exception as error:
            raise SessionEnd(Ending.STARTUP, f"the session could not be started: {error}") from None
        if not self._started:
            raise SessionEnd(Ending.STARTUP, "the session could not be started")

    def next(self, wait_ms: int) -> Any:
        """The next event; after `wait_ms` one that says so. Raises `SessionEnd`.

        It sleeps for it, but not before it has asked for `spin_us` after the last one.
        """
        try:
            return self._spun(wait_ms) if self._spin_ns else self._session.nextEvent(wait_ms)
        except self._blpapi.Exception as error:
            raise SessionEnd(Ending.BROKEN, f"no event can be fetched: {error}") from None

    def _spun(self, wait_ms: int) -> Any:
        """As nextEvent. A time-out is not what keeps us awake."""
        ask, clock = self._session.tryNextEvent, time.monotonic_ns
        now_ns = clock()
        until_ns = min(self._came_ns + self._spin_ns, now_ns + wait_ms * _MS)
        while now_ns < until_ns:
            event = ask()
            now_ns = clock()
            if event is not None:
                self._came_ns = now_ns
                return event
        event = self._session.nextEvent(wait_ms)
        if event.eventType() != self._blpapi.Event.TIMEOUT:
            self._came_ns = clock()
        return event

    def open_service(self) -> None:
        """Ask for the service. Raises `SessionEnd`."""
        try:
            self._session.openServiceAsync(self._service)
        except self._blpapi.Exception as error:
            raise SessionEnd(Ending.BROKEN, f"{self._service} cannot be opened: {error}") from None

    def subscribe(self, asks: Sequence[Ask]) -> list[Refused]:
        """Ask for topics; the answer is what is refused at once."""
        blpapi = self._blpapi
        refused = []
        topics = blpapi.SubscriptionList()
        for ask in asks:
            try:
                cid = blpapi.CorrelationId(ask.cid)
                topics.add(ask.topic, list(ask.fields), self._options, cid)
            except (blpapi.Exception, ValueError, TypeError) as error:
                refused.append(Refused(ask.cid, True, str(error)))
        if not topics.size():
            return refused
        mode = blpapi.SubscriptionPreprocessMode.RETURN_INDIVIDUAL_ERRORS
        try:
            errors = self._session.subscribe(topics, mode=mode)
        except blpapi.Exception as error:
            known = {one.cid for one in refused}
            rest = [ask.cid for ask in asks if ask.cid not in known]
            return refused + [Refused(cid, False, str(error)) for cid in rest]
        for one in errors or ():
            code = getattr(one.errorCode, "name", str(one.errorCode))
            invalid = "INVALID" in code.upper()
            refused.append(Refused(one.correlationId.value(), invalid, str(one.description)))
        return refused

    def unsubscribe(self, cids: Sequence[int]) -> str:
        """Ask for no more of these; why it could not be done, or ""."""
        topics = self._blpapi.SubscriptionList()
        try:
            for cid in cids:
                topics.add("/none", None, None, self._blpapi.CorrelationId(cid))
            self._session.unsubscribe(topics)
        except self._blpapi.Exception as error:
            return str(error)
        return ""

    def close(self, *, over: bool = False) -> None:
        """Let go of the session; stop it before, unless it is `over` by what it said itself."""
        session, self._session = self._session, None
        if session is None or not self._started or over:
            return
        end_s = time.monotonic() + STOP_S
        try:
            session.stopAsync()
            for _ in range(_STOP_STEPS):
                while not self._is_timeout(event := session.nextEvent(_STOP_STEP_MS)):
                    if self._is_last(event) or time.monotonic() >= end_s:
                        return
        except self._blpapi.Exception:
            return  # it has ended already, which is all that is wanted

    def _is_timeout(self, event: Any) -> bool:
        return bool(event.eventType() == self._blpapi.Event.TIMEOUT)

    def _is_last(self, event: Any) -> bool:
        return event.eventType() == self._blpapi.Event.SESSION_STATUS and any(
            str(message.messageType()) == "SessionTerminated" for message in event
        )
