"""Consumers: what reads rings, each in a process of its own.

    rings in /dev/shm            consumer                                     where it goes
    ─────────────────            ────────                                     ─────────────
    mdfeedd.NAME       ────────► batch      records in batches    ──────────► a sink (mdfeedd.sinks)
    mdfeedd.NAME.bars  ────────►
    mdfeedd.NAME       ────────► bars       OHLCV of the trades   ──────────► a ring of bars
    any ring           ────────► journal    everything            ──────────► files (mdfeedd.journal)
    any ring           ────────► callbacks  your functions        ──────────► your code
    ticks or bars      ────────► fanout     subscriptions         ──────────► WebSocket clients

`protocol` says what a consumer is: options, the names of its rings, `run(stop)`. It reads shared
memory and writes its own slot of each ring's registry: how far it has read, what is safe (`ack`),
its counters. Nobody waits for it: a consumer that falls behind is lapped, and knows and tells how
much it lost.

`episode` makes one log line of each episode of loss. Limits are options with defaults, named in
each module. A consumer fails by raising: the supervisor restarts it, and it resumes after what was
safe.
"""
