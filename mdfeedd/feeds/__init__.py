"""Vendors' feeds: from their bytes to ticks in a ring.

A feed runs in a process of its own and is the only writer of its ring. It has up to three layers::

    codec     bytes and time in, ticks and events out: no socket, no clock, no thread
    session   what to say to the vendor and when, as a state machine
    feed      the process: sockets or files, the ring, counters, pacing; see `mdfeedd.feeds.protocol`

What is here::

    databento/codec   DBN streams, versions 1 to 3, and DBN written as JSON lines
    replay            recordings: .dbn, .dbn.zst, fragments, JSON lines, several merged in time order

Where data come from: a vendor or a recording. Where they go: the ring (`mdfeedd.ring.Writer`), its
instruments table and its counters, which the feed's process owns. Vendors do not import each other.
"""
