"""The receiver: opens lines, explains what failed, and watches over interfaces and drops while it runs."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from mdfeedd.feeds.multicast import host
from mdfeedd.feeds.multicast._multicast import LINES, MODES, ReceiverCore, hardware_stamps
from mdfeedd.feeds.multicast.errors import ReceiverError, explain
from mdfeedd.feeds.multicast.lines import LineCounts, LineSpec, address_number

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from mdfeedd.feeds._packet import PacketSink

Mode = Literal["blocking", "busy", "packet_ring"]

RECEIVE_BUFFER_BYTES = 64 << 20
RUN_NS = 50_000_000  # a run comes back to Python so often, so that a stop is seen
WATCH_NS = 1_000_000_000  # interfaces and drops are looked at so often
QUIET_NS = 60_000_000_000  # without a drop for so long, the next one begins an episode
MAX_WARNINGS = 100
MAX_BUFFER_BYTES = 1 << 30

log: logging.Logger = logging.getLogger("mdfeedd.multicast")


@dataclass(slots=True)
class _Line:
    spec: LineSpec
    index: int  # in the core
    wanted: bool = False
    interface: str = ""  # on which it was opened
    ifindex: int = 0
    drops: int = 0  # when last looked at
    dropped_ns: int = -QUIET_NS


class Receiver:
    """Receives lines and passes each datagram to `sink`, without the GIL.

    Opens and joins at once; `ReceiverError` says in one sentence why that cannot be. Belongs to one thread.
    `receive_buffer_bytes` is per line, and per interface in mode packet_ring.
    """

    def __init__(
        self,
        lines: Iterable[LineSpec],
        sink: PacketSink,
        *,
        mode: Mode = "blocking",
        receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES,
        hardware_timestamps: bool = False,
        cpu: int | None = None,
        busy_poll_us: int = 0,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode: {mode!r} is none of {', '.join(MODES)}")
        if not 0 < receive_buffer_bytes <= MAX_BUFFER_BYTES:
            raise ValueError(f"receive_buffer_bytes: not between 1 and {MAX_BUFFER_BYTES}")
        if not 0 <= busy_poll_us <= 1_000_000:
            raise ValueError("busy_poll_us: not between 0 and 1000000")
        self.mode: Mode = mode
        self.warnings: list[str] = []
        self._buffer_bytes = receive_buffer_bytes
        self._hardware = hardware_timestamps
        self._cpu = cpu
        self._pinned: int | None = None
        self._watched_ns = time.monotonic_ns()
        self._dropped_ns = self._failed_ns = -QUIET_NS
        self._drops = self._errors = 0
        self._away: set[str] = set()  # interfaces that are down or gone
        self._stamped: set[int] = set()  # interfaces whose card was asked for time stamps
        self._lines = self._read(lines)
        self._core = ReceiverCore(
            sink, MODES[mode], receive_buffer_bytes, hardware_timestamps, busy_poll_us
        )
        try:
            self._start()
        except BaseException:
            self._core.close()
            raise

    @staticmethod
    def _read(lines: Iterable[LineSpec]) -> dict[int, _Line]:
        out: dict[int, _Line] = {}
        places: set[tuple[str, int, str]] = set()
        for spec in lines:
            place = (spec.address, spec.port, spec.interface)
            if spec.line in out:
                raise ValueError(f"lines: number {spec.line} is there twice")
            if place in places:
                raise ValueError(f"lines: {spec} is there twice")
            places.add(place)
            out[spec.line] = _Line(spec, len(out))
        if not 0 < len(out) <= LINES:
            raise ValueError(f"lines: {len(out)} of them, not between 1 and {LINES}")
        return out

    def _start(self) -> None:
        if any(line.spec.is_multicast for line in self._lines.values()):
            for complaint in host.kernel_warnings(self._buffer_bytes):
                self._warn(complaint)
        for line in self._lines.values():
            spec = line.spec
            sources = [address_number(source) for source in spec.sources]
            self._core.add(spec.line, address_number(spec.address), spec.port, sources)
            if not spec.joined:
                continue
            found = host.find_interface(spec)
            if not found.ready:
                self._away.add(found.name)
                self._warn(f"interface {found.name} is down: its lines are silent until it is up")
            if spec.is_multicast and (sentence := host.filter_warning(found.name)):
                self._warn(sentence)
            self._open(line, found)
        if self._core.troubles()[3]:
            self._warn("SO_BUSY_POLL was refused: busy_poll_us needs CAP_NET_ADMIN")
        if self.mode == "packet_ring" and not self._core.defragments():
            self._warn("this kernel does not put fragments together for packet_ring: they are lost")

    def _stamp_in_hardware(self, found: host.Interface) -> None:
        if not self._hardware or found.ifindex in self._stamped:
            return
        self._stamped.add(found.ifindex)
        error = hardware_stamps(found.ifindex)
        if error == errno.EPERM:
            why = "switching them on needs CAP_NET_ADMIN"
        elif error:
            why = "the interface has none"
        else:
            return
        self._warn(f"no hardware time stamps on {found.name}: {why}; the kernel's are used")

    def _open(self, line: _Line, found: host.Interface) -> None:
        self._stamp_in_hardware(found)
        stage, number = self._core.open(line.index, found.ifindex)
        if number:
            raise explain(line.spec, stage, number)
        line.wanted, line.interface, line.ifindex = True, found.name, found.ifindex
        if self.mode != "packet_ring":
            granted = self._core.receive_bytes(line.index)
            if sentence := host.buffer_warning(self._buffer_bytes, granted):
                self._warn(sentence)

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(sentence)
            log.warning("%s", sentence)

    @property
    def specs(self) -> list[LineSpec]:
        """The lines, in the order given."""
        return [line.spec for line in self._lines.values()]

    def join(self, line: int) -> None:
        """Open a line and join its group; nothing if it is joined. Between two runs only."""
        known = self._lines[line]
        if not known.wanted:
            self._open(known, host.find_interface(known.spec))

    def leave(self, line: int) -> None:
        """Close a line; nothing if it is not joined. What it has received and not been asked for is gone."""
        known = self._lines[line]
        self._core.close_line(known.index)
        known.wanted = False

    def joined(self, line: int) -> bool:
        """Whether the line is to be received (its interface may be away just now)."""
        return self._lines[line].wanted

    def counts(self, line: int) -> LineCounts:
        """What the line has seen so far."""
        return LineCounts(*self._core.counts(self._lines[line].index))

    @property
    def kernel_drops(self) -> int:
        """Datagrams that every socket, or every ring, has lost for want of room."""
        return self._core.kernel_drops()

    def run(self, max_ns: int = RUN_NS) -> bool:
        """Receive for at most `max_ns`; True at once when the sink's `burst_end` asks for Python.

        A signal ends it early. Interfaces and drops are looked after in between.
        """
        if self._cpu is not None and self._pinned != threading.get_ident():
            self._pin(self._cpu)
        asked = self._core.run(max_ns)
        now = time.monotonic_ns()
        if now - self._watched_ns >= WATCH_NS:
            self._watched_ns = now
            self._watch_interfaces()
            self._watch_drops(now)
            self._watch_troubles(now)
        return asked

    def _pin(self, cpu: int) -> None:
        try:
            os.sched_setaffinity(0, {cpu})
        except OSError as error:
            raise ReceiverError(error.errno, f"cpu: this process may not run on {cpu}") from None
        self._pinned = threading.get_ident()

    def _watch_interfaces(self) -> None:
        """Notices interfaces that go and come; one that was made anew has its lines joined again."""
        now: dict[str, host.Interface | None] = {}
        moved: dict[tuple[str, str], host.Interface | None] = {}
        for line in self._lines.values():
            if not line.wanted:
                continue
            if line.interface not in now:
                now[line.interface] = host.interface_named(line.interface)
                self._tell_presence(line.interface, now[line.interface])
            here = now[line.interface]
            if here is None:
                here = self._elsewhere(line.spec, moved)
            if here and (here.ifindex != line.ifindex or not self._core.is_open(line.index)):
                self._reopen(line, here)

    @staticmethod
    def _elsewhere(
        spec: LineSpec, moved: dict[tuple[str, str], host.Interface | None]
    ) -> host.Interface | None:
        """Where a line whose interface is gone comes in now: another one may have its address or route."""
        key = (spec.interface, "" if spec.interface else spec.address)
        if key not in moved:
            try:
                moved[key] = host.find_interface(spec)
            except ReceiverError:
                moved[key] = None
        return moved[key]

    def _tell_presence(self, name: str, here: host.Interface | None) -> None:
        away = here is None or not here.ready
        if away and name not in self._away:
            self._away.add(name)
            state = "is gone" if here is None else "is down"
            log.warning("interface %s %s: its lines are silent until it is back", name, state)
        elif not away and name in self._away:
            self._away.discard(name)
            log.warning("interface %s is back", name)

    def _reopen(self, line: _Line, here: host.Interface) -> None:
        self._core.close_line(line.index)
        try:
            self._open(line, here)
        except ReceiverError as error:
            self._warn(f"{error} (tried again every second)")

    def _watch_drops(self, now: int) -> None:
        """Says once per episode that this host loses packets which the network had delivered."""
        for line in self._lines.values():
            if not line.wanted:
                continue
            drops = self.counts(line.spec.line).kernel_drops
            if drops > line.drops:
                self._tell_drops(str(line.spec), drops - line.drops, now - line.dropped_ns)
                line.drops, line.dropped_ns = drops, now
        if self.mode == "packet_ring" and (drops := self.kernel_drops) > self._drops:
            self._tell_drops("packet ring", drops - self._drops, now - self._dropped_ns)
            self._drops, self._dropped_ns = drops, now

    def _watch_troubles(self, now: int) -> None:
        """Says once per episode that receive calls fail, and once that a card's clock is off."""
        errors, last, apart, _ = self._core.troubles()
        if apart:
            self._warn(
                "the network card's clock is more than a second from the host's, and the kernel's "
                "stamps are used: synchronise it (phc2sys)"
            )
        if errors > self._errors:
            if now - self._failed_ns >= QUIET_NS:
                log.warning(
                    "receiving failed %d times: %s", errors - self._errors, os.strerror(last)
                )
            self._errors, self._failed_ns = errors, now

    def _tell_drops(self, where: str, drops: int, since_ns: int) -> None:
        if since_ns >= QUIET_NS:
            log.warning(
                "%s: the kernel dropped %d packets that had arrived: this process was too slow or its "
                "buffer too small (further drops are counted, not logged)",
                where,
                drops,
            )

    def close(self) -> None:
        """Leave all groups; closing twice is nothing."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
