"""The transport: one writer, any number of readers, in POSIX shared memory.

    feed process                       /dev/shm                              consumer processes
    ────────────                       ────────                              ──────────────────
    Writer.publish(records) ─────────► mdfeedd.NAME                   ─────► Reader.read() -> TickBatch
    Writer.instruments.add(symbol) ──►   header · counters · slots ·  ─────► Reader.instruments[id]
    Writer.counters.add(name, n) ────►   instruments                  ─────► inspect() -> RingInfo
                                       mdfeedd.NAME.readers           ◄───── a slot per reader: cursor, loss,
                                         consumers registry                  acknowledged position, counters

`mdfeedd.h` is the truth: layouts, memory orders and the life of a segment, usable alone from C and C++.
`_ring.pyx` holds one C writer or reader per object; the modules here add names and policy:
`writer`, `reader` (waiting, re-attaching, asyncio by `aio`, iteration by `stream`), `instruments`, `counters`, `lines`,
`segment` (paths, removal, fork), `inspect` and `look` (looking without touching: at its state, at its records).
"""

from __future__ import annotations

from collections.abc import Sequence

from mdfeedd.ring import _ring
from mdfeedd.ring._ring import CONSUMER_COUNTERS, FEED_COUNTERS, RecordBatch, TickBatch
from mdfeedd.ring.errors import (
    RingBusy,
    RingCorrupt,
    RingDenied,
    RingError,
    RingMismatch,
    RingMissing,
    RingOverrun,
    RingSpace,
)
from mdfeedd.ring.instruments import Instrument, Instruments
from mdfeedd.ring.position import Position
from mdfeedd.ring.reader import Reader
from mdfeedd.ring.segment import list_rings, remove
from mdfeedd.ring.writer import Writer
from mdfeedd.tick import BAR, DEPTH, ORDER, TICK, layout_of

__all__ = [
    "CONSUMER_COUNTERS",
    "FEED_COUNTERS",
    "Instrument",
    "Instruments",
    "Position",
    "Reader",
    "RecordBatch",
    "RingBusy",
    "RingCorrupt",
    "RingDenied",
    "RingError",
    "RingMismatch",
    "RingMissing",
    "RingOverrun",
    "RingSpace",
    "TickBatch",
    "Writer",
    "list_rings",
    "remove",
]

Sequence.register(TickBatch)

if [layout_of(dtype) for dtype in (TICK, BAR, DEPTH, ORDER)] != [
    _ring.TICK_LAYOUT,
    _ring.BAR_LAYOUT,
    _ring.DEPTH_LAYOUT,
    _ring.ORDER_LAYOUT,
]:
    raise ImportError(
        "mdfeedd.tick and ring/mdfeedd.h disagree on a layout: rebuild the extensions"
    )
