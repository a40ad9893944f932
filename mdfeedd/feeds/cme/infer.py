"""Which line is which: told from what a capture holds, where nobody says it. No I/O.

A destination (group and port) is taken for a line of the kind whose messages it carries::

    definitions that tell their number (27 29 41 54 55 56 57 58 63)      definition   N
    orders of snapshots (44 53), with levels (38 52) among them or not   orders       SMBO
    snapshots alone (38 52 69)                                           snapshot     S
    anything else, definitions without a number included                 incremental  I

The channel and the side are in the port, by CME's plan: 14000 + channel on A, 15000 + channel on B, for I, N
and S alike, each with a group of its own; 23000 and 22000 for SMBO. Elsewhere two destinations are the sides
of one line when packets of the same number and time came on both, and lines of different kinds that share a
port and a network belong together; such channels are numbered from 1. Groups of 224.0.31 are A, 224.0.32 B; else
A is the lower port, or the one seen first.

A port that the incremental lines of several channels have tells nothing.
Nothing is guessed silently: what cannot be told is left out, with the reason.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from mdfeedd.feeds.cme.lines import MAX_CHANNEL_ID, FeedName, Line, SideName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["HEARTBEAT_BYTES", "SAMPLES", "Inference", "LeftOut", "Seen", "infer", "line_of", "rank"]

SAMPLES: Final = 64
"""Packets of a destination that are enough to tell, where they are longer than `HEARTBEAT_BYTES`."""
SHARED_PART: Final = 16
"""A second group with so many times fewer packets is a stray, not another channel."""
HEARTBEAT_BYTES: Final = 22
"""A packet with one message of no fields: however many there are, they tell nothing."""

_DEFINITIONS: Final = frozenset({27, 29, 41, 54, 55, 56, 57, 58, 63})
_LEVELS: Final = frozenset({38, 52, 69})
_ORDERS: Final = frozenset({44, 53})
_NEUTRAL: Final = frozenset({12, 15, 16})  # heartbeat, login, logout: any line may have them
_STATUS: Final = 30
_PACKET_HEADER: Final = struct.Struct("<IQ")
_MESSAGE_HEADER: Final = struct.Struct("<HHHHH")
_TOTAL_AT: Final = 1  # TotNumReports, in the root of a definition
_NO_TOTAL: Final = 0xFFFFFFFF
_SCHEMA: Final = 1
_PLAN: Final[dict[int, SideName]] = {14: "A", 15: "B"}
_PLAN_ORDERS: Final[dict[int, SideName]] = {23: "A", 22: "B"}
_OCTETS: Final[dict[str, SideName]] = {"31": "A", "32": "B"}
_SIDES: Final[tuple[SideName, SideName]] = ("A", "B")
_FEED_TYPES: Final[dict[str, FeedName]] = {
    "I": "incremental",
    "N": "definition",
    "S": "snapshot",
    "SMBO": "orders",
}
_LINE: Final = re.compile(r"(\d{1,5}):([A-Za-z]+):([AB])=([\d.]+):(\d{1,5})")


class Seen(NamedTuple):
    """A destination of a capture, and the first `SAMPLES` packets or so that went there."""

    address: str
    port: int
    packets: int
    payloads: Sequence[bytes]


class LeftOut(NamedTuple):
    """A destination that is no line, and why."""

    address: str
    port: int
    packets: int
    why: str


@dataclass(frozen=True, slots=True)
class Inference:
    """Lines in the order of channel, feed and side."""

    lines: tuple[Line, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(slots=True)
class _Place:
    """A destination under examination."""

    seen: Seen
    feed: FeedName | None = None  # None: nothing but heartbeats
    channel: int | None = None
    side: SideName | None = None
    stamps: frozenset[tuple[int, int]] = frozenset()  # number and SendingTime of its packets
    order: int = 0
    shared: bool = False  # several channels have its port, so that this does not tell whose it is

    @property
    def network(self) -> str:
        return self.seen.address.rpartition(".")[0]


def infer(seen: Iterable[Seen]) -> Inference:
    """Tell the lines of a capture. Destinations come in the order in which they were first seen."""
    places: list[_Place] = []
    left_out: list[LeftOut] = []
    for order, one in enumerate(seen):
        messages = [found for payload in one.payloads if (found := list(_messages(payload)))]
        if not one.address or 2 * len(messages) <= len(one.payloads):
            left_out.append(LeftOut(*one[:3], "not CME's MDP 3.0"))
            continue
        feed = _feed(message for packet in messages for message in packet)
        stamps = frozenset(_PACKET_HEADER.unpack_from(p) for p in one.payloads if len(p) >= 12)
        places.append(_Place(one, feed, stamps=stamps, order=order))
    _by_plan(places)
    _off_plan([place for place in places if place.channel is None and not place.shared])
    lines = _assign(places, left_out)
    return Inference(tuple(sorted(lines, key=rank)), tuple(left_out))


def line_of(text: str) -> Line:
    """``CHANNEL:FEED:SIDE=GROUP:PORT``, FEED being I, N, S or SMBO. Raises `ValueError`."""
    match = _LINE.fullmatch(text)
    feed = _FEED_TYPES.get(match[2].upper()) if match else None
    if match is None or feed is None:
        raise ValueError(
            f"{text!r} is not CHANNEL:FEED:SIDE=GROUP:PORT, such as 310:I:A=224.0.31.1:14310"
            " (FEED: I, N, S or SMBO)"
        )
    side: SideName = "A" if match[3] == "A" else "B"
    return Line(channel=int(match[1]), feed=feed, address=match[4], port=int(match[5]), side=side)


# ----------------------------------------------------------------------------------------------- kinds


class _Message(NamedTuple):
    template: int
    totalled: bool  # a definition that says how many there are


def _messages(payload: bytes) -> Iterator[_Message]:
    """The messages of a packet; nothing if it is no packet of MDP 3.0."""
    found = []
    at = _PACKET_HEADER.size
    while at + _MESSAGE_HEADER.size <= len(payload):
        size, block, template, schema, _ = _MESSAGE_HEADER.unpack_from(payload, at)
        if size < _MESSAGE_HEADER.size or at + size > len(payload) or schema != _SCHEMA:
            return
        total_at = at + _MESSAGE_HEADER.size + _TOTAL_AT
        totalled = template in _DEFINITIONS and block >= _TOTAL_AT + 4 and total_at + 4 <= at + size
        if totalled:
            totalled = int.from_bytes(payload[total_at : total_at + 4], "little") != _NO_TOTAL
        found.append(_Message(template, totalled))
        at += size
    if at == len(payload):
        yield from found


def _feed(messages: Iterable[_Message]) -> FeedName | None:
    kinds: Counter[FeedName] = Counter()
    statuses = 0
    for template, totalled in messages:
        if template in _ORDERS:
            kinds["orders"] += 1
        elif template in _LEVELS:
            kinds["snapshot"] += 1
        elif template in _DEFINITIONS and totalled:
            kinds["definition"] += 1
        elif template == _STATUS:
            statuses += 1
        elif template not in _NEUTRAL:
            kinds["incremental"] += 1
    if not kinds:
        return "incremental" if statuses else None
    if kinds["orders"] and kinds["snapshot"]:
        kinds["orders"] += kinds.pop("snapshot")
    return kinds.most_common(1)[0][0]


# -------------------------------------------------------------------------------------------- channels


def _by_plan(places: list[_Place]) -> None:
    for place in places:
        thousand, channel = divmod(place.seen.port, 1000)
        plan = _PLAN_ORDERS if place.feed == "orders" and thousand in _PLAN_ORDERS else _PLAN
        if thousand in plan and channel:
            place.channel, place.side = channel, plan[thousand]

    for channel in {place.channel for place in places if place.channel is not None}:
        ours = [place for place in places if place.channel == channel]
        if any(_is_shared(ours, side) for side in _SIDES):
            for place in ours:
                place.channel, place.shared = None, True


def _is_shared(places: list[_Place], side: SideName) -> bool:
    """Whether a port has incremental packets of several channels: of groups that bring others, and of about as many."""
    found = [place for place in places if place.side == side and place.feed == "incremental"]
    found.sort(key=lambda place: -place.seen.packets)
    if len(found) < 2 or found[0].stamps & found[1].stamps:
        return False
    return found[1].seen.packets * SHARED_PART >= found[0].seen.packets


def _off_plan(places: list[_Place]) -> None:
    """Find out which belong together, and number the channels from 1."""
    groups: list[list[_Place]] = []
    for place in places:
        kin = [group for group in groups if any(_related(place, other) for other in group)]
        groups = [group for group in groups if group not in kin]
        groups.append([*(other for group in kin for other in group), place])
    live = [group for group in groups if any(place.feed == "incremental" for place in group)]
    if len(live) <= 1:  # then the others can but be its own
        live = [[place for group in groups for place in group]] if groups else []
    live.sort(key=lambda group: min(place.order for place in group))
    for channel, group in enumerate(live, 1):
        for place in group:
            place.channel = min(channel, MAX_CHANNEL_ID)


def _related(a: _Place, b: _Place) -> bool:
    if a.feed == b.feed:
        return bool(a.stamps & b.stamps)
    return a.seen.port == b.seen.port and a.network == b.network


def _assign(places: list[_Place], left_out: list[LeftOut]) -> list[Line]:
    """Give each place its side; what does not fit is left out."""
    taken: dict[tuple[int, FeedName, SideName], Line] = {}
    lines: list[Line] = []
    for place in sorted(places, key=_certainty):
        why = ""
        if place.shared:
            why = f"several channels have port {place.seen.port}: say the lines"
        elif place.channel is None:
            why = "its channel cannot be told"
        elif place.feed is None:
            known = {feed for channel, feed, _ in taken if channel == place.channel}
            if "incremental" in known:
                why = "nothing but heartbeats"
            place.feed = "incremental"
        if not why and place.channel is not None:
            line = _placed(place, place.channel, taken)
            if line is not None:
                lines.append(line)
                continue
            why = f"channel {place.channel} has {place.feed} lines already"
        left_out.append(LeftOut(*place.seen[:3], why))
    return lines


def _placed(
    place: _Place, channel: int, taken: dict[tuple[int, FeedName, SideName], Line]
) -> Line | None:
    assert place.feed is not None
    sides = (place.side,) if place.side else sorted(_SIDES, key=lambda one: one != _told(place))
    for side in sides:
        key = (channel, place.feed, side)
        if key not in taken:
            taken[key] = Line(channel, place.feed, place.seen.address, place.seen.port, side)
            return taken[key]
    return None


def _told(place: _Place) -> SideName | None:
    return place.side or _OCTETS.get(place.network.rpartition(".")[2])


def _certainty(place: _Place) -> tuple[bool, bool, int, int]:
    """Whose side is told comes first, of these who has most; else the lower port."""
    told = _told(place) is not None
    first = -place.seen.packets if told else place.seen.port
    return place.feed is None, not told, first, place.order


def rank(line: Line) -> tuple[int, int, str]:
    """The order in which people look at lines."""
    return line.channel, list(_FEED_TYPES.values()).index(line.feed), line.side
