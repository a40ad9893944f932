"""The world: virtual time, whose turn it is, and who dies when. One seed names all of it.

    heap of (time, chance, what) ─► a call of the venue or network, or a process's turn
                                        │
                                        └─► after each: the taps read, who waits for something that is there is woken

A process runs until it waits (`pause`); nobody interrupts it but a kill at one of its steps: each look at the
clock, each call of the disk, each packet, each write of a sink is one.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import greenlet

from mdfeedd.ring.segment import ring_path
from mdfeedd.sim.whole.clock import BOOT_NS, VirtualTime
from mdfeedd.sim.whole.process import Life, Process, State, Stop, Task
from mdfeedd.sim.whole.tap import Taps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mdfeedd.sim.whole.process import Handle

__all__ = ["START_NS", "Stuck", "World"]

START_NS: Final = 1_790_000_000_000_000_000  # a Monday in September 2026
NS: Final = 1_000_000_000
ASKING_NS: Final = 200  # what a look at the clock takes
LATENCY_NS: Final = 40_000  # from an event to the turn of who waits for it, at most
BACK_OFF_S: Final = (0.25, 1.0)  # before the supervisor starts again what died
MAX_TURNS: Final = 400_000
MAX_STEPS: Final = 200_000  # in one turn: then it is a loop that never waits
MAX_NOTES: Final = 20_000
LONGEST_STRETCHED_S: Final = 1.0
LOOK_TURNS: Final = 32  # between two looks at whether all is over
MAX_CATCHES: Final = 8  # of an exit, by code that catches all


class Stuck(Exception):
    """A process that never waits, or a world that never comes to rest."""


class World:
    """See the module. `folder` takes the journals, `ring_folder` the rings; both are this world's alone."""

    def __init__(
        self, seed: int, folder: Path, ring_folder: Path, without: frozenset[str] = frozenset()
    ) -> None:
        self.seed = seed
        self.without = without
        self.folder = folder
        self.ring_folder = ring_folder
        self.now_ns: int = START_NS
        self.step_ns: int = 0  # wall clock less true time
        self.time: VirtualTime = VirtualTime(self)
        self.storming = True
        self.until_ns: int = START_NS
        self.stretch: float = (
            1.0  # a wait for something that does not come lasts so many times as long
        )
        self.marks_stored: Counter[str] = Counter()  # by the writer of a journal's folder
        self.disk_full = False
        self.taps: Taps = Taps(self)
        self.beats: dict[str, int] = {}  # by ring: when its writer was last seen alive
        self.processes: dict[str, Process] = {}
        self.notes: list[tuple[int, str, str]] = []
        self.lost: list[
            tuple[str, str, int, int]
        ] = []  # consumer, ring, first, last: told by a ring
        self.attached: list[
            tuple[str, str, int]
        ] = []  # consumer, ring, the first record it can get
        self.closing: bool = False
        self._heap: list[tuple[int, int, int, Any]] = []
        self._count = 0
        self._turn_steps = 0
        self._current: Task | None = None
        self._scheduler = greenlet.getcurrent()
        self._chance = self.rng("turns")
        self._waiting: dict[Task, None] = {}
        self._everyone: list[Task] = []

    # ------------------------------------------------------------------------------------- time, chance

    def rng(self, label: str) -> random.Random:
        """A generator of its own for each label."""
        return random.Random(f"{label} of world {self.seed}")  # noqa: S311 - chance, not secrets

    def has(self, family: str) -> bool:
        """Whether faults of this family happen: a failing seed is tried without one after the other."""
        return family not in self.without

    @property
    def monotonic_ns(self) -> int:
        """Since the host was started."""
        return self.now_ns - START_NS + BOOT_NS

    @property
    def wall_ns(self) -> int:
        """What the host's wall clock shows."""
        return self.now_ns + self.step_ns

    def asked(self) -> None:
        """A process looks at the clock."""
        self.now_ns += ASKING_NS
        self.step("clock")

    def at(self, time_ns: int, what: str, call: Callable[[], None]) -> None:
        """Have `call` called at this true time, in nobody's turn; `what` is noted if it is not empty."""
        self._push(time_ns, (what, call))

    def after(self, seconds: float, what: str, call: Callable[[], None]) -> None:
        """The same, so much later than now."""
        self.at(self.now_ns + round(seconds * NS), what, call)

    def _push(self, time_ns: int, item: Any) -> None:
        self._count += 1
        tie = self._chance.getrandbits(16)  # who is first of those whose time is the same
        heapq.heappush(self._heap, (max(time_ns, self.now_ns), tie, self._count, item))

    def note(self, who: str, text: str) -> None:
        """A line of the trace."""
        if len(self.notes) < MAX_NOTES:
            self.notes.append((self.now_ns, who, text))

    # ------------------------------------------------------------------------------------- in a process

    @property
    def process(self) -> Process | None:
        """Whose turn it is; None: nobody's."""
        return None if self._current is None else self._current.process

    def pause(self, seconds: float, ready: Callable[[], bool] | None = None) -> bool:
        """The others have their turns, for so long or until `ready` is found true; whether it was."""
        if self.closing:
            self.now_ns += round(min(max(seconds, 1e-6), 1.0) * NS)
            return False
        task = self._current
        assert task is not None, "nobody's turn: a call of the venue must not wait"
        self.step("wait")
        if ready is not None:
            if ready():
                return True
            seconds = max(seconds, min(seconds * self.stretch, LONGEST_STRETCHED_S))
        task.token += 1
        task.ready, task.woken_by_ready = ready, False
        self._push(self.now_ns + round(max(seconds, 0.0) * NS), (task, task.token))
        if ready is not None:
            self._waiting[task] = None
        self._scheduler.switch()
        task.ready = None
        return task.woken_by_ready

    def step(self, what: str) -> None:
        """A point at which the process whose turn it is may be killed."""
        task = self._current
        if task is None or self.closing:
            return
        self._turn_steps += 1
        if self._turn_steps > MAX_STEPS:
            raise Stuck(f"{task.process.name} does not wait (the last step: {what})")
        process = task.process
        process.steps += 1
        self.taps.read()
        if process.kill_in and process.kill_on in ("", what):
            process.kill_in -= 1
            if not process.kill_in:
                self._die(process, f"kill -9 at step {process.steps}, {what}")

    def kills_at_next(self, what: str) -> bool:
        """Whether the process whose turn it is dies at its next step, if it is this one: a write may be torn."""
        process = self.process
        if process is None or self.closing:
            return False
        return process.kill_in == 1 and process.kill_on in ("", what)

    def own(self, handle: Handle) -> None:
        """The kernel lets go of `handle` when the process dies whose turn it is."""
        process = self.process
        if process is not None:
            process.handles.append(handle)

    def begin_task(self, call: Callable[[], None]) -> Task:
        """A thread of the process whose turn it is."""
        process = self.process
        assert process is not None
        return self._start_task(process, call)

    def last_beat_ns(self, ring: str, directory: str) -> int | None:
        """In the place of `mdfeedd.ring.restart.last_beat_ns`: by the wall clock as it is now."""
        beat_ns = self.beats.get(str(ring_path(ring, directory)))
        return None if beat_ns is None else beat_ns + self.step_ns

    # ------------------------------------------------------------------------------------- processes

    def add(
        self,
        name: str,
        make: Callable[[], Callable[[Stop], None]],
        on_death: Callable[[], None] = lambda: None,
    ) -> Process:
        """A role; `make` gives the `run` of a new life."""
        process = self.processes[name] = Process(name, make, on_death)
        return process

    def start(self, process: Process) -> None:
        """A new life."""
        if process.state is State.UP or process.held_down:
            return
        process.state = State.UP
        process.stop = stop = Stop(self)
        process.handles, process.tasks = [], []
        process.steps, process.kill_in, process.stalled_until_ns = 0, 0, 0
        process.lives.append(Life(self.now_ns))
        self.note(process.name, f"starts, life {process.life}")

        def live() -> None:
            how = "crashed"
            try:
                process.make()(stop)
                how = "stopped"
            except greenlet.GreenletExit:
                raise
            except BaseException as error:  # noqa: BLE001 - what a supervisor sees as an exit status
                if not self.closing:
                    process.error = error
                    self.note(process.name, f"ends by {type(error).__name__}: {error}")
            if not self.closing:
                self._ended(process, how)

        self._start_task(process, live)

    def _start_task(self, process: Process, call: Callable[[], None]) -> Task:
        task = Task(process, call, self._scheduler)
        process.tasks.append(task)
        self._everyone.append(task)
        self._push(self.now_ns + self._chance.randrange(LATENCY_NS), (task, task.token))
        return task

    def kill(self, process: Process, why: str) -> None:
        """As kill -9 does, in nobody's turn."""
        if process.state is State.UP:
            self._end(process, "killed", why)

    def kill_at_step(self, process: Process, steps: int, what: str = "") -> None:
        """The same, so many steps from now; counting only those of a kind, if `what` names one."""
        if process.state is State.UP:
            process.kill_in, process.kill_on = steps, what

    def _die(self, process: Process, why: str) -> None:
        """In the process's own turn: never comes back."""
        self._end(process, "killed", why)
        self._scheduler.switch()
        raise greenlet.GreenletExit  # the world is being cleared away

    def _ended(self, process: Process, how: str) -> None:
        self._end(process, how, "")

    def _end(self, process: Process, how: str, why: str) -> None:
        self.taps.read()
        for task in process.tasks:
            task.token += 1
            self._waiting.pop(task, None)
        for handle in process.handles:
            handle.abandon()
        process.handles = []
        process.state = State.DOWN
        life = process.lives[-1]
        life.ended_ns, life.how = self.now_ns, how
        self.note(process.name, f"is {how}{': ' if why else ''}{why}")
        process.on_death()
        if not process.held_down:
            back_off_s = self._chance.uniform(*BACK_OFF_S)
            self.after(back_off_s, "", lambda: self.start(process))

    def stall(self, process: Process, seconds: float) -> None:
        """SIGSTOP, and so much later SIGCONT."""
        process.stalled_until_ns = self.now_ns + round(seconds * NS)

    # ------------------------------------------------------------------------------------- the loop

    def run(self, until_ns: int, over: Callable[[], bool] | None = None) -> bool:
        """Let it happen until then, or until `over`; whether it was."""
        for turn in range(MAX_TURNS):
            if over is not None and turn % LOOK_TURNS == 0 and over():
                return True
            if not self._heap or self._heap[0][0] > until_ns:
                self.now_ns = max(self.now_ns, until_ns)
                return over is not None and over()
            time_ns, _, _, item = heapq.heappop(self._heap)
            self.now_ns = max(self.now_ns, time_ns)
            self._take(item)
            self.taps.read()
            self._wake()
        raise Stuck(f"no rest after {MAX_TURNS} turns")

    def _take(self, item: tuple[Any, Any]) -> None:
        first, second = item
        if not isinstance(first, Task):
            if first:
                self.note("world", first)
            second()
            return
        task: Task = first
        if task.token != second or task.done:
            return
        if task.process.stalled_until_ns > self.now_ns:
            self._push(task.process.stalled_until_ns, item)
            return
        self._waiting.pop(task, None)
        self._current, self._turn_steps = task, 0
        try:
            task.greenlet.switch()
        finally:
            self._current = None

    def _wake(self) -> None:
        """Those who wait for something that is there now have their turn soon."""
        woken = [task for task in self._waiting if task.ready is not None and task.ready()]
        for task in woken:
            del self._waiting[task]
            task.woken_by_ready = True
            task.token += 1
            self._push(self.now_ns + self._chance.randrange(LATENCY_NS), (task, task.token))

    def clear(self) -> None:
        """Let go of everything: greenlets that never ended run their clean-up, which nobody looks at."""
        self.closing = True
        logging.disable(logging.CRITICAL)
        try:
            for process in self.processes.values():
                for handle in process.handles:
                    handle.abandon()
            for task in self._everyone:
                self._throw_away(task)
        finally:
            logging.disable(logging.NOTSET)
            self.taps.close()

    @staticmethod
    def _throw_away(task: Task) -> None:
        for _ in range(MAX_CATCHES):
            if task.greenlet.dead or not task.greenlet:
                return
            with contextlib.suppress(Exception):  # it stumbles over what the kill took away
                task.greenlet.throw(greenlet.GreenletExit)
