"""Does anything come in by the lines? For `mdfeedd check --connect`: joins the groups as a start does, and no ring.

    LinePlan ─► find_interface, per line ─► Receiver of all that have one ─► counted until each has brought a packet,
                                                                             or a heartbeat is overdue

A line that is no multicast group is looked at and not opened: a feed that runs would get its packets no more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from mdfeedd.feeds._packet import PacketList
from mdfeedd.feeds.multicast import Receiver, ReceiverError
from mdfeedd.feeds.multicast.host import find_interface
from mdfeedd.feeds.protocol import ProbeLine, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mdfeedd.feeds.cme.lines import Line
    from mdfeedd.feeds.cme.options import CmeOptions
    from mdfeedd.feeds.multicast import LineSpec

__all__ = ["probe"]

LISTEN_MAX_S: Final = 50.0
"""However long a silence may be: a probe ends within a minute."""
_RUN_NS: Final = 50_000_000


def probe(options: CmeOptions) -> Iterator[ProbeLine]:
    """What keeps lines from being opened; then, for each that is, whether it brings anything."""
    lines = dict(enumerate(options.plan().lines))
    ready: list[LineSpec] = []
    for spec in (line.spec(number) for number, line in lines.items()):
        try:
            found = find_interface(spec)
        except ReceiverError as error:
            yield ProbeLine(False, str(error), Severity.UNAVAILABLE)
            continue
        if spec.is_multicast:
            ready.append(spec)
        else:
            yield ProbeLine(True, f"{spec}: {found.name} has the address; what comes is not tried")
    if not ready:
        return
    limit_s = min(options.silence_s, LISTEN_MAX_S)
    try:
        receiver = Receiver(
            ready,
            PacketList(limit=0),
            mode=options.mode,
            receive_buffer_bytes=options.receive_buffer_bytes,
        )
    except ReceiverError as error:
        yield ProbeLine(False, str(error), Severity.UNAVAILABLE)
        return
    with receiver:
        for warning in receiver.warnings:
            yield ProbeLine(True, warning, Severity.WARNING)
        heard = _listen(receiver, [spec.line for spec in ready], limit_s)
    yield from _found(lines, heard, limit_s)


def _listen(receiver: Receiver, numbers: list[int], limit_s: float) -> dict[int, int]:
    """Packets by line, as soon as each has brought one; none of those that have not."""
    deadline_s = time.monotonic() + limit_s
    while True:
        receiver.run(_RUN_NS)
        heard = {number: receiver.counts(number).packets for number in numbers}
        if all(heard.values()) or time.monotonic() >= deadline_s:
            return heard


def _found(
    lines: Mapping[int, Line], heard: Mapping[int, int], limit_s: float
) -> Iterator[ProbeLine]:
    alive = {lines[number].channel for number, packets in heard.items() if packets}
    for number, packets in heard.items():
        line = lines[number]
        if packets:
            yield ProbeLine(True, f"line {line} brings packets")
            continue
        text = f"line {line} has brought nothing for {limit_s:g} s"
        if line.channel in alive:
            text += ", and others of its channel have"
        elif line.feed == "incremental":
            text += (
                ", no heartbeat either: if the venue is open, look at the groups and memberships"
            )
        lost = line.feed == "incremental" and line.channel not in alive
        yield ProbeLine(not lost, text, Severity.UNAVAILABLE if lost else Severity.WARNING)
