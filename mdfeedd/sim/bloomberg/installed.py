"""Which world the stand-in of this process plays: the one installed, or that of the environment."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.bloomberg.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.sim.bloomberg.clock import Clock

__all__ = ["VARIABLE", "current", "install", "playing", "remove"]

#: Holds a world as JSON, for a process that imports the stand-in.
VARIABLE: Final = "MDFEEDD_BLOOMBERG_WORLD"
_installed: list[World] = []


def install(world: World) -> World:
    """From now on sessions of this process are of that world; the one installed before comes back later."""
    _installed.append(world)
    return world


def remove(world: World) -> None:
    """Take it out again."""
    _installed.remove(world)


@contextmanager
def playing(world: World) -> Iterator[World]:
    """Installed for a while."""
    install(world)
    try:
        yield world
    finally:
        remove(world)


def current(clock: Clock | None = None) -> World:
    """The world that counts; made, and kept, out of the environment, or as by default."""
    if not _installed:
        text = os.environ.get(VARIABLE, "")
        install(World.from_json(text, clock) if text else World(keep=False, clock=clock))
    return _installed[-1]
