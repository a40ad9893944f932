"""What a running worker is still told: JSON lines over a socket pair, each answered by one.

    supervisor                                   worker, thread "control"
    {"options": {...}}   new options     ──►     revived, handed to the feed's `reconfigure`
    {"log": {...}}       another log     ──►     set up
                                         ◄──     {"refused": ""}: taken; else why not
                                         ◄──     {"last": "..."}: the last error before an exit that is one

A message is at most `MAX_PLAN_BYTES` long, like the plan that the child was started with. A worker that is told
nonsense hangs up; the supervisor starts anew whom it cannot talk to.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, Self

from mdfeedd.daemon import log
from mdfeedd.daemon.plan import MAX_PLAN_BYTES, LogPlan, revive

if TYPE_CHECKING:
    import socket

    from mdfeedd.consumers.protocol import Consumer
    from mdfeedd.daemon.plan import ChildPlan
    from mdfeedd.feeds.protocol import Feed

logger: logging.Logger = logging.getLogger("mdfeedd.daemon.control")

MAX_ANSWER_BYTES: Final = 16 << 10
"""A refusal with its reason."""
MAX_REASON: Final = 500
"""Characters of a reason; each is six bytes of JSON at most."""


class LastWords(logging.Handler):
    """Remembers the latest error that this process has logged. `listen` makes one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._text = ""

    @classmethod
    def listen(cls) -> Self:
        """One that hears all that is logged from now on."""
        words = cls()
        logging.getLogger().addHandler(words)
        return words

    def emit(self, record: logging.LogRecord) -> None:
        """Remember it, as one line."""
        said = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            said = f"{said}: {type(error).__name__}: {error}"
        self._text = " ".join(said.split())[:MAX_REASON]

    def send(self, connection: socket.socket) -> None:
        """To the supervisor, if there was one; that it does not listen is no matter."""
        if self._text:
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps({"last": self._text}).encode() + b"\n")


def last_words(connection: socket.socket) -> str:
    """Of a worker that has ended, what it sent last; nothing if that is not its last error. Does not wait."""
    said = b""
    with contextlib.suppress(OSError):
        while len(said) <= MAX_ANSWER_BYTES and (part := connection.recv(MAX_ANSWER_BYTES)):
            said += part
    try:
        return str(json.loads(said.splitlines()[-1])["last"])
    except (ValueError, LookupError, TypeError):
        return ""


class Control:
    """The worker's end. `start` begins to listen; the feed or consumer is made, and runs now or soon."""

    def __init__(self, connection: socket.socket, child: ChildPlan, made: Feed | Consumer) -> None:
        connection.set_inheritable(False)
        self._connection = connection
        self._child = child
        self._made = made

    def start(self) -> None:
        """Listen in a thread that ends with the process or with the supervisor."""
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def _listen(self) -> None:
        # the main thread is woken by signals, so they must not come here
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            with self._connection as connection, connection.makefile("rb") as lines:
                while (line := lines.readline(MAX_PLAN_BYTES + 1)).endswith(b"\n"):
                    connection.sendall(json.dumps({"refused": self._take(line)}).encode() + b"\n")
                if len(line) > MAX_PLAN_BYTES:
                    logger.error("told more than %d bytes at once: not listening", MAX_PLAN_BYTES)
        except OSError as error:  # the supervisor is gone; its death is told by a signal
            logger.debug("the supervisor does not listen: %s", error)

    def _take(self, line: bytes) -> str:
        """Do as told; why not, in a sentence, or nothing."""
        try:
            self._do(json.loads(line))
        except ValueError as error:
            return f"{error}"[:MAX_REASON] or "no reason was given"
        except Exception as error:  # whatever a plugin does; the supervisor starts it anew
            logger.exception("cannot take the new options")
            return f"{type(error).__name__}: {error}"[:MAX_REASON]
        return ""

    def _do(self, message: Any) -> None:
        if not isinstance(message, dict) or message.keys() - {"options", "log"}:
            raise ValueError("a worker is told of options or of its log")
        if "log" in message:
            log.setup(LogPlan(**message["log"]), self._child.label)
        if "options" in message:
            reconfigure = getattr(self._made, "reconfigure", None)
            if reconfigure is None:
                raise ValueError(f"{self._child.target} takes no options while it runs")
            reconfigure(revive(type(self._made).Options, message["options"]))
