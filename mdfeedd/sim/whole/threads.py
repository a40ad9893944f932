"""`threading` for those who start threads: tasks of the same process, which run while the others wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.sim.whole.process import Task
    from mdfeedd.sim.whole.world import World

__all__ = ["VirtualThreading"]

_SPIN_S: Final = 0.000_05
_FOR_EVER_S: Final = 1e9


class VirtualThreading:
    """In the place of the module `threading`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def Thread(  # noqa: N802 - as in threading
        self,
        target: Callable[..., None],
        args: tuple[Any, ...] = (),
        **_named: Any,
    ) -> _Thread:
        """A task, once it is started."""
        return _Thread(self._world, lambda: target(*args))

    def Lock(self) -> _Lock:  # noqa: N802
        """Held over waits only by who holds it."""
        return _Lock(self._world)

    def Condition(self) -> _Condition:  # noqa: N802
        """Nobody interrupts who holds it; waiting lets the others run."""
        return _Condition(self._world)


class _Thread:
    def __init__(self, world: World, call: Callable[[], None]) -> None:
        self._world = world
        self._call = call
        self._task: Task | None = None

    def start(self) -> None:
        self._task = self._world.begin_task(self._call)

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.done

    def join(self, timeout: float | None = None) -> None:
        self._world.pause(_FOR_EVER_S if timeout is None else timeout, lambda: not self.is_alive())


class _Lock:
    def __init__(self, world: World) -> None:
        self._world = world
        self._held = False

    def __enter__(self) -> Self:
        while self._held and not self._world.closing:
            self._world.pause(_SPIN_S, lambda: not self._held)
        self._held = True
        return self

    def __exit__(self, *error: object) -> None:
        self._held = False


class _Condition:
    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def notify_all(self) -> None:
        """Who waits looks by itself."""

    def wait(self, timeout: float | None = None) -> bool:
        return self._world.pause(_SPIN_S if timeout is None else min(timeout, _SPIN_S))

    def wait_for(self, holds: Callable[[], bool], timeout: float | None = None) -> bool:
        self._world.pause(_FOR_EVER_S if timeout is None else timeout, holds)
        return holds()
