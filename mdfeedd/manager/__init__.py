"""The library: feeds and callbacks in one Python process, the data path in others.

    FeedConfig ─► FeedManager.start ─► Supervisor, in the caller's event loop       (as the daemon's)
                        │                 └─► feed processes ─► rings ─► bars processes ─► rings
                        │                                         │                          │
                        └─► Delivery, one task of that loop ◄─────┴──────────────────────────┘
                              └─► on_batch · on_tick · on_gap · on_bar · on_status

`config` is one feed, and its section of the configuration file; `planning` all of them as the daemon's plan;
`engines` own feeds, or those of a daemon; `home` the private folder; `delivery` rings to callbacks; `feed_manager`
the class itself. There is no second way from a vendor to a ring: the processes are those of ``mdfeedd run``.

Who owns what: feed and bars processes write their rings, in a folder that only this manager uses and removes;
this process reads them and writes nothing but its place in their registries.
Limits: the ring is the only buffer; ten seconds for what is left at the end; 1,024 states not told yet.
Ways to fail: `ValueError` and `TypeError` for what was asked for, `FeedFailed` for a feed that cannot run,
`RuntimeError` for what makes no sense now, a callback's own exception.
Importing this starts nothing, and imports neither the daemon nor a vendor.
"""

from __future__ import annotations

from mdfeedd.manager.config import FeedConfig, Vendor, feed_section
from mdfeedd.manager.events import FeedFailed, FeedStats, FeedStatus, Gap, Stats
from mdfeedd.manager.feed_manager import FeedManager

__all__ = [
    "FeedConfig",
    "FeedFailed",
    "FeedManager",
    "FeedStats",
    "FeedStatus",
    "Gap",
    "Stats",
    "Vendor",
    "feed_section",
]
