"""A TCP connection to the gateway: every address of its name is tried, each with its share of the time."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import select
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONNECT_S", "connect"]

CONNECT_S: Final = 10.0
"""For the name and all addresses together."""
RECEIVE_TIMEOUT_S: Final = 0.05
"""How long a stop, a heartbeat or a deadline may wait for bytes."""
WAIT_S: Final = 0.1
"""How long they may wait while there is no connection."""
_SO_RCVBUFFORCE: Final = 33
"""Of <asm/socket.h>: beyond net.core.rmem_max; needs CAP_NET_ADMIN."""
_SETTINGS: Final = Path("/proc/sys/net")


def connect(
    host: str,
    port: int,
    receive_buffer_bytes: int,
    go_on: Callable[[], bool] = lambda: True,
) -> socket.socket:
    """A connected socket with a receive time-out. Raises `SessionEnd` (UNREACHABLE).

    `go_on` is asked every `WAIT_S`; where it says no, that is a planned end.
    """
    wait = _Wait(time.monotonic() + CONNECT_S, go_on)
    found = _addresses(host, port, wait)
    refused = []
    for i, (family, kind, protocol, _, address) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        try:
            _enlarge(sock, receive_buffer_bytes)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = _connect(sock, address, wait.share(len(found) - i))
            if not number:
                _receive_timeout(sock)
                return sock
            refused.append(f"{address[0]}: {os.strerror(number)}")
        except OSError as error:
            refused.append(f"{address[0]}: {error.strerror}")
        except SessionEnd:
            sock.close()
            raise
        sock.close()
    raise SessionEnd(
        Ending.UNREACHABLE, f"{host} port {port} cannot be reached ({', '.join(refused)})"
    )


def _enlarge(sock: socket.socket, wanted_bytes: int) -> None:
    """A receive buffer of that size, or the largest that we may have."""
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted_bytes)
        return
    try:
        most_bytes = int((_SETTINGS / "core/rmem_max").read_text())
        grown_bytes = int((_SETTINGS / "ipv4/tcp_rmem").read_text().split()[2])
    except (OSError, ValueError, IndexError):  # another name space may not show them
        most_bytes = grown_bytes = 0
    if is_better_fixed(wanted_bytes, most_bytes, grown_bytes):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted_bytes)


def is_better_fixed(wanted_bytes: int, most_bytes: int, grown_bytes: int) -> bool:
    """Whether to ask for a size, which is cut to net.core.rmem_max (`most_bytes`) and stays.

    The kernel makes buffers twice as large as asked for. One that nobody asks for grows by itself, up to the last
    of net.ipv4.tcp_rmem (`grown_bytes`): on most hosts megabytes, where rmem_max is 208 KiB.
    """
    return wanted_bytes <= most_bytes or 2 * most_bytes >= grown_bytes


class _Wait:
    """Until `deadline_s` (monotonic), as long as `go_on` says so."""

    def __init__(self, deadline_s: float, go_on: Callable[[], bool]) -> None:
        self._deadline_s = deadline_s
        self._go_on = go_on

    def share(self, of: int) -> _Wait:
        """A part of the time that is left."""
        now_s = time.monotonic()
        return _Wait(now_s + max(0.0, self._deadline_s - now_s) / of, self._go_on)

    def next_s(self) -> float:
        """How long to wait before asking again; 0: no longer. Raises `SessionEnd` (PLANNED)."""
        if not self._go_on():
            raise SessionEnd(Ending.PLANNED, "stopped while connecting")
        return min(WAIT_S, max(0.0, self._deadline_s - time.monotonic()))


def _addresses(host: str, port: int, wait: _Wait) -> list[Any]:
    """Of a name. In a thread of its own: a name server that is mute holds its caller for long."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:  # the latter for labels that no name has
            answers.put(error)

    threading.Thread(target=look_up, name="look up", daemon=True).start()
    found: Any = None
    while found is None:
        left_s = wait.next_s()
        try:
            found = answers.get(timeout=left_s)
        except queue.Empty:
            if not left_s:
                raise SessionEnd(
                    Ending.UNREACHABLE, f"{host} has no address: no answer in {CONNECT_S:g} s"
                ) from None
    if isinstance(found, Exception):
        why = getattr(found, "strerror", None) or str(found)
        raise SessionEnd(Ending.UNREACHABLE, f"{host} has no address: {why}")
    return list(found)


def _connect(sock: socket.socket, address: Any, wait: _Wait) -> int:
    """0, or the errno of the failure."""
    sock.setblocking(False)
    number = sock.connect_ex(address)
    if number != errno.EINPROGRESS:
        return number
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    while left_s := wait.next_s():
        if poller.poll(left_s * 1e3):
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.ETIMEDOUT


def _receive_timeout(sock: socket.socket) -> None:
    """Blocking, with the kernel's time-out: Python's own would poll before each receive."""
    sock.setblocking(True)
    seconds = int(RECEIVE_TIMEOUT_S)
    micros = round((RECEIVE_TIMEOUT_S - seconds) * 1_000_000)
    packed = seconds.to_bytes(8, "little") + micros.to_bytes(8, "little")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, packed)
