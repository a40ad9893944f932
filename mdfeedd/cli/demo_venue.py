"""The venue of the demo's futures: a simulated CME channel in a process of its own, over UDP on 127.0.0.1.

Its network loses a little on line A all the time, and a few packets on both lines a few times during a run, so that
one sees what two lines, gaps and recovery are for. What it lost it reports itself; what the feed made of it
is read from the feed's ring.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdfeedd.cli import units
from mdfeedd.cli.demo_plan import CHANNEL, HOST, TICKS_PER_EVENT, VENUES, WIRED, rates
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.cme.child import VenueProcess
from mdfeedd.sim.cme.entries import Feed
from mdfeedd.sim.cme.publisher import PublisherOptions, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.probe import Probes
    from mdfeedd.ring.inspect import RingInfo
    from mdfeedd.sim.cme.lines import Line

LOSS: Final = 0.01  # of the packets of line A
HOLES: Final = 3.0  # on both lines in a short run, at most one a second ...
HOLE_EVERY_S: Final = 15.0  # ... and so far apart in a long one
READY_S: Final = 10.0  # from the feed's ring to the first packet, if readers are missing
READY_STEP_S: Final = 0.02
LINES: Final = 8
PORTS: Final = range(10_240, 20_000, LINES)  # below those that the kernel gives away
ECHO_S: Final = 1.0
_SEEDS: Final = 1 << 32


@dataclass(slots=True)
class Channel:
    """The process that plays the futures' venue."""

    process: VenueProcess
    trouble: str = ""
    """How it ended before its time, in a sentence."""

    @property
    def lines(self) -> list[Line]:
        """Where its packets go."""
        return self.process.options.lines()

    @property
    def report(self) -> Report:
        """What it says of itself."""
        return self.process.report

    async def begin_when_ready(self, readers: int, shm_dir: str) -> None:
        """Let it play when the feed has opened its lines and so many readers have found its ring.

        The feed's heart beats again only after its lines are open.
        """
        first_beat_ns: int | None = None
        deadline: float | None = None
        while True:
            with contextlib.suppress(RingError):  # not made yet
                info = inspect(WIRED, shm_dir)
                now = time.monotonic()
                deadline = now + READY_S if deadline is None else deadline
                first_beat_ns = info.heartbeat_ns if first_beat_ns is None else first_beat_ns
                listening = info.writer_alive and info.heartbeat_ns != first_beat_ns
                reading = sum(reader.alive and reader.same_ring for reader in info.consumers)
                if (listening and reading >= readers) or now >= deadline:
                    self.process.begin()
                    return
            await asyncio.sleep(READY_STEP_S)

    def check(self) -> str:
        """The trouble, if there is one by now."""
        if not self.trouble and self.process.ending:
            self.trouble = f"the venue that {WIRED} listens to: {self.process.ending}"
        return self.trouble

    async def end(self) -> None:
        """The last packets are sent and the last report is there when this returns."""
        self.check()
        await asyncio.to_thread(self.process.stop)


@contextlib.contextmanager
def playing(rate: float, seconds: float) -> Iterator[Channel | None]:
    """The venue of a demo with so many ticks per second in all; None, with a sentence, where UDP does not work."""
    channel: Channel | None = None
    with contextlib.ExitStack() as stack:
        try:
            first_port = stack.enter_context(free_ports())
            process = VenueProcess(_options(rate, seconds, first_port), held=True)
            channel = Channel(stack.enter_context(process))
        except OSError as error:
            print(
                f"mdfeedd demo: no UDP to {HOST} ({error.strerror or error}): "
                f"{WIRED} is synthetic, without packets to lose",
                file=sys.stderr,
            )
        yield channel


def _options(rate: float, seconds: float, first_port: int) -> PublisherOptions:
    wire_rate = rates(rate, wired=True, session=True)[WIRED]
    holes = max(min(HOLES, seconds), seconds / HOLE_EVERY_S)
    return PublisherOptions(
        channel=CHANNEL,
        seed=random.randrange(_SEEDS),  # noqa: S311 - chance, not secrets
        instruments=len(VENUES[0].symbols),
        calm=True,
        rate=wire_rate / TICKS_PER_EVENT,
        host=HOST,
        port=first_port,
        loss=((Feed.INCREMENTAL, 0, LOSS),),
        hole_every_s=seconds / (holes + 0.5),  # the last one long enough before the end
    )


@contextlib.contextmanager
def free_ports() -> Iterator[int]:
    """The first of eight free ports that no other demo will take meanwhile. Raises `OSError`."""
    start = random.randrange(len(PORTS))  # noqa: S311 - chance, not secrets
    for first in (*PORTS[start:], *PORTS[:start]):
        with socket.socket(socket.AF_UNIX) as lock:
            try:
                lock.bind(f"\0mdfeedd-demo-port:{first}")
                _try(first)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise
            yield first
            return
    raise OSError(errno.EADDRINUSE, f"none of the ports from {PORTS.start} on is free")


def _try(first: int) -> None:
    """Bind all ports for a moment, and hear oneself on one of them. Raises `OSError`."""
    with contextlib.ExitStack() as stack:
        for port in range(first, first + LINES):
            line = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            line.bind((HOST, port))
        line.settimeout(ECHO_S)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"mdfeedd", line.getsockname())
        line.recv(16)


# ------------------------------------------------------------------------------- what became of its packets


@dataclass(frozen=True, slots=True)
class Account:
    """What the network lost, by the venue's report, and what the feed says of it, from its ring."""

    covered: int
    """Packets that one line lost and the other had."""
    uncovered: int
    """Packets that both lines lost."""
    lost: int
    """Packets that the feed has told to be lost."""
    gaps: int
    recovered: int
    unproven: int
    """Books that may be wrong now."""

    @classmethod
    def take(cls, channel: Channel, ring: RingInfo | None, probes: Probes) -> Account:
        """As it stands."""
        counters = {} if ring is None else ring.counters
        probe, report = probes.tick(WIRED), channel.report
        return cls(
            report.covered,
            report.uncovered,
            counters.get("lost_packets", 0),
            probe.gaps,
            probe.recovered,
            counters.get("unproven_books", 0),
        )

    def sentence(self) -> str:
        """For the table."""
        return (
            f"lost packets: {units.count(self.covered)} on line A (B had them), "
            f"{units.count(self.lost)} on both: "
            f"{units.of(self.gaps, 'gap')}, {units.count(self.recovered)} recovered"
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """For the summary: name, number, remark."""
        healed = f"{units.of(self.gaps, 'gap')} told, {units.count(self.recovered)} recovered"
        if self.unproven:
            healed += f", {units.of(self.unproven, 'book')} not proven right yet"
        if self.lost != self.uncovered:
            healed += f"; the network lost {units.count(self.uncovered)}"
        return [
            ("lost on line A", units.count(self.covered), "packets, which line B had"),
            ("lost on both", units.count(self.lost), f"packets: {healed}"),
        ]
