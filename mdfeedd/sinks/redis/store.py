"""The server, by redis-py: one connection, made when it is needed, never mended behind our back.

A connection that breaks in a call leaves unknown what became of the call, so redis-py's own retries
are off; `connections` counts, and who has state on the server looks again when it has changed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sinks.protocol import SinkError
from mdfeedd.sinks.redis.failure import refused, unreachable
from mdfeedd.sinks.secret import Secret, read_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.sinks.redis.options import RedisOptions

__all__ = ["Store", "require_redis"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.redis")

#: By redis-py's exceptions, what it has taken from the begin of the server's reply.
_WORDS: Final = {
    "NoPermissionError": "NOPERM",
    "MovedError": "MOVED",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
}
_LIMIT: Final = "client-output-buffer-limit"
_MEGABYTE: Final = 1 << 20
_TICK_BYTES: Final = 64


def require_redis() -> Any:
    """The package redis. Raises `SinkError`, not retriable, naming what to install."""
    try:
        import redis  # noqa: PLC0415  optional, and slow to import
    except ImportError as error:
        raise SinkError(
            "the redis sink needs the package redis: pip install 'mdfeedd[redis]'",
            retriable=False,
        ) from error
    return redis


class Store:
    """Raises `SinkError` with one sentence from every method but `close`."""

    def __init__(self, options: RedisOptions) -> None:
        self._redis = require_redis()
        self._options = options
        self._client: Any = None
        self._scripts: dict[str, Any] = {}
        self._told: set[str] = set()
        self.connections: int = 0

    @property
    def address(self) -> str:
        """The server as sentences name it."""
        return self._options.address

    @property
    def connected(self) -> bool:
        """As far as is known."""
        return self._client is not None

    def secret(self) -> Secret | None:
        """The password, as it is now."""
        options = self._options
        return read_secret(options.password_env, options.password_file, options.password_credential)

    def script(self, text: str, keys: Sequence[str], args: Sequence[Any], about: str) -> Any:
        """Run one of our scripts."""
        client = self._connected()
        if text not in self._scripts:
            self._scripts[text] = client.register_script(text)
        return self._attempt(lambda: self._scripts[text](keys, args, client=client), about)

    def call(self, *words: str | int) -> Any:
        """Run one command."""
        client = self._connected()
        return self._attempt(lambda: client.execute_command(*words), str(words[0]))

    def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # --------------------------------------------------------------------------------------- inside

    def _connected(self) -> Any:
        if self._client is None:
            secret = self.secret()
            self._client = self._attempt(lambda: self._connect(secret), "connecting")
            self.connections += 1
            self._check()
        return self._client

    def _connect(self, secret: Secret | None) -> Any:
        from redis.backoff import NoBackoff  # noqa: PLC0415  optional
        from redis.retry import Retry  # noqa: PLC0415

        options = self._options
        where: dict[str, Any] = {"host": options.host, "port": options.port}
        if options.unix_socket:
            where = {"unix_socket_path": options.unix_socket}
        elif options.tls:
            where |= {
                "ssl": True,
                "ssl_ca_certs": options.tls_ca_file or None,
                "ssl_certfile": options.tls_cert_file or None,
                "ssl_keyfile": options.tls_key_file or None,
            }
        client = self._redis.Redis(
            **where,
            db=options.db,
            username=options.username or None,
            password=None if secret is None else secret.reveal(),
            socket_timeout=options.timeout_s,
            socket_connect_timeout=options.timeout_s,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            client_name="mdfeedd",
        )
        client.ping()
        return client

    def _attempt(self, step: Any, about: str) -> Any:
        errors = self._redis.exceptions
        try:
            return step()
        except (errors.AuthenticationError, errors.ResponseError) as error:
            if not isinstance(error, errors.ResponseError):
                self.close()
            word = _WORDS.get(type(error).__name__, "")
            raise refused(self.address, f"{word} {error}".strip(), about) from error
        except errors.ConnectionError as error:
            self.close()
            if isinstance(error, errors.BusyLoadingError):
                raise refused(self.address, "LOADING", about) from error
            raise unreachable(self.address, error, self._options.timeout_s) from error
        except (errors.RedisError, OSError) as error:
            self.close()
            raise unreachable(self.address, error, self._options.timeout_s) from error

    # ------------------------------------------------------------------------- what may go wrong later

    def _check(self) -> None:
        """Warn, once each, of settings that lose something some day."""
        try:
            memory, persistence = self._info("memory"), self._info("persistence")
        except SinkError as error:
            if self._client is None:
                raise
            return self._tell("its settings cannot be looked at: %s", error)
        options = self._options
        policy, most = str(memory.get("maxmemory_policy", "")), int(memory.get("maxmemory", 0))
        if policy.startswith("allkeys") and most:
            self._tell(
                "may evict the positions when it is full (maxmemory-policy %s): everything would "
                "be stored again; noeviction is what they need",
                policy,
            )
        largest = options.stream_maxlen * options.packed_records * _TICK_BYTES
        if "stream" in options.modes and 0 < most < largest:
            self._tell(
                "has %d MB of memory (maxmemory), and a stream of ticks grows to %d MB "
                "(stream_maxlen x packed_records x 64 bytes)",
                most // _MEGABYTE,
                largest // _MEGABYTE,
            )
        if "stream" in options.modes and not persistence.get("aof_enabled"):
            self._tell(
                "keeps no append-only file (appendonly no): what a crash of it loses is stored "
                "again, if it can still be read then"
            )
        if {"publish", "ticks"} & set(options.modes):
            self._check_buffer_limit()
        return None

    def _check_buffer_limit(self) -> None:
        try:
            found = self._attempt(lambda: self._client.config_get(_LIMIT), "CONFIG GET")
        except SinkError as error:
            if self._client is None:
                raise
            return self._tell("does not tell its %s: %s", _LIMIT, error)
        words = str(found.get(_LIMIT, "")).split()
        if "pubsub" in words:
            hard, soft, seconds = map(int, words[words.index("pubsub") + 1 :][:3])
            if hard or soft:
                self._tell(
                    "cuts a subscriber off for whom %d MB wait, or %d MB for %d s (%s pubsub): a "
                    "slow one loses messages in a burst",
                    hard // _MEGABYTE,
                    soft // _MEGABYTE,
                    seconds,
                    _LIMIT,
                )
        return None

    def _info(self, section: str) -> dict[str, Any]:
        found = self._attempt(lambda: self._client.info(section), "INFO")
        return dict(found)

    def _tell(self, sentence: str, *words: object) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            log.warning(f"redis %s {sentence}", self.address, *words)  # noqa: G004
