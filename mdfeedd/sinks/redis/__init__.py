"""The Redis sink: streams, channels and last values, kept together with how far they are.

    batch ─► script ──────────► md:{RING}:stream           packed messages, up to stream_maxlen of them
             (all or nothing)   md:RING:packed             the same as they come, published
                                md:{RING}:last:SYMBOL      last quote and trade, a hash per symbol
                                md:{RING}:instruments:ID   what the instrument ids of ring_id ID mean
                                md:{RING}:position         how far, and who writes
          └► bare socket ─────► md:FEED:SYMBOL:quote       JSON, a message a tick; also :trade, :event
                                                           (STATUS, GAP, RECOVERED, CLEAR) and :bar

`modes` says which of ``stream``, ``publish``, ``last`` (by script) and ``ticks`` (by socket). The
fields of a stream's entry are `v`, `ring_id`, `epoch`, `first`, `last`, `n` and `d`: n records of 64
bytes (bars 128) as they lay in the ring. Published ones begin with the header of
`mdfeedd.sinks.packed`. The script compares the position with what this sink believes, so a call that
is made twice, or by a writer that another has replaced, changes nothing: each record is in the
stream once. Ids are GENERATION-LAST_SEQ; the generation is raised when the ring is made anew, so a
reader with ``XREAD`` never misses what comes after.

Published messages reach who listens at that moment, at most once; their header's `prev` shows what
was missed, and the stream has it. A connection that breaks may tell up to 8192 single ticks twice.

A server that comes back without what it had confirmed (no append-only file, or its last second)
ends the sink's process with a sentence; the next one reads on from what the server has.
Ways to fail: `SinkError`; see `RedisSink`.
"""

from __future__ import annotations

from mdfeedd.sinks.redis.options import RedisOptions
from mdfeedd.sinks.redis.sink import RedisSink

__all__ = ["RedisOptions", "RedisSink"]
