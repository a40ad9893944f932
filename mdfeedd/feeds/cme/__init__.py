"""CME: MDP 3.0, the UDP multicast feed of Globex, as a feed of mdfeedd.

::

    config.xml ─► config_xml ─► options ─┐ lines: groups, ports, senders
                                         ▼
    NIC ── A ──► sockets or ────► packets ────► codec.Handler ────► ring NAME          ticks
        ── B ──► packet ring      (no GIL)       arbitration         ring NAME.depth   10 levels a side
                 feeds/multicast                 books, recovery     ring NAME.orders  orders by id
                                                    ▲      │
    secdef.dat ─► secdef ─┐                         │      └─► events ─► log, counters of the ring
    cache_dir  ─► cache ──┴─► Definition ──► define ┘                    `needs_recovery` ─► joins, leaves

`codec` takes bytes and times and does no I/O; the states of a channel and of its instruments are drawn in its
docstring. `feed.py` is the process: `joins.py` says which lines it joins and leaves, `rings.py` are what it
writes, `telling.py` has its sentences for what the codec noticed, `known.py` the definitions that it begins with
and leaves behind. `config_xml.py` and `secdef.py` read CME's own files, `cache.py` ours.

Where data come from: the lines that the options name, A and B. Where they go: the three rings, of which the
feed's process is the only writer. Who owns what: the codec the books, the feed the sockets and the cache.

Limits: `config_xml.MAX_BYTES`, `secdef.MAX_LINE_BYTES`, `cache.MAX_BYTES`; the codec's are options. Ways to
fail: options are refused with "key: reason"; a socket or ring that cannot be made ends the process with one
sentence; loss and silence are ticks, counters and one log line an episode, never an end.
"""
