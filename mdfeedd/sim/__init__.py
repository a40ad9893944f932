"""Simulation: a market without a venue, and a venue without a market, for demos, tests and measuring.

    listings(market, names or a number) ─► Market(listings, rate, seed) ─► TICK arrays, in memory
                                              │   sans-IO: its own clock, no threads, one seed
                                              ▼
    feed process:   SyntheticFeed ── paces by the wall clock, stamps ts_recv ──► ring

    cme: a channel of CME MDP 3.0 ─► packets with faults, in memory or by UDP, and what was true
    databento: a live gateway ─► sessions with faults, in memory or by TCP, and what was sent
    bloomberg: a stand-in for the `blpapi` package ─► events with faults, within the feed's process

The market is made of blocks of a few thousand events, each computed in numpy at once; nothing is allocated
per tick, and how its ticks are asked for (`ticks` or `until`, in whatever portions) does not change them.

Limits: `MAX_INSTRUMENTS`, `MAX_RATE` (ticks/s) and, after a stall, `CATCH_UP_NS` of market time.
Ways to fail: `ValueError` ("key: reason") for options; `RingError` when the ring cannot be made.

This package imports nothing of the vendors' feeds and they nothing of it.
"""
