"""What the configuration says of a Bloomberg feed."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from mdfeedd.options import refuse, told, values
from mdfeedd.secret import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

__all__ = ["MAX_TOPICS", "MKTDATA", "PORT", "BloombergOptions", "Topic"]

PORT: Final = 8194
MKTDATA: Final = "//blp/mktdata"
SIMULATED: Final = "simulated"
STAND_IN: Final = str(Path(__file__).parents[2] / "sim" / "bloomberg" / "stand_in")
"""A package blpapi that plays a market which does not exist. A folder and no more: nothing here imports it."""
MAX_TOPICS: Final = 100_000
MAX_SERVERS: Final = 16
MAX_TOPIC_CHARACTERS: Final = 128
MAX_FIELDS: Final = 100
FIELDS: Final = ("LAST_PRICE", "SIZE_LAST_TRADE", "BID", "ASK", "BID_SIZE", "ASK_SIZE")

_HOST: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_SERVICE: Final = re.compile(r"//[a-z0-9_.-]+/mktdata[a-z0-9_.-]*")
_FIELD: Final = re.compile(r"[A-Z0-9][A-Z0-9_]{0,63}")
_MAX_PORT: Final = 65_535
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "queue_events": (1000, 10_000_000),
    "spin_us": (0, 1_000_000),
    "start_attempts": (1, 1000),
    "connect_timeout_s": (0.1, 120),
    "image_wait_s": (0.1, 3600),
    "silence_s": (1, 86_400),
}
_INTERVAL_S: Final = (0.1, 86_400)
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "app": ("app_name",),
    "user_app": ("app_name",),
    "directory": ("directory_property",),
    "manual": ("user_id", "ip_address"),
    "token": ("token",),
}
_TLS: Final = ("tls_client", "tls_password", "tls_trust")
_SECRETS: Final = (*_TLS, "token")


def _key(help: str, default: Any) -> Any:  # noqa: A002 - the name that the metadata has
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Topic:
    """One instrument to follow. Raises `ValueError` ("key: reason")."""

    topic: str = field(
        metadata={"help": "as Bloomberg names it: IBM US Equity, /isin/US0378331005"}
    )
    symbol: str = _key("our name for it; empty: the topic", "")
    fields: tuple[str, ...] = _key("in place of the feed's fields", ())

    def __post_init__(self) -> None:
        refuse(
            told(self._check_symbol),
            self._check_fields(),
            told(self._check_topic),
        )

    def _check_topic(self) -> None:
        _check_text("topic", self.topic)
        if set(self.topic) & {"?", "&"}:
            raise ValueError(
                f"topic: must be without fields and options, which have keys of their own: {self.topic!r}"
            )

    def _check_fields(self) -> Iterator[str]:
        yield from _wrong_fields(self.fields)

    def _check_symbol(self) -> None:
        if self.symbol:
            _check_text("symbol", self.symbol)

    @property
    def name(self) -> str:
        """Our name for it."""
        return self.symbol or self.topic


def _check_text(key: str, text: str) -> None:
    if not 1 <= len(text) <= MAX_TOPIC_CHARACTERS or not text.isprintable():
        raise ValueError(
            f"{key}: must be of 1 to {MAX_TOPIC_CHARACTERS} printable characters, not {text!r}"
        )
    if text != text.strip():
        raise ValueError(f"{key}: must not begin or end with a space: {text!r}")


def _wrong_fields(names: tuple[str, ...]) -> Iterator[str]:
    if len(names) > MAX_FIELDS:
        yield f"fields: must be {MAX_FIELDS} at most, not {len(names)}"
        return
    for name in names:
        if not _FIELD.fullmatch(name):
            yield f"fields: must be names like LAST_PRICE, not {name!r}"
    for name in _twice(names):
        yield f"fields: {name} is there twice"


def _twice(items: Iterable[T]) -> Iterator[T]:
    """Those that are not there for the first time."""
    seen: set[T] = set()
    for item in items:
        if item in seen:
            yield item
        seen.add(item)


@dataclass(frozen=True, slots=True)
class BloombergOptions:
    """One session and what to follow in it. Raises `ValueError` ("key: reason")."""

    topics: tuple[Topic, ...] = field(metadata={"help": "what to follow"})
    fields: tuple[str, ...] = _key("changes of these are sent", FIELDS)

    servers: tuple[str, ...] = _key("host or host:port, tried in this order", ("localhost:8194",))
    client: Literal["auto", "terminal", "server"] = _key(
        "Desktop API of a terminal, or B-PIPE and Server API", "auto"
    )
    leased_line: Literal[0, 8194, 8196] = _key(
        "zero-footprint over leased lines, by its port, in place of servers; 0: no", 0
    )
    socks5: str = _key('proxy to the servers, host:port; "": none', "")

    auth: Literal["none", "app", "user", "directory", "manual", "user_app", "token"] = _key(
        "whose identity the session has; none: the terminal's", "none"
    )
    app_name: str = _key("of the application, for app and user_app", "")
    directory_property: str = _key("of Active Directory, for directory", "")
    user_id: str = _key("for manual", "")
    ip_address: str = _key("for manual", "")
    token_credential: str = _key("systemd credential with the token, for token", "")
    token_file: str = _key("... or a file with nothing else in it", "")
    token_env: str = _key("... or an environment variable", "")
    tls_client_credential: str = _key("systemd credential: PKCS#12 of the client (.pk12)", "")
    tls_client_file: str = _key("... or a file", "")
    tls_password_credential: str = _key("systemd credential: its password", "")
    tls_password_file: str = _key("... or a file with nothing else in it", "")
    tls_password_env: str = _key("... or an environment variable", "")
    tls_trust_credential: str = _key("systemd credential: PKCS#7 of whom to trust (.pk7)", "")
    tls_trust_file: str = _key("... or a file", "")

    service: str = _key("what the topics are of", MKTDATA)
    delayed: Literal["allow", "refuse", "force"] = _key(
        "data that are late for want of an entitlement: flag them, refuse them, or ask for no other",
        "allow",
    )
    interval_s: float = _key("at most one update in so many seconds; 0: tick by tick", 0.0)
    conflate: bool = _key("let Bloomberg leave out quotes", False)
    statistics: bool = _key("also tell open, high, low, volume and VWAP", False)

    queue_events: int = _key("that the SDK keeps for us, before it drops what comes", 100_000)
    spin_us: int = _key(
        "ask for events again and again for so long before sleeping; costs a processor", 0
    )
    start_attempts: int = _key("to connect, before a session is given up", 3)
    connect_timeout_s: float = _key("of each attempt", 5.0)
    image_wait_s: float = _key("without an image for so long, it is asked for again", 30.0)
    silence_s: float = _key("without a message of any kind for so long, it is told", 300.0)
    native: Literal["auto", "off", "require"] = _key(
        "market data by the SDK's C interface: where it can be used, never, or not without it",
        "auto",
    )
    blpapi_path: str = _key(
        "folder that holds the package blpapi, where it is not installed; simulated: ours, without Bloomberg",
        "",
    )

    def __post_init__(self) -> None:
        refuse(
            self._check_topics(),
            self._check_feed_fields(),
            self._check_servers(),
            told(self.proxy),
            self._check_ranges(),
            self._check_interval(),
            self._check_service(),
            self._check_path(),
            self._check_identity(),
            self._check_keys_of_others(),
            self._check_secrets(),
        )

    def _check_topics(self) -> Iterator[str]:
        if not 1 <= len(self.topics) <= MAX_TOPICS:
            yield f"topics: must be 1 to {MAX_TOPICS}, not {len(self.topics)}"
            return
        for topic in _twice(one.topic.casefold() for one in self.topics):
            name = next(t.topic for t in reversed(self.topics) if t.topic.casefold() == topic)
            yield f"topics: {name} is there twice: each tick would come twice"
        once = {one.topic.casefold(): one for one in reversed(self.topics)}
        for name in _twice(one.name for one in once.values()):
            yield f"topics: two of them have the symbol {name}"

    def _check_feed_fields(self) -> Iterator[str]:
        if not self.fields:
            yield "fields: must be one at least"
        yield from _wrong_fields(self.fields)

    def _check_servers(self) -> Iterator[str]:
        if not 1 <= len(self.servers) <= MAX_SERVERS:
            yield f"servers: must be 1 to {MAX_SERVERS}, not {len(self.servers)}"
            return
        wrong = [
            one for server in self.servers for one in told(partial(_address, "servers", server))
        ]
        yield from wrong
        if not wrong:
            for host, port in _twice(self.addresses()):
                yield f"servers: {host}:{port} is there twice"

    def _check_ranges(self) -> Iterator[str]:
        for key, value in values(self, _RANGES):
            least, most = _RANGES[key]
            if not least <= value <= most:
                yield f"{key}: must be {least} to {most}, not {value}"

    def _check_interval(self) -> Iterator[str]:
        least, most = _INTERVAL_S
        if self.interval_s and not least <= self.interval_s <= most:
            yield f"interval_s: must be 0 or {least} to {most}, not {self.interval_s}"

    def _check_service(self) -> Iterator[str]:
        if not _SERVICE.fullmatch(self.service):
            yield f"service: must be like {MKTDATA}, whose messages are known, not {self.service!r}"

    def _check_path(self) -> Iterator[str]:
        if self.package_folder and not self.package_folder.startswith("/"):
            yield f"blpapi_path: must be an absolute path, or {SIMULATED}, not {self.blpapi_path!r}"

    @property
    def package_folder(self) -> str:
        """Where the package is; "" where it is installed."""
        return STAND_IN if self.blpapi_path == SIMULATED else self.blpapi_path

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each server. Raises `ValueError`."""
        return tuple(_address("servers", server) for server in self.servers)

    @property
    def where(self) -> str:
        """Whom a session is with, in words."""
        if self.leased_line:
            return f"B-PIPE by leased lines, port {self.leased_line}"
        return ", ".join(f"{host}:{port}" for host, port in self.addresses())

    def secret(self, name: str) -> Reference:
        """Where a secret is: token, tls_client, tls_password or tls_trust."""
        return Reference(*(getattr(self, key, "") for key in self._flat(name)))

    @staticmethod
    def _flat(name: str) -> tuple[str, ...]:
        return tuple(f"{name}_{source}" for source in ("credential", "file", "env"))

    def proxy(self) -> tuple[str, int] | None:
        """Host and port of the proxy. Raises `ValueError`."""
        return _address("socks5", self.socks5, 0) if self.socks5 else None

    def _is_given(self, key: str) -> bool:
        return bool(self.secret(key) if key in _SECRETS else getattr(self, key))

    def _check_identity(self) -> Iterator[str]:
        for key in _NEEDS.get(self.auth, ()):
            if not self._is_given(key):
                yield f"auth: {self.auth} needs {key}"
        if self.ip_address:
            try:
                ipaddress.ip_address(self.ip_address)
            except ValueError:
                yield f"ip_address: must be an IP address, not {self.ip_address!r}"

    def _check_keys_of_others(self) -> Iterator[str]:
        """What says who we are, and would not be looked at."""
        needed = _NEEDS.get(self.auth, ())
        for key in dict.fromkeys(key for keys in _NEEDS.values() for key in keys):
            if key not in needed and self._is_given(key):
                whose = " and ".join(auth for auth, keys in _NEEDS.items() if key in keys)
                written = next((k for k in self._flat(key) if getattr(self, k, "")), key)
                yield f"{written}: is for auth {whose}, and auth is {self.auth}"

    def _check_secrets(self) -> Iterator[str]:
        for key in (f"{secret}_credential" for secret in _SECRETS):
            if "/" in getattr(self, key):
                yield f"{key}: is a name, not a path: {getattr(self, key)!r}"
        given = [key for key in _TLS if self.secret(key)]
        if given:
            for missing in (key for key in _TLS if key not in given):
                yield f"{missing}: must be given with {given[0]}"
        elif self.leased_line:
            yield "leased_line: needs tls_client, tls_password and tls_trust"


def _address(key: str, text: str, port: int = PORT) -> tuple[str, int]:
    """Host and port; `port` where none is said (0: one has to be). Raises `ValueError`."""
    found = _HOST.fullmatch(text)
    port = int(found["port"] or port) if found else 0
    if found is None or not 1 <= port <= _MAX_PORT:
        wanted = "host:port" if key == "socks5" else "host or host:port"
        raise ValueError(f"{key}: must be {wanted}, not {text!r}")
    return found["host"].strip("[]"), port
