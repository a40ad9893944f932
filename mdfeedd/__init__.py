"""mdfeedd: market data feeds into a shared-memory ring of 64-byte ticks.

    vendor ─► feed process ─► ring in /dev/shm ─► consumer processes: batches, bars, callbacks, yours
                                                    └─ Reader("NAME") is all that yours needs

`Reader` attaches to a ring and gives batches; `Writer` makes one. The daemon (``mdfeedd run``), the replay of
recordings and the demo are commands of ``mdfeedd``. Importing this starts nothing.
"""

from __future__ import annotations

from mdfeedd.ring import Reader, TickBatch, Writer
from mdfeedd.tick import BAR, QUOTE, TICK, TRADE, Bar, Flag, Kind, Side, Tick, from_fixed, to_fixed

__all__ = [
    "BAR",
    "QUOTE",
    "TICK",
    "TRADE",
    "Bar",
    "Flag",
    "Kind",
    "Reader",
    "Side",
    "Tick",
    "TickBatch",
    "Writer",
    "from_fixed",
    "to_fixed",
]
__version__ = "0.1.0"
