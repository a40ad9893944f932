"""Incremental lines that bring nothing while the other of their channel does. No I/O, no clock.

Such a channel looks right: the books are, no packet is missing. But what the line that is left loses is lost,
and nobody sees it coming, so it is told. A channel that is silent as a whole is the codec's to tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mdfeedd.feeds.cme.joins import ChannelLines

__all__ = ["MuteLines"]


class MuteLines:
    """Who of `channels` was heard when. `now_s`, here and below, is of a clock that never goes back."""

    def __init__(self, channels: Iterable[ChannelLines], silence_s: float, now_s: float) -> None:
        self._channels = [tuple(channel.incremental) for channel in channels]
        self._silence_s = silence_s
        self._heard_s = {number: now_s for numbers in self._channels for number in numbers}
        self._packets = dict.fromkeys(self._heard_s, 0)
        self._told: set[int] = set()

    def look(self, packets: Callable[[int], int], now_s: float) -> Iterator[tuple[int, float]]:
        """The lines that are mute, once each time, and for how long: another was heard `silence_s` after them.

        `packets` counts those of a line so far.
        """
        for numbers in self._channels:
            for number in numbers:
                if (count := packets(number)) != self._packets[number]:
                    self._packets[number], self._heard_s[number] = count, now_s
                    self._told.discard(number)
            latest_s = max((self._heard_s[number] for number in numbers), default=now_s)
            for number in numbers:
                heard_s = self._heard_s[number]
                if number not in self._told and latest_s - heard_s >= self._silence_s:
                    self._told.add(number)
                    yield number, now_s - heard_s
