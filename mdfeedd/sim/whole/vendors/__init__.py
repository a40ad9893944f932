"""The vendors of a simulated world: each with a venue, a network that fails, and checks of its own.

    venue (mdfeedd.sim.cme, .databento, .bloomberg) ─► faults ─► the real feed ─► ring
          └── what was true ─────────────────────────────────► Actor.check(tape)

An actor lives through the kills of its feed's process. All it does is of the world's seed and virtual time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdfeedd.sim.whole.vendors.bloomberg import BloombergActor
from mdfeedd.sim.whole.vendors.cme import CmeActor
from mdfeedd.sim.whole.vendors.databento import DatabentoActor

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.sim.whole.actor import Actor, Size
    from mdfeedd.sim.whole.world import World

__all__ = ["ACTORS"]

ACTORS: dict[str, Callable[[World, str, Size], Actor]] = {
    "bloomberg": BloombergActor,
    "cme": CmeActor,
    "databento": DatabentoActor,
}
