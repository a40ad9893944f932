"""``mdfeedd run`` and the signals of a service manager: SIGHUP good, bad, early, twice, and before SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from mdfeedd.ring import Reader
from mdfeedd.ring.inspect import inspect

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.cli.conftest import Start
    from tests.conftest import Spawn

FEED = "  - {{name: {name}, vendor: synthetic, options: {{rate: {rate}, instruments: [ESZ6]}}}}\n"


def write(file: Path, shm_dir: str, *names: str, rate: int = 1000) -> None:
    head = f"shm_dir: {shm_dir}\nmetrics: null\nfeeds:\n"
    new = file.with_suffix(".new")  # as an editor does: a reload sees the old file or the new one
    new.write_text(head + "".join(FEED.format(name=name, rate=rate) for name in names))
    new.rename(file)


def until_line(process: subprocess.Popen[str], text: str) -> list[str]:
    """The lines of the log up to the one with the text."""
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or text not in lines[-1]:
        line = process.stderr.readline()
        assert line, f"it ended without: {text}\n{''.join(lines)}"
        lines.append(line)
    return lines


def wait_for_ring(name: str, shm_dir: str) -> None:
    with Reader(name, wait=60, directory=shm_dir) as reader:
        assert len(reader.read(timeout=30))


def end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return err


@pytest.fixture
def file(tmp_path: Path, shm_dir: str) -> Path:
    path = tmp_path / "mdfeedd.yaml"
    write(path, shm_dir, "sim")
    return path


def test_log_tells_what_was_started_where_its_page_is_and_the_end(
    file: Path, shm_dir: str, start: Start
) -> None:
    file.write_text(file.read_text().replace("metrics: null", "metrics: {host: '::1', port: 0}"))
    process = start("run", "-c", str(file))
    told = until_line(process, "started feed sim; page and metrics at ")[-1]
    url = told.partition(" at ")[2].strip()
    with urllib.request.urlopen(url + "healthz", timeout=30) as answer:
        assert answer.status == 200
    assert re.search(r"stopped after \d+\.\d s\n", end(process))


def test_sighup_reloads_a_good_file_and_refuses_a_bad_one(
    file: Path, shm_dir: str, start: Start
) -> None:
    process = start("run", "-c", file)
    wait_for_ring("sim", shm_dir)
    pid = inspect("sim", shm_dir).pid
    file.write_text("feeds:\n  - {name: sim, vendor: nobody}\n")
    process.send_signal(signal.SIGHUP)
    lines = until_line(process, "the old configuration goes on")
    assert any(f"{file}:2:25: error: feeds[0].vendor" in line for line in lines)
    write(file, shm_dir, "new", "sim")
    process.send_signal(signal.SIGHUP)
    lines = until_line(process, "reload 2: done")
    assert any("reload 2: feed sim: unchanged" in line for line in lines)
    assert any("reload 2: feed new: started" in line for line in lines)
    wait_for_ring("new", shm_dir)
    assert (inspect("sim", shm_dir).pid, inspect("sim", shm_dir).feed_index) == (pid, 1)
    end(process)
    assert inspect("sim", shm_dir).state_text == inspect("new", shm_dir).state_text == "closed"


def test_two_sighups_quickly_end_with_the_newest_file(
    file: Path, shm_dir: str, start: Start
) -> None:
    process = start("run", "-c", file)
    wait_for_ring("sim", shm_dir)
    for names in (["sim", "a"], ["sim", "b"]):
        write(file, shm_dir, *names)
        process.send_signal(signal.SIGHUP)
    until_line(process, "feed b: started, it is new")
    wait_for_ring("b", shm_dir)
    end(process)


def test_sighup_and_sigterm_at_once(file: Path, shm_dir: str, start: Start) -> None:
    process = start("run", "-c", file)
    wait_for_ring("sim", shm_dir)
    write(file, shm_dir, "sim", "a", rate=500)
    process.send_signal(signal.SIGHUP)
    end(process)
    assert inspect("sim", shm_dir).state_text == "closed"


def test_sigterm_while_a_reload_restarts(file: Path, shm_dir: str, start: Start) -> None:
    process = start("run", "-c", file)
    wait_for_ring("sim", shm_dir)
    write(file, shm_dir, "sim", "a", rate=500)
    process.send_signal(signal.SIGHUP)
    until_line(process, "reload 1: reading")
    end(process)
    assert inspect("sim", shm_dir).state_text == "closed"


EARLY = """
import os, signal, sys
from mdfeedd.cli import main, run
load = run.load

def loading(path):
    os.kill(os.getpid(), signal.SIGHUP)
    return load(path)

run.load = loading
sys.exit(main(["run", "-c", sys.argv[1]]))
"""


def test_sighup_before_the_daemon_listens_is_a_reload_and_no_kill(
    file: Path, shm_dir: str, start: Start
) -> None:
    process = start(file, code=EARLY)
    lines = until_line(process, "reload 1: done")
    assert any("feed sim: unchanged" in line for line in lines)
    wait_for_ring("sim", shm_dir)
    end(process)


def test_sighup_to_the_whole_service_harms_no_child(file: Path, shm_dir: str, start: Start) -> None:
    """``systemctl kill -s HUP`` sends it to every process."""
    process = start("run", "-c", file)
    wait_for_ring("sim", shm_dir)
    child = inspect("sim", shm_dir).pid
    for pid in (child, process.pid):
        os.kill(pid, signal.SIGHUP)
    until_line(process, "feed sim: unchanged")
    info = inspect("sim", shm_dir)
    assert (info.pid, info.epoch, info.writer_alive) == (child, 1, True)
    end(process)


def test_service_manager_is_told(
    file: Path, shm_dir: str, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)

        def until(head: str) -> str:
            while not (message := manager.recv(4096).decode()).startswith(head):
                pass
            return message

        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        process = start("run", "-c", file)
        assert "STATUS=1 feed running, " in until("READY=1")
        assert inspect("sim", shm_dir).writer_alive
        until("WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        until("RELOADING=1\nMONOTONIC_USEC=")
        until("READY=1")
        process.send_signal(signal.SIGTERM)
        until("STOPPING=1")
        assert process.wait(timeout=60) == 0
        process.communicate()


ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "mdfeedd", "run", "-c", sys.argv[1]])
"""


def test_terminal_that_goes_away_stops_the_daemon(file: Path, shm_dir: str, spawn: Spawn) -> None:
    ours, theirs = os.openpty()
    process = spawn(
        [sys.executable, "-c", ON_TERMINAL, str(file)], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        wait_for_ring("sim", shm_dir)
    finally:
        os.close(ours)
    assert process.wait(timeout=60) == 0
    assert inspect("sim", shm_dir).state_text == "closed"
