"""An event loop that stands still, by a clock of the test's own."""

from __future__ import annotations

import pytest

from mdfeedd.manager import stall


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_s = 100.0

        def monotonic(self):
            return self.now_s

    clock = Clock()
    monkeypatch.setattr(stall, "time", clock)
    return clock


def test_loop_that_stood_still_is_told_once_an_episode(clock):
    look = stall.Stall(0.05)

    def after(seconds):
        clock.now_s += seconds
        return look.look()

    assert after(0.05) == 0
    assert after(0.25) == 0  # a busy machine
    assert after(1.05) == pytest.approx(1.0)
    assert look.is_first
    assert after(0.05) == 0
    assert after(2.05) == pytest.approx(2.0)
    assert not look.is_first
    assert after(stall.EPISODE_S + 1.05) > stall.EPISODE_S
    assert look.is_first
