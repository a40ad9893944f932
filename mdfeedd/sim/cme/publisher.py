"""A venue in real time over real UDP: A and B, multicast or unicast, with faults if wanted.

    Venue (virtual clock follows the wall clock) ─► Network (faults) ─► one socket per side ─► lines

The only part of the simulated channel that has sockets and reads a clock. After a stall of more than `CATCH_UP_NS`
what would have happened in it is left out rather than sent in a burst. A datagram that the host does not take
(an interface that is down) is counted; the venue does not wait for anybody.
"""

from __future__ import annotations

import logging
import socket
import struct
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.cme.entries import Feed
from mdfeedd.sim.cme.instruments import listings
from mdfeedd.sim.cme.lines import Line, config_xml, multicast_lines, unicast_lines
from mdfeedd.sim.cme.network import Cut, Network
from mdfeedd.sim.cme.schedule import Habits
from mdfeedd.sim.cme.venue import Venue

if TYPE_CHECKING:
    import threading

    from mdfeedd.sim.cme.network import Delivered

__all__ = ["Counts", "Publisher", "PublisherError", "PublisherOptions", "Report"]

MAX_RATE: Final = 10_000.0  # events per second; a slow processor makes about 3,000
LOOP_RATES: Final = (40.0, 250.0)  # packets per second of a loop, at least and at most
HOLE_S: Final = 0.02  # of the market that a hole takes, about ...
HOLE_PACKETS: Final = 16  # ... and packets, at most
MAX_INSTRUMENTS: Final = 10_000
CATCH_UP_NS: Final = 250_000_000
OPEN_NS: Final = 50_000_000  # from the first definitions to the first prices
STEP_S: Final = 0.001
SECOND_NS: Final = 1_000_000_000
_MAX_CHANNEL: Final = 32_767
_LIVELY: Final = Habits(pause=0.0, add=0.0)
_CALM: Final = replace(_LIVELY, opening=0.0, reset_book=0.0)
logger: logging.Logger = logging.getLogger("mdfeedd.sim.cme")


class PublisherError(OSError):
    """The lines cannot be opened, or the config.xml not be written. One sentence."""


@dataclass(frozen=True, slots=True)
class PublisherOptions:
    """What to play, where to, and what goes wrong on the way. Raises ValueError ("key: reason")."""

    channel: int = 310
    seed: int = 1
    instruments: int = 8
    calm: bool = False  # futures only, no auctions, no books emptied
    version: int = 13
    rate: float = 500.0  # events per second
    orders: bool = True
    host: str = "127.0.0.1"  # unicast ...
    port: int = 26_000
    interface: str = ""  # ... or multicast by this interface (name or address)
    group: str = "239.192.31.0"
    config: str = ""  # where to write the config.xml
    loss: tuple[tuple[int, int, float], ...] = ()  # (feed, side, share)
    duplicate: float = 0.0
    reorder: float = 0.0
    skew_ns: tuple[int, int] = (200, 200_000)
    cuts: tuple[tuple[int, float, float], ...] = ()  # (side, from, to) in seconds from the start
    reset_every_s: float = 0.0  # channel resets; 0: none
    hole_every_s: float = 0.0  # some packets of the incremental feed lost on both sides; 0: none
    levels: int = 8  # of the books at the start

    def __post_init__(self) -> None:
        if not 1 <= self.channel <= _MAX_CHANNEL:
            raise ValueError(f"channel: must be 1 to {_MAX_CHANNEL}, not {self.channel}")
        if not 1 <= self.instruments <= MAX_INSTRUMENTS:
            raise ValueError(f"instruments: must be 1 to {MAX_INSTRUMENTS}, not {self.instruments}")
        if not 0 < self.rate <= MAX_RATE:
            raise ValueError(f"rate: must be above 0 and at most {MAX_RATE:.0f}, not {self.rate}")
        for _, _, share in self.loss:
            if not 0 <= share <= 1:
                raise ValueError(f"loss: a share is 0 to 1, not {share}")
        if not 0 < self.skew_ns[0] <= self.skew_ns[1]:
            raise ValueError("skew: must be above 0, the smaller one first")
        self.lines()

    def lines(self) -> list[Line]:
        """All lines; those of orders only if there are orders."""
        if self.interface:
            lines = multicast_lines(self.channel, self.group)
        else:
            lines = unicast_lines(self.host, self.port)
        return [line for line in lines if self.orders or line.feed != Feed.ORDERS]

    def as_dict(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of it so far: the truth for whoever compares. `covered`, `uncovered`, `holes`: incremental feed."""

    last_seq: int = 0  # MsgSeqNum of the last packet of the incremental feed
    packets: int = 0  # sent, on all lines
    covered: int = 0  # lost on one side, sent on the other
    uncovered: int = 0  # lost on both
    holes: int = 0  # runs of these
    refused: int = 0
    skipped_ns: int = 0

    def as_dict(self) -> dict[str, int]:
        """For another process."""
        return asdict(self)


@dataclass(slots=True)
class Counts:
    """What a publisher has sent so far, by line."""

    packets: Counter[Line] = field(default_factory=Counter)
    bytes: int = 0
    refused: int = 0  # datagrams that the host did not take
    skipped_ns: int = 0  # of the venue's time, after stalls


class Publisher:
    """Plays until told to stop. Raises `PublisherError` when it cannot begin."""

    def __init__(self, options: PublisherOptions) -> None:
        self.options = options
        self.lines: list[Line] = options.lines()
        self.counts: Counts = Counts()
        self._socket = _socket(options.interface)
        start_ns = time.time_ns()
        self.venue: Venue = Venue(
            options.seed,
            channel=options.channel,
            instruments=listings(
                options.instruments,
                options.version,
                options.seed,
                futures_only=options.calm,
            ),
            version=options.version,
            orders=options.orders,
            start_ns=start_ns,
            rate=options.rate,
            loop_rate=min(max(options.rate / 4, LOOP_RATES[0]), LOOP_RATES[1]),
            habits=_CALM if options.calm else _LIVELY,
            keep_truth=False,
        )
        self.network: Network = Network(
            options.seed,
            loss={(feed, side): share for feed, side, share in options.loss},
            duplicate=options.duplicate,
            reorder=options.reorder,
            skew_ns=options.skew_ns,
            record=False,
        )
        self._places = {(line.feed, line.side): line for line in self.lines}
        self._offset_ns = start_ns - time.monotonic_ns()
        self._complained = False
        if options.config:
            write_config(options.config, self.config())

    def config(self) -> str:
        """The config.xml of these lines."""
        products: dict[str, dict[str, None]] = {}
        for instrument in self.venue.instruments.values():
            groups = products.setdefault(instrument.listing.asset, {})
            groups[instrument.listing.group] = None
        sources = {}
        if self.options.interface:
            sources = {line.side: self._source(line) for line in self.lines}
        return config_xml(self.options.channel, self.lines, sources=sources, products=products)

    def run(self, stop: threading.Event, seconds: float | None = None) -> None:
        """Until `stop` is set, or for so long."""
        begin_ns = self._now_ns()
        self.venue.skip(begin_ns)  # it may have been kept waiting since it was made
        self.network.cuts = tuple(
            Cut(side, begin_ns + int(from_s * SECOND_NS), begin_ns + int(to_s * SECOND_NS))
            for side, from_s, to_s in self.options.cuts
        )
        end_ns = None if seconds is None else begin_ns + int(seconds * SECOND_NS)
        reset_every_ns = int(self.options.reset_every_s * SECOND_NS)
        hole_every_ns = int(self.options.hole_every_s * SECOND_NS)
        reset_ns, hole_ns = begin_ns + reset_every_ns, begin_ns + hole_every_ns
        self.venue.loops.whole(Feed.DEFINITION)  # names before prices
        self.venue.skip(begin_ns + OPEN_NS)
        self.venue.fill_books(self.options.levels)
        while not stop.is_set():
            now_ns = self._now_ns()
            if end_ns is not None and now_ns >= end_ns:
                break
            if reset_every_ns and now_ns >= reset_ns:
                self.venue.channel_reset()
                reset_ns += reset_every_ns
            if hole_every_ns and now_ns >= hole_ns:
                most = min(HOLE_PACKETS, int(self.options.rate * HOLE_S))
                self.network.lose_next(self.venue.rng.randint(1, max(1, most)))
                hole_ns += hole_every_ns
            self._step(now_ns)
            stop.wait(STEP_S)
        self._finish()

    def report(self) -> Report:
        """So far."""
        network, counts = self.network, self.counts
        return Report(
            last_seq=self.venue.channel.last_seq,
            packets=sum(counts.packets.values()),
            covered=network.covered[Feed.INCREMENTAL],
            uncovered=network.uncovered[Feed.INCREMENTAL],
            holes=network.hole_counts[Feed.INCREMENTAL],
            refused=counts.refused,
            skipped_ns=counts.skipped_ns,
        )

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _step(self, now_ns: int) -> None:
        venue = self.venue
        behind_ns = now_ns - venue.now_ns
        if behind_ns > CATCH_UP_NS:
            self.counts.skipped_ns += behind_ns
            logger.warning("stalled: %.3f s of the venue are left out", behind_ns / SECOND_NS)
            venue.skip(now_ns)
        sent = venue.run(until_ns=max(now_ns, venue.now_ns))
        self._transmit(self.network.deliver(sent, until_ns=now_ns))

    def _finish(self) -> None:
        """What is under way arrives, and one packet more on both sides, so that nothing lost stays unnoticed."""
        self.network.heal(self.venue.now_ns)
        self.venue.heartbeat()
        self._transmit(self.network.deliver(self.venue.take()))

    def _transmit(self, delivered: list[Delivered]) -> None:
        counts = self.counts
        for _, feed, side, payload in delivered:
            line = self._places.get((Feed(feed), side))
            if line is None:
                continue
            try:
                self._socket.sendto(payload, (line.address, line.port))
            except OSError as error:
                counts.refused += 1
                self._complain(line, error)
                continue
            self._complained = False
            counts.packets[line] += 1
            counts.bytes += len(payload)

    def _complain(self, line: Line, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            logger.warning("%s: datagrams are refused: %s", line, error.strerror)

    def _now_ns(self) -> int:
        return time.monotonic_ns() + self._offset_ns

    def _source(self, line: Line) -> str:
        """The address that datagrams to the line come from."""
        with _socket(self.options.interface) as probe:
            try:
                probe.connect((line.address, line.port))
            except OSError as error:
                raise PublisherError(f"{line}: no way to it: {error.strerror}") from error
            return str(probe.getsockname()[0])


def _socket(interface: str) -> socket.socket:
    """For sending; multicast by this interface with a reach of one network, looped back to this host."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if not interface:
        return sender
    try:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _place(interface))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    except OSError as error:
        sender.close()
        raise PublisherError(f"interface: {interface}: {error.strerror or error}") from error
    return sender


def _place(interface: str) -> bytes:
    """An ip_mreqn for an interface's name or one of its addresses."""
    try:
        return struct.pack("4s4si", bytes(4), socket.inet_aton(interface), 0)
    except OSError:
        return struct.pack("4s4si", bytes(4), bytes(4), socket.if_nametoindex(interface))


def write_config(path: str, text: str) -> None:
    """At once: nobody reads half a file. Raises `PublisherError`."""
    folder = Path(path).resolve().parent
    try:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            written = Path(own) / "config.xml"
            written.write_text(text)
            written.replace(path)
    except OSError as error:
        raise PublisherError(f"{path}: cannot be written: {error.strerror}") from error
