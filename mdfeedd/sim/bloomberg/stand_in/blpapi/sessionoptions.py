"""What a session is told before it starts; defaults are those of the runtime, not of the documentation."""
# ruff: noqa: N802, N803 - the names are those that were published

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.bloomberg import Options
from mdfeedd.sim.bloomberg.topics import MKTDATA

from .correlationid import CorrelationId, generated
from .exception import (
    INDEX_OUT_OF_RANGE,
    INVALID_ARGUMENT,
    IndexOutOfRangeException,
    InvalidArgumentException,
)

if TYPE_CHECKING:
    from .auth import AuthOptions

_MAX_PORT: Final = 65_535
_MAX_CONNECT_MS: Final = 120_000


class Socks5Config:
    """A proxy."""

    def __init__(self, hostname: str, port: int) -> None:
        self._address = (hostname, _checked_port(port))


class TlsOptions:
    """Credentials of the client, and whom to trust."""

    def __init__(self, credentials: str | bytes, trusted: str | bytes) -> None:
        self._credentials = credentials
        self._trusted = trusted
        self._timeouts_ms = {"handshake": 10_000, "crl": 20_000}

    @staticmethod
    def createFromFiles(
        clientCredentialsFilename: str,
        clientCredentialsPassword: str,
        trustedCertificatesFilename: str,
    ) -> TlsOptions:
        """PKCS#12 and PKCS#7, DER, by name."""
        _need(clientCredentialsPassword, str)
        return TlsOptions(clientCredentialsFilename, trustedCertificatesFilename)

    @staticmethod
    def createFromBlobs(
        clientCredentials: bytes | bytearray,
        clientCredentialsPassword: str,
        trustedCertificates: bytes | bytearray,
    ) -> TlsOptions:
        """The same, as bytes."""
        _need(clientCredentials, bytes, bytearray)
        _need(clientCredentialsPassword, str)
        _need(trustedCertificates, bytes, bytearray)
        return TlsOptions(bytes(clientCredentials), bytes(trustedCertificates))

    def setTlsHandshakeTimeoutMs(self, timeoutMs: int) -> None:
        """10 s unless set."""
        self._timeouts_ms["handshake"] = int(timeoutMs)

    def setCrlFetchTimeoutMs(self, timeoutMs: int) -> None:
        """20 s unless set."""
        self._timeouts_ms["crl"] = int(timeoutMs)


def _need(value: object, *types: type) -> None:
    if not isinstance(value, types):
        names = " or ".join(kind.__name__ for kind in types)
        raise TypeError(f"{names} expected, not {type(value).__name__}")


def _checked_port(port: int) -> int:
    if not 0 < int(port) <= _MAX_PORT:
        raise ValueError(f"port: 1 to {_MAX_PORT}, not {port}")
    return int(port)


class SessionOptions:
    """Setters and a few getters. Assigning to an attribute of a setter's name is a silent no-op."""

    AUTO: Final = 0
    DAPI: Final = 1
    SAPI: Final = 2

    def __init__(self) -> None:
        self._servers: list[tuple[str, int]] = [("127.0.0.1", 8194)]
        self._values: dict[str, Any] = {
            "connectTimeout": 5000,
            "defaultSubscriptionService": MKTDATA,
            "defaultTopicPrefix": "/ticker/",
            "allowMultipleCorrelatorsPerMsg": False,
            "clientMode": self.AUTO,
            "numStartAttempts": 1,
            "autoRestartOnDisconnection": False,
            "slowConsumerWarningHiWaterMark": 0.75,
            "slowConsumerWarningLoWaterMark": 0.5,
            "maxEventQueueSize": 10_000,
            "keepAliveEnabled": True,
            "defaultKeepAliveInactivityTime": 20_000,
            "defaultKeepAliveResponseTimeout": 5000,
            "recordSubscriptionDataReceiveTimes": False,
            "serviceCheckTimeout": 60_000,
            "serviceDownloadTimeout": 120_000,
            "bandwidthSaveModeDisabled": False,
            "authenticationOptions": "",
            "applicationIdentityKey": "",
            "sessionName": "",
        }
        self._identity: tuple[AuthOptions, CorrelationId] | None = None
        self._tls: TlsOptions | None = None

    # ------------------------------------------------------------------------------------------- servers

    def setServerHost(self, serverHost: str) -> None:
        """Of the first endpoint."""
        self._servers[0] = (serverHost, self._servers[0][1])

    def setServerPort(self, serverPort: int) -> None:
        """Of the first endpoint; ValueError if it is none."""
        self._servers[0] = (self._servers[0][0], _checked_port(serverPort))

    def setServerAddress(
        self,
        serverHost: str,
        serverPort: int,
        index: int,
        socks5Config: Socks5Config | None = None,
    ) -> None:
        """An endpoint; they are tried in order. ValueError for a bad port."""
        _need(socks5Config, Socks5Config, type(None))
        address = (serverHost, _checked_port(serverPort))
        if index < len(self._servers):
            self._servers[index] = address
        else:
            self._servers.append(address)

    def removeServerAddress(self, index: int) -> None:
        """One less; raises IndexOutOfRange."""
        self.getServerAddress(index)
        del self._servers[index]

    def serverHost(self) -> str:
        """Of the first endpoint."""
        return self._servers[0][0]

    def serverPort(self) -> int:
        """Of the first endpoint."""
        return self._servers[0][1]

    def numServerAddresses(self) -> int:
        """How many endpoints."""
        return len(self._servers)

    def getServerAddress(self, index: int) -> tuple[str, int]:
        """One of them; raises IndexOutOfRange."""
        if not 0 <= index < len(self._servers):
            raise IndexOutOfRangeException(f"no server address {index}", INDEX_OUT_OF_RANGE)
        return self._servers[index]

    # ------------------------------------------------------------------------------------------- how it behaves

    def setConnectTimeout(self, timeoutMilliSeconds: int) -> None:
        """1 to 120,000; raises InvalidArgument."""
        if not 1 <= timeoutMilliSeconds <= _MAX_CONNECT_MS:
            raise _invalid(f"connect timeout: 1 to {_MAX_CONNECT_MS}, not {timeoutMilliSeconds}")
        self._values["connectTimeout"] = timeoutMilliSeconds

    def setDefaultSubscriptionService(self, defaultSubscriptionService: str) -> None:
        """Of topics without one."""
        self._values["defaultSubscriptionService"] = defaultSubscriptionService

    def setDefaultTopicPrefix(self, prefix: str) -> None:
        """Of topics without one."""
        self._values["defaultTopicPrefix"] = prefix

    def setAllowMultipleCorrelatorsPerMsg(self, allowMultipleCorrelatorsPerMsg: bool) -> None:
        """Here a message has one, whatever is said."""
        self._values["allowMultipleCorrelatorsPerMsg"] = bool(allowMultipleCorrelatorsPerMsg)

    def setClientMode(self, clientMode: int) -> None:
        """AUTO, DAPI or SAPI."""
        self._values["clientMode"] = clientMode

    def setSessionIdentityOptions(
        self, authOptions: AuthOptions, correlationId: CorrelationId | None = None
    ) -> CorrelationId:
        """Who the session is: authorised before it has started."""
        cid = correlationId or generated()
        self._identity = (authOptions, cid)
        return cid

    def setAuthenticationOptions(self, authOptions: str) -> None:
        """The old form."""
        self._values["authenticationOptions"] = authOptions

    def setNumStartAttempts(self, numStartAttempts: int) -> None:
        """3 s lie between two."""
        if numStartAttempts < 1:
            raise _invalid(f"start attempts: at least 1, not {numStartAttempts}")
        self._values["numStartAttempts"] = numStartAttempts

    def setAutoRestartOnDisconnection(self, autoRestart: bool) -> None:
        """Whether a lost connection is restored."""
        self._values["autoRestartOnDisconnection"] = bool(autoRestart)

    def setSlowConsumerWarningHiWaterMark(self, hiWaterMark: float) -> None:
        """Share of the queue; raises InvalidArgument above 1."""
        self._values["slowConsumerWarningHiWaterMark"] = _share(hiWaterMark)

    def setSlowConsumerWarningLoWaterMark(self, loWaterMark: float) -> None:
        """Share of the queue; that it is below the other mark is checked at start."""
        self._values["slowConsumerWarningLoWaterMark"] = _share(loWaterMark)

    def setMaxEventQueueSize(self, eventQueueSize: int) -> None:
        """Events beyond it are dropped."""
        if eventQueueSize < 1:
            raise _invalid(f"event queue size: at least 1, not {eventQueueSize}")
        self._values["maxEventQueueSize"] = int(eventQueueSize)

    def maxEventQueueSize(self) -> int:
        """As set."""
        return int(self._values["maxEventQueueSize"])

    def setKeepAliveEnabled(self, isEnabled: bool) -> None:
        """Whether idle connections are probed."""
        self._values["keepAliveEnabled"] = bool(isEnabled)

    def setDefaultKeepAliveInactivityTime(self, inactivityMsecs: int) -> None:
        """Before the first probe."""
        self._values["defaultKeepAliveInactivityTime"] = int(inactivityMsecs)

    def setDefaultKeepAliveResponseTimeout(self, timeoutMsecs: int) -> None:
        """For its answer."""
        self._values["defaultKeepAliveResponseTimeout"] = int(timeoutMsecs)

    def setRecordSubscriptionDataReceiveTimes(self, shouldRecord: bool) -> None:
        """Whether data has a timeReceived."""
        self._values["recordSubscriptionDataReceiveTimes"] = bool(shouldRecord)

    def setServiceCheckTimeout(self, timeoutMsecs: int) -> None:
        """For opening a service."""
        self._values["serviceCheckTimeout"] = int(timeoutMsecs)

    def setServiceDownloadTimeout(self, timeoutMsecs: int) -> None:
        """For a schema."""
        self._values["serviceDownloadTimeout"] = int(timeoutMsecs)

    def setTlsOptions(self, tlsOptions: TlsOptions) -> None:
        """Encrypt."""
        _need(tlsOptions, TlsOptions)
        self._tls = tlsOptions

    def setBandwidthSaveModeDisabled(self, isDisabled: bool) -> None:
        """Whether messages are compressed."""
        self._values["bandwidthSaveModeDisabled"] = bool(isDisabled)

    def setApplicationIdentityKey(self, applicationIdentityKey: str) -> None:
        """Of an application."""
        self._values["applicationIdentityKey"] = applicationIdentityKey

    def setSessionName(self, sessionName: str) -> None:
        """For logs."""
        self._values["sessionName"] = sessionName

    def toString(self, level: int = 0, spacesPerLevel: int = 4) -> str:
        """All of it; no secrets are in it."""
        pad = " " * (level * spacesPerLevel)
        servers = ", ".join(f"{host}:{port}" for host, port in self._servers)
        secret = ("authenticationOptions", "applicationIdentityKey")
        lines = [f"{k} = {v}" for k, v in self._values.items() if k not in secret]
        body = "".join(f"{pad}{' ' * spacesPerLevel}{line}\n" for line in lines)
        return f"{pad}SessionOptions = {{\n{pad}    servers = {servers}\n{body}{pad}}}\n"

    def __str__(self) -> str:
        return self.toString()


def _share(mark: float) -> float:
    if not 0 < mark <= 1:
        raise _invalid(f"water mark: above 0, at most 1, not {mark}")
    return float(mark)


def _invalid(text: str) -> InvalidArgumentException:
    return InvalidArgumentException(text, INVALID_ARGUMENT)


def core_options(options: SessionOptions) -> Options:
    """What of it changes what a session gets."""
    values = options._values  # noqa: SLF001 - one object in two files
    identity = options._identity  # noqa: SLF001
    return Options(
        endpoints=tuple(options._servers),  # noqa: SLF001
        auto_restart=values["autoRestartOnDisconnection"],
        start_attempts=values["numStartAttempts"],
        queue_limit=values["maxEventQueueSize"],
        marks=(values["slowConsumerWarningHiWaterMark"], values["slowConsumerWarningLoWaterMark"]),
        has_identity=identity is not None or bool(values["authenticationOptions"]),
        identity_cid=identity[1] if identity else None,
        service=values["defaultSubscriptionService"],
        prefix=values["defaultTopicPrefix"],
        records_times=values["recordSubscriptionDataReceiveTimes"],
    )


def session_name(options: SessionOptions) -> str:
    """As set."""
    return str(options._values["sessionName"])  # noqa: SLF001
