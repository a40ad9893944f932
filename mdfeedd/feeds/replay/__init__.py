"""Replay: recordings of DBN, or captures of CME's multicast, into a ring: at full speed, or X times their own.

::

    file ──► Recording ──► pieces of DBN ──► DbnDecoder ──► ring                 one file at full speed
             (zstd, JSON)                        └──► merge ──► Pace ──► Gate ──► ring    otherwise

    files ─► CaptureReader ──► lines by group ──► cme.codec.Handler ──► ring, .depth, .orders
             (pcap, pcapng)    in slices, as Pace and Gate let them

`source.py` knows files: raw, compressed, fragments, JSON lines, and what is none of these; it also tells
whose they are. `merge.py` and `pace.py` do no I/O. `gate.py` keeps the writer from lapping living registered
consumers: that is what a replay may do and a live feed must not. `capture.py` finds out which group is which
line (`cme.infer`, config.xml, or by hand) and plays. `feed.py` is the process.

Where data come from: files, read once, forwards (captures without told lines: looked through before). Where
they go: the ring NAME, NAME.bars for records that are bars, NAME.depth and NAME.orders. Who owns what: the
feed's process is the only writer of all of them.

Limits: `source.READ_BYTES` at a time, `feed.MAX_FILES` files at once, `capture.SCAN_BYTES` of each capture looked
through, 30 s for consumers that do not come (`min_consumers_limit_s`) or do not move (`stall_limit_s`). Ways to
fail: `ReplayError`, one sentence with the file and the place in it; `DamagedRecording` after what is whole of all
files has been published, which is not tried again.
"""
