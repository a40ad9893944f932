"""Logging of our own processes: standard error or journald, one entry a message, no floods.

Only the command line and the workers call `setup`; as a library mdfeedd installs no handler.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

from mdfeedd.daemon import journald

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.daemon.plan import LogPlan

REPEAT_WINDOW_S: Final = 10.0
"""The same message again within this time is counted, not written."""
MAX_REMEMBERED: Final = 256
"""Distinct messages remembered; the oldest is forgotten first."""


def setup(
    plan: LogPlan, process: str = "", stream: TextIO | None = None, journal: str = journald.SOCKET
) -> logging.Handler:
    """Send everything of this process to standard error; `process` names it in each line.

    Where that ends in journald, entries go to its socket `journal`, with fields.
    """
    stream = sys.stderr if stream is None else stream
    handler: logging.Handler = logging.StreamHandler(stream)
    lines: logging.Formatter = JsonFormatter(process) if plan.json else LineFormatter(process)
    if to_journal(stream):
        lines = lines if plan.json else LineFormatter(process, clock=False)
        handler.setFormatter(JournalFormatter(lines))
        with contextlib.suppress(OSError):  # no such socket in this sandbox: by standard error
            handler = journald.JournalHandler(process, handler, journal)
            handler.setFormatter(lines)
    else:
        handler.setFormatter(lines)
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, (logging.StreamHandler, journald.JournalHandler)):
            root.removeHandler(old)  # others listen for purposes of their own
        if isinstance(old, journald.JournalHandler):
            old.close()
    root.addHandler(handler)
    root.setLevel(plan.level.upper())
    logging.captureWarnings(capture=True)
    return handler


def to_journal(stream: TextIO) -> bool:
    """Does the stream end in journald? systemd names its device and inode in ``JOURNAL_STREAM``."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _own_name(process: str) -> str:
    """``cme: `` of the process ``feed cme``: how it begins what it says, of itself, and need not say again."""
    name = process.rpartition(" ")[2]
    return f"{name}: " if name else ""


def _repeated(record: logging.LogRecord) -> str:
    """What `RepeatFilter` noted: beside the message, which is for all handlers and stays as it was said."""
    return str(getattr(record, "repeated", ""))


class LineFormatter(logging.Formatter):
    """``2026-03-02 14:30:00.123 WARNING feed cme: message``, with local time."""

    def __init__(self, process: str, *, clock: bool = True) -> None:
        head = "%(asctime)s.%(msecs)03d %(levelname)-7s " if clock else ""
        name = process.replace("%", "%%") or "mdfeedd"
        super().__init__(f"{head}{name}: %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
        self._said = _own_name(process)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the parent's name
        """The line of a record."""
        record.message = record.message.removeprefix(self._said) + _repeated(record)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time_ns, level, process, logger, message, and error with its traceback."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process
        self._said = _own_name(process)

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        entry: dict[str, Any] = {
            "time_ns": int(record.created * 1e6) * 1000,
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage().removeprefix(self._said) + _repeated(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


class JournalFormatter(logging.Formatter):
    """Another formatter's lines, each with journald's ``<priority>`` before it."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines."""
        priority = journald.priority(record.levelno)
        return "\n".join(f"<{priority}>{line}" for line in self._lines.format(record).splitlines())


@dataclass(slots=True)
class _Seen:
    since: float
    repeated: int = 0


class RepeatFilter(logging.Filter):
    """Lets a message through once a window; the next one after it says how often it was repeated."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: collections.OrderedDict[tuple[str, int, str], _Seen] = collections.OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a repetition."""
        now = self._clock()
        key = (record.name, record.levelno, record.getMessage())
        seen = self._seen.get(key)
        if seen is not None and now - seen.since < REPEAT_WINDOW_S:
            seen.repeated += 1
            return False
        if seen is not None and seen.repeated:
            record.repeated = f" (repeated {seen.repeated} times in {now - seen.since:.0f} s)"
        self._seen[key] = _Seen(now)
        self._seen.move_to_end(key)
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return True
