"""A bare connection for PUBLISHes that are encoded already: bytes out, replies counted.

A reply to PUBLISH is ``:RECEIVERS``. They are counted and not read one by one, and one that is an
error has a ``-``, which no number here has. The server never blocks on replies that we have not read
yet, so a chunk is sent whole before those of the chunk before are waited for.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final

from mdfeedd.sinks.redis.failure import refused, unreachable

if TYPE_CHECKING:
    from mdfeedd.sinks.protocol import SinkError
    from mdfeedd.sinks.redis.options import RedisOptions
    from mdfeedd.sinks.secret import Secret

__all__ = ["Wire"]

_RECEIVE_BYTES: Final = 1 << 16


def _command(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded]
    return b"*%d\r\n" % len(parts) + b"".join(parts)


class Wire:
    """One connection. Every method but `close` raises `SinkError`; then it is closed."""

    def __init__(self, options: RedisOptions, secret: Secret | None) -> None:
        self._options = options
        self._outstanding = 0
        self._tail = b""
        try:
            self._socket = self._connect()
        except OSError as error:
            raise self._unreachable(error) from error
        words = [options.username] if options.username else []
        commands = [_command("AUTH", *words, secret.reveal())] if secret is not None else []
        self.send(memoryview(b"".join([*commands, _command("PING")])), len(commands) + 1)
        self.settle()

    def _connect(self) -> socket.socket:
        options = self._options
        if options.unix_socket:
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(options.timeout_s)
            made.connect(options.unix_socket)
            return made
        made = socket.create_connection((options.host, options.port), options.timeout_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not options.tls:
            return made
        context = ssl.create_default_context(cafile=options.tls_ca_file or None)
        if options.tls_cert_file:
            context.load_cert_chain(options.tls_cert_file, options.tls_key_file)
        return context.wrap_socket(made, server_hostname=options.host)

    def send(self, commands: memoryview, n: int) -> None:
        """Send n commands, then wait for the replies to those before them."""
        try:
            self._socket.sendall(commands)
        except OSError as error:
            raise self._unreachable(error) from error
        before, self._outstanding = self._outstanding, self._outstanding + n
        self._receive(before)

    def settle(self) -> None:
        """Wait for all replies: what was sent has been published."""
        self._receive(self._outstanding)

    def _receive(self, n: int) -> None:
        left = self._outstanding - n
        while self._outstanding > left:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except OSError as error:
                raise self._unreachable(error) from error
            if not data:
                raise self._unreachable(OSError())
            if b"-" in data or self._tail:
                self._tail += data
                start = self._tail.index(b"-")
                end = self._tail.find(b"\r\n", start)
                if end < 0:
                    continue  # the rest of the sentence comes
                self.close()
                text = self._tail[start + 1 : end].decode("utf-8", "replace")
                raise refused(self._options.address, text, "PUBLISH")
            self._outstanding -= data.count(b"\n")

    def _unreachable(self, error: OSError) -> SinkError:
        self.close()
        return unreachable(self._options.address, error, self._options.timeout_s)

    def close(self) -> None:
        """Let go."""
        made = getattr(self, "_socket", None)
        if made is not None:
            made.close()
