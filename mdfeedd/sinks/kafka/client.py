"""The client library, confluent-kafka: loaded when needed, told our settings, its errors as sentences.

librdkafka tells most of what goes wrong with a connection beside the call that fails by it, through
a callback; `Trouble` keeps that, so that a call that ran out of time can say why.
"""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sinks.kafka._each import Direct
from mdfeedd.sinks.protocol import SinkError
from mdfeedd.sinks.secret import read_secret

if TYPE_CHECKING:
    from types import ModuleType

    from mdfeedd.sinks.kafka.options import KafkaConnection

__all__ = ["Trouble", "connection_settings", "direct_of", "make_client", "require_client"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.kafka.client")
#: What the library says beside our own sentences; its words are for looking closer.
library_log: logging.Logger = logging.getLogger("mdfeedd.kafka.library")
library_log.setLevel(logging.CRITICAL)

MAX_BACK_OFF_MS: Final = 2000  # how long a broker that is back is not noticed, at most


def require_client() -> ModuleType:
    """confluent_kafka. Raises `SinkError` naming the extra to install."""
    try:
        import confluent_kafka  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise SinkError(
            "Kafka needs confluent-kafka: pip install 'mdfeedd[kafka]'", retriable=False
        ) from error
    return confluent_kafka


def _check_readable(key: str, path: str) -> None:
    """The library would only name what it failed at."""
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise SinkError(f"{key}: {path} cannot be read: {error.strerror}", retriable=True) from None


def make_client(kind: str, settings: dict[str, Any]) -> Any:
    """A Producer or Consumer of the library. Raises `SinkError` for settings that it does not take."""
    kafka = require_client()
    try:
        return getattr(kafka, kind)(settings)
    except (kafka.KafkaException, TypeError) as error:
        told = error.args[0]
        text = told.str() if isinstance(told, kafka.KafkaError) else told
        raise SinkError(
            f"librdkafka does not take these options (client, tls_ and sasl_ included): {text}",
            retriable=False,
        ) from None


def direct_of(producer: Any) -> Direct | None:
    """Calls of librdkafka itself under a producer; None where they cannot be had."""
    from confluent_kafka import cimpl  # noqa: PLC0415 - see above

    try:
        library = ctypes.CDLL(cimpl.__file__)  # which finds what it is linked with, too
        opaque, new, destroy, produce = (
            ctypes.cast(getattr(library, f"rd_kafka_{name}"), ctypes.c_void_p).value or 0
            for name in ("opaque", "topic_new", "topic_destroy", "produce_batch")
        )
        return Direct(producer, (opaque, new, destroy, produce))
    except (AttributeError, OSError, ValueError) as error:
        log.info("one message at a time goes by way of Python: %s", error)
        return None


@dataclass(slots=True)
class Trouble:
    """What the library said last about its connections."""

    servers: str
    protocol: str
    last: Any = None
    fatal: Any = None
    seen: int = field(default=0)
    outages: int = field(default=0)  # times that no broker was left

    def tell(self, error: Any) -> None:
        """The library's error callback. Called within our calls only, in our thread."""
        kinds = require_client().KafkaError
        self.seen += 1
        if error.fatal():
            self.fatal = error
        self.outages += error.code() == kinds._ALL_BROKERS_DOWN  # noqa: SLF001
        # that all are down says less than why the last one is
        if error.code() != kinds._ALL_BROKERS_DOWN or self.last is None:  # noqa: SLF001
            self.last = error

    def clear(self) -> None:
        """All is well again."""
        self.last = self.fatal = None

    def sentence(self, doing: str, error: Any = None) -> str:
        """One sentence about a call that failed by `error`, or for want of an answer."""
        kinds = require_client().KafkaError
        cause = self.last
        if error is not None and error.code() not in {kinds._TIMED_OUT, kinds._TRANSPORT}:  # noqa: SLF001
            cause = error
        if cause is None:
            return f"Kafka at {self.servers} does not answer: {doing}"
        text = _plain(cause)
        if cause.code() == kinds._ALL_BROKERS_DOWN:  # noqa: SLF001 - and the library says no more
            text = f"no connection lasts (is security_protocol {self.protocol} right?)"
        if cause.code() in {kinds._AUTHENTICATION, kinds.SASL_AUTHENTICATION_FAILED}:  # noqa: SLF001
            return f"Kafka at {self.servers} refuses the login ({text}): {doing}"
        return f"Kafka at {self.servers}: {text}: {doing}"


def _plain(error: Any) -> str:
    """The library's words, without their address of a thread and the retry's own count."""
    text = str(error.str()).strip().rstrip(".")
    for mark in (" (after ", " (in state "):
        text = text.split(mark)[0]
    return text


def connection_settings(options: KafkaConnection, trouble: Trouble) -> dict[str, Any]:
    """What every client of ours is made with. Raises `SinkError` for a secret that is not there."""
    secret = read_secret(options.password_env, options.password_file, options.password_credential)
    settings: dict[str, Any] = {
        "bootstrap.servers": options.bootstrap_servers,
        "client.id": "mdfeedd",
        "security.protocol": options.security_protocol,
        "reconnect.backoff.max.ms": MAX_BACK_OFF_MS,
        "retry.backoff.max.ms": MAX_BACK_OFF_MS,
        "socket.keepalive.enable": True,
        "log.connection.close": False,
        "error_cb": trouble.tell,
        "logger": library_log,
    }
    if options.sasl_mechanism:
        settings |= {
            "sasl.mechanism": options.sasl_mechanism,
            "sasl.username": options.sasl_username,
            "sasl.password": secret.reveal() if secret else "",
        }
    elif secret:
        settings["ssl.key.password"] = secret.reveal()
    for ours, theirs in (
        ("tls_ca_file", "ssl.ca.location"),
        ("tls_cert_file", "ssl.certificate.location"),
        ("tls_key_file", "ssl.key.location"),
    ):
        path = getattr(options, ours)
        if path:
            _check_readable(ours, path)
            settings[theirs] = path
    return settings | dict(options.client)
