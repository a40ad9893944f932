"""journald's native protocol: one datagram an entry, with fields that `journalctl` can select by.

    PRIORITY, MESSAGE, SYSLOG_IDENTIFIER      as the lines on standard error would have been
    MDFEEDD_KIND, MDFEEDD_NAME                which process: supervisor, or a feed or consumer and its name
    MDFEEDD_LOGGER, CODE_FILE, CODE_LINE      where in the program
    MDFEEDD_ERROR                             a traceback, so that an entry stays one entry

An entry that cannot be sent (journald is away, or does not keep up; it is too long) goes to standard error, with its
priority before each line, as all do where there is no journald. See systemd's JOURNAL_NATIVE_PROTOCOL.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
import struct
import termios
import time
import traceback
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "mdfeedd"
FLUSH_S: Final = 0.5
_POLL_S: Final = 0.002
_LOOK_S: Final = 0.01
"""From taking an entry to having looked its sender up."""
_PRIORITY: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (0, 7),
)


def priority(level: int) -> int:
    """Of syslog(3), for a level of `logging`."""
    return next(number for least, number in _PRIORITY if level >= least)


def encoded(fields: Iterable[tuple[str, str]]) -> bytes:
    """The fields of an entry as a datagram: text of several lines with its length before it."""
    parts = []
    for name, value in fields:
        data = value.encode("utf-8", "replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class JournalHandler(logging.Handler):
    """Sends entries to journald; what it does not take, `otherwise` writes. Raises `OSError` where there is none."""

    def __init__(self, process: str, otherwise: logging.Handler, path: str = SOCKET) -> None:
        super().__init__()
        kind, _, name = process.partition(" ")
        self._whose = [("MDFEEDD_KIND", kind)] * bool(kind) + [("MDFEEDD_NAME", name)] * bool(name)
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), path)
        self._otherwise = otherwise
        self._sent = False
        self._path = path  # looked up for each: journald may be started anew meanwhile
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, or have it written."""
        try:
            self._socket.sendto(encoded(self._fields(record)), self._path)
            self._sent = True
        except OSError:
            self._otherwise.handle(record)
        except Exception:  # noqa: BLE001 - whatever an argument's __str__ does: told in logging's own way
            self.handleError(record)

    def _fields(self, record: logging.LogRecord) -> list[tuple[str, str]]:
        fields = [
            ("PRIORITY", str(priority(record.levelno))),
            ("SYSLOG_IDENTIFIER", IDENTIFIER),
            ("MESSAGE", self._message(record)),
            *self._whose,
            ("MDFEEDD_LOGGER", record.name),
            ("CODE_FILE", record.pathname),
            ("CODE_LINE", str(record.lineno)),
        ]
        if record.exc_info and record.exc_info[0] is not None:
            error = "".join(traceback.format_exception(*record.exc_info))
            fields.append(("MDFEEDD_ERROR", error.rstrip("\n")))
        return fields

    def _message(self, record: logging.LogRecord) -> str:
        """The line, without the traceback, which has a field of its own."""
        error, text = record.exc_info, record.exc_text
        record.exc_info = record.exc_text = None
        try:
            return self.format(record)
        finally:
            record.exc_info, record.exc_text = error, text

    def flush(self) -> None:
        """Wait until journald has taken everything, for `FLUSH_S` at most: at the end of the process.

        It looks a sender up when it takes an entry; one that is gone by then belongs to no unit, and `journalctl -u`
        would not show why it ended.
        """
        if not self._sent:
            return
        deadline = time.monotonic() + FLUSH_S
        while self._unread() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        time.sleep(_LOOK_S)

    def _unread(self) -> bool:
        waiting = array.array("i", [0])
        try:
            fcntl.ioctl(self._socket, termios.TIOCOUTQ, waiting)
        except (OSError, ValueError):  # closed
            return False
        return waiting[0] > 0

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self._socket.close()
        super().close()
