"""A live feed that goes on with a ring tells in it what fell into the time in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from mdfeedd.ring.errors import RingError
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import GAP, TICK, GapReason, Kind

if TYPE_CHECKING:
    from mdfeedd.ring.writer import Writer

__all__ = ["last_beat_ns", "tell_restart"]


def last_beat_ns(name: str, directory: str) -> int | None:
    """When the ring's last writer was last seen alive (UNIX ns), if there was one. To be asked before it is taken."""
    try:
        age_ns = inspect(name, directory).heartbeat_age_ns
    except RingError:
        return None  # no ring yet; one that cannot be used is for the writer to complain about
    return time.time_ns() - max(0, age_ns)


def tell_restart(writer: Writer, left_ns: int | None, now_ns: int) -> None:
    """Publish the GAP of a restart: from `left_ns` (None: unknown, no time at all) to `now_ns`, both UNIX ns."""
    gap = np.zeros(1, GAP)
    gap["ts_event"] = gap["ts_recv"] = now_ns
    gap["kind"] = Kind.GAP
    gap["reason"] = GapReason.RESTART
    gap["first_missing"] = min(now_ns if left_ns is None else left_ns, now_ns)
    gap["last_missing"] = now_ns
    writer.publish(gap.view(TICK))
    writer.counters.add("gaps")
    writer.counters.add("published_others")
