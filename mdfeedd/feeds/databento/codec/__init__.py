"""Databento Binary Encoding (DBN), sans-IO: bytes in, ticks, bars and events out.

::

    bytes ──► DbnDecoder (_dbn.pyx over dbn.h) ──► ticks, bars: arrays, or straight into a ring
                  │    ▲                      └──► events: system, error, unknown, short, held records
         metadata,│    │instrument ids,
         mappings,│    │valid from, until
       definitions▼    │
                 Symbology ──► the instruments table (a ring's, or `LocalInstruments`)

    JSON lines ──► JsonLines ──► the same records as bytes ──► DbnDecoder

Who owns what: a decoder owns its buffers, order books and the table of the vendor's instruments; the
instruments table belongs to the ring's writer. Data may be cut anywhere; at most 1,020 bytes of a record
and the metadata (at most 64 MiB) are held back. Limits are named in dbn.h and dbn_book.h: instruments,
books, orders, levels, metadata.

Ways to fail: `DbnError`, with the byte it happened at, when a stream cannot be read on (not DBN, the old
DBZ container, a version above 3, a record shorter than its header, cut off at its end). Whatever came
before is delivered first. Unknown types and records shorter than their struct are skipped and counted.
"""

from __future__ import annotations

from mdfeedd.feeds.databento.codec._dbn import DbnDecoder, Decoded, Positions
from mdfeedd.feeds.databento.codec.events import (
    BookOverflow,
    DbnError,
    ErrorMessage,
    Event,
    RecordHeld,
    ReplayReachedPresent,
    ShortRecord,
    SystemMessage,
    UnknownRecord,
)
from mdfeedd.feeds.databento.codec.json_lines import JsonLines
from mdfeedd.feeds.databento.codec.metadata import Metadata
from mdfeedd.feeds.databento.codec.symbology import LocalInstruments, Symbology

__all__ = [
    "BookOverflow",
    "DbnDecoder",
    "DbnError",
    "Decoded",
    "ErrorMessage",
    "Event",
    "JsonLines",
    "LocalInstruments",
    "Metadata",
    "Positions",
    "RecordHeld",
    "ReplayReachedPresent",
    "ShortRecord",
    "Symbology",
    "SystemMessage",
    "UnknownRecord",
]
