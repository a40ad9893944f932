"""Waits for those who are to read a ring before anything is in it: for feeds whose source keeps what is to come.

The daemon tells a feed the names of its consumers (`RingPlan.readers`). They are looked for by name, because a
number is soon reached by others: a strategy that stays at the ring over a restart of the daemon, for example.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from mdfeedd.ring.inspect import inspect

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.ring import Writer

__all__ = ["MIN_CONSUMERS_HELP", "wait_for_consumers"]

MIN_CONSUMERS_HELP: Final = (
    "consumers to wait for before the first record; null: all of this daemon that read the ring"
)
LOOK_S: Final = 0.005


def wait_for_consumers(
    writer: Writer,
    plan: RingPlan,
    wanted: int | None,
    limit_s: float,
    *,
    stop: threading.Event,
    beat: Callable[[], None],
) -> str:
    """Until so many consumers are registered at the ring (None: its own of `plan.readers`), or `stop`.

    Gives back who did not come within `limit_s`, as a sentence; nothing if all did.
    """
    end_s = time.monotonic() + limit_s
    while not stop.is_set() and (missing := _missing(writer, plan, wanted)):
        if time.monotonic() > end_s:
            return f"{writer.name}: {missing} within {limit_s:g} s"
        beat()
        stop.wait(LOOK_S)
    return ""


def _missing(writer: Writer, plan: RingPlan, wanted: int | None) -> str:
    if wanted is not None:
        there = writer.consumer_count()
        return "" if there >= wanted else f"only {there} of {wanted} consumers came"
    readers = plan.readers.get(writer.name, ())
    if not readers:
        return ""
    consumers = inspect(writer.name, plan.directory).consumers
    alive = {consumer.name for consumer in consumers if consumer.alive}
    absent = [name for name in readers if name not in alive]
    return f"consumer {' and '.join(absent)} did not come" if absent else ""
