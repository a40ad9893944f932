"""What systemd would receive: datagrams on a path and on an abstract socket, and nothing where it is not there."""

from __future__ import annotations

import os
import socket
import time

import pytest

from mdfeedd.daemon.notify import MAX_STATUS, VARIABLES, Notifier


@pytest.fixture
def manager(tmp_path):
    """The other end, as systemd has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "notify"))
        ours.settimeout(30)
        yield ours


def told(manager):
    return manager.recv(4096).decode().split("\n")


def test_path(manager):
    notifier = Notifier(manager.getsockname())
    assert notifier.listening
    notifier.ready("2 feeds\nrunning")
    assert told(manager) == ["READY=1", "STATUS=2 feeds running"]


def test_abstract_socket():
    name = f"mdfeedd-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(30)
        Notifier(f"@{name}").ready()
        assert told(manager) == ["READY=1"]


def test_status_is_sent_when_it_changes_and_cut_to_one_line(manager):
    notifier = Notifier(manager.getsockname())
    notifier.status("well")
    notifier.status("well")
    notifier.status("x" * 1000)
    notifier.stopping("bye")
    assert told(manager) == ["STATUS=well"]
    assert told(manager) == ["STATUS=" + "x" * MAX_STATUS]
    assert told(manager) == ["STOPPING=1", "STATUS=bye"]


def test_reload_tells_the_monotonic_time(manager):
    notifier = Notifier(manager.getsockname())
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    first, second = told(manager)
    assert first == "RELOADING=1"
    key, _, usec = second.partition("=")
    assert key == "MONOTONIC_USEC"
    assert before <= int(usec) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize(
    ("pid", "usec", "watchdog_s"),
    [
        (None, "5000000", 5.0),
        ("ours", "250000", 0.25),
        ("1", "5000000", 0.0),
        ("x", "5", 0.0),
        (None, "-1", 0.0),
        (None, "often", 0.0),
        (None, "", 0.0),
    ],
)
def test_watchdog_of_this_process_and_of_no_other(manager, pid, usec, watchdog_s):
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": usec, "OTHER": "stays"}
    if pid is not None:
        environ["WATCHDOG_PID"] = str(os.getpid()) if pid == "ours" else pid
    notifier = Notifier.from_environment(environ)
    assert environ == {"OTHER": "stays"}, "a child must not find them"
    assert notifier.watchdog_s == watchdog_s
    notifier.watchdog()
    notifier.ready()
    assert told(manager) == (["WATCHDOG=1"] if watchdog_s else ["READY=1"])


def test_nobody_listens():
    notifier = Notifier.from_environment({})
    assert not notifier.listening
    notifier.ready("x")
    notifier.reloading()
    notifier.watchdog()
    notifier.stopping()


def test_address_of_a_kind_that_is_not_known(caplog):
    assert not Notifier("vsock:2:1234").listening
    assert "neither a path nor @abstract" in caplog.text


def test_systemd_is_gone_and_comes_back(tmp_path, caplog):
    """Told once in the log; the status that was lost is sent again."""
    path = str(tmp_path / "notify")
    notifier = Notifier(path)
    for _ in range(3):
        notifier.status("well")
    assert caplog.text.count("systemd does not take 'STATUS=well'") == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(30)
        notifier.status("well")
        assert told(manager) == ["STATUS=well"]


def test_systemd_that_does_not_read_does_not_stop_the_loop(manager, caplog):
    """The kernel queues a few datagrams; what comes again anyway is left out."""
    notifier = Notifier(manager.getsockname(), watchdog_s=1.0)
    begin = time.monotonic()
    for _ in range(100):
        notifier.watchdog()
    assert "systemd does not take 'WATCHDOG=1'" in caplog.text
    assert time.monotonic() - begin < 60


def test_variables_are_all_that_systemd_sets():
    assert set(VARIABLES) == {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
