"""Captures of CME's multicast through the codec into the rings: the replay of `vendor: cme`.

::

    scan: first packets of each destination ─► infer ─┐
    config.xml, or lines by hand ─────────────────────┴─► lines ─► Handler ─► ring, .depth, .orders
                                                 CaptureReader ──────┘ in slices, as the gates let them
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.capture import CaptureError, CaptureReader, Stop
from mdfeedd.feeds.cme.codec import Handler
from mdfeedd.feeds.cme.config_xml import ConfigXmlError, read
from mdfeedd.feeds.cme.counting import Counting, LineCounting
from mdfeedd.feeds.cme.handlers import add_lines
from mdfeedd.feeds.cme.infer import HEARTBEAT_BYTES, SAMPLES, Inference, LeftOut, Seen, infer, rank
from mdfeedd.feeds.cme.options import patterns_of
from mdfeedd.feeds.cme.rings import Rings
from mdfeedd.feeds.cme.secdef import Secdef, SecdefError
from mdfeedd.feeds.cme.telling import OF_A_RECORDING, Teller
from mdfeedd.feeds.replay.gate import Gate
from mdfeedd.feeds.replay.pace import Pace
from mdfeedd.feeds.replay.source import DamagedRecording, ReplayError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence

    from mdfeedd.feeds.cme.lines import Line
    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.feeds.replay.options import ReplayOptions
    from mdfeedd.feeds.replay.progress import Progress

__all__ = ["CaptureReplay", "lines_of", "scan"]

logger: logging.Logger = logging.getLogger("mdfeedd.replay")

SCAN_BYTES: Final = 256 << 20  # of each file, looked through for destinations before the replay
MAX_CHANNELS: Final = 64
MAX_LINES: Final = 512
#: Records that one packet may bring: a status of a group and a reset of the channel have some for each instrument,
#: a limits message of the start of the week three for each of its entries, and one packet may set free what waited
#: for it.
LUMP_RECORDS: Final = 4096
LUMP_RECORDS_PER_INSTRUMENT: Final = 2
SETTLE_NS: Final = (
    1_000_000_000  # told to the codec after the last packet, so that nothing is waited for
)
MAX_WAIT_S: Final = 0.05  # between looks at `stop` while nothing is due
COUNT_S: Final = 0.1
_TOLD: Final = 5  # destinations in a sentence


def scan(paths: Sequence[str]) -> list[Seen]:
    """Each destination in the captures and its first packets, in the order of the first of them.

    Raises `ReplayError` where a file cannot be read at all; one that is cut gives what it holds.
    """
    payloads: dict[tuple[str, int], list[bytes]] = {}
    for path in paths:
        if Path(path).is_dir():
            raise ReplayError(f"{path} is a directory: name the files in it")
        if Path(path).exists() and not Path(path).is_file():
            sentence = f"{path} is no file, and can be read but once: say the lines"
            raise ReplayError(f"{sentence} (lines, or config_xml and channels)")
    most_bytes = SCAN_BYTES * len(paths)
    try:
        with CaptureReader(*paths) as reader:
            broken = None
            while True:
                try:
                    for packet in reader.samples(SAMPLES, most_bytes, HEARTBEAT_BYTES):
                        key = (packet.destination, packet.destination_port)
                        payloads.setdefault(key, []).append(packet.payload)
                    break
                except CaptureError as error:  # of one file: the others go on
                    broken = broken or error
            if broken is not None and not payloads:
                raise broken
            packets = {(one.address, one.port): one.packets for one in reader.destinations}
            cut = reader.counts["truncated"]
    except CaptureError as error:
        raise ReplayError(str(error)) from None
    if cut and not payloads:
        raise ReplayError(f"{', '.join(paths[:_TOLD])}: none of {cut} frames was captured whole")
    return [Seen(*key, packets.get(key, 0), first) for key, first in payloads.items()]


def lines_of(options: ReplayOptions, look: Callable[[], list[Seen]]) -> Inference:
    """The lines to replay: those said, else told from what `look` (see `scan`) finds.

    `channels` keeps these only. Raises `ReplayError` if none is left, or a file is not what it should be.
    """
    if options.lines:
        told = Inference(options.lines, ())
    elif options.config_xml:
        told = _configured(options, look)
    else:
        told = infer(look())
    wanted = set(options.channels)
    lines = tuple(line for line in told.lines if not wanted or line.channel in wanted)
    others = tuple(
        LeftOut(line.address, line.port, 0, f"channel {line.channel} is not wanted")
        for line in told.lines
        if line not in lines
    )
    left_out = (*told.left_out, *others)
    names = ", ".join(options.paths[:_TOLD])
    if not lines:
        why = "; ".join(f"{one.address}:{one.port}: {one.why}" for one in left_out[:_TOLD])
        raise ReplayError(f"{names}: no line of CME's to replay ({why or 'no UDP packets'})")
    places = Counter((line.address, line.port) for line in lines)
    (address, port), times = places.most_common(1)[0]
    if times > 1:
        raise ReplayError(f"{names}: two lines with the packets of {address}:{port}")
    if len({line.channel for line in lines}) > MAX_CHANNELS or len(lines) > MAX_LINES:
        limit = f"{MAX_CHANNELS} channels and {MAX_LINES} lines"
        raise ReplayError(f"{names}: more than {limit}: choose channels")
    return Inference(lines, left_out)


def _configured(options: ReplayOptions, look: Callable[[], list[Seen]]) -> Inference:
    """The lines of config.xml, of `channels`, or else those that the captures have packets of."""
    path = options.config_xml
    try:
        configuration = read(path)
        if options.channels:
            chosen = [configuration.channel(channel).lines for channel in options.channels]
            return Inference(tuple(line for lines in chosen for line in lines), ())
    except ConfigXmlError as error:
        raise ReplayError(str(error)) from None
    channels = configuration.channels.values()
    known = {(line.address, line.port): line for channel in channels for line in channel.lines}
    seen = look()
    lines = sorted((known[one[:2]] for one in seen if one[:2] in known), key=rank)
    strange = [LeftOut(*one[:3], f"not in {path}") for one in seen if one[:2] not in known]
    return Inference(tuple(lines), tuple(strange))


class CaptureReplay:
    """Plays captures into the ring of `ring`, and NAME.depth and NAME.orders if asked.

    ts_recv is the capture's stamp, flagged REPLAYED; the codec's timers run on the captures' time.
    """

    def __init__(
        self, name: str, options: ReplayOptions, ring: RingPlan, progress: Progress
    ) -> None:
        self._name = name
        self._options = options
        self._ring = ring
        self._progress = progress

    def run(self, stop: threading.Event) -> None:
        """Replay all of it, or until `stop`. Raises `ReplayError` and `RingError`."""
        options = self._options
        lines = lines_of(options, lambda: scan(options.paths)).lines
        try:
            with contextlib.ExitStack() as stack:
                reader = stack.enter_context(CaptureReader(*options.paths))
                session = _Session(options, lines, reader, self._ring)
                reader.add_lines(session.places)
                rings = stack.enter_context(
                    Rings(
                        self._name,
                        self._ring,
                        depth=options.depth,
                        orders=options.orders,
                        replay=True,
                    )
                )
                session.attach(rings, stop, self._progress)
                session.play(stop)
        except CaptureError as error:
            raise ReplayError(str(error)) from None


class _Session:
    """One run: a codec that knows the lines, and what goes in and out of it."""

    def __init__(
        self, options: ReplayOptions, lines: Sequence[Line], reader: CaptureReader, ring: RingPlan
    ) -> None:
        self._options = options
        self._reader = reader
        self._ring = ring
        self._handler = Handler(
            depth=options.depth,
            orders=options.orders,
            feed_index=ring.feed_index,
            shard=ring.shard,
            **patterns_of(options.symbols, options.groups, options.assets),
        )
        self._channels = tuple(dict.fromkeys(line.channel for line in lines))
        self._lines = add_lines(self._handler, lines)
        self._teller = Teller({}, self._lines, self._name, logger, OF_A_RECORDING)
        self._gates: list[Gate] = []
        self._broken: list[str] = []

    @property
    def places(self) -> dict[tuple[str, int], int]:
        """The lines' numbers by their destinations."""
        return {(line.address, line.port): number for number, line in self._lines.items()}

    def attach(self, rings: Rings, stop: threading.Event, progress: Progress) -> None:
        """Let it write these rings."""
        self._handler.attach(rings.ticks, rings.depth, rings.orders)
        self._rings = rings
        self._writers = [w for w in (rings.ticks, rings.depth, rings.orders) if w is not None]
        self._first_seqs = [writer.next_seq for writer in self._writers]
        self._progress = progress
        first = Gate(rings.ticks, stop, self._options.stall_limit_s)
        self._gates = [first] + [
            Gate(writer, stop, self._options.stall_limit_s, first=first)
            for writer in self._writers[1:]
        ]
        self._counting = Counting(self._handler, rings.ticks, without=("received_bytes",))
        self._line_counting = LineCounting(self._handler, rings.ticks, self._lines, None)
        self._count_due_s = 0.0
        self._define()

    def _name(self, channel: int, security_id: int) -> str:
        """An instrument as people know it."""
        return self._rings.name(self._handler, channel, security_id)

    def play(self, stop: threading.Event) -> None:
        """All packets, as they are due and there is room; then what was still waited for."""
        options = self._options
        for gate in self._gates if options.min_consumers is None else self._gates[:1]:
            gate.wait_for_consumers(
                self._ring, options.min_consumers, options.min_consumers_limit_s
            )
        started_s = time.monotonic()
        try:
            if self._play_packets(stop):
                self._handler.timer(self._reader.last_ns + SETTLE_NS)
        finally:
            self._look_after(last=True)
        self._log_end(time.monotonic() - started_s)
        if self._broken:
            published = [writer.next_seq for writer in self._writers] != self._first_seqs
            raise (DamagedRecording if published else ReplayError)("; ".join(self._broken))

    def _play_packets(self, stop: threading.Event) -> bool:
        """False if it was stopped."""
        speed = self._options.speed
        pace = None if speed == "max" else Pace(speed)
        until_ns = None if pace is None else -1  # nothing, until it is known when the first is due
        while (room := self._room()) and not stop.is_set():
            try:
                status = self._reader.run(self._handler, until_ns=until_ns, max_records=room)
            except CaptureError as error:  # of one file, which has ended by it: the others go on
                self._broken.append(str(error))
                if len(self._options.paths) > 1:
                    logger.warning("%s; the other files go on", error)
                continue
            self._look_after()
            if status is Stop.ENDED:
                return True
            if status is Stop.LATER and pace is not None:
                now_ns, due_ns = time.monotonic_ns(), self._reader.next_ns
                if stop.wait(min(pace.wait_s(due_ns, now_ns), MAX_WAIT_S)):
                    return False
                until_ns = pace.horizon_ns(due_ns, time.monotonic_ns())
        return False

    def _room(self) -> int:
        """How many records every ring takes, and a lump of them besides."""
        known = self._rings.ticks.instruments_count
        lump = LUMP_RECORDS + LUMP_RECORDS_PER_INSTRUMENT * known
        return min(gate.room(self._rings.ticks.capacity, lump) for gate in self._gates)

    def _look_after(self, *, last: bool = False) -> None:
        now_s = time.monotonic()
        for event in self._handler.take_events():
            self._teller.tell(event, now_s)
        if last:
            self._teller.finish()
        if last or now_s >= self._count_due_s:
            self._count_due_s = now_s + COUNT_S
            self._teller.settle(now_s)
            self._rings.mirror(whole=last)
            self._counting.count(self._channels)
            self._line_counting.count_all()
            done_bytes = self._reader.read_bytes
            self._rings.ticks.counters.add("received_bytes", done_bytes - self._progress.done_bytes)
            self._progress.done_bytes = done_bytes

    def _define(self) -> None:
        """Names from secdef.dat, for captures that hold no definitions."""
        path = self._options.secdef
        if not path:
            return
        secdef = Secdef(path, self._channels)
        try:
            for definition in secdef:
                self._handler.define(definition.channel, definition)
        except SecdefError as error:
            raise ReplayError(str(error)) from None
        if secdef.foreign:
            raise ReplayError(secdef.faults[0])
        for fault in secdef.faults:
            logger.warning("%s", fault)
        logger.info("%s: %d of %d lines used", path, secdef.used, secdef.lines)

    def _log_end(self, took_s: float) -> None:
        counts, read_counts = self._handler.counts, self._reader.counts
        logger.info(
            "%d packets, %d messages, %d quotes, %d trades, %d other ticks in %.1f s",
            counts["packets"], counts["messages"], counts["quotes"], counts["trades"],
            counts["others"], took_s,
        )  # fmt: skip
        for number, line in self._lines.items():
            seen = self._handler.line_counts(number)
            logger.info("line %s: %d packets, %d lost", line, seen["packets"], seen["lost"])
        logger.info("frames: %s", _told(f"{n} {k}" for k, n in read_counts.items() if n))
        if cut := read_counts["truncated"]:
            logger.warning(
                "%d frames were not captured whole (snap length): they are as good as lost", cut
            )
        if strange := read_counts["bad_stamps"]:
            logger.warning(
                "%d stamps are missing, stand still, or go back by a second and more: a file is played in its own order."
                " Lines that were captured one after the other belong into files of their own",
                strange,
            )
        others = [one for one in self._reader.destinations if one.line is None]
        if others:
            told = _told(f"{one.address}:{one.port} ({one.packets} packets)" for one in others)
            if counts["packets"]:
                logger.info("not replayed: %s", told)
            else:
                logger.warning("no packet of any of the lines; there are those to %s", told)


def _told(parts: Iterable[str]) -> str:
    listed = list(parts)
    more = f" and {len(listed) - 2 * _TOLD} more" if len(listed) > 2 * _TOLD else ""
    return ", ".join(listed[: 2 * _TOLD]) + more
