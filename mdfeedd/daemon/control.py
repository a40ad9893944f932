"""What a running worker is still told: JSON lines over a socket pair, each answered by one.

    supervisor                                   worker, thread "control"
    {"options": {...}}   new options     ──►     revived, handed to the feed's `reconfigure`
    {"log": {...}}       another log     ──►     set up
                                         ◄──     {"refused": ""}: taken; else why not

A message is at most `MAX_PLAN_BYTES` long, like the plan that the child was started with. A worker that is told
nonsense hangs up; the supervisor starts anew whom it cannot talk to.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon import log
from mdfeedd.daemon.plan import MAX_PLAN_BYTES, LogPlan, revive

if TYPE_CHECKING:
    import socket

    from mdfeedd.consumers.protocol import Consumer
    from mdfeedd.daemon.plan import ChildPlan
    from mdfeedd.feeds.protocol import Feed

logger = logging.getLogger("mdfeedd.daemon.control")

MAX_ANSWER_BYTES: Final = 16 << 10
"""A refusal with its reason."""
_MAX_REASON: Final = 500
"""Characters of a reason; each is six bytes of JSON at most."""


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
            return f"{error}"[:_MAX_REASON] or "no reason was given"
        except Exception as error:  # whatever a plugin does; the supervisor starts it anew
            logger.exception("cannot take the new options")
            return f"{type(error).__name__}: {error}"[:_MAX_REASON]
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
