"""One process per feed and consumer: started in order, restarted when they die, stopped in order.

    WAITING ──► STARTING ──► RUNNING ──► FINISHED     it returned (exit 0)
       │            │           │──────► FAILED       77, 78, a crash loop, or any failure in a finite run
       │            └───────────┴──────► BACKOFF ──► STARTING ...
       └──────────────┴─────┴──────────► STOPPED      `stop`

Start: feeds at once; a consumer when each producer of its rings has a ring with a living writer (or has ended,
or took longer than `Limits.ready_s`). Stop: SIGTERM to the feeds; a consumer gets its SIGTERM when its
producers have ended and it has read all they wrote; at the deadline SIGKILL. The others never notice that a
child died. No number of the data path passes through here: counters, positions and liveness are read from
shared memory.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import enum
import logging
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from mdfeedd.daemon.metrics import Exporter
from mdfeedd.daemon.plan import Assignment, ChildPlan, Exit, Plan
from mdfeedd.daemon.process import Process, reason
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.segment import ring_path

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from types import TracebackType

logger = logging.getLogger("mdfeedd.daemon.supervisor")

_POLL_S: Final = 0.02
"""How often shared memory is looked at while something is waited for."""
_POLL_LATE_S: Final = 0.5
"""The same, when nobody waits for it any longer."""
_BEAT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Every time and count that the supervisor goes by."""

    ready_s: float = 10.0
    """Until a child's rings are up; then its consumers are started all the same."""
    restart_first_s: float = 0.1
    """Before the first restart of a child that was healthy."""
    restart_base_s: float = 1.0
    """Before the second; doubled from there on ..."""
    restart_max_s: float = 30.0
    """... up to this."""
    restart_jitter: float = 0.2
    """Share by which each delay varies, up and down."""
    healthy_s: float = 10.0
    """A child that lived as long begins with the first delay again."""
    crash_limit: int = 8
    """Crashes within `crash_window_s` after which a child is given up."""
    crash_window_s: float = 120.0
    stop_s: float = 15.0
    """From `stop` to SIGKILL for whatever is left."""
    feeds_stop_s: float = 5.0
    """Of that, for the feeds."""
    drain_s: float = 10.0
    """From `stop` until consumers are told to stop even if they have not read everything."""


class State(enum.Enum):
    """Where a child is in its life; drawn at the top of this file."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


class StartError(Exception):
    """The daemon cannot start. One sentence."""


@dataclass(slots=True)
class Child:
    """One child and its history. Read it from any thread; only the supervisor changes it."""

    plan: ChildPlan
    state: State = State.WAITING
    pid: int = 0
    """0 while no process runs."""
    restarts: int = 0
    last_exit: str = ""
    """How the last process ended, in words."""
    last_code: int | None = None
    last_failure: str = ""
    """How the last process that failed ended, in words; a later good end does not change it."""
    started: float = 0.0
    """`time.monotonic` of the last start."""
    process: Process | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Its consumers need not wait for it any longer."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """No process, and none will come."""
    attempts: int = 0
    crashes: collections.deque[float] = field(default_factory=collections.deque)

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self.plan.name

    @property
    def kind(self) -> str:
        """What it is: feed or consumer."""
        return self.plan.kind

    @property
    def label(self) -> str:
        """As log lines call it."""
        return f"{self.plan.kind} {self.plan.name}"


class Supervisor:
    """Runs a plan. Everything but reading `children` belongs to one event loop.

    until_done: the run is finite: consumers end with their rings, nothing that failed is tried again (but a
    consumer that crashed is), and `wait` returns when all have ended, or at the first failure.

    `start` raises `StartError`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        until_done: bool = False,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.plan = plan.finite() if until_done else plan
        self.limits = Limits() if limits is None else limits
        self.until_done = until_done
        self.children = [Child(child) for child in self.plan.order()]
        self.exporter: Exporter | None = None
        self._rings_dir = Path(self.plan.shm_dir)
        self._env = dict(os.environ if env is None else env)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._done = asyncio.Event()
        self._beat = time.monotonic()

    async def run(self) -> None:
        """Start, wait and stop. Ends early by `request_stop` or when cancelled."""
        async with self:
            await self.wait()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything; returns when each child has had its chance to come up."""
        if not self._rings_dir.is_dir():
            raise StartError(f"there is no directory {self.plan.shm_dir} for the rings (shm_dir)")
        for ring in (ring for child in self.children for ring in child.plan.writes):
            if self._written(ring):
                raise StartError(
                    f"ring {ring} in {self.plan.shm_dir} has a living writer: another mdfeedd runs it"
                )
        if self.plan.metrics is not None:
            try:
                self.exporter = Exporter(self, self.plan.metrics)
            except OSError as error:
                raise StartError(str(error)) from error
        self._tasks = [
            asyncio.create_task(self._live(child), name=child.label) for child in self.children
        ]
        self._tasks.append(asyncio.create_task(self._keep_beating(), name="heartbeat"))
        for child in self.children:
            await child.settled.wait()

    def request_stop(self) -> None:
        """Have `wait` return; from a signal handler of the loop, for example."""
        self._done.set()

    async def wait(self) -> None:
        """Until every child has ended for good, or `request_stop`; in a finite run until the first failure."""
        await self._done.wait()

    @property
    def failures(self) -> list[Child]:
        """The children that were given up."""
        return [child for child in self.children if child.state is State.FAILED]

    @property
    def beat_age_s(self) -> float:
        """Seconds since the event loop was last seen running."""
        return time.monotonic() - self._beat

    def find(self, name: str) -> Child:
        """The child of a name. Raises `KeyError`."""
        for child in self.children:
            if child.name == name:
                return child
        raise KeyError(name)

    # ------------------------------------------------------------------------------------ a child's life

    async def _live(self, child: Child) -> None:
        """From the first start to the end for good."""
        late: asyncio.TimerHandle | None = None
        try:
            if await self._or_stop(self._settled(self._producers(child))):
                late = asyncio.get_running_loop().call_later(self.limits.ready_s, self._late, child)
                await self._keep_running(child)
        except Exception:
            logger.exception("%s: the supervisor failed", child.label)
            child.state = State.FAILED
        finally:
            if late is not None:
                late.cancel()
        if child.state is not State.FAILED and child.state is not State.FINISHED:
            child.state = State.STOPPED
        child.settled.set()
        child.ended.set()
        everybody = all(other.ended.is_set() for other in self.children)
        if everybody or (self.until_done and child.state is State.FAILED):
            self._done.set()

    async def _keep_running(self, child: Child) -> None:
        while not self._stopping.is_set():
            code = await self._run_once(child)
            if self._stopping.is_set():
                return
            delay = self._after(child, code)
            if delay is None:
                return
            child.state = State.BACKOFF
            if not await self._or_stop(asyncio.sleep(delay)):
                return
            child.restarts += 1

    async def _run_once(self, child: Child) -> int:
        """One process from spawn to exit; its return code."""
        child.state, child.started = State.STARTING, time.monotonic()
        assignment = Assignment(child.plan, self.plan.log, os.getpid(), tuple(sys.path))
        try:
            process = Process.spawn(assignment, self._env)
        except OSError as error:
            child.last_exit = f"cannot be started: {error}"
            return Exit.UNAVAILABLE
        child.process, child.pid = process, process.pid
        logger.info("%s: started, pid %d", child.label, process.pid)
        watchers = [asyncio.create_task(self._announce(child, process))]
        if self.until_done and child.plan.kind == "consumer":
            watchers.append(asyncio.create_task(self._end_with_producers(child, process)))
        try:
            code = await process.wait()
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
        assert code is not None
        child.process, child.pid, child.last_code, child.last_exit = None, 0, code, reason(code)
        if code != Exit.DONE:
            child.last_failure = child.last_exit
        return code

    async def _announce(self, child: Child, process: Process) -> None:
        """RUNNING once each ring it makes has a living writer."""
        while not all(self._written(ring) for ring in child.plan.writes):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(_POLL_LATE_S if child.settled.is_set() else _POLL_S)
        if process.alive:
            child.state = State.RUNNING
        child.settled.set()

    def _late(self, child: Child) -> None:
        if not child.settled.is_set():
            rings, limit = ", ".join(child.plan.writes), self.limits.ready_s
            logger.warning("%s: no ring %s after %.0f s, going on", child.label, rings, limit)
            child.settled.set()

    def _after(self, child: Child, code: int) -> float | None:
        """What an exit means: seconds until the restart, or None with the state set to its last one."""
        if code == Exit.DONE:
            child.state = State.FINISHED
            logger.info("%s: finished", child.label)
            return None
        now = time.monotonic()
        if now - child.started >= self.limits.healthy_s:
            child.attempts = 0
        crashed = code != Exit.UNAVAILABLE  # what is missing outside may take hours: no limit
        if crashed:
            child.crashes.append(now)
            while child.crashes[0] < now - self.limits.crash_window_s:
                child.crashes.popleft()
        hopeless = self._hopeless(child, code)
        if hopeless:
            child.state = State.FAILED
            logger.error("%s: %s; given up: %s", child.label, child.last_exit, hopeless)
            return None
        delay = self._delay(child.attempts)
        child.attempts += 1
        logger.warning("%s: %s; restart in %.1f s", child.label, child.last_exit, delay)
        return delay

    def _hopeless(self, child: Child, code: int) -> str:
        """Why a child that ended is not started again, or nothing."""
        if code in (Exit.CONFIG, Exit.CREDENTIALS):
            return "a restart would not help"
        if self.until_done and child.plan.kind == "feed":
            return "a restart would tell its records twice"
        if self.until_done and code == Exit.UNAVAILABLE:
            return "nothing is tried again in a finite run"
        if len(child.crashes) >= self.limits.crash_limit:
            window = self.limits.crash_window_s
            return f"{len(child.crashes)} crashes within {window:.0f} s"
        return ""

    def _delay(self, attempts: int) -> float:
        limits = self.limits
        delay = limits.restart_first_s
        if attempts:
            doubled = limits.restart_base_s * 2.0 ** min(attempts - 1, 60)
            delay = min(limits.restart_max_s, doubled)
        return delay * (1 + limits.restart_jitter * random.uniform(-1, 1))  # noqa: S311 - no secret

    # ---------------------------------------------------------------------------------------- who waits

    def _producers(self, child: Child) -> list[Child]:
        if child.plan.kind == "feed":
            return []
        plans = self.plan.producers(child.plan)
        return [other for other in self.children if other.plan in plans and other is not child]

    @staticmethod
    async def _settled(producers: Iterable[Child]) -> None:
        for producer in producers:
            await producer.settled.wait()

    async def _or_stop(self, waiting: Coroutine[Any, Any, None]) -> bool:
        """Wait for a coroutine, unless `stop` comes first; False if it did."""
        first = asyncio.create_task(waiting)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([first, stopping], return_when=asyncio.FIRST_COMPLETED)
            return not self._stopping.is_set()
        finally:
            for task in (first, stopping):
                task.cancel()
            await asyncio.gather(first, stopping, return_exceptions=True)

    async def _end_with_producers(self, child: Child, process: Process) -> None:
        """In a finite run: stop a consumer that cannot know by itself that nothing more will come."""
        for producer in self._producers(child):
            await producer.ended.wait()
        if "follow" in child.plan.options and self._exist(child.plan.rings):
            return
        await self._drained(child, float("inf"))
        process.signal(signal.SIGTERM)

    async def _drained(self, child: Child, deadline: float) -> None:
        """Until the consumer has read all that its rings hold, or it ended, or the deadline."""
        while time.monotonic() < deadline and child.process is not None:
            young = time.monotonic() - child.started < self.limits.ready_s
            if not any(self._unread(ring, child.name, young) for ring in child.plan.rings):
                return
            await asyncio.sleep(_POLL_S)

    def _exist(self, rings: Iterable[str]) -> bool:
        return all(ring_path(ring, self.plan.shm_dir).exists() for ring in rings)

    def _written(self, ring: str) -> bool:
        try:
            return inspect(ring, self.plan.shm_dir).writer_alive
        except RingError:
            return False

    def _unread(self, ring: str, consumer: str, young: bool) -> bool:
        """Has the ring something for the consumer? One that is `young` may not have attached yet."""
        try:
            info = inspect(ring, self.plan.shm_dir)
        except RingError:
            return False
        lags = [c.lag for c in info.consumers if c.alive and c.name == consumer]
        return any(lags) if lags else young

    async def _keep_beating(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(_BEAT_S)

    # -------------------------------------------------------------------------------------------- stop

    async def stop(self) -> None:
        """Stop everything in order; returns when no child is left, `Limits.stop_s` at the latest."""
        self._stopping.set()
        self._done.set()
        if not self._tasks:  # never started
            self._close_exporter()
            return
        begin = time.monotonic()
        try:
            await asyncio.gather(*(self._stop_child(child, begin) for child in self.children))
        finally:
            for child in self.children:  # only if we are cancelled
                if child.process is not None:
                    child.process.signal(signal.SIGKILL)
            for task in self._tasks[len(self.children) :]:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks = []
            self._close_exporter()

    def _close_exporter(self) -> None:
        if self.exporter is not None:
            self.exporter.close()
            self.exporter = None

    async def _stop_child(self, child: Child, begin: float) -> None:
        limits = self.limits
        kill_at = begin + (limits.feeds_stop_s if child.plan.kind == "feed" else limits.stop_s)
        if child.plan.kind == "consumer":
            drain_until = begin + limits.drain_s
            for producer in self._producers(child):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, drain_until - time.monotonic())):
                        await producer.ended.wait()
            await self._drained(child, drain_until)
        process = child.process
        if process is None:
            return
        process.signal(signal.SIGTERM)
        if await process.wait(max(0.0, kill_at - time.monotonic())) is None:
            logger.warning("%s: did not stop in time, killed", child.label)
            process.signal(signal.SIGKILL)
            await process.wait()
