"""Bars: the trades of tick rings, made into OHLCV bars in a ring of their own.

    tick rings, one per feed      this process                          /dev/shm
    ────────────────────────      ────────────                          ────────
    mdfeedd.cme ──► Reader ────►  BarBuilder ─┐
    mdfeedd.dbn ──► Reader ────►  BarBuilder ─┴─ bars ──► Writer ─────► mdfeedd.RING (BAR, 128 B)
                      │                                     └─────────► its instruments table: ids,
      registry ◄── ack: "all before                                     symbols and feeds as in the
                   the open intervals"                                  rings of the ticks

`bars.h` is the kernel (C, sans-IO): it says what a bar is, when it closes and what its flags mean;
`bars_table.h` what it remembers. `_bars.pyx` puts numpy around it (`BarBuilder`, usable alone),
`consumer.py` the rings (`BarsConsumer`).

Time is that of the ticks, never the clock on the wall: a feed that goes quiet, heartbeats included,
keeps its bars open until it speaks again, and a replay gives the bars of the live run. What is open
when the process is told to stop is published flagged PARTIAL; after a restart it is made again from
the tick rings, or goes on where it was cut if these did not reach back to its beginning, and comes once
more with a higher revision. Bars that the bar ring shows as published are not published again. After a kill
what was open is made again as far as the rings reach back, and says so.

Limits: 8 intervals, 1 s to a week; 65,536 instruments per feed; lateness up to 15 times the
shortest interval; flat bars up to `flat_limit` in a row. Ways to fail: a ring that cannot be read or written
(`RingError`). The bar ring has one owner: this process.
"""

from __future__ import annotations

from mdfeedd.consumers.bars._bars import BarBuilder
from mdfeedd.consumers.bars.consumer import BarsConsumer, BarsOptions

__all__ = ["BarBuilder", "BarsConsumer", "BarsOptions"]
