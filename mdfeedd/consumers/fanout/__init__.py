"""The fan-out: what flows through rings, to browsers and programs, by WebSocket.

    ring ─► reader ─► Hub ─► Filter, one per set of subscriptions ─► Part ─► Backlog ─► client
                       └─► Snapshot: last quote, trade, status of each instrument; last bars

    ws://HOST:PORT/?symbols=ES*,NQZ6&kinds=trade,quote&format=binary&token=...
    {"op": "subscribe", "symbols": ["ES*"], "kinds": ["trade"], "rings": ["cme"]}   see `wants`
    {"type": "hello" | "subscribed" | "unsubscribed" | "pong" | "error" | "ring", ...}
    {"type": "snapshot" | "ticks", "ring": "cme", "records": [...]}                 see `parts`
    {"type": "lost", "ring": "cme", "reason": "slow" | "lapped", ...}               see `backlog`

A client who reads too slowly slows nobody: what waits for it is conflated to the last quote of each
instrument, its trades are dropped, and it is told how many. What the feed overwrote before this
consumer read it is told as "lapped". Nothing is stored, nothing is repeated: for each record once,
there are the sinks.

`wants`, `parts`, `backlog` and `snapshot` are sans-IO; `server` has the connections, `consumer` the
rings. Limits are options: clients, subscriptions, lengths of messages, records that wait. By default
it listens on this machine only; with a token it asks for it, and pages of other sites are refused.
Ways to fail: an address that is taken (`OSError`), a token that cannot be read (`SinkError`).
"""

from __future__ import annotations

from mdfeedd.consumers.fanout.consumer import FanoutConsumer
from mdfeedd.consumers.fanout.options import FanoutOptions

__all__ = ["FanoutConsumer", "FanoutOptions"]
