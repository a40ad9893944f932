"""Names of a session's instruments, and a tick when one of them becomes another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdfeedd.feeds.databento.codec import Symbology
from mdfeedd.tick import DEFINITION, TICK, Kind

if TYPE_CHECKING:
    from mdfeedd.feeds.databento.codec.symbology import MappingMessage
    from mdfeedd.ring import Writer

__all__ = ["SessionNames"]

_MODIFIED = ord("M")


class SessionNames(Symbology):
    """Enters instruments into the ring's table. One session: numbers mean something for a day only.

    When a mapping names an instrument anew, a DEFINITION tick of the new one comes before its first record.
    `now_ns` is that tick's time; whoever feeds the decoder keeps it up to date.
    """

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer.instruments)
        self._writer = writer
        self.now_ns = 0

    def mapping(self, message: MappingMessage) -> bool:
        """Take a mapping message. True if the name of the instrument may have changed."""
        known = self.publishers(message.instrument_id)
        changed = super().mapping(message)
        if changed:
            for publisher_id in sorted(known):
                self._tell(publisher_id, message.instrument_id)
        return changed

    def _tell(self, publisher_id: int, instrument_id: int) -> None:
        own_id = self.resolve(publisher_id, instrument_id, self.now_ns).instrument_id
        tick = np.zeros(1, DEFINITION)
        tick["ts_event"] = tick["ts_recv"] = self.now_ns
        tick["instrument_id"] = own_id
        tick["kind"] = Kind.DEFINITION
        tick["action"] = _MODIFIED
        self._writer.publish(tick.view(TICK))
        self._writer.counters.add("published_others")
