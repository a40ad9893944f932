"""A command that runs until Ctrl-C or SIGTERM, and then ends in order."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def until_signalled() -> Iterator[threading.Event]:
    """An event that the two signals set; afterwards they do again what they did before."""
    from mdfeedd.daemon.worker import setter

    stop = threading.Event()
    handle = setter(stop)
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
