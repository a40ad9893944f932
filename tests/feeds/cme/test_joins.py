"""Which lines are joined when: never the loops for longer than somebody needs them."""

from __future__ import annotations

import pytest

from mdfeedd.feeds.cme.joins import LINGER_S, by_channel
from mdfeedd.feeds.cme.lines import Line

LINES = {
    0: Line(310, "incremental", "224.0.31.1", 1, "A"),
    1: Line(310, "incremental", "224.0.32.1", 1, "B"),
    2: Line(310, "definition", "224.0.31.43", 1, "A"),
    3: Line(310, "snapshot", "224.0.31.22", 1, "A"),
    4: Line(310, "snapshot", "224.0.32.22", 1, "B"),
    5: Line(310, "orders", "233.72.75.1", 1, "A"),
    6: Line(311, "incremental", "224.0.31.2", 1, "A"),
}


@pytest.fixture
def channel():
    return by_channel(LINES, orders=False)[310]


def joined(channel, now_s, recovering, *, defining=False):
    changes = channel.changes(now_s, recovering=recovering, defining=defining)
    return {number for number, wanted in changes if wanted}


def test_lines_of_orders_are_for_those_who_want_orders():
    without, having = by_channel(LINES, orders=False)[310], by_channel(LINES, orders=True)[310]
    assert without.recovery == [3, 4]
    assert having.recovery == [3, 4, 5]
    assert without.incremental == [0, 1]
    assert by_channel(LINES, orders=True)[311].recovery == []


def test_live_lines_are_never_left(channel):
    numbers = {number for number, _ in channel.changes(0.0, recovering=True, defining=True)}
    assert numbers == {2, 3, 4}


def test_recovery_lines_are_joined_at_once_and_left_late(channel):
    assert joined(channel, 100.0, recovering=True, defining=True) == {2, 3, 4}
    assert joined(channel, 101.0, recovering=False) == {2, 3, 4}
    assert joined(channel, 100.9 + LINGER_S, recovering=False) == {2, 3, 4}
    assert joined(channel, 101.0 + LINGER_S, recovering=False) == set()
    assert joined(channel, 102.0 + LINGER_S, recovering=True) == {3, 4}


def test_next_loss_while_lingering_begins_the_wait_anew(channel):
    for start_s in (0.0, LINGER_S - 1, 2 * LINGER_S - 2):
        assert joined(channel, start_s, recovering=True) >= {3, 4}
        assert joined(channel, start_s + 0.5, recovering=False) >= {3, 4}
    assert joined(channel, 2 * LINGER_S - 2 + 0.5 + LINGER_S, recovering=False) == set()


def test_nothing_to_recover_from_the_start_does_not_join_snapshots_for_ever(channel):
    assert joined(channel, 0.0, recovering=False, defining=True) == {2, 3, 4}
    assert joined(channel, LINGER_S, recovering=False, defining=True) == {2}
