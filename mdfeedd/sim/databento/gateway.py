"""The gateway on a real socket: threads around the core, wall-clock time.

    accept thread ─► GatewayCore.connect ─► thread per connection: poll, receive, advance, send

The core is used under one lock; writes are outside of it, so a client that does not read blocks its own
session only. The market's time is the wall clock's, unless the core's habit is a flood.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from mdfeedd.sim.databento.stream import Close, HalfClose, Reset, Send

if TYPE_CHECKING:
    from types import TracebackType

    from mdfeedd.sim.databento.core import GatewayCore
    from mdfeedd.sim.databento.session import Session
    from mdfeedd.sim.databento.stream import Action

__all__ = ["Gateway", "GatewayError"]

BACKLOG: Final = 128
MAX_WAIT_S: Final = 0.25  # until a stop, or a weekly restart, is noticed
MIN_WAIT_S: Final = 0.0005  # records that fall due within it go in one write
JOIN_S: Final = 10.0
READ_BYTES: Final = 65_536
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # close by RST


class GatewayError(OSError):
    """The gateway cannot listen."""


class Gateway:
    """A context manager; `port` is where it listens. Lock `lock` to look at the core while it plays."""

    def __init__(self, core: GatewayCore, host: str = "127.0.0.1", port: int = 0) -> None:
        self.core = core
        self.host = host
        self.port: int = port
        self.lock: threading.RLock = threading.RLock()
        self._listener: socket.socket | None = None
        self._retired: list[socket.socket] = []  # closed by the thread that may be polling them
        self._stop = threading.Event()
        self._accepter: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()

    def start(self) -> None:
        """Listen. Raises `GatewayError`."""
        self.listen()
        self._accepter = threading.Thread(target=self._accept, name="gateway", daemon=True)
        self._accepter.start()

    def listen(self) -> None:
        """Take connections, again if it was refused; on the same port as before."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(BACKLOG)
            listener.settimeout(MAX_WAIT_S)
        except OSError as error:
            listener.close()
            raise GatewayError(
                f"cannot listen on {self.host}:{self.port}: {error.strerror or error}"
            ) from None
        self.port = listener.getsockname()[1]
        self._listener = listener

    def refuse(self) -> None:
        """Listen no more (ECONNREFUSED) until `listen`; sessions go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._retired.append(listener)
            listener.shutdown(
                socket.SHUT_RDWR
            )  # `close` alone would wait for the other thread's poll

    def stop(self) -> None:
        """Close everything; the account is final when this returns."""
        self._stop.set()
        self.refuse()
        if self._accepter is not None:
            self._accepter.join(JOIN_S)
        self._close_retired()
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(JOIN_S)

    def _accept(self) -> None:
        while not self._stop.is_set():
            self._close_retired()
            listener = self._listener
            if listener is None:
                self._stop.wait(MAX_WAIT_S / 10)
                continue
            try:
                connection, address = listener.accept()
            except TimeoutError:
                continue
            except OSError:  # shut: `refuse` or `stop`; or there are too many files
                self._stop.wait(MAX_WAIT_S / 10)
                continue
            thread = threading.Thread(
                target=self._serve, args=(connection, address[0]), name="session", daemon=True
            )
            self._threads = [old for old in self._threads if old.is_alive()]
            self._threads.append(thread)
            self._sockets.add(connection)
            thread.start()

    def _close_retired(self) -> None:
        while self._retired:
            self._retired.pop().close()

    def _serve(self, connection: socket.socket, peer: str) -> None:
        with self.lock:
            session = self.core.connect(time.time_ns(), peer)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if session is not None:
                self._run(session, connection)
        except OSError as error:
            assert session is not None
            with self.lock:
                session.lost(f"connection lost: {error.strerror or error}")
        finally:
            self._sockets.discard(connection)
            connection.close()

    def _run(self, session: Session, connection: socket.socket) -> None:
        poller = select.poll()
        poller.register(connection, select.POLLIN)
        while not self._stop.is_set():
            with self.lock:
                actions = session.advance(time.time_ns())
                wait_s = self._wait_s(session)
            if not all(_do(action, connection) for action in actions):
                return
            if poller.poll(wait_s * 1e3):
                data = connection.recv(READ_BYTES)
                with self.lock:
                    session.receive(data, time.time_ns())
                if not data:
                    return
        with self.lock:
            session.lost("the gateway was stopped")

    def _wait_s(self, session: Session) -> float:
        next_ns = session.next_ns
        if next_ns is None:
            return MAX_WAIT_S
        wait_s = (next_ns - time.time_ns()) / 1e9
        return 0.0 if wait_s <= 0 else min(max(wait_s, MIN_WAIT_S), MAX_WAIT_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _do(action: Action, connection: socket.socket) -> bool:
    """False if it was the last."""
    if isinstance(action, Send):
        connection.sendall(action.data)
    elif isinstance(action, HalfClose):
        connection.shutdown(socket.SHUT_WR)
    elif isinstance(action, Reset):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        return False
    elif isinstance(action, Close):
        return False
    return True
