"""A live feed that goes on with a ring tells in it what fell into the time in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.ring.errors import RingError
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import GAP, TICK, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.ring.writer import Writer

__all__ = ["last_beat_ns", "tell_restart", "tell_return"]

_AT_ONCE: Final = 64  # the smallest ring takes so many


def last_beat_ns(name: str, directory: str) -> int | None:
    """When the ring's last writer was last seen alive (UNIX ns), if there was one. To be asked before it is taken."""
    try:
        age_ns = inspect(name, directory).heartbeat_age_ns
    except RingError:
        return None  # no ring yet; one that cannot be used is for the writer to complain about
    return time.time_ns() - max(0, age_ns)


def tell_restart(
    writer: Writer, left_ns: int | None, now_ns: int, lines: Sequence[int] = (0,)
) -> int:
    """Publish the GAP of a restart: from `left_ns` (None: unknown, no time at all) to `now_ns`, both UNIX ns.

    One for each line that the feed tells holes of: those that the process before has left open end with this one.
    Returns where it begins: `tell_return` closes it, once the feed is as it should be.
    """
    first_ns = min(now_ns if left_ns is None else left_ns, now_ns)
    _publish(writer, Kind.GAP, first_ns, now_ns, lines)
    writer.counters.add("gaps", len(lines))
    return first_ns


def tell_return(
    writer: Writer,
    first_ns: int,
    now_ns: int,
    lines: Sequence[int] = (0,),
    instruments: Sequence[int] = (),
) -> None:
    """Publish the RECOVERED of that GAP: what is missing lies between the two times.

    `lines` and `instruments` may be more than the GAP had: what an earlier process has left open of others.
    """
    first_ns = min(first_ns, now_ns)
    for start in range(0, len(instruments), _AT_ONCE):
        some = instruments[start : start + _AT_ONCE]
        _publish(writer, Kind.RECOVERED, first_ns, now_ns, [0] * len(some), instruments=some)
    _publish(writer, Kind.RECOVERED, first_ns, now_ns, lines)


def _publish(
    writer: Writer,
    kind: Kind,
    first_ns: int,
    now_ns: int,
    lines: Sequence[int],
    *,
    instruments: Sequence[int] = (),
) -> None:
    told = np.zeros(len(lines), GAP)
    told["line"] = lines
    if instruments:
        told["instrument_id"] = instruments
    told["ts_event"] = told["ts_recv"] = now_ns
    told["kind"] = kind
    told["reason"] = GapReason.RESTART
    told["first_missing"] = first_ns
    told["last_missing"] = now_ns
    writer.publish(told.view(TICK))
    writer.counters.add("published_others", len(lines))
