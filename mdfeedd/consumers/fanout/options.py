"""What the configuration says of a fan-out consumer."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - options are read back by their annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.options import refuse, values

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FanoutOptions"]

_RANGES: Final[dict[str, tuple[int, int]]] = {
    "port": (0, 65_535),
    "max_clients": (1, 10_000),
    "max_subscriptions": (1, 100_000),
    "max_message_bytes": (256, 1 << 24),
    "queue_records": (1, 1 << 22),
    "batch_size": (1, 100_000),
    "send_buffer_bytes": (4096, 1 << 26),
}


def _key(help: str, default: Any) -> Any:  # noqa: A002 - the name that the metadata has
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class FanoutOptions:
    """Where clients connect, and what they may cost. Raises `ValueError` ("key: reason")."""

    host: str = _key("address to listen at; the default is this machine only", "127.0.0.1")
    port: int = _key("0: any free one, which the log tells", 8765)
    token_env: str = _key("environment variable with the token that clients must show", "")
    token_file: str = _key("... or a file with nothing else in it", "")
    token_credential: str = _key("... or a systemd credential (LoadCredential=)", "")
    origins: Sequence[str] = field(
        default=(),
        metadata={"help": "web sites whose pages may connect, besides those of this machine"},
    )
    max_clients: int = _key("connections at a time; more are refused", 100)
    max_subscriptions: int = _key("patterns of symbols that a client may have", 1000)
    max_message_bytes: int = _key("longest message that a client may send", 65_536)
    queue_records: int = _key(
        "records that may wait for a client before quotes are conflated", 10_000
    )
    send_buffer_bytes: int = _key(
        "that the kernel keeps for a client, who is slow when it is full", 262_144
    )
    batch_size: int = _key("records read, and sent in a message, at a time", 1000)
    ping_interval_s: float = _key("how often a client is asked whether it is there", 20.0)
    ping_timeout_s: float = _key("without an answer for so long it is cut off", 60.0)
    follow: bool = _key("go on when writers are gone; false: return then", True)
    wait_s: float = _key(
        "with follow false: how long to wait for rings to appear, in seconds", 10.0
    )

    def __post_init__(self) -> None:
        refuse(
            self._check_ranges(), self._check_times(), self._check_origins(), self._check_token()
        )

    def _check_ranges(self) -> Iterator[str]:
        for key, value in values(self, _RANGES):
            low, high = _RANGES[key]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                yield f"{key}: must be a whole number from {low} to {high}, not {value!r}"

    def _check_times(self) -> Iterator[str]:
        for key, value in values(self, ("ping_interval_s", "ping_timeout_s")):
            if not 0 < value <= 3600:
                yield f"{key}: must be greater than 0 and at most 3600, not {value!r}"
        for _, value in values(self, ("wait_s",)):
            if not value >= 0:
                yield f"wait_s: must not be negative: {value!r}"

    def _check_origins(self) -> Iterator[str]:
        if isinstance(self.origins, str):
            yield f"origins: must be a list, not {self.origins!r}"

    def _check_token(self) -> Iterator[str]:
        given = [k for k in ("token_env", "token_file", "token_credential") if getattr(self, k)]
        if len(given) > 1:
            yield f"{given[1]}: {given[0]} is given already"
