"""Signs of life while the sink takes its time.

A store that stands still keeps the consumer's thread in a call for as long as its time-out. That is an
outage of the store and no hang of the process, which must not be killed for it: the heart beats on in
the registries, up to `CALL_S` in one call.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.consumers.batch.source import Source

__all__ = ["Heart"]

BEAT_S: Final = 1.0
CALL_S: Final = 300.0  # a longer call is a hang: sinks give up before


class Heart(threading.Thread):
    """Beats for the sources of one consumer while its loop is somewhere in a call. A context."""

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__(name="mdfeedd-heart", daemon=True)
        self._sources = sources
        self._stop_beating = threading.Event()
        self.turn_s: float = time.monotonic()  # when the loop last came round; the loop's to write

    def run(self) -> None:
        """Until the context ends."""
        while not self._stop_beating.wait(BEAT_S):
            if time.monotonic() - self.turn_s <= CALL_S:
                for source in tuple(self._sources):
                    source.beat()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_beating.set()
        self.join()
