"""``mdfeedd status``: 0, 1 or 3, and the words to it, from a daemon and from shared memory alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mdfeedd.cli import main
from mdfeedd.cli.units import printable
from mdfeedd.daemon import config
from mdfeedd.ring import Reader, Writer
from mdfeedd.tick import TICK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start


def status(*arguments: str) -> int:
    return main(["status", "--over", "0.01", *arguments])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def configured(tmp_path: Path, shm_dir: str, metrics: str) -> str:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(
        f"shm_dir: {shm_dir}\nmetrics: {metrics}\nfeeds:\n"
        "  - {name: sim, vendor: synthetic, options: {rate: 1000, instruments: [ESZ6]}}\n"
        "consumers:\n  - {name: bars, type: bars, rings: [sim], options: {ring: sim-bars}}\n"
    )
    return str(file)


def test_no_daemon_runs(shm_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--shm-dir", shm_dir) == 3
    assert capsys.readouterr().out.startswith("no daemon runs, and nobody writes or reads")
    assert status("-c", configured(tmp_path, shm_dir, "null")) == 3


def test_shared_memory_alone(
    shm_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = configured(tmp_path, shm_dir, "null")
    with (
        Writer("sim", 256, directory=shm_dir) as writer,
        Reader("sim", "oldest", "store", directory=shm_dir),
    ):
        writer.publish(np.zeros(64, TICK))
        assert status("-c", file) == 0
        out = capsys.readouterr().out
        assert "feeds      1 of 1 live" in out
        assert "largest lag 64 records, 25.0% of the ring (store on sim)" in out
        assert out.endswith("all is well\n")
        writer.counters.set("unproven_books", 1)
        assert status("-c", file, "--json") == 1
        told = json.loads(capsys.readouterr().out)
        assert [t["trouble"] for t in told["troubles"]] == ["gap open"]
        assert (told["status"], told["answered"], told["daemon"]) == (1, False, None)


def test_ring_that_an_earlier_feed_closed_is_no_feed_that_is_down(
    shm_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer("earlier", 256, directory=shm_dir):
        pass
    with Writer("sim", 256, directory=shm_dir):
        assert status("-c", configured(tmp_path, shm_dir, "null")) == 0
    out = capsys.readouterr().out
    assert "feeds      1 of 1 live" in out
    assert "so far; 1 ring of feeds that ended earlier\n" in out


def test_feed_of_the_file_has_no_ring(
    shm_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer("other", 256, directory=shm_dir):
        assert status("-c", configured(tmp_path, shm_dir, "null")) == 1
    assert "trouble: feed sim has no ring with a living writer\n" in capsys.readouterr().out


def test_nobody_answers_where_the_file_says(
    shm_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    with Writer("sim", 256, directory=shm_dir):
        assert status("-c", configured(tmp_path, shm_dir, f"{{port: {port}}}")) == 1
    out = capsys.readouterr().out
    assert f"trouble: no daemon answers at 127.0.0.1 port {port}: Connection refused\n" in out


def test_file_with_mistakes_still_says_where_to_look(
    shm_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When a reload was refused, above all: what runs is of the file as it was."""
    port = free_port()
    file = tmp_path / "bad.yaml"
    part = tmp_path / "part.yaml"
    part.write_text("feeds: [{name: sim, vendor: nobody}]\n")
    file.write_text(
        f"include: part.yaml\nshm_dir: {shm_dir}\nmetrics: {{port: {port}}}\nlog: {{level: inof}}\nfeeds: []\n"
    )
    with Writer("sim", 256, directory=shm_dir):
        assert status("-c", str(file), "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["shm_dir"] == shm_dir
    kinds = {trouble["trouble"]: trouble["text"] for trouble in told["troubles"]}
    assert kinds.keys() == {"file", "no answer"}
    assert "bad.yaml has 2 mistakes, a restart would not come up with it" in kinds["file"]
    assert f"127.0.0.1 port {port}" in kinds["no answer"]


@pytest.mark.parametrize(
    ("text", "shm_dir", "port"),
    [
        ("", "/dev/shm", 9464),
        ("[", "/dev/shm", 9464),
        ("a: {b: c}\n", "/dev/shm", 9464),
        ("shm_dir: run\nmetrics: {port: x, host: y}\n", "/dev/shm", 9464),
        ("shm_dir: /run/x\nmetrics:\n", "/run/x", 9464),
        ("shm_dir: /run/x\nmetrics: null\n", "/run/x", None),
        ("metrics: {port: null}\n", "/dev/shm", None),
        ("metrics: {port: 12}\nfeeds: 7\n", "/dev/shm", 12),
    ],
)
def test_whereabouts_of_any_file(tmp_path: Path, text: str, shm_dir: str, port: int | None) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    where, metrics = config.whereabouts(file)
    assert where == shm_dir
    assert (None if metrics is None else metrics.port) == port


def test_file_that_cannot_be_read_is_one_sentence_and_78(tmp_path: Path, run: Run) -> None:
    ran = run("status", "-c", tmp_path / "none.yaml")
    assert (ran.status, ran.sentence().count("cannot be read: No such file")) == (78, 1)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-x\r\n", "what answers is no mdfeedd"),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]", "what answers is no mdfeedd of this version"),
        (b"", "closed connection without response"),
    ],
)
def test_what_answers_is_no_mdfeedd(
    answer: bytes, why: str, shm_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener, Writer("sim", 256, directory=shm_dir):
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        assert status("-c", configured(tmp_path, shm_dir, f"{{port: {port}}}")) == 1
        thread.join(30)
    assert why in capsys.readouterr().out


def test_daemon_answers_and_its_feed_dies(
    shm_dir: str, tmp_path: Path, start: Start, run: Run
) -> None:
    file = configured(tmp_path, shm_dir, f"{{port: {free_port()}}}")
    assert run("status", "-c", file).status == 3
    daemon = start("run", "-c", file)
    try:
        deadline = time.monotonic() + 90
        while (ran := run("status", "-c", file, "--over", "0.1")).status != 0:
            assert time.monotonic() < deadline, ran.out
        assert f"runs, pid {daemon.pid}; configuration " in ran.out
        assert "feeds      1 of 1 live" in ran.out
        told = json.loads(run("status", "-c", file, "--json").out)
        assert told["answered"]
        assert {p["name"] for p in told["processes"]} == {"sim", "bars"}
        feed = next(p["pid"] for p in told["processes"] if p["name"] == "sim")
        os.kill(feed, signal.SIGKILL)
        while "1 restart" not in run("status", "-c", file, "--over", "0.1").out:
            assert time.monotonic() < deadline
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=60)
    assert run("status", "-c", file).status == 3


def test_names_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc") == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c"
