"""Names of a session's instruments, and a tick when one of them becomes another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdfeedd.feeds.databento.codec import Symbology
from mdfeedd.feeds.databento.codec.symbology import ALWAYS_NS, NEVER_NS, Resolution
from mdfeedd.ring.errors import RingSpace
from mdfeedd.ring.instruments import Instrument
from mdfeedd.tick import DEFINITION, TICK, Flag, Kind

if TYPE_CHECKING:
    import logging

    from mdfeedd.feeds.databento.codec.symbology import InstrumentTable, MappingMessage
    from mdfeedd.feeds.shard import Shard
    from mdfeedd.ring import Writer

__all__ = ["SessionNames"]

_MODIFIED = ord("M")


class SessionNames(Symbology):
    """Enters instruments into the ring's table. One session: numbers mean something for a day only.

    When a mapping names an instrument anew, a DEFINITION tick of the new one comes before its first record.
    `now_ns` is that tick's time; whoever feeds the decoder keeps it up to date. Where the table is full, the
    records of further instruments are skipped.
    """

    def __init__(self, writer: Writer, logger: logging.Logger, shard: Shard | None = None) -> None:
        super().__init__(writer.instruments, shard)
        self._writer = writer
        self._logger = logger
        self._full_told = False
        self._known = _names_in(writer)
        self._latest = {vendor_id: symbol for symbol, vendor_id, _ in self._known}
        self.now_ns = 0

    def enter_into(self, table: InstrumentTable) -> None:
        """Have another table in front of the ring's own. Before the first instrument."""
        self._table = table

    def is_mapped(self, instrument_id: int) -> bool:
        """The gateway has named this instrument in this session: it was asked for."""
        return instrument_id in self._told

    def renumbered(self, instrument_ids: list[int]) -> int:
        """How many of these, of earlier sessions, the gateway has named in this one by another number."""
        told = {symbol for symbol, _ in self._told.values()} if instrument_ids else set()
        gone = (one for one in instrument_ids if not self.is_mapped(one))
        return sum(self._latest.get(one) in told for one in gone)

    def mapping(self, message: MappingMessage) -> bool:
        """Take a mapping message. True if the name of the instrument may have changed."""
        known = self.publishers(message.instrument_id)
        changed = super().mapping(message)
        if changed:
            for publisher_id in sorted(known):
                self._tell(publisher_id, message.instrument_id)
        return changed

    def resolve(self, publisher_id: int, instrument_id: int, ts_ns: int) -> Resolution:
        """Our instrument for a record of that time; the id 0 if there is no room for it, or it is not ours."""
        try:
            return super().resolve(publisher_id, instrument_id, ts_ns)
        except RingSpace as error:
            if not self._full_told:
                self._full_told = True
                self._logger.warning(
                    "%s: the records of further instruments are skipped; raise the feed's instruments_capacity,"
                    " or ask for fewer symbols",
                    error,
                )
            return Resolution(0, ALWAYS_NS, NEVER_NS, mapped=True)

    def _add(self, symbol: str, vendor_symbol: str, vendor_id: int, publisher_id: int) -> int:
        """As it is in the table already, even if another session had asked for it by another name."""
        known = self._known.get((symbol, vendor_id, publisher_id), vendor_symbol)
        return super()._add(symbol, known, vendor_id, publisher_id)

    def _tell(self, publisher_id: int, instrument_id: int) -> None:
        own_id = self.resolve(publisher_id, instrument_id, self.now_ns).instrument_id
        if not own_id:
            return
        tick = np.zeros(1, DEFINITION)
        tick["ts_event"] = tick["ts_recv"] = self.now_ns
        tick["instrument_id"] = own_id
        tick["kind"] = Kind.DEFINITION
        tick["flags"] = Flag.BAD_TS  # the gateway tells no time of it: this one is ours
        tick["action"] = _MODIFIED
        self._writer.publish(tick.view(TICK))
        self._writer.counters.add("published_others")


def _names_in(writer: Writer) -> dict[tuple[str, int, int], str]:
    """What was asked for, of the instruments that the ring's table has."""
    names = {}
    for place in range(writer.instruments_count):
        entry = writer.instrument_get(place)
        if entry is not None:
            item = Instrument(*entry)  # type: ignore[arg-type]
            names[item.symbol, item.vendor_id, item.publisher_id] = item.vendor_symbol
    return names
