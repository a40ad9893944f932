"""After a restart: what the process before has told, and is no more, is told to be void; then all is well again.

A codec that begins anew tells of a book when there is something in it. Who read the ring before still has the
books of the process before, and some of them are empty now, or their instruments gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.ring.instruments import Instrument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.feeds.cme.codec import Handler
    from mdfeedd.feeds.cme.joins import ChannelLines
    from mdfeedd.feeds.cme.rings import Rings

__all__ = ["AT_ONCE", "Returning"]

AT_ONCE: Final = 1024
"""Entries of the table looked at in one step: no packet waits for more, and no reader is flooded."""


class Returning:
    """Looks through the instruments that were in the table at the start, once all books are right."""

    def __init__(self, rings: Rings, handler: Handler, channels: Iterable[ChannelLines]) -> None:
        self._rings = rings
        self._handler = handler
        self._channels = tuple(channels)
        self._next = 0
        self._count = rings.inherited if rings.is_away else 0

    def step(self) -> None:
        """A part of it, if it is time; at the end the GAP of the restart is closed."""
        if not self._rings.is_away or not all(map(self._is_back, self._channels)):
            return
        last = min(self._next + AT_ONCE, self._count)
        void = [i for i in map(self._void, range(self._next, last)) if i]
        self._next = last
        if void:
            self._rings.tell_void(void)
        if last == self._count:
            self._rings.tell_return()

    def _is_back(self, channel: ChannelLines) -> bool:
        """Its books have been right since the start, and no instrument of it may still be unknown."""
        if self._handler.state(channel.channel).name in ("INIT", "RECOVERING"):
            return False
        return not (channel.definition and self._handler.needs_definitions(channel.channel))

    def _void(self, place: int) -> int:
        """The id of an instrument that has no level on either side, or that there is no more; else 0."""
        entry = self._rings.ticks.instrument_get(place)
        if entry is None:
            return 0
        instrument = Instrument(*entry)  # type: ignore[arg-type]
        for channel in self._channels:
            try:
                book = self._handler.book(channel.channel, instrument.vendor_id)
            except KeyError:
                continue
            if book.instrument_id == instrument.instrument_id and (book.bids or book.asks):
                return 0
        return instrument.instrument_id
