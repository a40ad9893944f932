"""One process per feed and consumer: started in order, restarted when they die, stopped in order.

    WAITING ──► STARTING ──► RUNNING ──► FINISHED     it returned (exit 0)
       │            │           │──────► FAILED       65, 77, 78, a crash loop, or any failure in a finite run
       │            └───────────┴──────► BACKOFF ──► STARTING ...
       └──────────────┴─────┴──────────► STOPPED      `stop`

Start: feeds at once; a consumer when each producer of its rings has a ring with a living writer (or has ended,
or took longer than `Limits.ready_s`). Stop: SIGTERM to the feeds; a consumer gets its SIGTERM when its
producers have ended and it has read all they wrote; at the deadline SIGKILL. The others never notice that a
child died. No number of the data path passes through here: counters, positions and liveness are read from
shared memory.

Another plan (`apply`): who is not in it, or differs, is stopped as above, by itself; a consumer waits for those
producers only that leave with it. In the place of one that differs comes a new child, which starts when the old
one has ended, and all others that wrote its rings. Who is the same is not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from mdfeedd.daemon.child import Child, Limits, StartError, State
from mdfeedd.daemon.metrics import Exporter
from mdfeedd.daemon.notify import Notifier
from mdfeedd.daemon.plan import Assignment, Exit, Plan
from mdfeedd.daemon.process import Process, Unheard, reason
from mdfeedd.daemon.vigil import Vigil
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.segment import clear_foreign, ring_path
from mdfeedd.secret import SecretError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from types import TracebackType

    from mdfeedd.daemon.plan import ChildPlan, MetricsPlan
    from mdfeedd.ring.inspect import RingInfo
    from mdfeedd.secret import Secret

__all__ = ["Child", "Limits", "StartError", "State", "Supervisor"]

logger: logging.Logger = logging.getLogger("mdfeedd.daemon.supervisor")

_POLL_S: Final = 0.02
"""How often shared memory is looked at while something is waited for."""
_POLL_LATE_S: Final = 0.5
"""The same, when nobody waits for it any longer."""
_TWICE: Final = "a restart would tell its records twice"


class Supervisor:
    """Runs a plan. Everything but reading `children` belongs to one event loop.

    until_done: the run is finite: consumers end with their rings, nothing that failed is tried again (but a
    consumer that crashed is), and `wait` returns when all have ended, or at the first failure.

    secrets: by a child's name, variables that only the environment of its processes has; looked at anew for each.

    `start` and `apply` raise `StartError`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        until_done: bool = False,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, Mapping[str, Secret]] | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self.plan: Plan = plan.finite() if until_done else plan
        self.limits: Limits = Limits() if limits is None else limits
        self.until_done = until_done
        self.children: list[Child] = [Child(child) for child in self.plan.order()]
        self.exporter: Exporter | None = None
        self.config_ok: bool = True
        """Was the file taken at the start or last reload? Else an older configuration goes on."""
        self.config_time_s: float = time.time()
        """When the configuration that runs was taken, in UNIX time."""
        self.notifier: Notifier = Notifier() if notifier is None else notifier
        self.vigil: Vigil = Vigil(self, self.notifier)
        self._rings_dir = Path(self.plan.shm_dir)
        self._env = dict(os.environ if env is None else env)
        self._secrets = {} if secrets is None else secrets
        self._leaving: list[Child] = []
        self._departures: set[asyncio.Task[None]] = set()
        self._heartbeat: asyncio.Task[None] | None = None
        self._stopping = False
        self._done = asyncio.Event()

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
        await self._until_left([ring for child in self.children for ring in child.plan.writes])
        self._clear_foreign(child.plan for child in self.children)
        if self.plan.metrics is not None:
            try:
                self.exporter = Exporter(self, self.plan.metrics)
            except OSError as error:
                raise StartError(str(error)) from error
            except SecretError as error:
                raise StartError(str(error), Exit.CREDENTIALS) from error
        for child in self.children:
            self._begin(child)
        self._heartbeat = asyncio.create_task(self.vigil.run(), name="vigil")
        await self._all_settled()
        if not self._stopping:
            self.notifier.ready(self.vigil.line())
            page = "" if self.exporter is None else f"; page and metrics at {self.exporter.url}"
            logger.info("started %s%s", ", ".join(c.label for c in self.children), page)

    def request_stop(self) -> None:
        """Have `wait` return; from a signal handler of the loop, for example."""
        self._done.set()

    async def wait(self) -> None:
        """Until every child has ended for good, or `request_stop`; in a finite run until the first failure."""
        await self._done.wait()

    async def _all_settled(self) -> None:
        while waiting := [child for child in self.children if not child.settled.is_set()]:
            await waiting[0].settled.wait()

    async def _until_left(self, rings: Sequence[str]) -> None:
        """Children of a supervisor that was killed are told to end by the kernel, and take a moment for it.

        Raises `StartError` if a ring still has a writer after `Limits.left_s`: it is another daemon's.
        """
        limit_s = self.limits.left_s
        give_up = time.monotonic() + limit_s
        if written := [ring for ring in rings if self._written(ring)]:
            logger.info("waiting up to %g s for the writer of ring %s to end", limit_s, written[0])
        while any(map(self._written, rings)):
            if time.monotonic() >= give_up:
                break
            await asyncio.sleep(_POLL_S)
        self._refuse_written(rings)

    def _refuse_written(self, rings: Iterable[str]) -> None:
        for ring in rings:
            if self._written(ring):
                raise StartError(
                    f"ring {ring} in {self.plan.shm_dir} has a living writer: another mdfeedd runs it"
                )

    def _clear_foreign(self, children: Iterable[ChildPlan]) -> None:
        """Make room for rings that another version has left in a layout of its own. Raises `StartError`."""
        for ring in (ring for child in children for ring in child.may_write):
            try:
                major = clear_foreign(ring, self.plan.shm_dir)
            except RingError as error:
                what = f"ring {ring} in {self.plan.shm_dir} is of another version's ABI, and stays in the way"
                raise StartError(f"{what}: {error}") from error
            if major is not None:
                logger.warning(
                    "ring %s was of ABI %d, which this version does not write: removed, it begins anew; programs "
                    "of the other version that read it must be started again, with this one",
                    ring,
                    major,
                )

    @property
    def failures(self) -> list[Child]:
        """The children that were given up."""
        return [child for child in self.children if child.state is State.FAILED]

    @property
    def stopping(self) -> bool:
        """`stop` has begun."""
        return self._stopping

    @property
    def beat_age_s(self) -> float:
        """Seconds since the event loop was last seen running."""
        return self.vigil.beat_age_s

    def find(self, name: str) -> Child:
        """The child of a name. Raises `KeyError`."""
        for child in self.children:
            if child.name == name:
                return child
        raise KeyError(name)

    # ------------------------------------------------------------------------------------ a child's life

    def _begin(self, child: Child) -> None:
        child.task = asyncio.create_task(self._live(child), name=child.label)

    async def _live(self, child: Child) -> None:
        """From the first start to the end for good."""
        late: asyncio.TimerHandle | None = None
        try:
            if await self._or_stop(child, self._awaited(child)):
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
        while not child.stopping.is_set():
            code = await self._run_once(child)
            if child.stopping.is_set():
                return
            delay = self._after(child, code)
            if delay is None:
                return
            child.state = State.BACKOFF
            if not await self._or_stop(child, asyncio.sleep(delay)):
                return
            child.restarts += 1

    async def _run_once(self, child: Child) -> int:
        """One process from spawn to exit; its return code."""
        child.state, child.started = State.STARTING, time.monotonic()
        assignment = Assignment(child.plan, self.plan.log, os.getpid(), tuple(sys.path))
        child.lives = self._lives(child) if child.plan.once else {}
        try:
            process = Process.spawn(assignment, self._environment(child))
        except OSError as error:
            child.last_exit = f"cannot be started: {error}"
            return Exit.UNAVAILABLE
        child.process, child.pid = process, process.pid
        hangs = child.hangs
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
        hung = "it gave no sign of life, " if child.hangs > hangs else ""
        child.last_exit = f"{hung}{reason(code)}"
        child.process, child.pid, child.last_code = None, 0, code
        child.last_words = process.last_words
        if code != Exit.DONE:
            child.last_failure = child.last_exit
        return code

    def _environment(self, child: Child) -> dict[str, str]:
        secrets = self._secrets.get(child.name, {})
        return self._env | {name: secret.reveal() for name, secret in secrets.items()}

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
            if hopeless == _TWICE and not self.until_done:  # which no exit says by itself
                child.last_exit = child.last_failure = f"{child.last_exit}: {hopeless}"
            return None
        delay = self._delay(child.attempts)
        child.attempts += 1
        logger.warning("%s: %s; restart in %.1f s", child.label, child.last_exit, delay)
        return delay

    def _hopeless(self, child: Child, code: int) -> str:
        """Why a child that ended is not started again, or nothing."""
        if code in (Exit.CONFIG, Exit.CREDENTIALS, Exit.DAMAGED):
            return "a restart would not help"
        if child.plan.once and self._has_published(child, code):
            return _TWICE
        if self.until_done and child.plan.kind == "feed":
            return _TWICE
        if self.until_done and code == Exit.UNAVAILABLE:
            return "nothing is tried again in a finite run"
        if len(child.crashes) >= self.limits.crash_limit:
            window = self.limits.crash_window_s
            return f"{len(child.crashes)} crashes within {window:.0f} s"
        return ""

    def _lives(self, child: Child) -> dict[str, tuple[bytes, int]]:
        """Which life of its writer each ring of a child is in."""
        infos = {ring: self._info(ring) for ring in child.plan.may_write}
        return {ring: (i.ring_id, i.epoch) for ring, i in infos.items() if i is not None}

    def _has_published(self, child: Child, code: int) -> bool:
        """May the process that ended have published? One that was killed need not have counted its last record."""
        began = [
            info
            for ring in child.plan.may_write
            if (info := self._info(ring)) is not None
            and (info.ring_id, info.epoch) != child.lives.get(ring)
        ]
        return any(code < 0 or info.tail >= info.epoch_first_seq for info in began)

    def _delay(self, attempts: int) -> float:
        limits = self.limits
        delay = limits.restart_first_s
        if attempts:
            doubled = limits.restart_base_s * 2.0 ** min(attempts - 1, 60)
            delay = min(limits.restart_max_s, doubled)
        return delay * (1 + limits.restart_jitter * random.uniform(-1, 1))  # noqa: S311 - no secret

    # ---------------------------------------------------------------------------------------- who waits

    @staticmethod
    def _producers(child: Child, among: Iterable[Child]) -> list[Child]:
        return [o for o in among if o is not child and o.plan.produces_for(child.plan)]

    async def _awaited(self, child: Child) -> None:
        """Until whom it replaces has ended, and its producers have had their chance to come up."""
        for other in child.after:
            await other.ended.wait()
        child.after.clear()
        for producer in self._producers(child, self.children):
            await producer.settled.wait()

    @staticmethod
    async def _or_stop(child: Child, waiting: Coroutine[Any, Any, None]) -> bool:
        """Wait for a coroutine, unless the child is to stop first; False if it is."""
        first = asyncio.create_task(waiting)
        stopping = asyncio.create_task(child.stopping.wait())
        try:
            await asyncio.wait([first, stopping], return_when=asyncio.FIRST_COMPLETED)
            return not child.stopping.is_set()
        finally:
            for task in (first, stopping):
                task.cancel()
            await asyncio.gather(first, stopping, return_exceptions=True)

    async def _end_with_producers(self, child: Child, process: Process) -> None:
        """In a finite run: stop a consumer that cannot know by itself that nothing more will come."""
        for producer in self._producers(child, self.children):
            await producer.ended.wait()
        if "follow" in child.plan.options and self._exist(child.plan.rings):
            return
        await self._drained(child, float("inf"))
        process.signal(signal.SIGTERM)

    async def _drained(
        self, child: Child, deadline: float, rings: Iterable[str] | None = None
    ) -> None:
        """Until the consumer has read all that its rings, or only these, hold now; or it ended, or the deadline."""
        ends = {ring: self._tail(ring) for ring in (child.plan.rings if rings is None else rings)}
        while time.monotonic() < deadline and child.process is not None:
            young = time.monotonic() - child.started < self.limits.ready_s
            if not any(self._unread(ring, end, child.name, young) for ring, end in ends.items()):
                return
            await asyncio.sleep(_POLL_S)

    def _exist(self, rings: Iterable[str]) -> bool:
        return all(ring_path(ring, self.plan.shm_dir).exists() for ring in rings)

    def _info(self, ring: str) -> RingInfo | None:
        try:
            return inspect(ring, self.plan.shm_dir)
        except RingError:
            return None

    def _written(self, ring: str) -> bool:
        info = self._info(ring)
        return info is not None and info.writer_alive

    def _tail(self, ring: str) -> int:
        info = self._info(ring)
        return 0 if info is None else info.tail

    def _unread(self, ring: str, end: int, consumer: str, young: bool) -> bool:
        """Has the consumer not read up to `end`? One that is `young` may not have attached yet."""
        try:
            info = inspect(ring, self.plan.shm_dir)
        except RingError:
            return False
        later = info.tail - end  # of a new writer, for example
        unread = [c.lag > later for c in info.consumers if c.alive and c.name == consumer]
        return any(unread) if unread else young

    # ------------------------------------------------------------------------------------- another plan

    async def apply(self, plan: Plan, live: AbstractSet[str] = frozenset()) -> dict[str, str]:
        """Go over to another plan of the same `shm_dir`; returns when all has happened.

        `live` names children of which only the options differ, in a way that a running one may take. Gives
        back those that did not take it, with the reason: they were restarted. Raises `StartError` with
        everything as it was.
        """
        assert plan.shm_dir == self.plan.shm_dir
        assert not self.until_done
        if self._stopping or self._done.is_set() or self._heartbeat is None:
            raise StartError("the daemon is not running, or stops")
        old = {child.name: child for child in self.children}
        made = {ring for child in self.children for ring in child.plan.may_write}
        wanted = {ring for child in plan.order() for ring in child.writes}
        self._refuse_written(sorted(wanted - made))
        self._clear_foreign(child for child in plan.order() if child.name not in old)
        children: list[Child] = []
        telling: list[Child] = []
        for child_plan in plan.order():
            child = old.get(child_plan.name) or Child(child_plan)
            if child.name in live and child.process is not None:
                child.plan = child_plan  # at once: it may die before it is told
                telling.append(child)
            elif child.plan != child_plan:
                child = child.successor(child_plan)
            else:
                child.plan = child_plan  # for its next start: others may read its ring now
            children.append(child)
        log = {} if plan.log == self.plan.log else {"log": asdict(plan.log)}
        self.plan = plan
        departures = self._exchange(children)
        untold = await self._tell_all(telling, log)
        if self._stopping:
            return untold
        departures += self._exchange(
            [c.successor(c.plan) if c.name in untold else c for c in self.children]
        )
        await asyncio.gather(*departures)
        self._departures.clear()
        await self._all_settled()
        stopped = live - untold.keys() - {child.name for child in telling}
        return untold | dict.fromkeys(stopped, "it was not running")

    def _exchange(self, children: list[Child]) -> list[asyncio.Task[None]]:
        """Run these; the tasks stop those that are not among them."""
        leaving = [child for child in self.children if child not in children]
        coming = [child for child in children if child not in self.children]
        self._leaving += leaving
        self.children = children
        for child in leaving:
            child.stopping.set()
        for child in coming:
            rings = set(child.plan.may_write)
            child.after = [
                other
                for other in self._leaving
                if other.name == child.name or not rings.isdisjoint(other.plan.may_write)
            ]
            self._begin(child)
        begin = time.monotonic()
        departures = [asyncio.create_task(self._leave(c, begin, leaving)) for c in leaving]
        self._departures.update(departures)
        return departures

    async def _leave(self, child: Child, begin: float, leaving: list[Child]) -> None:
        await self._stop_child(child, begin, leaving)
        await child.ended.wait()
        self._leaving.remove(child)

    async def _tell_all(self, children: list[Child], log: dict[str, Any]) -> dict[str, str]:
        """Tell these of their new options, and all of another log; who did not take the options, and why."""
        everybody = [c for c in (self.children if log else children) if c.process is not None]
        messages = [
            {**log, "options": child.plan.options} if child in children else log
            for child in everybody
        ]
        answers = await asyncio.gather(*map(self._tell, everybody, messages))
        untold = {}
        for child, why in zip(everybody, answers, strict=True):
            if why and child in children:
                untold[child.name] = why
            elif why:
                logger.warning("%s: goes on with its old log: %s", child.label, why)
        return untold

    async def _tell(self, child: Child, message: dict[str, Any]) -> str:
        """Why the child does not take it, or nothing."""
        assert child.process is not None
        try:
            return await child.process.tell(message, self.limits.answer_s)
        except Unheard as error:
            return str(error)

    def tell_reloaded(self, *, well: bool) -> None:
        """Tell systemd that the reload has ended, and from now on in the status if it was refused."""
        self.vigil.status.reload_failed = not well
        self.config_ok = well
        if well:
            self.config_time_s = time.time()
        if not self._stopping:
            self.notifier.ready(self.vigil.line())

    def serve_metrics(self, plan: MetricsPlan | None) -> None:
        """Serve them elsewhere, or not at all. Raises `StartError` with the old place still served."""
        old = self.plan.metrics
        try:
            if plan and old and (plan.host, plan.port) == (old.host, old.port) and self.exporter:
                self.exporter.admit_by(plan)
                self.plan = replace(self.plan, metrics=plan)  # the exporter reads it there
                return
            exporter = None if plan is None else Exporter(self, plan)
        except (OSError, SecretError) as error:
            raise StartError(str(error)) from error
        self._close_exporter()
        self.exporter = exporter
        self.plan = replace(self.plan, metrics=plan)

    # -------------------------------------------------------------------------------------------- stop

    async def stop(self) -> None:
        """Stop everything in order; returns when no child is left, `Limits.stop_s` at the latest."""
        if not self._stopping:
            self.notifier.stopping("stopping: feeds, then consumers when they have read everything")
        self._stopping = True
        self._done.set()
        everybody = [*self.children, *self._leaving]
        for child in everybody:
            child.stopping.set()
        if self._heartbeat is None:  # never started
            self._close_exporter()
            return
        begin = time.monotonic()
        try:
            await asyncio.gather(*(self._stop_child(c, begin, everybody) for c in everybody))
        finally:
            for child in everybody:  # only if we are cancelled
                if child.process is not None:
                    child.process.signal(signal.SIGKILL)
            self._heartbeat.cancel()
            lives = (child.task for child in everybody if child.task is not None)
            tasks = [self._heartbeat, *self._departures, *lives]
            await asyncio.gather(*tasks, return_exceptions=True)
            self._heartbeat = None
            self._close_exporter()
            logger.info("stopped after %.1f s", time.monotonic() - begin)

    def abandon(self) -> None:
        """Kill whatever still runs and wait for its end: for when the event loop is gone, or about to go."""
        self._stopping = True
        for child in [*self.children, *self._leaving]:
            child.stopping.set()
            if child.process is not None and child.process.alive:
                child.process.kill()
        if self._heartbeat is not None and not self._heartbeat.get_loop().is_closed():
            self._heartbeat.cancel()  # the loop may go on without us
        self._close_exporter()

    def _close_exporter(self) -> None:
        if self.exporter is not None:
            self.exporter.close()
            self.exporter = None

    async def _stop_child(self, child: Child, begin: float, leaving: list[Child]) -> None:
        """Stop one of those that leave together. What goes on, a consumer need not have read."""
        limits = self.limits
        kill_at = begin + (limits.feeds_stop_s if child.plan.kind == "feed" else limits.stop_s)
        if child.plan.kind == "consumer":
            drain_until = begin + limits.drain_s
            producers = self._producers(child, leaving)
            for producer in producers:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, drain_until - time.monotonic())):
                        await producer.ended.wait()
            ended = {ring for producer in producers for ring in producer.plan.may_write}
            rings = [ring for ring in child.plan.rings if ring in ended]
            await self._drained(child, drain_until, rings)
        process = child.process
        if process is None:
            return
        process.signal(signal.SIGTERM)
        if await process.wait(max(0.0, kill_at - time.monotonic())) is None:
            logger.warning("%s: did not stop in time, killed", child.label)
            process.signal(signal.SIGKILL)
            await process.wait()
