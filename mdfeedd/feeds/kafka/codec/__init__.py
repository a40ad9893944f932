"""Kafka's messages into records of a ring. Sans-IO: messages and bytes in, blocks and bytes out.

    message ─► Merger.receive ─► Merger.take ─► Block (in the ring's own order) ─► Translator ─► ring
    message of the topic of instruments ─────────────────────────────────────────────┘
    Note ◄─► Notes: two slots of bytes in the file beside the ring

What the messages are made of is in `mdfeedd.sinks.kafka.wire`, which the sink writes them by.
"""

from __future__ import annotations

from mdfeedd.feeds.kafka.codec.merge import Astray, Block, Hole, Merger, Repartitioned
from mdfeedd.feeds.kafka.codec.resume import SLOT_BYTES, Note, Notes
from mdfeedd.feeds.kafka.codec.translate import Translator
from mdfeedd.sinks.kafka.wire import ChunkHead, Mark, WireError

__all__ = [
    "SLOT_BYTES",
    "Astray",
    "Block",
    "ChunkHead",
    "Hole",
    "Mark",
    "Merger",
    "Note",
    "Notes",
    "Repartitioned",
    "Translator",
    "WireError",
]
