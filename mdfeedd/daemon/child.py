"""A child as the supervisor keeps it: its plan, where it is in its life, what became of its processes; the limits."""

from __future__ import annotations

import asyncio
import collections
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdfeedd.daemon.plan import ChildPlan
    from mdfeedd.daemon.process import Process


@dataclass(frozen=True, slots=True)
class Limits:
    """Every time and count that the supervisor goes by."""

    left_s: float = 5.0
    """For children that a killed supervisor has left to end, before a ring with a living writer is refused."""
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
    answer_s: float = 5.0
    """For a worker to say whether it takes a change."""
    abort_s: float = 2.0
    """For a worker that hangs to take SIGABRT, before SIGKILL."""


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
    """The daemon cannot start, or not go over to another plan. One sentence, and the exit status."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(slots=True, eq=False)
class Child:
    """One child and its history. Read it from any thread; only the supervisor changes it."""

    plan: ChildPlan
    state: State = State.WAITING
    pid: int = 0
    """0 while no process runs."""
    restarts: int = 0
    hangs: int = 0
    """Processes that were ended because they gave no sign of life."""
    last_exit: str = ""
    """How the last process ended, in words."""
    last_code: int | None = None
    last_failure: str = ""
    """How the last process that failed ended, in words; a later good end does not change it."""
    last_words: str = ""
    """The last error that the process which ended last had logged, if it failed."""
    started: float = 0.0
    """`time.monotonic` of the last start."""
    process: Process | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Its consumers need not wait for it any longer."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """No process, and none will come."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """It is not started again."""
    after: list[Child] = field(default_factory=list)
    """Who must have ended before its first start: it takes their place, or their rings."""
    task: asyncio.Task[None] | None = None
    lives: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """Of a feed that begins anew with each start: whose its rings were before the last one, by name."""
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
        return self.plan.label

    def successor(self, plan: ChildPlan) -> Child:
        """The child that takes its place with another plan; what was counted goes on."""
        return Child(
            plan,
            restarts=self.restarts,
            hangs=self.hangs,
            last_exit=self.last_exit,
            last_code=self.last_code,
            last_failure=self.last_failure,
        )
