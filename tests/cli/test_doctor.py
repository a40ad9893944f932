"""The doctor sees what is wrong, and removes only what nobody writes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mdfeedd.cli import main
from mdfeedd.ring import Reader, RingDenied, Writer, list_rings
from mdfeedd.ring.segment import ring_path
from mdfeedd.tick import TICK

if TYPE_CHECKING:
    import pytest


def doctor(shm_dir: str, *more: str) -> int:
    return main(["doctor", "--shm-dir", shm_dir, *more])


def test_nothing_there(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(shm_dir) == 0
    out = capsys.readouterr().out
    assert "no rings" in out
    assert "free of" in out
    assert out.endswith("no trouble\n")


def test_a_living_ring_with_its_reader(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Writer("cme", feed="globex", directory=shm_dir) as writer:
        writer.instruments.add("ESZ6")
        writer.publish(np.zeros(10, TICK))
        writer.counters.add("published_quotes", 10)
        writer.beat()
        with Reader("cme", "oldest", "strategy", directory=shm_dir) as reader:
            assert len(reader.read(4)) == 4
            assert doctor(shm_dir) == 0
    out = capsys.readouterr().out
    assert "cme: ticks of globex, live" in out
    assert f"writer pid {os.getpid()}" in out
    assert "10 published, room for 65,536; 1 instrument;" in out
    assert "published_quotes 10" in out
    line = next(line for line in out.splitlines() if "strategy" in line)
    assert line.split()[1:3] == ["pid", str(os.getpid())]
    assert "read 4, lag 6, lost 0" in line


def test_a_ring_that_was_closed_is_no_trouble(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Writer("cme", directory=shm_dir).close()
    assert doctor(shm_dir) == 0
    assert "writer closed" in capsys.readouterr().out


def test_a_writer_that_was_killed(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import os, signal, sys; from mdfeedd.ring import Writer; "
        "w = Writer('cme', directory=sys.argv[1]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parent.parent.parent
    ended = subprocess.run([sys.executable, "-c", code, shm_dir], cwd=root, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert doctor(shm_dir) == 1
    out = capsys.readouterr().out
    assert "trouble: the writer of cme" in out
    assert "--remove cme" in out, "and what to do about it"
    assert doctor(shm_dir, "--remove", "cme") == 0
    assert list_rings(shm_dir) == []


def test_a_writer_that_hangs(
    shm_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdfeedd.cli.doctor.HUNG_S", 0.0)
    with Writer("cme", directory=shm_dir):
        assert doctor(shm_dir) == 1
    assert "is it stopped or hanging?" in capsys.readouterr().out


def test_a_reader_that_lost_and_one_that_is_about_to(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        Writer("cme", 256, directory=shm_dir) as writer,
        Reader("cme", "oldest", "slow", directory=shm_dir) as slow,
    ):
        writer.publish(np.zeros(200, TICK))
        assert doctor(shm_dir) == 1
        assert "slow" in capsys.readouterr().out.partition("trouble: ")[2]
        writer.publish(np.zeros(1000, TICK))
        slow.read(1)
        assert slow.lost
        assert doctor(shm_dir) == 1
    assert f"has lost {slow.lost:,} records" in capsys.readouterr().out


def test_a_file_that_is_no_ring(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    ring_path("junk", shm_dir).write_bytes(b"junk")
    with Writer("good", directory=shm_dir):
        assert doctor(shm_dir) == 1
    out = capsys.readouterr().out
    assert "junk: cannot be read" in out
    assert "good: ticks" in out, "the others are shown all the same"
    assert doctor(shm_dir, "--remove", "junk") == 0


def test_a_living_ring_is_not_removed(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    Writer("old", directory=shm_dir).close()
    with Writer("cme", directory=shm_dir):
        assert doctor(shm_dir, "--remove", "cme", "--remove", "old") == 1
        assert list_rings(shm_dir) == ["cme"], "the other one is"
    assert "living writer" in capsys.readouterr().err


def test_a_ring_that_does_not_exist(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(shm_dir, "--remove", "nope") == 1
    assert doctor(shm_dir, "--remove", "../nope") == 1
    assert "no ring nope" in capsys.readouterr().err


def test_no_such_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(str(tmp_path / "nowhere")) == 1
    assert "cannot list" in capsys.readouterr().err


def test_a_folder_that_is_nearly_full(
    shm_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdfeedd.cli.doctor.LEAST_FREE", 1 << 62)
    assert doctor(shm_dir) == 1
    assert "--shm-size" in capsys.readouterr().out


def test_a_ring_of_another_user_is_not_to_be_removed(
    shm_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(name: str, directory: str) -> None:
        raise RingDenied(errno.EACCES, f"ring {name} belongs to another user")

    Writer("theirs", directory=shm_dir).close()
    monkeypatch.setattr("mdfeedd.ring.inspect.inspect", denied)
    assert doctor(shm_dir) == 1
    out = capsys.readouterr().out
    assert "belongs to another user" in out
    assert "--remove" not in out
