"""Deliveries to the letter, in the notation of the scenarios: which side delivers which packet, in which order.

    play(sent, "A:1-4 B:1,2 +10ms B:3-4")        incremental feed: A 1 2 3 4, B 1 2, 10 ms later B 3 4
    play(sent, "A:1-9 N.A:1- S.B:2-3 M.A:1-")     N definitions, S snapshots, M snapshots with orders; `1-` is to the end

Packets of one feed are named by MsgSeqNum; where several have the same (loops, new weeks) the last one is meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.cme.entries import Feed, Sent
from mdfeedd.sim.cme.network import Delivered

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["STEP_NS", "play"]

STEP_NS: Final = 1_000  # between two deliveries
_FEEDS: Final = {
    "": Feed.INCREMENTAL,
    "N.": Feed.DEFINITION,
    "S.": Feed.SNAPSHOT,
    "M.": Feed.ORDERS,
}
_UNITS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_WAIT: Final = re.compile(r"\+(\d+)(ns|us|ms|s)")
_PACKETS: Final = re.compile(r"([NSM]\.)?([AB]):([\d,-]+)")


def play(
    sent: Iterable[Sent] | Mapping[int, bytes], script: str, *, start_ns: int | None = None
) -> list[Delivered]:
    """The deliveries that `script` states, from what a venue sent or from payloads by MsgSeqNum.

    Times begin at `start_ns` (unless given, the time of the first packet, or 0) and step by `STEP_NS`.
    ValueError for a word that is none, KeyError for a packet that was not sent.
    """
    known: dict[tuple[int, int], bytes] = {}
    now_ns = start_ns or 0
    if isinstance(sent, Mapping):
        known = {(Feed.INCREMENTAL, seq): payload for seq, payload in sent.items()}
    else:
        packets = list(sent)
        known = {(packet.feed, packet.seq): packet.payload for packet in packets}
        if start_ns is None and packets:
            now_ns = packets[0].time_ns
    delivered: list[Delivered] = []
    for word in script.split():
        wait = _WAIT.fullmatch(word)
        if wait:
            now_ns += int(wait[1]) * _UNITS[wait[2]]
            continue
        named = _PACKETS.fullmatch(word)
        if not named:
            raise ValueError(f"script: {word!r} is neither packets (A:1-4,7) nor a wait (+10ms)")
        feed, side = _FEEDS[named[1] or ""], "AB".index(named[2])
        for seq in _numbers(named[3], max((s for f, s in known if f == feed), default=0)):
            now_ns += STEP_NS
            delivered.append(Delivered(now_ns, int(feed), side, known[feed, seq]))
    return delivered


def _numbers(text: str, last: int) -> Iterable[int]:
    for part in text.split(","):
        first, dash, end = part.partition("-")
        yield from range(int(first), (int(end or last) if dash else int(first)) + 1)
