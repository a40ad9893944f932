"""The gateway of the demo's equities: a simulated Databento gateway in a process of its own, over TCP on 127.0.0.1.

It cuts the connection once, so that one sees what a lost session costs: a gap that is told, and the records in it
asked for again.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdfeedd.cli import units
from mdfeedd.cli.demo_plan import (
    DATASET,
    HOST,
    KEY_VARIABLE,
    RECORDS_PER_EVENT,
    SESSION,
    VENUES,
    rates,
)
from mdfeedd.sim.databento.child import GatewayProcess
from mdfeedd.sim.databento.core import KEY
from mdfeedd.sim.databento.play import GatewayOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.probe import Probes
    from mdfeedd.ring.inspect import RingInfo

CUT_AT: Final = 0.4  # of the time of the run
_SEEDS: Final = 1 << 32


@dataclass(slots=True)
class Server:
    """The process that plays the equities' vendor."""

    process: GatewayProcess
    trouble: str = ""
    """How it ended before its time, in a sentence."""

    @property
    def address(self) -> str:
        """host:port."""
        return f"{HOST}:{self.process.port}"

    def check(self) -> str:
        """The trouble, if there is one by now."""
        if not self.trouble and self.process.ending:
            self.trouble = f"the gateway that {SESSION} is connected to: {self.process.ending}"
        return self.trouble


@contextlib.contextmanager
def serving(rate: float, seconds: float, *, wired: bool) -> Iterator[Server | None]:
    """The gateway of a demo with so many ticks per second in all; None, with a sentence, where TCP does not work."""
    with contextlib.ExitStack() as stack:
        server = None
        try:
            server = Server(
                stack.enter_context(GatewayProcess(_options(rate, seconds, wired=wired)))
            )
        except OSError as error:
            print(
                f"mdfeedd demo: no TCP on {HOST} ({error.strerror or error}): "
                f"{SESSION} is synthetic, without a session to lose",
                file=sys.stderr,
            )
        else:
            os.environ[KEY_VARIABLE] = KEY  # of a gateway that does not exist: no secret
            stack.callback(os.environ.pop, KEY_VARIABLE, None)
        yield server


def _options(rate: float, seconds: float, *, wired: bool) -> GatewayOptions:
    venue = next(venue for venue in VENUES if venue.feed == SESSION)
    return GatewayOptions(
        host=HOST,
        dataset=DATASET,
        instruments=venue.symbols,
        schemas=("mbp-1",),
        rate=rates(rate, wired=wired, session=True)[SESSION] / RECORDS_PER_EVENT,
        seed=random.randrange(_SEEDS),  # noqa: S311 - chance, not secrets
        faults=(f"rst:after_s={CUT_AT * seconds:.3f}",),
    )


@dataclass(frozen=True, slots=True)
class Sessions:
    """What became of the connection, from the feed's ring."""

    disconnects: int
    replayed: int
    gaps: int
    recovered: int

    @classmethod
    def take(cls, ring: RingInfo | None, probes: Probes) -> Sessions:
        """As it stands."""
        counters = {} if ring is None else ring.counters
        probe = probes.tick(SESSION)
        return cls(
            counters.get("disconnects", 0),
            counters.get("replayed_records", 0),
            probe.gaps,
            probe.recovered,
        )

    def sentence(self) -> str:
        """For the table."""
        return (
            f"connection cut {units.of(self.disconnects, 'time')}: {units.of(self.gaps, 'gap')},"
            f" {units.count(self.recovered)} recovered by a replay of {units.count(self.replayed)} records"
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """For the summary: name, number, remark."""
        if not self.disconnects:
            return []
        remark = (
            f"records that a cut connection had cost: {units.of(self.gaps, 'gap')} told,"
            f" {units.count(self.recovered)} recovered"
        )
        return [("replayed", units.count(self.replayed), remark)]
