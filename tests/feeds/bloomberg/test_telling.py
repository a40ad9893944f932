"""Sentences: at once, then counted; and pauses between sessions."""

from __future__ import annotations

import logging

import pytest

from mdfeedd.feeds.bloomberg.ending import FIRST_S, HEALTHY_S, MOST_S, Backoff, Ending
from mdfeedd.feeds.bloomberg.moment import NS, Now
from mdfeedd.feeds.bloomberg.telling import AT_ONCE, EACH, EPISODE_S, Teller


@pytest.fixture
def teller(caplog):
    caplog.set_level(logging.INFO)
    return Teller("feed", logging.getLogger("test"))


def at(seconds: float) -> Now:
    return Now(int((100 + seconds) * NS), 0)


def test_thousand_failures_are_ten_sentences_and_a_number(teller, caplog):
    for n in range(1000):
        teller("failed", f"topic {n}", at(0))
    assert len(caplog.records) == AT_ONCE
    teller.settle(at(EPISODE_S - 1))
    assert len(caplog.records) == AT_ONCE
    teller.settle(at(EPISODE_S))
    assert caplog.messages[-1] == f"feed: topic 999 (the last of {1000 - AT_ONCE} more such)"
    assert len(caplog.records) == AT_ONCE + 1


def test_failures_of_topics_are_told_one_by_one_up_to_a_limit(teller, caplog):
    for n in range(EACH + 3):
        teller("failed", f"topic {n}", at(0), each=True)
    assert caplog.messages == [f"feed: topic {n}" for n in range(EACH)]
    teller.settle(at(EPISODE_S))
    assert caplog.messages[-1] == f"feed: topic {EACH + 2} (the last of 3 more such)"


def test_kinds_are_counted_apart(teller, caplog):
    for n in range(AT_ONCE + 1):
        teller("failed", f"topic {n}", at(0))
    teller("slow", "too slow", at(0))
    assert caplog.messages[-1] == "feed: too slow"


def test_episode_that_is_over_begins_anew(teller, caplog):
    for n in range(AT_ONCE + 1):
        teller("failed", f"topic {n}", at(0))
    teller("failed", "later", at(EPISODE_S))
    assert caplog.messages[-2:] == [f"feed: topic {AT_ONCE}", "feed: later"]
    teller.settle(at(3 * EPISODE_S))
    assert caplog.messages[-1] == "feed: later"


def test_end_tells_what_is_still_only_counted(teller, caplog):
    for n in range(AT_ONCE + 2):
        teller("failed", f"topic {n}", at(0))
    teller.finish()
    teller.finish()
    assert caplog.messages[-1].endswith("(the last of 2 more such)")


def test_routine_is_no_warning(teller, caplog):
    teller("connection", "connected", at(0), routine=True)
    teller("connection", "lost", at(0))
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.WARNING]


def test_pauses_grow_and_begin_anew_after_a_session_that_delivered():
    backoff = Backoff(lambda: 0.0)
    assert [backoff.pause_s(0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, MOST_S, MOST_S]
    assert backoff.pause_s(HEALTHY_S) == FIRST_S
    assert Backoff(lambda: 1.0).pause_s(0.0) == 1.25 * FIRST_S


def test_every_ending_that_stops_says_what_to_do():
    for ending in Ending:
        then = ending.then
        assert then.status in (0, 77, 78)
        itself = ending is Ending.NO_CREDENTIALS  # the text says where each should be
        assert then.hint or not then.status or itself
