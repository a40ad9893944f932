"""Bloomberg in a simulated world: the stand-in's market and sessions, and a feed that is reloaded, killed, restarted.

    World (sim.bloomberg) ─► SessionCore ─► stand-in's Session.nextEvent ─► the real feed ─► ring
        └── facts, accounts of all sessions ───────────► bloomberg_checks ◄── tape

The feed is real, and takes its data by Python's way: the native one needs the SDK's own library.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import mdfeedd.feeds.bloomberg.feed as feed_module
from mdfeedd.feeds.bloomberg.options import BloombergOptions, Topic
from mdfeedd.feeds.bloomberg.topics import PENDING, Stage, Topics
from mdfeedd.sim.bloomberg import happenings
from mdfeedd.sim.bloomberg.core import Options
from mdfeedd.sim.bloomberg.script import Fault as Misdeed
from mdfeedd.sim.bloomberg.script import Script
from mdfeedd.sim.bloomberg.stand_in import blpapi
from mdfeedd.sim.bloomberg.stand_in.blpapi import abstractsession
from mdfeedd.sim.bloomberg.world import World as Terminal
from mdfeedd.sim.whole.actor import Fault, Size
from mdfeedd.sim.whole.vendors.bloomberg_checks import check
from mdfeedd.tick import Kind

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence

    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.sim.bloomberg.content import Content
    from mdfeedd.sim.bloomberg.core import SessionCore, Subscription
    from mdfeedd.sim.whole.tape import Tape
    from mdfeedd.sim.whole.world import World

__all__ = ["BloombergActor", "Happened"]

NS: Final = 1_000_000_000
USUAL: Final = Size(events=120, storm_s=12.0, recovery_s=420.0)
"""An image that does not come is asked for again after 30 s, an answer after 90 s, what failed after up to 300 s."""
SESSIONS: Final = 4  # the first ones, in which Bloomberg does something wrong
NAMES: Final = ("ESZ6 Index", "SPY US Equity", "EURUSD Curncy", "SPX Index", "IBM US Equity")
FOR_EVER_S: Final = 86_400.0
FOR_EVER_NS: Final = 2**62


class Happened(NamedTuple):
    """Something happened to a topic, whether or not anybody was told."""

    topic: str
    what: str
    ns: int


class _Clock:
    """The stand-in's time is the world's; who waits lets the others have their turns."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now_ns(self) -> int:
        """True time."""
        return self._world.now_ns

    def wait(self, gate: threading.Condition, until_ns: int | None) -> None:
        """Let go of the gate meanwhile."""
        left_s = FOR_EVER_S if until_ns is None else (until_ns - self._world.now_ns) / NS
        gate.release()
        try:
            self._world.pause(left_s)
        finally:
            gate.acquire()

    def sleep(self, ns: int) -> None:
        """Let the others have their turns."""
        self._world.pause(ns / NS)


class _Venue(Terminal):
    """Remembers all that happened, and whose each message is. `of`: place in `facts` by the id of a content."""

    def __init__(self, seed: int, names: Sequence[str], queue_limit: int, **rest: Any) -> None:
        super().__init__(seed, names, **rest)
        self._queue_limit = queue_limit
        self.facts: list[Happened] = []
        self.of: dict[int, int] = {}
        self.cores: list[SessionCore] = []
        self.began_ns: list[int] = []  # of the cores

    def connect(self, options: Options | None = None) -> SessionCore:
        """The far side of a new session."""
        # a small one, so that few messages are enough to fill it
        core = super().connect(replace(options or Options(), queue_limit=self._queue_limit))
        self.cores.append(core)
        self.began_ns.append(self.clock.now_ns())
        return core

    def _send(self, index: int, what: str, ns: int) -> None:
        self.facts.append(Happened(self.topics[index].name, what, ns))
        super()._send(index, what, ns)

    def _deliver(self, core: SessionCore, sub: Subscription, content: Content, ns: int) -> None:
        self.of[id(content)] = len(self.facts) - 1
        super()._deliver(core, sub, content, ns)


class BloombergActor:
    """See `Actor`."""

    vendor: str = "bloomberg"
    usual: Size = USUAL

    def __init__(self, world: World, name: str, size: Size) -> None:
        self.name = name
        self.world = world
        self.size = size
        self._rng = rng = world.rng(f"{name} bloomberg")
        self._listed = NAMES[: rng.randint(2, len(NAMES))]
        chosen = self._listed[: rng.randint(1, len(self._listed))]
        self.options: BloombergOptions = BloombergOptions(
            tuple(Topic(one) for one in chosen),
            queue_events=1000,
            native="off",
            statistics=rng.random() < 0.2,
        )
        self.venue: _Venue = _Venue(
            rng.getrandbits(30),
            self._listed,
            rng.choice((8, 30, 1000)),
            rate=max(1.0, size.events / size.storm_s),
            oddities=rng.choice((0.0, 0.05)),
            reply_ms=rng.choice((1.0, 20.0, 300.0)),
            clock=_Clock(world),
        )
        self.unfollowed: list[tuple[str, int]] = []  # topic, since when nobody wants it
        self.followed: list[tuple[str, int]] = []  # topic, since when somebody wants it, too
        self.is_whole: bool = False
        self.is_healed: bool = False
        self.healthy: set[str] = set()  # topics that are live at the end
        self.world_start_ns: int = world.now_ns
        self._topics: Topics | None = None

    def make(self, plan: RingPlan) -> Any:
        """A new feed with the options as they are now."""
        self._topics = None
        return feed_module.BloombergFeed(self.name, self.options, plan)

    def reload(self) -> tuple[Any, Any] | None:
        """One topic more or less."""
        old, rng = self.options, self._rng
        had = [one.topic for one in old.topics]
        rest = [one for one in self._listed if one not in had]
        if rest and rng.random() < 0.6:
            had.append(rng.choice(rest))
            self.followed.append((had[-1], self.world.now_ns))
        elif len(had) > 1:
            gone = rng.choice(had)
            had.remove(gone)
            self.unfollowed.append((gone, self.world.now_ns))
        else:
            return None
        self.options = replace(old, topics=tuple(Topic(one) for one in had))
        self.world.note(self.name, f"reload: topics {', '.join(had)}")
        return old, self.options

    # the run

    def patches(self) -> Iterable[tuple[Any, str, Any]]:
        """The package, its world, and the end of troubles when all is to be well."""
        actor = self
        real_happen = happenings.happen

        class Known(Topics):
            """That tell the actor of themselves."""

            def __init__(self, *args: Any, **rest: Any) -> None:
                super().__init__(*args, **rest)
                actor._topics = self

        def happen(core: SessionCore, fault: Misdeed, ns: int) -> None:
            if not (actor.is_healed and core.world is actor.venue):
                real_happen(core, fault, ns)

        return [
            (feed_module, "load", lambda _path: blpapi),
            (feed_module, "Topics", Known),
            (feed_module, "WAIT_S", 1.0),
            (feed_module, "last_beat_ns", self.world.last_beat_ns),
            (abstractsession, "current", lambda _clock=None: actor.venue),
            (happenings, "happen", happen),
        ]

    def begin(self) -> None:
        """The market goes by the world's time already."""

    def started(self, feed: Any) -> None:
        """Nothing to do."""

    def killed(self) -> None:
        """Its session is gone, with all that waited in its queue."""
        for core in self.venue.cores:
            if core.state in ("starting", "up", "down"):
                core.stop()

    def faults(self) -> Sequence[Fault]:
        """Of Bloomberg, session by session, from the beginning on."""
        rng, world = self._rng, self.world
        script = Script.random(
            rng.getrandbits(30), self._listed, seconds=self.size.storm_s, sessions=SESSIONS
        )
        calm = rng.choice((0.3, 1.0))
        return [
            Fault(world.now_ns, f"bloomberg: {misdeed}", self._adding(misdeed))
            for misdeed in script.faults
            if rng.random() < calm
        ]

    def _adding(self, misdeed: Misdeed) -> Callable[[], None]:
        def add() -> None:
            self.venue.script = Script((*self.venue.script.faults, misdeed))

        return add

    def heal(self) -> None:
        """Bloomberg does nothing wrong any more; what was lost without a word is told."""
        self.is_healed = True
        venue, now_ns = self.venue, self.world.now_ns
        venue.script = Script()
        venue.oddities = 0.0
        venue._frozen_ns = [0] * len(venue.topics)  # noqa: SLF001 - silences are over
        for core in venue.cores:
            for sub in list(core.subscriptions.values()):
                sub.losing = 0
                if sub.lost:
                    happenings.tell_loss(core, sub, now_ns)

    def right(self) -> bool:
        """Every topic is live and nothing waits, but for those that have failed for long, and say so."""
        topics = self._topics
        cores = [core for core in self.venue.cores if core.state == "up"]
        if topics is None or len(cores) != 1 or not len(topics):
            return False
        if cores[0].queue.has_any or cores[0]._open is not None:  # noqa: SLF001 - messages on their way
            return False
        if {one.listing for one in topics} != set(self.options.topics):
            return False
        for one in topics:
            if one.stage in PENDING or one.stage is Stage.INACTIVE:
                return False
            if one.stage is Stage.LIVE and one.touch.stale:
                return False
            lasting = one.failure is not None and one.failure.answer.name != "SOON"
            if one.stage is Stage.WAITING and not lasting and one.flow.name != "LIMIT":
                return False
        if not self.is_whole:  # from now on nothing changes any more
            self.is_whole = True
            self.venue.freeze("", FOR_EVER_NS)
        self.healthy = {one.listing.name for one in topics if one.stage is Stage.LIVE}
        return True

    @staticmethod
    def leaves_open(tape: Tape) -> bool:
        """A GAP is open at the end: of a topic that has failed, or is not followed any more."""
        is_open: dict[int, bool] = {}
        for row in tape.rows:
            if row["kind"] in (Kind.GAP, Kind.RECOVERED):
                is_open[int(row["instrument_id"])] = bool(row["kind"] == Kind.GAP)
        return any(is_open.values())

    def check(self, tape: Tape) -> Iterable[str]:
        """See `bloomberg_checks`."""
        return check(self, tape)
