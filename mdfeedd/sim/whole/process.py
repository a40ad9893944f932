"""A process of the daemon, as a greenlet: its life, its death, and what the kernel lets go of then."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import greenlet

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.sim.whole.world import World

__all__ = ["Handle", "Life", "Process", "State", "Stop", "Task"]


class State(enum.Enum):
    """Of a process."""

    DOWN = "down"
    UP = "up"


class Handle(Protocol):
    """Something whose lock or mapping the kernel drops when its process dies."""

    def abandon(self) -> None:
        """Without a word."""


@dataclass(slots=True)
class Life:
    """One run of a process. how: killed, stopped, crashed; "" while it lasts."""

    began_ns: int
    ended_ns: int | None = None
    how: str = ""


class Stop:
    """In the place of the `threading.Event` that tells a process to stop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_set = False

    def set(self) -> None:
        """Stop."""
        self._is_set = True

    def is_set(self) -> bool:
        """Whether it is to stop."""
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Let the others have their turns until it is set."""
        if not self._is_set:
            self._world.pause(1e9 if timeout is None else timeout, self.is_set)
        return self._is_set


class Task:
    """A thread of control: the main one of a process, or one that it has started."""

    def __init__(
        self, process: Process, call: Callable[[], None], parent: greenlet.greenlet
    ) -> None:
        self.process = process
        self.done: bool = False
        self.token = 0  # of the wake-up that is awaited: older ones are void
        self.ready: Callable[[], bool] | None = None
        self.woken_by_ready = False
        self._call = call
        self.greenlet: greenlet.greenlet = greenlet.greenlet(self._run, parent)

    def _run(self) -> None:
        try:
            self._call()
        finally:
            self.done = True


@dataclass(slots=True)
class Process:
    """A role in the daemon, over all its lives. `make` gives the `run` of a new life."""

    name: str
    make: Callable[[], Callable[[Stop], None]]
    on_death: Callable[[], None]
    state: State = State.DOWN
    lives: list[Life] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    handles: list[Handle] = field(default_factory=list)
    stop: Stop | None = None
    steps: int = 0
    kill_in: int = 0  # so many steps from now this life ends; 0: it does not
    kill_on: str = ""  # counting those of this kind only
    stalled_until_ns: int = 0
    error: BaseException | None = None
    held_down: bool = False  # not started again by itself

    @property
    def is_to_stay_up(self) -> bool:
        """It runs, and has not been told to stop: what is right with it now will be."""
        return self.state is State.UP and self.stop is not None and not self.stop.is_set()

    @property
    def life(self) -> int:
        """The number of the present life, from 1."""
        return len(self.lives)
