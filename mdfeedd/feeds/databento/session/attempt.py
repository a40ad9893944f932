"""A connection attempt beside the feed's own work: a name server may take its time, a feed must not."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading

from mdfeedd.feeds.databento.session.connect import connect
from mdfeedd.feeds.databento.session.ending import SessionEnd

__all__ = ["Attempt"]


class Attempt:
    """`connect` in a thread of its own, which ends within `CONNECT_S` and the name server's patience."""

    def __init__(self, host: str, port: int, receive_buffer_bytes: int) -> None:
        self._results: queue.SimpleQueue[socket.socket | SessionEnd | OSError] = queue.SimpleQueue()
        self._given_up = threading.Event()
        self._done = threading.Event()
        arguments = (host, port, receive_buffer_bytes)
        threading.Thread(target=self._try, args=arguments, name="connect", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has come to a result."""
        return self._done.wait(timeout_s)

    def result(self) -> socket.socket:
        """The connected socket. Raises what `connect` raised. Once, after `wait` was true."""
        found = self._results.get_nowait()
        if not isinstance(found, socket.socket):
            raise found
        return found

    def give_up(self) -> None:
        """Close the connection, if one comes yet."""
        self._given_up.set()
        with contextlib.suppress(queue.Empty):
            found = self._results.get_nowait()
            if isinstance(found, socket.socket):
                found.close()

    def _try(self, host: str, port: int, receive_buffer_bytes: int) -> None:
        try:
            self._results.put(connect(host, port, receive_buffer_bytes))
        except (SessionEnd, OSError) as error:  # raised again where the result is asked for
            self._results.put(error)
        self._done.set()
        if self._given_up.is_set():
            self.give_up()
