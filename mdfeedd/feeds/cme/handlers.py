"""A codec that knows its lines, made the same way for the wire and for captures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdfeedd.feeds.cme.codec import Feed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.feeds.cme.codec import Handler
    from mdfeedd.feeds.cme.lines import Line

__all__ = ["add_lines"]


def add_lines(handler: Handler, lines: Iterable[Line]) -> dict[int, Line]:
    """Make the channels and lines known; the lines by the numbers that the handler gave them."""
    numbered = {}
    for line in lines:
        handler.add_channel(line.channel)
        side = 0 if line.side == "A" else 1
        numbered[handler.add_line(line.channel, Feed[line.feed.upper()], side)] = line
    return numbered
