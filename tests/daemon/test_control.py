"""What a running worker is told: options that its feed takes or not, and another log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from pathlib import Path

import pytest
from reload_scenario import QUICK, feed, lines_of, pids, until

from mdfeedd.daemon.control import LastWords, last_words
from mdfeedd.daemon.plan import MAX_PLAN_BYTES
from mdfeedd.daemon.process import Unheard
from mdfeedd.daemon.supervisor import Limits, State
from mdfeedd.ring.inspect import inspect

LIVE = "reload_test_plugins:LiveFeed"


def live(told, *symbols, name="f", depth=1, **keys):
    options = {"told": str(told), "symbols": list(symbols), "detail": {"depth": depth}, **keys}
    return feed(name, LIVE, **options)


async def halt(pid):
    """Stop a process; the signal takes its time on a busy machine."""
    os.kill(pid, signal.SIGSTOP)
    status = Path(f"/proc/{pid}/stat")
    await until(lambda: status.read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T")


def live_scenario(file, tmp_path, before, after, limits=QUICK):
    """Run one configuration and then another: the child before and after, and what the feed wrote down."""
    path = tmp_path / "told"
    file.write([live(path, *before)])

    async def scenario():
        supervisor, reloader = file.daemon(limits)
        async with supervisor:
            await until(lambda: lines_of(path))
            child = supervisor.find("f")
            pid = child.pid
            file.write([live(path, *after, depth=2)])
            assert await reloader.reload()
            await until(lambda: supervisor.find("f").state is State.RUNNING)
            assert supervisor.find("f").plan.options["symbols"] == list(after)
            return pid, supervisor.find("f").pid, lines_of(path), supervisor.find("f")

    return asyncio.run(scenario())


def test_running_feed_is_told_of_its_new_options(file, tmp_path, told):
    symbols = [f"SYMBOL{i:05}" for i in range(40_000)]  # more than a socket's buffer
    old, new, lines, _ = live_scenario(file, tmp_path, ["A"], symbols)
    assert new == old
    assert lines == [["start", old, ["A"], 1], ["change", old, symbols, 2]]
    assert told("feed f") == ["told of options.symbols, options.detail, goes on"]


def test_restart_after_a_live_change_has_the_new_options(file, tmp_path):
    path = tmp_path / "told"
    file.write([live(path, "A")])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            child = supervisor.find("f")
            file.write([live(path, "A", "B")])
            assert await reloader.reload()
            old = child.pid
            os.kill(old, signal.SIGKILL)
            await until(lambda: child.restarts == 1 and child.state is State.RUNNING)
            file.write([live(path, "C")])
            assert await reloader.reload()
            assert supervisor.find("f") is child
            assert lines_of(path) == [
                ["start", old, ["A"], 1],
                ["change", old, ["A", "B"], 1],
                ["start", child.pid, ["A", "B"], 1],
                ["change", child.pid, ["C"], 1],
            ]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("REFUSE", "that is too much"),
        ("BREAK", "RuntimeError: a bug in reconfigure"),
        ("HANG", "no answer within 1 s"),
    ],
)
def test_feed_that_does_not_take_it_is_restarted(file, tmp_path, told, word, why):
    limits = Limits(answer_s=1.0)
    old, new, lines, child = live_scenario(file, tmp_path, ["A"], [word], limits)
    assert new != old
    assert [line[:3] for line in lines] == [["start", old, ["A"]], ["start", new, [word]]]
    assert told("feed f") == [
        f"restarted, changed: options.symbols, options.detail; could not take it running: {why}"
    ]
    assert child.restarts == 0


def test_feed_that_dies_of_it_comes_back_with_it(file, tmp_path):
    old, new, lines, _ = live_scenario(file, tmp_path, ["A"], ["DIE"])
    assert new != old
    assert [line[:3] for line in lines] == [["start", old, ["A"]], ["start", new, ["DIE"]]]


def test_change_that_is_not_live_restarts(file, tmp_path, told):
    path = tmp_path / "told"
    file.write([live(path, "A")])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            first = supervisor.find("f").pid
            file.write([live(path, "B", fixed=1)])
            assert await reloader.reload()
            second = supervisor.find("f").pid
            assert second != first
            assert told("feed f") == ["restarted, changed: options.symbols, options.fixed"]
            file.write([{**live(path, "C", fixed=1), "capacity": 1024}])
            assert await reloader.reload()
            assert supervisor.find("f").pid != second
            assert told("feed f") == ["restarted, changed: capacity, options.symbols"]
            assert [line[0] for line in lines_of(path)] == ["start"] * 3

    asyncio.run(scenario())


def test_live_that_fails_means_a_restart(file, tmp_path, told):
    old, new, lines, _ = live_scenario(file, tmp_path, ["A"], ["LIVE_FAILS"])
    assert new != old
    assert [line[0] for line in lines] == ["start", "start"]
    assert told("feed f") == [
        f"{LIVE}.live failed",
        "restarted, changed: options.symbols, options.detail",
    ]


def test_live_without_reconfigure_means_a_restart(file, told):
    vendor = "reload_test_plugins:TickingFeedOfHalf"
    file.write([feed(vendor=vendor)])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            old = supervisor.find("f").pid
            file.write([feed(vendor=vendor, pause_s=0.002)])
            assert await reloader.reload()
            assert supervisor.find("f").pid != old

    asyncio.run(scenario())
    assert told("feed f") == ["restarted, changed: options.pause_s"]


def test_stopped_feed_that_cannot_answer_is_replaced(file, tmp_path, shm_dir):
    limits = Limits(answer_s=0.3, feeds_stop_s=0.3)
    path = tmp_path / "told"
    file.write([live(path, "A")])

    async def scenario():
        supervisor, reloader = file.daemon(limits)
        async with supervisor:
            await until(lambda: lines_of(path))
            await halt(supervisor.find("f").pid)
            file.write([live(path, "B")])
            assert await reloader.reload()
            await until(lambda: len(lines_of(path)) == 2)
            assert lines_of(path)[1][:3] == ["start", supervisor.find("f").pid, ["B"]]

    asyncio.run(scenario())


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = before[0], before[1]
    logging.captureWarnings(capture=False)


def test_another_log_reaches_the_running_children(file, tmp_path, capfd, root_logger):
    path = tmp_path / "told"
    file.write([live(path, "A"), feed("g")])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            await until(lambda: lines_of(path))
            before = pids(supervisor)
            log = {"level": "debug", "json": True}
            file.write([live(path, "A"), feed("g")], log=log)
            assert await reloader.reload()
            assert pids(supervisor) == before
            assert root_logger.level == logging.DEBUG
            file.write([live(path, "BREAK"), feed("g")], log=log)
            assert await reloader.reload()
            assert pids(supervisor)["g"] == before["g"]

    asyncio.run(scenario())
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line[:1] == "{"]
    told = {(line["process"], line["message"]) for line in lines}
    assert ("supervisor", "reload 1: feed g: unchanged") in told
    assert ("feed f", "cannot take the new options") in told


# ------------------------------------------------------------------------------------- the connection


def test_nonsense_is_refused_and_the_feed_goes_on(file, tmp_path, shm_dir):
    path = tmp_path / "told"
    file.write([live(path)])

    async def scenario():
        supervisor, _ = file.daemon()
        async with supervisor:
            process = supervisor.find("f").process
            for message in ({"nonsense": 1}, [], 5, None):
                assert await process.tell(message, 60.0) == (
                    "a worker is told of options or of its log"
                )
            assert "no_such" in await process.tell({"options": {"no_such": 1}}, 60.0)
            assert "TypeError" in await process.tell({"log": {"levels": 1}}, 60.0)
            assert "Unknown level" in await process.tell({"log": {"level": "loud"}}, 60.0)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(process._control, b"garbage\n")
            assert b"Expecting value" in await loop.sock_recv(process._control, 1000)
            assert await process.tell({}, 60.0) == ""
            tail = inspect("f", shm_dir).tail
            await until(lambda: inspect("f", shm_dir).tail > tail)
            assert supervisor.find("f").process is process

    asyncio.run(scenario())


def test_too_much_at_once_is_not_sent_and_not_heard(file, shm_dir):
    file.write([feed()])

    async def scenario():
        supervisor, _ = file.daemon()
        async with supervisor:
            process = supervisor.find("f").process
            with pytest.raises(Unheard, match="more than 16777216 bytes"):
                await process.tell({"options": {"x": "y" * MAX_PLAN_BYTES}}, 60.0)
            assert await process.tell({}, 60.0) == ""
            loop = asyncio.get_running_loop()
            with contextlib.suppress(OSError):  # it may hang up before it has read all
                await loop.sock_sendall(process._control, b"x" * (MAX_PLAN_BYTES + 2))
            with pytest.raises(Unheard, match=r"does not listen|no longer|hung up"):
                await process.tell({}, 60.0)
            with pytest.raises(Unheard, match="cannot be told anything more"):
                await process.tell({}, 60.0)
            tail = inspect("f", shm_dir).tail
            await until(lambda: inspect("f", shm_dir).tail > tail)
            assert supervisor.find("f").process is process

    asyncio.run(scenario())


def test_worker_that_ended_cannot_be_told(file):
    file.write([feed()])

    async def scenario():
        supervisor, _ = file.daemon()
        async with supervisor:
            process = supervisor.find("f").process
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            with pytest.raises(Unheard, match="cannot be told"):
                await process.tell({}, 60.0)

    asyncio.run(scenario())


def test_last_error_of_a_worker_is_heard(file):
    file.write([feed(exit_status=77)])

    async def scenario():
        supervisor, _ = file.daemon()
        async with supervisor:
            await until(lambda: supervisor.find("f").state is State.FAILED)
            return supervisor.find("f").last_words

    assert asyncio.run(scenario()) == ""  # it said nothing


def test_last_error_of_a_worker_that_crashed_is_heard(file):
    file.write([feed(crash=True)])

    async def scenario():
        supervisor, _ = file.daemon()
        async with supervisor:
            await until(lambda: supervisor.find("f").last_code == 70)
            return supervisor.find("f").last_words

    assert asyncio.run(scenario()).startswith("crashed: ")


def test_last_words_are_those_of_the_latest_error():
    words = LastWords.listen()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    log = logging.getLogger("test_control")
    with ours, theirs:
        assert last_words(theirs) == ""
        words.send(ours)
        log.error("the first")
        log.error("two\nlines", exc_info=KeyError("k"))
        log.warning("no error")
        ours.sendall(b'{"refused": ""}\n')
        words.send(ours)
        logging.getLogger().removeHandler(words)
        assert last_words(theirs) == "two lines: KeyError: 'k'"
        ours.sendall(b'{"refused": ""}\n')
        assert last_words(theirs) == ""
        ours.sendall(b"nonsense\n")
        assert last_words(theirs) == ""
        theirs.close()
        words.send(ours)  # nobody listens


def test_worker_that_dies_while_it_is_told(file):
    file.write([feed()])

    async def scenario():
        supervisor, _ = file.daemon()
        async with supervisor:
            process = supervisor.find("f").process
            await halt(process.pid)
            telling = asyncio.create_task(process.tell({}, 60.0))
            await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(Unheard, match="it does not listen: "):
                await telling
            await process.wait()
            assert process._control.fileno() == -1

    asyncio.run(scenario())


def test_restarts_leave_no_descriptor_behind(file):
    file.write([feed()])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            for round_ in range(6):
                file.write([feed(pause_s=0.005 + round_ / 1000)])
                assert await reloader.reload()
                if round_ == 1:
                    before = sorted(os.listdir("/proc/self/fd"))
            assert sorted(os.listdir("/proc/self/fd")) == before

    asyncio.run(scenario())
