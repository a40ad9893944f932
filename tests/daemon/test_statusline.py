"""The line of `systemctl status`."""

from __future__ import annotations

import asyncio

import pytest

from mdfeedd.daemon.child import Child, State
from mdfeedd.daemon.plan import ChildPlan
from mdfeedd.daemon.statusline import StatusLine, Totals


def child(kind, name, state=State.RUNNING, last_exit=""):
    return Child(ChildPlan(kind, name, "p", "m:C"), state=state, last_exit=last_exit)


@pytest.fixture(autouse=True)
def loop():
    with asyncio.Runner() as runner:
        runner.get_loop()
        yield


def test_all_is_well():
    line = StatusLine()
    children = [child("feed", "a"), child("feed", "b"), child("consumer", "c")]
    line.line(children, Totals(0, 0, 0), 10.0)
    text = line.line(children, Totals(24_680, 0, 0), 12.0)
    assert text == "2 feeds running, 1 consumer running, 12.3 k ticks/s, 0 gaps"


def test_what_is_wrong_is_named():
    children = [
        child("feed", "a", State.FAILED, "exit status 77 (credentials)"),
        child("feed", "b"),
        child("consumer", "c", State.BACKOFF, "killed by SIGKILL"),
    ]
    text = StatusLine(reload_failed=True).line(children, Totals(5, 1234, 9), 1.0)
    assert text == (
        "1 of 2 feeds running, 0 of 1 consumer running, 0 ticks/s, 1,234 gaps, "
        "9 records lost by slow readers, feed a given up (exit status 77 (credentials)), "
        "consumer c restarts soon (killed by SIGKILL), "
        "the last reload was refused, the old configuration runs"
    )


def test_many_that_are_wrong_are_counted():
    children = [child("feed", f"f{i}", State.STARTING) for i in range(9)]
    text = StatusLine().line(children, Totals(), 1.0)
    assert text.endswith("feed f3 starting, and 5 more")
    assert "consumer" not in text


def test_ring_that_begins_anew_is_no_negative_rate():
    line = StatusLine()
    line.line([], Totals(1000), 1.0)
    assert line.line([], Totals(10), 2.0) == "0 ticks/s, 0 gaps"


@pytest.mark.parametrize(
    ("ticks", "shown"), [(999, "999"), (1500, "1.5 k"), (123_456, "123 k"), (2_500_000, "2.5 M")]
)
def test_rate_has_three_digits(ticks, shown):
    line = StatusLine()
    line.line([], Totals(0), 0.0)
    assert line.line([], Totals(ticks), 1.0).startswith(f"{shown} ticks/s")
