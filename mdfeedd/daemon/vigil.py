"""The supervisor's slow loop: looks at every child's signs of life, ends who hangs, and only then says it is alive.

    every round     shared memory ─► signs ─► Pulse ─► a child hangs: logged, SIGABRT (its worker prints where
                          │                            it stands), SIGKILL; its restart is the supervisor's
                          └─► totals ─► STATUS=
                                        WATCHDOG=1     after a round in which each child was fresh or dealt with

systemd's watchdog therefore watches this: an event loop that does not run, or rounds that do not end, get no
WATCHDOG=1 out, and systemd kills and restarts the daemon. A hung child alone does not: it is dealt with here.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import TYPE_CHECKING, Final

from mdfeedd.daemon.pulse import Pulse
from mdfeedd.daemon.statusline import StatusLine, Totals
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import inspect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mdfeedd.daemon.child import Child
    from mdfeedd.daemon.notify import Notifier
    from mdfeedd.daemon.process import Process
    from mdfeedd.daemon.pulse import Signs
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.ring.inspect import RingInfo

logger: logging.Logger = logging.getLogger("mdfeedd.daemon.vigil")

ROUND_S: Final = 1.0
"""Between rounds; less where systemd wants to hear from us more often."""
STATUS_S: Final = 2.0
"""Between status lines."""
START_TIMES: Final = 10.0
"""A feed that has not made its ring yet has so many times its `hang_s` ..."""
START_S: Final = 60.0
"""... and no less than this: it may read what it begins with, definitions or a recording."""


class Vigil:
    """Over one supervisor, in its loop. `run` until cancelled."""

    def __init__(self, supervisor: Supervisor, notifier: Notifier) -> None:
        half_s = notifier.watchdog_s / 2
        self.round_s: float = min(ROUND_S, half_s) if half_s else ROUND_S
        self.status: StatusLine = StatusLine()
        self._supervisor = supervisor
        self._notifier = notifier
        self._pulse = Pulse(self.round_s)
        self._beat_s = time.monotonic()
        self._status_s = float("-inf")
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def beat_age_s(self) -> float:
        """Since the last round ended."""
        return time.monotonic() - self._beat_s

    def silent_s(self, name: str) -> float:
        """For how long a child has shown nothing new: what is judged here, and told elsewhere."""
        return self._pulse.silent_s(name) + self.beat_age_s

    async def run(self) -> None:
        """Round after round. A round that fails is told, and no watchdog is fed after it."""
        try:
            while True:
                try:
                    self._round()
                except Exception:
                    logger.exception("the round of looks at the children failed")
                await asyncio.sleep(self.round_s)
        finally:
            for task in self._ending:
                task.cancel()
            await asyncio.gather(*self._ending, return_exceptions=True)

    def _round(self) -> None:
        now = time.monotonic()
        children = list(self._supervisor.children)
        infos = self._infos(children)
        self._pulse.begin_round(now)
        for child in children:
            process = child.process
            if process is None or child.stopping.is_set():
                continue  # the supervisor's deadlines hold for who is being stopped
            signs = signs_of(child, infos)
            limit_s = child.plan.hang_s
            if self._pulse.look(child.name, process.pid, signs, limit_s, _start_s(child)):
                self._end(child, process)
        self._pulse.forget_others({child.name for child in children})
        self._beat_s = now
        due = now - self._status_s >= STATUS_S
        if due and self._notifier.listening and not self._supervisor.stopping:
            self._status_s = now
            self._notifier.status(self._line(children, infos, now))
        self._notifier.watchdog()

    def line(self) -> str:
        """The status line of now."""
        children = list(self._supervisor.children)
        return self._line(children, self._infos(children), time.monotonic())

    def _line(self, children: list[Child], infos: Mapping[str, RingInfo], now: float) -> str:
        feeds = [child.name for child in children if child.kind == "feed"]
        return self.status.line(children, Totals.of(feeds, infos), now)

    def _infos(self, children: list[Child]) -> dict[str, RingInfo]:
        """Every ring that a child reads or writes, looked at once."""
        infos = {}
        names = {ring for c in children for ring in (*c.plan.writes, *c.plan.rings)}
        for name in names:
            try:
                infos[name] = inspect(name, self._supervisor.plan.shm_dir)
            except (RingError, ValueError):  # not there yet, or no longer: it has no signs
                continue
            except Exception:  # a bug in looking must not end feeds that are well
                logger.exception("ring %s cannot be looked at", name)
        return infos

    def _end(self, child: Child, process: Process) -> None:
        child.hangs += 1
        task = asyncio.create_task(self._abort(child, process), name=f"end {child.label}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _abort(self, child: Child, process: Process) -> None:
        """SIGABRT, which has a worker print its threads' stacks, and SIGKILL for who does not take it."""
        silent_s, limit_s = self._pulse.silent_s(child.name), self._supervisor.limits.abort_s
        logger.error(
            "%s: no sign of life for %.1f s, pid %d hangs: aborted, to be started again",
            child.label, silent_s, process.pid,
        )  # fmt: skip
        process.signal(signal.SIGABRT)
        if await process.wait(limit_s) is None:
            logger.warning("%s: does not take SIGABRT, killed", child.label)
            process.signal(signal.SIGKILL)


def _start_s(child: Child) -> float:
    """For how long it may show nothing after its start; 0: as long as it likes, since it waits for another's ring."""
    return max(START_S, START_TIMES * child.plan.hang_s) if child.kind == "feed" else 0.0


def signs_of(child: Child, infos: Mapping[str, RingInfo]) -> Signs:
    """What the running process of a child moves in shared memory; nothing while it is not seen there."""
    signs: list[int] = []
    for ring in child.plan.writes:
        info = infos.get(ring)
        if info is not None and info.pid == child.pid:
            signs += (info.heartbeat_ns, info.tail, info.reserve)
    for ring in child.plan.rings:
        info = infos.get(ring)
        for consumer in info.consumers if info is not None else ():
            if consumer.pid == child.pid and consumer.name == child.name:
                signs += (consumer.heartbeat_ns, consumer.cursor, consumer.reads, consumer.acked)
    return tuple(signs)
