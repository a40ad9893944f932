"""What a strategy reads with: last values, several feeds as one stream, one symbol over vendors, bars as a table.

    rings ─► Reader("x")           ─► batches ─┬─► your loop
          └► Reader(["x", "y"])    ─► merged ──┘
               = MultiReader                   └─► reader.last["ESZ4"] ─► Book (bid, ask, last trade, stale or not)
    bar ring ─► bars("x-bars") ─► pandas, polars, Arrow or numpy
    mdfeedd.yaml: symbols ─► load_symbols ─► which instruments of which feeds are one

`Reader` is that of `mdfeedd.ring` and more. A `LastTable` (C, `last.h`) takes over what was read, batch by batch, once
somebody has asked for `last`; `Merger` (sans-IO) puts records of several rings in order. Both own their memory; nothing
here writes to a ring. Limits: `MAX_FEEDS` rings in a reader, `MAX_HELD` records that wait for others, `MAX_ROWS`
instruments, `LOOK_BACK_RECORDS` of a ring that the first look at `last` takes over.
"""

from __future__ import annotations

from mdfeedd.strategy._last import LAST
from mdfeedd.strategy.arrays import columns
from mdfeedd.strategy.bar_table import bars
from mdfeedd.strategy.batch import MultiBatch
from mdfeedd.strategy.book import Book
from mdfeedd.strategy.last import LastValues
from mdfeedd.strategy.multi import MultiReader
from mdfeedd.strategy.reader import Reader
from mdfeedd.strategy.symbols import load_symbols

__all__ = [
    "LAST",
    "Book",
    "LastValues",
    "MultiBatch",
    "MultiReader",
    "Reader",
    "bars",
    "columns",
    "load_symbols",
]
