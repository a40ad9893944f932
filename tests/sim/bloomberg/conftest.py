"""The stand-in on the path for a module's tests, a client for the core alone, and a checker of what it got."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from mdfeedd.sim.bloomberg import Options, VirtualClock, World, path, playing
from mdfeedd.sim.bloomberg.events import Kind

MS = 1_000_000
SECOND = 1_000_000_000
ES = "ESZ6 Index"
SPY = "SPY US Equity"
EUR = "EURUSD Curncy"
SPX = "SPX Index"
TOPICS = (ES, SPY, EUR, SPX)


@pytest.fixture(scope="module")
def blpapi():
    """The stand-in, imported afresh; nothing of it is left afterwards."""

    def forget():
        for name in [n for n in sys.modules if n == "blpapi" or n.startswith("blpapi.")]:
            del sys.modules[name]

    kept = {n: m for n, m in sys.modules.items() if n == "blpapi" or n.startswith("blpapi.")}
    forget()
    sys.path.insert(0, path())
    try:
        yield importlib.import_module("blpapi")
    finally:
        sys.path.remove(path())
        forget()
        sys.modules.update(kept)


@pytest.fixture
def play():
    """Install a world for a test: play(World(...))."""
    opened = []

    def begin(world):
        entered = playing(world)
        entered.__enter__()
        opened.append(entered)
        return world

    yield begin
    for entered in reversed(opened):
        entered.__exit__(None, None, None)


@pytest.fixture(scope="session")
def with_real_package():
    """Run code in a child that finds Bloomberg's own package; the test is skipped where there is none."""
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != path()]

    def run(code, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    probe = "try:\n import blpapi\n print(blpapi.__name__)\nexcept ImportError:\n pass"
    if not run(probe).strip():
        pytest.skip("no blpapi here: it comes from Bloomberg's own package index")
    return run


class Desk:
    """A client of a core, without the stand-in: time goes in steps, events are taken as they come."""

    def __init__(self, world=None, **options):
        self.world = world or World(3, TOPICS, clock=VirtualClock())
        self.core = self.world.connect(Options(**options))
        self.now = self.world.clock.now_ns()
        self.events = []

    def run(self, seconds=0.1, step_ms=5.0, *, take=True):
        """What came in that time: [(kind of event, item)]."""
        before = len(self.events)
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            self.now = min(self.now + int(step_ms * MS), end)
            self.core.advance(self.now)
            if take:
                self.drain()
        return self.events[before:]

    def drain(self):
        while (event := self.core.take()) is not None:
            assert event.items
            self.events += [(event.kind, item) for item in event.items]

    def up(self):
        self.core.start(self.now)
        self.run(0.01)
        assert self.core.state == "up"
        return self

    def subscribe(self, *topics, first=0, individual=True, query=""):
        wanted = [(t + query, first + i, first + i) for i, t in enumerate(topics)]
        return self.core.subscribe(wanted, self.now, individual=individual)

    def names(self, kind=None):
        return [item.kind for k, item in self.events if kind in (None, k)]

    def data(self, cid=0):
        return [i for k, i in self.events if k == Kind.SUBSCRIPTION_DATA and i.cid == cid]

    def of(self, name):
        return [item for _, item in self.events if item.kind == name]


@pytest.fixture
def desk():
    """Connected and started, over a quiet default world."""
    return Desk().up()


class Follower:
    """What a client knows of one topic, and whether it may believe it: holes must have been told."""

    def __init__(self):
        self.touch = {"BID": None, "ASK": None, "BID_SIZE": None, "ASK_SIZE": None}
        self.clean = False
        self.whole = False

    def hole(self):
        self.clean = self.whole = False

    def data(self, item):
        content = item.content
        if content["MKTDATA_EVENT_SUBTYPE"] == "DATALOSS":
            self.hole()
            return
        if item.recap:
            self.whole = self.whole or item.fragment in (0, 1)
            self.clean = self.clean or (self.whole and item.fragment in (0, 3))
        self.touch |= {k: v for k, v in content.items() if k in self.touch}
        for side in ("BID", "ASK"):
            if content.get(side, 1) == 0.0 and content.get(f"{side}_SIZE", 1) is None:
                self.touch[side] = None

    def agrees(self, truth):
        bid, ask = truth[:2]
        want = (None if bid is None else bid / 1e9, None if ask is None else ask / 1e9)
        return (self.touch["BID"], self.touch["ASK"]) == want


def follow(events):
    """By cid, what a client knows after these events."""
    known = {}
    for kind, item in events:
        if kind == Kind.SUBSCRIPTION_DATA:
            known[item.cid].data(item)
        elif item.kind == "SubscriptionStarted":
            known.setdefault(item.cid, Follower())
        elif item.kind in ("DataLoss", "SubscriptionStreamsDeactivated"):
            known[item.cid].hole()
        elif item.kind in ("SubscriptionTerminated", "SubscriptionFailure"):
            known.pop(item.cid, None)
        elif item.kind in ("SessionConnectionDown", "SessionTerminated"):
            for one in known.values():
                one.hole()
    return known
