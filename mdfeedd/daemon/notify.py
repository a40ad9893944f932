"""sd_notify: what the daemon tells systemd, one datagram each, and what systemd expects of it.

    NOTIFY_SOCKET   ``/path`` or ``@abstract``   ──►  READY=1, STATUS=..., WATCHDOG=1,
                                                      RELOADING=1 with MONOTONIC_USEC, STOPPING=1
    WATCHDOG_USEC   the longest silence that systemd takes, of the process WATCHDOG_PID

Without a NOTIFY_SOCKET there is nobody to tell, and all of this does nothing. See sd_notify(3).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import MutableMapping

logger: logging.Logger = logging.getLogger("mdfeedd.daemon.notify")

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd says to the main process alone; a child that answered would be taken for it."""
SEND_LIMIT_S: Final = 5.0
"""The loop waits no longer for a systemd that does not read; for what comes again it does not wait at all."""
MAX_STATUS: Final = 400
"""Characters of a status text; `systemctl status` shows it on one line."""


class Notifier:
    """Tells systemd. Nothing here raises: a daemon runs on whether or not it is listened to."""

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self.watchdog_s = watchdog_s
        """The longest silence that systemd takes; 0: it does not watch."""
        self._status = ""
        self._failing = False
        self._address = ""
        if address and address[0] not in "/@":
            logger.warning(
                "NOTIFY_SOCKET is %s, neither a path nor @abstract: not used", address[:100]
            )
        elif address:
            self._address = "\0" + address[1:] if address[0] == "@" else address

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Self:
        """As the service manager set it up; the variables are taken out, so that nobody inherits them."""
        address, usec, pid = (environ.pop(name, "") for name in VARIABLES)
        watchdog_s = 0.0
        with contextlib.suppress(ValueError):  # nonsense is no watchdog
            if not pid or int(pid) == os.getpid():
                watchdog_s = max(0, int(usec or 0)) / 1e6
        return cls(address, watchdog_s)

    @property
    def listening(self) -> bool:
        """There is a service manager to tell."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Started, or done with a reload."""
        self._send("READY=1", *self._new(status))

    def status(self, text: str) -> None:
        """What `systemctl status` shows; the same again is not sent."""
        if lines := self._new(text):
            self._send(*lines, limit_s=0.0)

    def watchdog(self) -> None:
        """Alive."""
        if self.watchdog_s:
            self._send("WATCHDOG=1", limit_s=0.0)

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={usec}")

    def stopping(self, status: str = "stopping") -> None:
        """The stop has begun."""
        self._send("STOPPING=1", *self._new(status))

    def _new(self, status: str) -> list[str]:
        line = " ".join(status.split())[:MAX_STATUS]
        if not line or line == self._status:
            return []
        self._status = line
        return [f"STATUS={line}"]

    def _send(self, *lines: str, limit_s: float = SEND_LIMIT_S) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.settimeout(limit_s)
                connection.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failing:
                logger.warning("systemd does not take '%s': %s", lines[0], error.strerror or error)
            self._failing = True
            self._status = ""  # it has not arrived
        else:
            self._failing = False
