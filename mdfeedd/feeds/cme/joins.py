"""Which lines of a channel to be joined to, and when to leave them. No I/O, no clock.

::

    incremental   always
    definition    from the start, and after a loss (a definition may have been in it), until a whole loop was seen
    snapshot,     while books of the channel are not proven right
    orders

The loops carry as much as the live lines and are of no use to who needs nothing: CME asks to leave them.
Leaving waits for `LINGER_S`, because where one packet was lost the next may be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mdfeedd.feeds.cme.lines import Line

__all__ = ["LINGER_S", "ChannelLines", "by_channel"]

LINGER_S: Final = 5.0


@dataclass(slots=True)
class ChannelLines:
    """The numbers of a channel's lines by feed, and since when they are not needed."""

    channel: int
    incremental: list[int] = field(default_factory=list)
    definition: list[int] = field(default_factory=list)
    recovery: list[int] = field(default_factory=list)
    _done_s: dict[str, float] = field(default_factory=dict)

    def changes(
        self, now_s: float, *, recovering: bool, defining: bool
    ) -> Iterable[tuple[int, bool]]:
        """(line, whether to be joined) of all lines that are not permanent.

        `recovering`: books of the channel are in doubt; `defining`: definitions may be missing. `now_s` is of
        a clock that never goes back.
        """
        for name, numbers, wanted in (
            ("definition", self.definition, defining),
            ("recovery", self.recovery, recovering),
        ):
            if wanted:
                self._done_s.pop(name, None)
            done_s = now_s if wanted else self._done_s.setdefault(name, now_s)
            joined = wanted or now_s - done_s < LINGER_S
            for number in numbers:
                yield number, joined


def by_channel(lines: Mapping[int, Line], *, orders: bool) -> dict[int, ChannelLines]:
    """The lines (by number) of each channel. Lines of orders are left out unless `orders`."""
    found: dict[int, ChannelLines] = {}
    for number, line in lines.items():
        channel = found.setdefault(line.channel, ChannelLines(line.channel))
        if line.feed == "incremental":
            channel.incremental.append(number)
        elif line.feed == "definition":
            channel.definition.append(number)
        elif line.feed == "snapshot" or orders:
            channel.recovery.append(number)
    return found
