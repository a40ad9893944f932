"""Lines that bring nothing while the other side does."""

from __future__ import annotations

import pytest

from mdfeedd.feeds.cme.joins import ChannelLines
from mdfeedd.feeds.cme.mute import MuteLines

SILENCE_S = 35.0


class Lines:
    """How many packets each line has brought, and what is told of them."""

    def __init__(self, *channels: ChannelLines) -> None:
        self.packets = {n: 0 for channel in channels for n in channel.incremental}
        self._mute = MuteLines(channels, SILENCE_S, 0.0)

    def at(self, now_s: float, *heard: int):
        for number in heard:
            self.packets[number] += 1
        return list(self._mute.look(self.packets.__getitem__, now_s))


@pytest.fixture
def lines():
    return Lines(ChannelLines(310, [0, 1]), ChannelLines(311, [2]), ChannelLines(312))


def test_mute_line_is_told_once_and_again_after_it_was_heard(lines):
    assert lines.at(1.0, 0, 1) == []
    assert lines.at(35.5, 0) == []
    assert lines.at(36.0, 0) == [(1, 35.0)]
    assert lines.at(100.0, 0) == []
    assert lines.at(101.0, 1) == []
    assert lines.at(136.0, 0) == [(1, 35.0)]


def test_line_never_heard_is_told(lines):
    assert lines.at(35.0, 1) == [(0, 35.0)]


def test_channel_that_is_silent_as_a_whole_is_not_ours_to_tell(lines):
    assert lines.at(1.0, 0) == []
    assert lines.at(500.0) == []


def test_line_without_another_is_not_compared(lines):
    assert lines.at(1.0, 2) == []
    assert lines.at(500.0, 2) == []


def test_heartbeats_within_the_silence_keep_a_line(lines):
    for n in range(1, 20):
        assert lines.at(30.0 * n, 0) == lines.at(30.0 * n + 1, 1) == []
