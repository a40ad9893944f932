"""An HTTP server that nobody can occupy: one thread, one event loop, a bounded number of connections, a bounded time.

    connection ─► head, at most `MAX_HEAD_BYTES` ─► parse ─► answer(request) ─► response ─► closed

Each connection has one request and `ANSWER_S` for all of it, reading the answer included; the head has to be there
after `HEAD_S`. With `MAX_CONNECTIONS` open, the oldest makes room for the new one, so that those who open and say
nothing keep nobody out. Requests are answered one after the other: they cost one thread at most.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from mdfeedd.daemon.http_message import END, MAX_HEAD_BYTES, Refused, Response, encode, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.daemon.http_message import Request

    Answer = Callable[[Request], Response]

__all__ = ["HttpServer"]

MAX_CONNECTIONS: Final = 64
HEAD_S: Final = 5.0
ANSWER_S: Final = 15.0
BACKLOG: Final = 128

logger: logging.Logger = logging.getLogger("mdfeedd.daemon.http")


class _Connection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._head = bytearray()
        self._answered = False
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._server.head_s, transport.abort)
        self._server.came(self)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return  # more than one request is not asked for here
        seen = max(0, len(self._head) - len(END))
        self._head += data
        end = self._head.find(END, seen)
        if end >= 0:
            self._respond(bytes(self._head[: end + len(END)]))
        elif len(self._head) > MAX_HEAD_BYTES:
            self._respond(bytes(self._head))

    def _respond(self, head: bytes) -> None:
        self._answered = True
        self.transport.pause_reading()
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._server.answer_s, self.transport.abort)
        self.transport.write(self._server.respond(head))
        self.transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._server.gone(self)


class HttpServer:
    """Listens when the constructor returns; raises `OSError`. `answer` is called in the server's own thread."""

    def __init__(
        self, host: str, port: int, answer: Answer, *, head_s: float = HEAD_S, answer_s: float = ANSWER_S
    ) -> None:  # fmt: skip
        self._answer = answer
        self.head_s = head_s
        self.answer_s = answer_s
        self._open: dict[_Connection, None] = {}
        self._socket = _listening(host, port)
        self.host: str
        self.port: int
        self.host, self.port = self._socket.getsockname()[:2]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """Those that are open."""
        return len(self._open)

    def close(self) -> None:
        """Stop listening. A request that is being answered may be cut."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        listening = self._loop.create_server(
            lambda: _Connection(self), sock=self._socket, backlog=BACKLOG
        )
        try:
            server = self._loop.run_until_complete(listening)
            self._loop.run_forever()
            server.close()
            for connection in list(self._open):
                connection.transport.abort()
            self._loop.run_until_complete(asyncio.sleep(0))  # lets them go
        finally:
            self._loop.close()
            self._socket.close()

    def came(self, connection: _Connection) -> None:
        """A connection is there: the oldest makes room for it, if there is none."""
        if len(self._open) >= MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            self.gone(oldest)
            oldest.transport.abort()
        self._open[connection] = None

    def gone(self, connection: _Connection) -> None:
        """It is closed."""
        self._open.pop(connection, None)

    def respond(self, head: bytes) -> bytes:
        """The bytes that answer a request; never raises."""
        try:
            request = parse(head)
            response = self._answer(request)
        except Refused as refused:
            body = f"{refused}\n".encode()
            return encode(Response(body, status=refused.status, headers=refused.headers))
        except Exception:  # whatever is wrong with what is asked about: the next request may be about another thing
            logger.exception("a request could not be answered")
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return encode(Response(b"the log says why\n", status=status))
        return encode(response, with_body=request.method != "HEAD")


def _listening(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
