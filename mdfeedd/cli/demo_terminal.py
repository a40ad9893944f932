"""The terminal of the demo's currencies: Bloomberg's package, played by the stand-in within the feed's own process.

The feed imports the stand-in by its option `blpapi_path`, and finds what to play in its environment. Once, messages
of one instrument are lost on the way and Bloomberg says so, so that one sees what follows: a gap of that instrument,
and a new image of it.
"""

from __future__ import annotations

import contextlib
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdfeedd.cli import units
from mdfeedd.cli.demo_plan import TERMINAL, TOPICS, rates
from mdfeedd.sim.bloomberg import VARIABLE, Fault, Script, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.probe import Probes

LOSS_AT: Final = 0.4  # of the time of the run: a machine that is slow still comes to it
LOSS_S: Final = 0.1  # of the first topic's messages
FIRST_SHARE: Final = 0.3  # of the messages: those of the first topic
TICKS_PER_EVENT: Final = (
    0.2  # of this market: currencies have no sizes, and most quotes change only those
)
_SEEDS: Final = 1 << 32


@contextlib.contextmanager
def standing_in(rate: float, seconds: float) -> Iterator[None]:
    """The environment for the feed of a demo with so many ticks per second in all."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = _world(rate, seconds).to_json()
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _world(rate: float, seconds: float) -> World:
    events_per_s = rates(rate, wired=True, session=True)[TERMINAL] / TICKS_PER_EVENT
    lost = max(1, round(events_per_s * FIRST_SHARE * LOSS_S))
    return World(
        random.randrange(_SEEDS),  # noqa: S311 - chance, not secrets
        TOPICS,
        rate=events_per_s,
        script=Script((Fault("data_loss", 0, TOPICS[0], at_s=LOSS_AT * seconds, count=lost),)),
        keep=False,
    )


@dataclass(frozen=True, slots=True)
class Losses:
    """What Bloomberg said that it had dropped, and what the feed made of it: from the feed's ring."""

    gaps: int
    recovered: int
    doubt_ns: int
    """From the last tick before each hole to the image after it."""

    @classmethod
    def take(cls, probes: Probes) -> Losses:
        """As it stands."""
        probe = probes.tick(TERMINAL)
        return cls(probe.holes, probe.healed, probe.doubt_ns)

    def sentence(self) -> str:
        """For the table."""
        return (
            f"messages dropped by Bloomberg: {units.of(self.gaps, 'gap')},"
            f" {units.count(self.recovered)} recovered by a new image"
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """For the summary: name, number, remark."""
        if not self.gaps:
            why = (
                "messages of a currency that Bloomberg was to drop: the run ended before that came"
            )
            return [("in doubt", "-", f"0 gaps told, for {why}")]
        remark = (
            f"of a currency, for messages that Bloomberg dropped: {units.of(self.gaps, 'gap')} told,"
            f" {units.count(self.recovered)} recovered"
        )
        return [("in doubt", units.duration(self.doubt_ns), remark)]
