"""The whole daemon in one process, on virtual time, from one seed.

    seed ─► World ─► Actor: a venue, its network, their faults ─► the real feed ─► ring ─┬─► journal ─► batches ─► Store
              │                                                                         ├─► batches ─────────────► Store
              │ kills at any step, stalls, a full disk, outages, clock steps, reloads   ├─► bars ─► ring
              └─► heal ─► quiet ─► stop ─► Evidence ─► checkers: sentences, or none     └─► a strategy

Each process of the daemon is a greenlet that runs the shell as it is (`run(stop)`), over the real rings and the
real journal's files in folders of this world's own. `stand_ins` replaces time, chance, waiting, the disk's
calls and the sinks' stores; `vendors` replace sockets. Nobody reads a real clock, and no thread runs.

What is not here: power cuts (files keep what was written), asyncio consumers (fan-out, callbacks), the
supervisor's own process, a kill between two stores of one publish (the ring's own crash points have those).

Limits: `World.MAX_TURNS` turns, `MAX_STEPS` steps in one. Ways to fail: `Stuck`; a violation is no exception but
a sentence in the `Result`. Needs `greenlet`, and imports feeds and consumers, which nothing else in `sim` may.
"""
