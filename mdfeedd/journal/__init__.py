"""The journal: what went through a ring, on disk, for readers that must not lose anything.

    ring ─► consumers.journal ─► JournalWriter ─► PATH/RING/0000000001-1-1.mdj ─► JournalReader ─► a sink,
                                      │                     0000000002-1-4194305.mdj    │        replay, cat
                                      └─► position (how far blocks are whole) ──────────┤
                                          sinks/CONSUMER (how far a reader is) ◄── SinkPositions

`format` says what the bytes mean and does no I/O; `segment` finds and reads files; `recovery` looks at
what a crash has left; `writer` is the one writer (`lock`), with `sync` for when things become durable,
`retention` for what may go, and `disk` for the system calls; `reader` follows; `marks` are the small
files in which one tells others how far it is.

Who owns what: everything but sinks/ is written by the one process that holds `lock`; a file in sinks/
by the consumer of that name. Readers need nobody alive: every block carries checksums and its place in
the chain.

Limits: blocks of 8192 records, segments of `segment_bytes`, a window of 4 MiB per reader. Ways to fail:
`JournalError` and its kinds; a full disk is told to the writer's caller and may pass; a failed sync ends
the writer. Damage is told as `lost` with the reason, and what is good is read.
"""

from __future__ import annotations

from mdfeedd.journal.errors import (
    JournalBusy,
    JournalCorrupt,
    JournalError,
    JournalMismatch,
    JournalMissing,
)
from mdfeedd.journal.marks import SinkPositions
from mdfeedd.journal.reader import JournalBatch, JournalReader
from mdfeedd.journal.segment import folder_of, list_journals
from mdfeedd.journal.writer import JournalWriter, WriterOptions

__all__ = [
    "JournalBatch",
    "JournalBusy",
    "JournalCorrupt",
    "JournalError",
    "JournalMismatch",
    "JournalMissing",
    "JournalReader",
    "JournalWriter",
    "SinkPositions",
    "WriterOptions",
    "folder_of",
    "list_journals",
]
