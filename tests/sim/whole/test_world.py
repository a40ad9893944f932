"""The world itself: virtual time, turns, kills at steps, stalls, and processes that never wait."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

pytest.importorskip("greenlet", reason="the simulation's processes are greenlets")

from mdfeedd.ring import Reader, Writer
from mdfeedd.sim.whole.pipeline import Pipeline
from mdfeedd.sim.whole.process import State
from mdfeedd.sim.whole.threads import VirtualThreading
from mdfeedd.sim.whole.world import START_NS, World
from mdfeedd.tick import TICK

S = 1_000_000_000


@pytest.fixture
def world(tmp_path):
    made = World(1, tmp_path, tmp_path)
    yield made
    made.clear()


def test_hours_pass_in_no_time(world):
    woken = []

    def run(stop):
        while not stop.wait(3600):
            woken.append(world.now_ns)

    process = world.add("p", lambda: run)
    world.start(process)
    before = time.monotonic()
    world.run(START_NS + 10 * 3600 * S + S)
    assert len(woken) == 10
    assert world.now_ns == START_NS + 10 * 3600 * S + S
    assert time.monotonic() - before < 3600


def test_who_waits_for_something_is_woken_when_it_is_there(world):
    there = []
    seen = []

    def run(stop):
        seen.append((world.pause(100, lambda: bool(there)), world.now_ns))

    world.start(world.add("p", lambda: run))
    world.after(2, "it comes", lambda: there.append(1))
    world.run(START_NS + 200 * S)
    was_ready, at_ns = seen[0]
    assert was_ready
    assert START_NS + 2 * S <= at_ns < START_NS + 2 * S + 1_000_000


def test_kill_at_a_step_runs_no_clean_up_and_starts_again(world):
    log = []

    def run(stop):
        try:
            for number in range(10):
                log.append(number)
                world.step("work")
        finally:
            log.append("cleaned up")

    killed = []
    process = world.add("p", lambda: run, lambda: killed.append(world.now_ns))
    world.start(process)
    world.kill_at_step(process, 4)
    world.run(START_NS + S // 10)
    assert log == [0, 1, 2, 3]
    assert process.state is State.DOWN
    assert process.lives[0].how == "killed"
    world.run(START_NS + 1_100_000_000)
    assert log[:15] == [0, 1, 2, 3, *range(10), "cleaned up"]
    assert [life.how for life in process.lives[:2]] == ["killed", "stopped"]
    assert len(killed) >= 2


def test_kill_at_a_kind_of_step_counts_only_those(world):
    log = []

    def run(stop):
        for what in ("read", "write", "read", "write", "read"):
            log.append(what)
            world.step(what)
        stop.wait()

    process = world.add("p", lambda: run)
    world.start(process)
    world.kill_at_step(process, 2, "write")
    world.run(START_NS + S // 10)
    assert log == ["read", "write", "read", "write"]


def test_what_the_kernel_lets_go_of_is_abandoned(world):
    class Handle:
        abandoned = 0

        def abandon(self):
            Handle.abandoned += 1

    def run(stop):
        world.own(Handle())
        stop.wait()

    process = world.add("p", lambda: run)
    world.start(process)
    world.after(1, "", lambda: world.kill(process, "kill -9"))
    world.run(START_NS + S + 1000)
    assert Handle.abandoned == 1


def test_lock_of_a_task_that_was_killed_keeps_nobody_from_cleaning_up(tmp_path):
    world = World(1, tmp_path, tmp_path)
    threading = VirtualThreading(world)
    lock = threading.Lock()
    log = []

    def hold():
        with lock:
            world.step("mark")

    def run(stop):
        threading.Thread(target=hold).start()
        try:
            stop.wait()
        finally:
            with lock:
                log.append("cleaned up")

    process = world.add("p", lambda: run)
    world.start(process)
    world.kill_at_step(process, 1, "mark")
    world.run(START_NS + S // 10)
    assert process.lives[0].how == "killed"
    assert log == []
    world.clear()
    assert log == ["cleaned up"]


def test_stalled_process_has_no_turn(world):
    turns = []

    def run(stop):
        while not stop.wait(0.1):
            turns.append(world.now_ns)

    process = world.add("p", lambda: run)
    world.start(process)
    world.after(1, "", lambda: world.stall(process, 5))
    world.run(START_NS + 10 * S)
    pauses = [after - before for before, after in itertools.pairwise(turns)]
    assert max(pauses) >= 5 * S - S // 10
    assert sorted(pauses)[-2] < S


def test_process_that_never_waits_is_a_violation_and_no_hang(world):
    def run(stop):
        while True:
            world.time.monotonic()

    process = world.add("p", lambda: run)
    world.start(process)
    world.run(START_NS + S // 10)
    assert "does not wait" in str(process.error)
    assert process.lives[0].how == "crashed"


def test_wall_clock_steps_and_monotonic_does_not(world):
    before = world.time.monotonic_ns(), world.time.time_ns()
    world.step_ns -= 3600 * S
    after = world.time.monotonic_ns(), world.time.time_ns()
    assert before[0] < after[0] < before[0] + S
    assert after[1] < before[1] - 3599 * S


def test_order_of_turns_is_of_the_seed(tmp_path):
    def order(seed):
        world = World(seed, tmp_path, tmp_path)
        turns = []
        for name in "abcdef":

            def run(stop, name=name):
                for _ in range(3):
                    turns.append(name)
                    world.pause(0.01)

            process = world.add(name, lambda run=run: run)
            world.start(process)
        world.run(START_NS + S // 10)
        world.clear()
        return turns

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_world_is_not_over_before_who_makes_bars_has_read_all(world, tmp_path):
    """A stall may outlast the rest: told to stop in it, bars would be flushed without what they had not read."""
    pipeline = Pipeline(world, ["feed0"])
    pipeline.bars_of, pipeline.batches = {"feed0": "feed0.bar"}, []
    directory = str(tmp_path)
    with (
        Writer("feed0", 64, TICK, feed="feed0", directory=directory) as writer,
        Reader("feed0", "oldest", "bars", dtype=TICK, directory=directory) as reader,
    ):
        world.taps.begin(writer, "feed0")
        writer.publish(np.zeros(3, TICK))
        world.taps.read()
        assert pipeline.waits_for(world.taps) == "journal feed0 of 3, bars feed0 of 3"
        reader.read(2, timeout=0)
        assert pipeline.waits_for(world.taps) == "journal feed0 of 3, bars feed0 of 3"
        reader.read(2, timeout=0)
        assert pipeline.waits_for(world.taps) == "journal feed0 of 3"
