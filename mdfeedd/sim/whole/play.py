"""One seed: a world is drawn, played, healed and checked.

draw ─► storm: kills, stalls, full disk, outages, clock steps, reloads ─► heal ─► quiet ─► stop ─► checks
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.sim.whole.actor import Size
from mdfeedd.sim.whole.checks import Evidence, check_all
from mdfeedd.sim.whole.pipeline import Pipeline
from mdfeedd.sim.whole.process import State
from mdfeedd.sim.whole.stand_ins import standing_in
from mdfeedd.sim.whole.vendors import ACTORS
from mdfeedd.sim.whole.world import Stuck, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mdfeedd.sim.whole.actor import Actor
    from mdfeedd.sim.whole.process import Process, Stop

__all__ = ["FAMILIES", "MARKS", "Result", "play"]

NS: Final = 1_000_000_000
FAMILIES: Final = (
    "kill", "stall", "disk", "outage", "clock", "reload", "stop", "loss", "double", "reorder", "cut", "reset",
)  # fmt: skip
MARKS: Final = {
    "killed": "is killed",
    "killed at a step": "kill -9 at step",
    "stopped": "stop: ",
    "stalled": "stall: ",
    "disk full": "the journal in /journal cannot be written",
    "journal torn": "bytes cut from the end of the journal",
    "journal lapped": "records lost, the feed was faster",
    "reader lapped": "is told that",
    "batch dropped": "drops ",
    "store failed": "retrying",
    "clock stepped": "clock: steps",
    "reloaded": "reload: ",
    "sequence anew": "the venue's sequence began anew",
}
"""Rare paths, by the words in the trace that show that one was taken."""
TENDER: Final[dict[str, tuple[str, ...]]] = {
    "feed": ("packet", "clock"),
    "journal": ("write", "written", "mark", "rename", "renamed", "create"),
}
"""Processes, by how their names begin, and the kinds of steps at which a kill hurts most."""
DRAIN_S: Final = 30.0  # for what is published to reach every store, once all is well
LARGE: Final = 300  # events of a feed, from which on its ring is lapped
SHORT_STORM_S: Final = 1.5  # in longer ones, waits for what does not come last longer, too
STOP_S: Final = 20.0  # for a process to end that is told to
RINGS: Final = "/dev/shm"  # noqa: S108 - the POSIX shared-memory file system


@dataclass(slots=True)
class Result:
    """What came of a seed. violations: sentences; notes: (true time, who, what)."""

    seed: int
    vendors: tuple[str, ...]
    violations: list[str] = field(default_factory=list)
    notes: list[tuple[int, str, str]] = field(default_factory=list)
    records: int = 0
    kills: int = 0
    marks: frozenset[str] = frozenset()  # of `MARKS`, what happened in it
    recovery_s: float = 0.0
    digest: str = ""
    evidence: Evidence | None = None


class _Notes(logging.Handler):
    """What the product logs is a line of the trace."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        process = self._world.process
        text = record.getMessage().replace(str(self._world.folder), "")
        self._world.note("?" if process is None else process.name, f"says: {text}")


def play(
    seed: int,
    *,
    vendors: tuple[str, ...] | None = None,
    without: frozenset[str] = frozenset(),
    keep: bool = False,
) -> Result:
    """Play one seed. vendors: instead of those drawn. without: families of faults that do not happen.

    keep: the evidence stays in the result, for checkers to be tried on.
    """
    rings = Path(
        tempfile.mkdtemp(prefix="mdfeedd-sim-", dir=RINGS if os.path.isdir(RINGS) else None)
    )
    collecting = gc.isenabled()
    gc.disable()  # a greenlet that is collected would run its clean-up at a time of nobody's choice
    try:
        world = World(seed, rings, rings, without)
        drawn = _draw_vendors(world) if vendors is None else vendors
        result = Result(seed, drawn)
        _Play(world, result).run(keep=keep)
    except Exception as error:
        error.add_note(
            f"seed {seed} of the simulation: python -m mdfeedd.sim --seeds 1 --start {seed}"
        )
        raise
    finally:
        shutil.rmtree(rings, ignore_errors=True)
        if collecting:
            gc.enable()
    return result


def _draw_vendors(world: World) -> tuple[str, ...]:
    rng = world.rng("vendors")
    known = sorted(ACTORS)
    count = min(len(known), rng.choices((1, 2, 3), (0.85, 0.11, 0.04))[0])
    return tuple(sorted(rng.sample(known, count)))


class _Play:
    def __init__(self, world: World, result: Result) -> None:
        self._world = world
        self._result = result
        self._actors: list[Actor] = []
        self._feeds: dict[str, tuple[Process, Actor]] = {}
        self._capacity = 256
        self._living: dict[str, Any] = {}
        self._pipeline: Pipeline
        self._log = logging.getLogger("mdfeedd")

    def run(self, *, keep: bool) -> None:
        """All of it; what is found is in the result."""
        world, result = self._world, self._result
        storm_s, sizes = self._sizes()
        size = sizes[0]
        world.until_ns = world.now_ns + round(storm_s * NS)
        if size.events < LARGE:
            self._capacity = world.rng("capacity").choice((256, 256, 1024))
        world.stretch = max(2.0, storm_s / SHORT_STORM_S)
        self._actors = [
            ACTORS[vendor](world, f"feed{number}", own)
            for number, (vendor, own) in enumerate(zip(result.vendors, sizes, strict=True))
        ]
        patches = [patch for actor in self._actors for patch in actor.patches()]
        with standing_in(world, patches), self._logging():
            try:
                pipeline = self._build()
                self._storm(size)
                self._recover(size, pipeline)
                self._stop()
            except Stuck as stuck:
                result.violations.append(f"stuck: {stuck}")
            else:
                evidence = Evidence.of(world, pipeline, self._actors)
                result.violations += check_all(evidence)
                result.evidence = evidence if keep else None
                result.digest = evidence.digest(hashlib.sha256())
            finally:
                result.notes = world.notes
                result.records = sum(world.taps.count(ring) for ring in world.taps.rings)
                lives = [life for process in world.processes.values() for life in process.lives]
                text = "\n".join(note[2] for note in world.notes)
                result.marks = frozenset(mark for mark, words in MARKS.items() if words in text)
                result.kills = sum(life.how == "killed" for life in lives)
                world.clear()

    @contextlib.contextmanager
    def _logging(self) -> Iterator[None]:
        handler = _Notes(self._world)
        log = self._log
        level, propagate, handlers = log.level, log.propagate, log.handlers[:]
        log.setLevel(logging.INFO)
        log.propagate, log.handlers = False, [handler]
        try:
            yield
        finally:
            log.setLevel(level)
            log.propagate, log.handlers = propagate, handlers

    def _sizes(self) -> tuple[float, list[Size]]:
        """How long the storm lasts, and what each actor makes: as usual for its vendor, or as drawn."""
        rng = self._world.rng("size")
        vendors = self._result.vendors
        events = rng.choices((40, 80, 120, 500), (35, 45, 15, 5))[0] // len(vendors)
        drawn = Size(events=events, storm_s=rng.choice((0.5, 1.5, 3.0)))
        usual = [getattr(ACTORS[vendor], "usual", drawn) for vendor in vendors]
        storm_s = max(size.storm_s for size in usual)
        recovery_s = max(size.recovery_s for size in usual)
        return storm_s, [
            Size(one.events // len(vendors) if one is not drawn else events, storm_s, recovery_s)
            for one in usual
        ]

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> Pipeline:
        world = self._world
        for index, actor in enumerate(self._actors):
            self._add_feed(index, actor)
        pipeline = Pipeline(world, [actor.name for actor in self._actors])
        self._pipeline = pipeline
        for actor in self._actors:
            actor.begin()
        for process in world.processes.values():
            delay_s = world.rng(f"start of {process.name}").choice((0.0, 0.0, 0.1, 0.4))
            world.after(delay_s, "", partial(world.start, process))
        return pipeline

    def _add_feed(self, index: int, actor: Actor) -> None:
        plan = RingPlan(
            actor.name,
            capacity=self._capacity,
            feed_index=index + 1,
            instruments_capacity=64,
            directory=str(self._world.ring_folder),
        )

        def make() -> Callable[[Stop], None]:
            feed = actor.make(plan)
            actor.started(feed)
            self._living[actor.name] = feed
            return feed.run  # type: ignore[no-any-return]

        self._feeds[actor.name] = (self._world.add(actor.name, make, actor.killed), actor)

    # ------------------------------------------------------------------------------------- the storm

    def _storm(self, size: Size) -> None:
        world = self._world
        for actor in self._actors:
            for fault in actor.faults():
                if world.has(fault.text.split()[0].rstrip(":")):
                    world.at(fault.at_ns, fault.text, fault.call)
        for plan in (
            self._kills,
            self._stalls,
            self._delays,
            self._disk,
            self._outages,
            self._clock,
            self._reloads,
        ):
            plan(size)
        world.run(world.until_ns)

    def _moment(self, label: str, size: Size) -> list[int]:
        """Some times in the storm."""
        rng = self._world.rng(label)
        count = rng.choice((0, 1, 1, 2, 4))
        start_ns = self._world.now_ns
        return sorted(start_ns + round(rng.random() * size.storm_s * NS) for _ in range(count))

    def _kills(self, size: Size) -> None:
        world = self._world
        rng = world.rng("kill whom")
        for at_ns in self._moment("kills", size):
            process = rng.choice(list(world.processes.values()))
            steps, what = rng.choice((0, rng.randrange(1, 40), rng.randrange(1, 400))), ""
            if rng.random() < 0.4:
                role = rng.choice(tuple(TENDER))
                process = rng.choice(
                    [p for p in world.processes.values() if p.name.startswith(role)]
                )
                steps, what = rng.randrange(1, 6), rng.choice(TENDER[role])
            if not world.has("kill"):
                continue
            kill = (
                partial(world.kill_at_step, process, steps, what)
                if steps
                else partial(world.kill, process, "kill -9")
            )
            world.at(at_ns, "", kill)
        for at_ns in self._moment("stops", size):
            process = rng.choice(list(world.processes.values()))
            if world.has("stop") and rng.random() < 0.5:
                world.at(at_ns, f"stop: {process.name}", partial(self._terminate, process))

    def _terminate(self, process: Process) -> None:
        if process.state is State.UP and process.stop is not None:
            process.stop.set()

    def _stalls(self, size: Size) -> None:
        world = self._world
        rng = world.rng("stall whom")
        for at_ns in self._moment("stalls", size):
            process, seconds = (
                rng.choice(list(world.processes.values())),
                rng.choice((0.02, 0.3, 1.0)),
            )
            if world.has("stall"):
                world.at(
                    at_ns, f"stall: {process.name} for {seconds} s",
                    partial(world.stall, process, seconds),
                )  # fmt: skip

    def _delays(self, size: Size) -> None:
        """In a world that is large enough, a reader that stands still for so long that it is lapped."""
        world = self._world
        feeds = {process.name for process, _ in self._feeds.values()}
        readers = [process for process in world.processes.values() if process.name not in feeds]
        process = world.rng("delay whom").choice(readers)
        if size.events >= LARGE and world.has("stall"):
            at_ns = world.now_ns + round(size.storm_s * 0.2 * NS)
            text = f"stall: {process.name} for most of the storm"
            world.at(at_ns, text, partial(world.stall, process, size.storm_s * 0.75))

    def _disk(self, size: Size) -> None:
        world = self._world
        rng = world.rng("disk how long")
        for at_ns in self._moment("disk", size)[:2]:
            seconds = rng.choice((0.05, 0.5))
            if world.has("disk"):
                world.at(at_ns, "disk: full", partial(setattr, world, "disk_full", True))
                end_ns = at_ns + round(seconds * NS)
                world.at(end_ns, "disk: room again", partial(setattr, world, "disk_full", False))

    def _outages(self, size: Size) -> None:
        world = self._world
        rng = world.rng("outage of which")
        for at_ns in self._moment("outages", size):
            what = rng.choice(("down", "forgets", "stalls"))
            seconds = rng.choice((0.1, 0.5, 1.0))
            which = rng.random()
            if world.has("outage"):
                world.at(at_ns, "", partial(self._fail_store, which, what, begin=True))
                end_ns = at_ns + round(seconds * NS)
                world.at(end_ns, "", partial(self._fail_store, which, what, begin=False))

    def _fail_store(self, which: float, what: str, *, begin: bool) -> None:
        stores = (self._pipeline.ledger, self._pipeline.mirror)
        store = stores[which < 0.5]
        self._world.note("world", f"outage: {store.name} {what}{'' if begin else ' no more'}")
        if what == "down":
            store.down = begin
        elif what == "forgets":
            store.forgets = 0.5 if begin else 0.0
        else:
            store.stall_s = 0.3 if begin else 0.0

    def _clock(self, size: Size) -> None:
        world = self._world
        rng = world.rng("clock how far")
        for at_ns in self._moment("clock", size)[:1]:
            step_ns = rng.choice((-3600, -5, 0, 5, 86_400)) * NS
            if world.has("clock") and rng.random() < 0.4:
                world.at(
                    at_ns, f"clock: steps by {step_ns / NS:.0f} s", partial(self._step, step_ns)
                )

    def _step(self, by_ns: int) -> None:
        self._world.step_ns += by_ns

    def _reloads(self, size: Size) -> None:
        world = self._world
        rng = world.rng("reload of which")
        for at_ns in self._moment("reloads", size)[:2]:
            process, actor = rng.choice(list(self._feeds.values()))
            if world.has("reload") and rng.random() < 0.5:
                world.at(at_ns, f"reload: {actor.name}", partial(self._reload, process, actor))

    def _reload(self, process: Process, actor: Actor) -> None:
        """As the supervisor does: told to the living feed if it can, else by another process."""
        changed = actor.reload()
        if changed is None:
            return
        old, new = changed
        feed = self._living.get(actor.name)
        is_live = getattr(type(feed), "live", None)
        if process.state is State.UP and is_live is not None and is_live(old, new):
            assert feed is not None
            feed.reconfigure(new)
            return
        self._terminate(process)

    # ------------------------------------------------------------------------------------- the end

    def _recover(self, size: Size, pipeline: Pipeline) -> None:
        """No more faults: everything must be right within a bounded time."""
        world = self._world
        world.storming = False
        world.disk_full = False
        for store in (pipeline.ledger, pipeline.mirror):
            store.down, store.forgets, store.stall_s = False, 0.0, 0.0
        for process in world.processes.values():
            process.kill_in, process.stalled_until_ns = 0, 0
        world.note("world", "heals")
        for actor in self._actors:
            actor.heal()
        began_ns = world.now_ns
        if not world.run(began_ns + round(size.recovery_s * NS), self._is_right):
            wrong = [actor.name for actor in self._actors if not actor.right()]
            down = [p.name for p in world.processes.values() if p.state is not State.UP]
            self._result.violations.append(
                f"recovery: after {size.recovery_s:g} s not right: {', '.join(wrong + down)}"
            )
        self._result.recovery_s = (world.now_ns - began_ns) / NS
        if not world.run(
            world.now_ns + round(DRAIN_S * NS), lambda: pipeline.is_drained(world.taps)
        ):
            self._result.violations.append(
                f"recovery: after {DRAIN_S:g} s more not everything is stored: {pipeline.waits_for(world.taps)}"
            )

    def _is_right(self) -> bool:
        up = all(process.is_to_stay_up for process in self._world.processes.values())
        return up and all(actor.right() for actor in self._actors)

    def _stop(self) -> None:
        """As the supervisor stops: the feeds first, then what reads them."""
        world = self._world
        feeds = [process for process, _ in self._feeds.values()]
        others = [process for process in world.processes.values() if process not in feeds]
        for group in (feeds, others):
            for process in group:
                process.held_down = True
                self._terminate(process)
            ended = world.run(
                world.now_ns + round(STOP_S * NS),
                partial(_are_down, group),
            )
            if not ended:
                up = [process.name for process in group if process.state is State.UP]
                self._result.violations.append(f"stuck: do not stop: {', '.join(up)}")


def _are_down(processes: Sequence[Process]) -> bool:
    return all(process.state is State.DOWN for process in processes)
