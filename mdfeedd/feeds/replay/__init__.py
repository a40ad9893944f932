"""Replay: recordings of DBN into a ring, at full speed, at their own pace, or faster by a factor.

::

    file ──► Recording ──► pieces of DBN ──► DbnDecoder ──► ring                 one file at full speed
             (zstd, JSON)                        └──► merge ──► Pace ──► Gate ──► ring    otherwise

`source.py` knows files: raw, compressed, fragments, JSON lines, and what is none of these. `merge.py` and
`pace.py` do no I/O. `gate.py` keeps the writer from lapping living registered consumers: that is what a
replay may do and a live feed must not. `feed.py` is the process.

Where data come from: files, read once, forwards. Where they go: the ring NAME, and NAME.bars for records
that are bars. Who owns what: the feed's process is the only writer of both rings.

Limits: `source.READ_BYTES` at a time, `feed.MAX_FILES` files at once, 30 s for consumers that do not come
(`min_consumers_limit_s`) or do not move (`stall_limit_s`). Ways to fail: `ReplayError`, one sentence with the
file and the place in it, after what came before has been published.
"""
