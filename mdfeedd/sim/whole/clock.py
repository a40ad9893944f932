"""Time and chance, as the product's modules meet them in a simulated world."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mdfeedd.sim.whole.world import World

__all__ = ["BOOT_NS", "SeededRandom", "VirtualTime"]

BOOT_NS: Final = 5_000_000_000_000  # that the host is up when a world begins
_S: Final = 1e-9
_DRAWING: Final = frozenset(
    {"random", "randrange", "randint", "uniform", "choice", "choices", "shuffle", "sample"}
)


class VirtualTime:
    """In the place of the module `time`. To ask for the time takes `World.ASKING_NS`, and is a step."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic_ns(self) -> int:
        """Since the host was started."""
        self._world.asked()
        return self._world.monotonic_ns

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.monotonic_ns() * _S

    def time_ns(self) -> int:
        """By the wall clock, which somebody may set."""
        self._world.asked()
        return self._world.wall_ns

    def time(self) -> float:
        """The same, in seconds."""
        return self.time_ns() * _S

    perf_counter = monotonic
    perf_counter_ns = monotonic_ns

    def sleep(self, seconds: float) -> None:
        """Let the others have their turns."""
        self._world.pause(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class SeededRandom:
    """In the place of the module `random`: what is not drawn from a generator of its own is of the seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rng if name in _DRAWING else random, name)
