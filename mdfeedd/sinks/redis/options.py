"""What the configuration says of a Redis sink."""

from __future__ import annotations

import re
from collections.abc import Sequence  # noqa: TC003 - options are read back by their annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from mdfeedd.options import refuse, values

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MODES", "Mode", "RedisOptions"]

Mode = Literal["stream", "publish", "ticks", "last"]
MODES: Final[tuple[str, ...]] = get_args(Mode)
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RANGES: Final[dict[str, tuple[int, int]]] = {
    "port": (1, 65_535),
    "db": (0, 1_000_000),
    "stream_maxlen": (0, 1 << 40),
    "packed_records": (1, 8192),
}


def _key(help: str, default: Any) -> Any:  # noqa: A002 - the name that the metadata has
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """Which server, and in which shapes records go there. Raises `ValueError` ("key: reason")."""

    modes: Sequence[Mode] = field(
        metadata={"help": "any of stream, publish, ticks and last; see mdfeedd.sinks.redis"}
    )
    stream_maxlen: int = _key(
        "messages that a stream keeps, about: the mode stream needs a number above 0", 0
    )
    packed_records: int = _key(
        "records in a message of a stream or a packed channel, at most", 1024
    )
    prefix: str = _key("what all keys and channels begin with", "md")
    host: str = _key("the server's", "127.0.0.1")
    port: int = _key("the server's", 6379)
    unix_socket: str = _key("path of the server's socket, in place of host and port", "")
    db: int = _key("number of the database", 0)
    username: str = _key("for servers with ACLs; empty: the default user", "")
    password_env: str = _key("environment variable with the password", "")
    password_file: str = _key("... or a file with nothing else in it", "")
    password_credential: str = _key("... or a systemd credential (LoadCredential=)", "")
    tls: bool = _key("speak TLS", False)
    tls_ca_file: str = _key("whom to trust (PEM); empty: what the system trusts", "")
    tls_cert_file: str = _key("certificate of the client (PEM), where the server wants one", "")
    tls_key_file: str = _key("its key (PEM)", "")
    timeout_s: float = _key("no answer for so long is a failure, in seconds", 5.0)

    def __post_init__(self) -> None:
        refuse(
            self._check_modes(),
            self._check_ranges(),
            self._check_prefix(),
            self._check_timeout(),
            self._check_tls(),
            self._check_login(),
        )

    def _check_modes(self) -> Iterator[str]:
        modes = self.modes
        if isinstance(modes, str) or not modes or not all(mode in MODES for mode in modes):
            yield f"modes: must be a list of some of {', '.join(MODES)}, not {modes!r}"
        elif "stream" in modes and self.stream_maxlen == 0:
            yield (
                "stream_maxlen: must be given with the mode stream, which would fill the server's "
                "memory otherwise (each message has up to packed_records records of 64 bytes)"
            )

    def _check_ranges(self) -> Iterator[str]:
        for key, value in values(self, _RANGES):
            low, high = _RANGES[key]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                yield f"{key}: must be a whole number from {low} to {high}, not {value!r}"

    def _check_prefix(self) -> Iterator[str]:
        if not isinstance(self.prefix, str) or not _PREFIX.fullmatch(self.prefix):
            yield f"prefix: must be 1 to 64 of A-Z a-z 0-9 . _ -, not {self.prefix!r}"

    def _check_timeout(self) -> Iterator[str]:
        if not 0 < self.timeout_s <= 600:
            yield f"timeout_s: must be greater than 0 and at most 600, not {self.timeout_s!r}"

    def _check_tls(self) -> Iterator[str]:
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            yield "tls_key_file: tls_cert_file and tls_key_file go together"
        if self.tls and self.unix_socket:
            yield "tls: is not spoken on a unix_socket"

    def _check_login(self) -> Iterator[str]:
        given = [
            k for k in ("password_env", "password_file", "password_credential") if getattr(self, k)
        ]
        if len(given) > 1:
            yield f"{given[1]}: {given[0]} is given already"
        if self.username and not given:
            yield "username: needs a password"

    @property
    def address(self) -> str:
        """The server as sentences name it."""
        return self.unix_socket or f"{self.host}:{self.port}"
