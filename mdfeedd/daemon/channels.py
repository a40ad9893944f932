"""Channels that are silent as a whole, told by the rows of a feed's lines. No I/O, no clock.

    incremental lines of a channel ─► the latest packet of any of them ─► silent for `silence_s`: SILENT

Of one dead line of two the other tells (`troubles`); of two dead lines nothing else does: no packet is missing, no
book is in doubt. Venues with such lines send heartbeats where there are no data, and the feed counts a silence when
it has waited long enough for one: before it has, nothing is silent. Lines of a recording have no times, so theirs never are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    Row = Mapping[str, Any]

SILENCE_S: Final = 35.0
"""What is a silence of a feed whose options are not known here: CME's heartbeats come every 30 s."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a feed, as of the feed's latest sign of life."""

    number: int
    sides: tuple[str, ...]
    """Of its incremental lines."""
    silent_s: float | None
    """Since its latest packet; of one never heard since its feed listens; None of a recording."""
    heard: bool
    """Whether it has ever brought a packet."""
    is_silent: bool


def channels_of(feed: Row) -> list[Channel]:
    """The channels of a feed (a row of `status.snapshot`), by number; none while it has no living writer."""
    lines = [line for line in feed.get("lines", ()) if line["kind"] == "incremental"]
    if not feed["writer_alive"]:
        return []
    recorded = any(line["silent_s"] is None and line["received_packets"] for line in lines)
    numbers = sorted({line["channel"] for line in lines})
    return [
        _channel(feed, number, [line for line in lines if line["channel"] == number], recorded)
        for number in numbers
    ]


def _channel(feed: Row, number: int, lines: list[Row], recorded: bool) -> Channel:
    """As of the feed's heartbeat: one that hangs or is stopped hears nothing, and that is no silence of the venue's.

    Not as of `silent_s`, which may be less: a silence would come and go between two looks.
    """
    sides = tuple(sorted(line["side"] for line in lines))
    beat_age_s = feed["heartbeat_age_s"]
    listened_s = max(0.0, feed.get("listened_s", 0.0) - beat_age_s)
    times = [line["silent_s"] for line in lines if line["silent_s"] is not None]
    if not times and recorded:
        return Channel(number, sides, None, heard=True, is_silent=False)
    silent_s = max(0.0, min(times) - beat_age_s) if times else listened_s
    noticed = feed["counters"].get("silences", 0) > 0
    long_enough = min(silent_s, listened_s) >= feed.get("silence_s", SILENCE_S)
    return Channel(number, sides, silent_s, heard=bool(times), is_silent=noticed and long_enough)
