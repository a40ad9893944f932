"""Who hangs, on invented signs and times."""

from __future__ import annotations

import pytest

from mdfeedd.daemon.pulse import Pulse


class Rounds:
    """Looks at one process once a second."""

    def __init__(self, limit_s=5.0):
        self.pulse, self.limit_s, self.now = Pulse(1.0), limit_s, 100.0

    def look(self, *signs, pid=7, after_s=1.0, start_s=0.0):
        self.now += after_s
        self.pulse.begin_round(self.now)
        return self.pulse.look("f", pid, signs, self.limit_s, start_s)


def test_silence_is_told_once_at_the_limit():
    rounds = Rounds()
    rounds.look(1)
    assert [rounds.look(1) for _ in range(8)] == [False] * 4 + [True] + [False] * 3
    assert rounds.pulse.silent_s("f") == pytest.approx(8)


def test_any_sign_that_moves_is_life():
    rounds = Rounds()
    for position in range(20):
        assert not rounds.look(1, position)
    assert rounds.pulse.silent_s("f") == 0


def test_next_process_is_judged_anew():
    rounds = Rounds()
    verdicts = [rounds.look(1) for _ in range(7)]
    assert verdicts.count(True) == 1
    assert not any(rounds.look(1, pid=8) for _ in range(5))
    assert rounds.look(1, pid=8), "the same signs, but its own silence"


def test_no_limit():
    rounds = Rounds(limit_s=0)
    assert not any(rounds.look(1) for _ in range(1000))


def test_process_without_signs_is_not_judged():
    rounds = Rounds()
    assert not any(rounds.look() for _ in range(100))
    rounds.look(1)
    for _ in range(3):
        rounds.look(1)
    assert not rounds.look(), "its ring was removed"
    assert not any(rounds.look(1) for _ in range(5))
    assert rounds.look(1)


def test_process_that_shows_nothing_from_its_start_on_has_a_limit_of_its_own():
    rounds = Rounds()
    assert [rounds.look(start_s=8.0) for _ in range(12)] == [False] * 8 + [True] + [False] * 3
    assert not any(rounds.look(pid=8, start_s=8.0) for _ in range(8))
    assert not any(rounds.look(1, pid=8, start_s=8.0) for _ in range(5))
    assert rounds.look(1, pid=8, start_s=8.0)
    assert not any(rounds.look(pid=8, start_s=8.0) for _ in range(100)), "its ring was removed"


def test_process_that_shows_nothing_is_not_judged_without_a_limit():
    rounds = Rounds(limit_s=0)
    assert not any(rounds.look(start_s=8.0) for _ in range(100))


def test_observer_that_slept_itself_forgives():
    rounds = Rounds()
    rounds.look(1)
    assert not rounds.look(1, after_s=3600), "one round, however long it took"
    assert not any(rounds.look(1) for _ in range(3))
    assert rounds.look(1)


def test_round_that_is_a_little_late_counts_as_it_is():
    rounds = Rounds()
    rounds.look(1)
    assert not rounds.look(1, after_s=2.5)
    assert rounds.look(1, after_s=2.5)


def test_who_is_no_longer_run_is_forgotten():
    rounds = Rounds()
    for _ in range(4):
        rounds.look(1)
    rounds.pulse.forget_others({"g"})
    assert rounds.pulse.silent_s("f") == 0
    assert not any(rounds.look(1) for _ in range(5))
