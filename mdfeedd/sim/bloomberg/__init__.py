"""A stand-in for Bloomberg's `blpapi` package, and the world that it plays.

    World(seed, topics, rate, script) ─► SessionCore: start, subscribe, advance ─► EventQueue, bounded
        │  market, oddities, faults           ▲                                        │
        │                                     │ calls                                  ▼ events
        └─► sessions: SessionAccount     stand_in/blpapi: Session.nextEvent, Message.toPy, ...

    sys.path.insert(0, path())                          in a test, or in a process made for a demo: never else
    with playing(World(7, script=Script((Fault("disconnect", at_s=2.0),)), clock=VirtualClock())): ...

All but `clock`, `installed` and `stand_in` is sans-IO: times are given. No thread makes anything: events fall
due by the clock and are made inside nextEvent. With a `VirtualClock` waiting is a leap.

The stand-in has the published names, orders, kinds, defaults and numbers of what the Bloomberg feed uses, in
code of its own; `behaviour` holds facts that it and the real package must both show. What it cannot know is
how a live Terminal or B-PIPE behaves beyond what was published: see `behaviour` and the note on each fault.

Who owns what: the world its market and accounts, each session its queue. A message is in exactly one list of
its account (delivered, dropped, lost, discarded) once it has left the queue.
Limits: 65,536 topics, a queue of `setMaxEventQueueSize` events, 64 messages an event, 60 s made up for after a
stall.
Ways to fail: `ValueError` for topics, faults and JSON; `Misuse`, which the stand-in raises as published.
"""

from __future__ import annotations

from pathlib import Path

from mdfeedd.sim.bloomberg.account import Said, Sent, SessionAccount
from mdfeedd.sim.bloomberg.clock import Clock, SystemClock, VirtualClock
from mdfeedd.sim.bloomberg.core import Misuse, Options, SessionCore
from mdfeedd.sim.bloomberg.installed import VARIABLE, current, install, playing, remove
from mdfeedd.sim.bloomberg.script import CATEGORIES, KINDS, MODES, ODDITIES, Fault, Script
from mdfeedd.sim.bloomberg.topics import DEFAULT_TOPICS
from mdfeedd.sim.bloomberg.world import World

__all__ = [
    "CATEGORIES",
    "DEFAULT_TOPICS",
    "KINDS",
    "MODES",
    "ODDITIES",
    "VARIABLE",
    "Clock",
    "Fault",
    "Misuse",
    "Options",
    "Said",
    "Script",
    "Sent",
    "SessionAccount",
    "SessionCore",
    "SystemClock",
    "VirtualClock",
    "World",
    "current",
    "install",
    "path",
    "playing",
    "remove",
]


def path() -> str:
    """The folder to put in front of `sys.path` for `import blpapi` to find the stand-in."""
    return str(Path(__file__).parent / "stand_in")
