"""CME MDP 3.0, sans-IO: packets and times in, ticks and events out.

::

    I  line A ─┐  arbitrate by MsgSeqNum       ┌─► books of price levels ─► QUOTE at the event's end, depth
    I  line B ─┴─► reorder, holes ─► messages ─┼─► trades, statistics, states ─► ticks as they come
                          │                    └─► books of orders ─► orders
                          │ lost on both: GAP, every instrument in doubt
    N     A, B ─► definitions ─► instruments table           ▲
    S     A, B ─► snapshots ─────────────────────────────────┤  per instrument: RECOVERED
    SMBO  A, B ─► snapshots of orders, in chunks ────────────┘

A channel::

    INIT ─ first packet ─► RECOVERING ─ every book proven ─► SYNC ◄──────────┐
                              ▲                               │ hole         │ filled
                              │ lost: GAP told                ▼              │
                              └────────────────────────────  GAP  ───────────┘
    a channel reset empties every book and leads to SYNC; so does a sequence that begins again
    SILENT: neither line has brought a packet for 35 s; the next one ends it

An instrument is proven right by an unbroken RptSeq, by a snapshot that knows of the loss, or by updates that
rebuilt all its levels; until then every tick of it is flagged STALE. mdp_proof.h has that rule, mdp_channel.h
the lines, mdp_book.h the levels, mdp_orders.h the orders, mdp_layout.h where every field lies.

Limits are named in mdp_state.h. Nothing that a packet holds raises: it is counted (`COUNTS`) and told
(`Event`). Memory is taken once, by `Handler`.
"""

from __future__ import annotations

from mdfeedd.feeds.cme.codec._mdp import COUNTS, Handler
from mdfeedd.feeds.cme.codec.events import (
    Book,
    ChannelState,
    Event,
    EventCode,
    Feed,
    OrderBook,
)

__all__ = ["COUNTS", "Book", "ChannelState", "Event", "EventCode", "Feed", "Handler", "OrderBook"]
