"""A stop while much waits in the SDK's queue: it is taken first, and what is left of it told to the process after."""

from __future__ import annotations

import threading
import time

import pytest

from mdfeedd.feeds.bloomberg import feed as feed_module
from mdfeedd.feeds.bloomberg.line import Line
from tests.feeds.bloomberg.test_feed import DEADLINE_S, Life, package, until

__all__ = ["package"]  # a fixture of every test

HELD_S = 0.5
WAITING = 40  # of 150 that are sent meanwhile


@pytest.fixture
def stopped_behind(tmp_path, monkeypatch):
    """A feed that stood still, and was told to stop before it went on; what was delivered before and in the end."""
    hold, held, go = (threading.Event() for _ in range(3))
    turn = Line.turn

    def slow(self, *wait_ms):
        if hold.is_set():
            held.set()
            go.wait(DEADLINE_S)
        return turn(self, *wait_ms)

    monkeypatch.setattr(Line, "turn", slow)

    def run():
        with Life(str(tmp_path)) as life:
            until(lambda: life.count("published_trades") > 20, "trades")
            hold.set()
            assert held.wait(DEADLINE_S)
            time.sleep(HELD_S)
            before = life.world.sessions[0].counts["delivered"]
            life.stop.set()
            hold.clear()
            go.set()
            life.end()
        assert life.error is None
        return life, before, life.world.sessions[0].counts["delivered"]

    return run


def test_what_has_come_before_a_stop_is_published(stopped_behind):
    life, before, after = stopped_behind()
    assert after - before > WAITING
    assert life.count("received_records") == after
    assert life.count("latency_ns") == 0


def test_what_is_left_is_told_to_the_process_after(stopped_behind, monkeypatch):
    monkeypatch.setattr(feed_module, "DRAIN_NS", 0)
    life, before, after = stopped_behind()
    assert after - before < WAITING
    assert life.count("latency_ns") > HELD_S * 1e9 / 2
