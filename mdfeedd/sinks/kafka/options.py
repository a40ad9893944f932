"""The configuration keys that the sink and the feed share, and the sink's own."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - options are read back by their annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from mdfeedd.options import refuse, values

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KafkaConnection", "KafkaSinkOptions"]

MAX_PARTITIONS: Final = 1024
MAX_RECORDS_PER_MESSAGE: Final = 8192  # 512 KiB of ticks: brokers refuse messages above about 1 MB
_SERVERS: Final = re.compile(r"[^\s,]+:\d{1,5}(?:\s*,\s*[^\s,]+:\d{1,5})*")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROTOCOLS: Final = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "mode": ("transactional", "idempotent"),
    "payload": ("raw", "arrow", "json", "raw_per_tick"),
    "compression": ("none", "lz4", "zstd", "snappy", "gzip"),
}
_RANGES: Final[dict[str, tuple[int, int]]] = {
    "records_per_message": (1, MAX_RECORDS_PER_MESSAGE),
    "partitions": (1, MAX_PARTITIONS),
    "replication_factor": (0, 32),
}
_OURS: Final = frozenset(
    {
        *("bootstrap.servers", "transactional.id", "enable.idempotence", "acks", "group.id"),
        *("isolation.level", "enable.auto.commit", "enable.auto.offset.store", "sasl.password"),
        *("auto.offset.reset", "enable.partition.eof", "logger", "error_cb"),
    }
)
"""Settings of the client library that what is promised here rests on."""
_SECRET: Final = re.compile(r"password|secret|key\.pem|jaas")
"""In the name of a setting that would hold one."""


def _key(help: str, default: Any) -> Any:  # noqa: A002 - the name that the metadata has
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """How the brokers are reached, and what the topics' names begin with."""

    bootstrap_servers: str = field(metadata={"help": "HOST:PORT of brokers, with commas between"})
    prefix: str = _key("what the names of the topics begin with: PREFIX.RING.ticks", "md")
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = _key(
        "plaintext, ssl, sasl_plaintext or sasl_ssl", "plaintext"
    )
    sasl_mechanism: str = _key("PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 ... with sasl_", "")
    sasl_username: str = _key("who logs in, with sasl_", "")
    password_env: str = _key("environment variable with the password, or of the TLS key", "")
    password_file: str = _key("... or a file with nothing else in it", "")
    password_credential: str = _key("... or a systemd credential (LoadCredential=)", "")
    tls_ca_file: str = _key("PEM of whom to trust, with ssl; empty: whom the system trusts", "")
    tls_cert_file: str = _key("PEM of our own certificate, where brokers ask for it", "")
    tls_key_file: str = _key("... and of its key", "")
    timeout_s: float = _key("how long a broker may take to answer before that counts as down", 5.0)
    client: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={"help": "further settings of librdkafka, by its own names"},
    )

    def __post_init__(self) -> None:
        refuse(*KafkaConnection.checks(self))

    def checks(self) -> Iterator[Iterator[str]]:
        """Those of the connection."""
        yield self._check_names()
        yield self._check_login()
        yield self._check_timeout()
        yield self._check_client()

    def _check_names(self) -> Iterator[str]:
        servers = self.bootstrap_servers
        if not isinstance(servers, str) or not _SERVERS.fullmatch(servers):
            yield f"bootstrap_servers: must be HOST:PORT, with commas between several, not {servers!r}"
        if not isinstance(self.prefix, str) or not _PREFIX.fullmatch(self.prefix):
            yield f"prefix: must be 1 to 64 of A-Z a-z 0-9 . _ -, not {self.prefix!r}"

    def _check_login(self) -> Iterator[str]:
        protocol = self.security_protocol
        if protocol not in _PROTOCOLS:
            yield f"security_protocol: must be one of {', '.join(_PROTOCOLS)}, not {protocol!r}"
            return
        named = bool(self.sasl_mechanism), bool(self.sasl_username)
        if protocol.startswith("sasl_") and not all(named):
            yield "sasl_mechanism: must be given with sasl_username for this security_protocol"
        if not protocol.startswith("sasl_") and any(named):
            yield "sasl_mechanism: needs security_protocol sasl_plaintext or sasl_ssl"
        given = [
            k for k in ("password_env", "password_file", "password_credential") if getattr(self, k)
        ]
        if len(given) > 1:
            yield f"{given[1]}: {given[0]} is given already"
        if self.tls_key_file and not self.tls_cert_file:
            yield "tls_cert_file: must be given with tls_key_file"

    def _check_timeout(self) -> Iterator[str]:
        if not 0.1 <= self.timeout_s <= 300:
            yield f"timeout_s: must be 0.1 to 300, not {self.timeout_s!r}"

    def _check_client(self) -> Iterator[str]:
        for name in self.client:
            if name in _OURS:
                yield f"client: {name} is not for the configuration to set"
            elif _SECRET.search(name):
                yield f"client: {name} would hold a secret: say where it is by the option password"


@dataclass(frozen=True, slots=True)
class KafkaSinkOptions(KafkaConnection):
    """How records become messages."""

    mode: Literal["transactional", "idempotent"] = _key(
        "transactional: each record once; idempotent: no transactions, after a crash some twice",
        "transactional",
    )
    payload: Literal["raw", "arrow", "json", "raw_per_tick"] = _key(
        "raw or arrow: many records a message; json or raw_per_tick: one, its key the symbol", "raw"
    )
    records_per_message: int = _key(
        "at most, of raw and arrow; halved by itself where a broker refuses it", 8192
    )
    compression: Literal["none", "lz4", "zstd", "snappy", "gzip"] = _key(
        "none, lz4, zstd, snappy or gzip", "lz4"
    )
    create_topics: bool = _key("make topics that are not there", True)
    partitions: int = _key("of a topic that is made here", 4)
    replication_factor: int = _key("of a topic that is made here; 0: the brokers' default", 0)
    retention_s: float = _key("of records in a topic that is made here; 0: for ever", 604_800.0)

    def __post_init__(self) -> None:
        refuse(
            *KafkaConnection.checks(self),
            self._check_choices(),
            self._check_ranges(),
            self._check_retention(),
        )

    def _check_choices(self) -> Iterator[str]:
        for key, value in values(self, _CHOICES):
            if value not in _CHOICES[key]:
                yield f"{key}: must be one of {', '.join(_CHOICES[key])}, not {value!r}"

    def _check_ranges(self) -> Iterator[str]:
        for key, value in values(self, _RANGES):
            low, high = _RANGES[key]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                yield f"{key}: must be a whole number from {low} to {high}, not {value!r}"

    def _check_retention(self) -> Iterator[str]:
        if not self.retention_s >= 0:
            yield f"retention_s: must be 0 or more, not {self.retention_s!r}"
