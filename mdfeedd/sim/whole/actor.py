"""What a vendor brings into the simulation: its venue, the network to it, and what must come of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.sim.whole.tape import Tape

__all__ = ["Actor", "Fault", "Size"]


@dataclass(frozen=True, slots=True)
class Size:
    """How much an actor makes.

    events: about so many ticks of the feed. storm_s: how long faults happen, in virtual seconds.
    recovery_s: within which everything must be right after the last of them.
    """

    events: int = 120
    storm_s: float = 2.0
    recovery_s: float = 60.0


class Fault(NamedTuple):
    """Something that goes wrong at a time (true UNIX ns). `call` must not wait."""

    at_ns: int
    text: str
    call: Callable[[], None]


class Actor(Protocol):
    """One vendor's feed in a world. It outlives the processes of the feed."""

    vendor: str
    name: str
    """Of the feed, and so of its ring."""

    def make(self, plan: RingPlan) -> Any:
        """A new feed, real, with the options as they are now."""

    def patches(self) -> Iterable[tuple[Any, str, Any]]:
        """What stands in for the world during the run: (module or class, attribute, stand-in)."""

    def begin(self) -> None:
        """Plan what the venue does."""

    def started(self, feed: Any) -> None:
        """A life of the feed's process begins."""

    def killed(self) -> None:
        """The feed's process is gone, whatever the reason: the kernel closes its sockets."""

    def faults(self) -> Sequence[Fault]:
        """What this vendor's network and venue do wrong in this world."""

    def reload(self) -> tuple[Any, Any] | None:
        """Options before and after instruments were added or removed; None: there is nothing to change."""

    def heal(self) -> None:
        """No more faults. The venue goes on for as long as the feed needs to be right again."""

    def right(self) -> bool:
        """Whether the feed has all there is, and says so."""

    def check(self, tape: Tape) -> Iterable[str]:
        """What is wrong with what the ring got: sentences that begin with the name of the checker."""
