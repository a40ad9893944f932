"""Configuration files from the command line."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from mdfeedd.ring import Reader
from mdfeedd.ring.inspect import inspect

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Run, Start

from mdfeedd.cli import main

GOOD = """\
shm_dir: {shm_dir}
metrics: null
feeds:
  - name: sim
    vendor: synthetic
    options: {{rate: 1000, instruments: [ESZ6, NQZ6]}}
"""
BAD = """\
metrics: null
feeds:
  - name: sim
    vendor: synthetik
  - name: sim
    vendor: synthetic
    options: {rate: -1, instrument: 3}
"""


def test_a_good_file_says_what_it_would_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(GOOD.format(shm_dir=tmp_path))
    assert main(["check", "-c", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{file}: ok\n")
    assert "sim (synthetic) writes sim" in out


def test_all_problems_at_once_and_78(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(BAD)
    ran = run("check", "-c", file)
    assert ran.status == 78
    for part in ("'synthetik'", "unknown key 'instrument'", "the name 'sim' is taken"):
        assert part in ran.err
    assert ran.err.count(f"{file}:") >= 3
    assert run("run", "-c", file).status == 78


def test_a_missing_file_is_a_problem_too(tmp_path: Path, run: Run) -> None:
    ran = run("check", "-c", tmp_path / "nowhere.yaml")
    assert ran.status == 78
    assert "cannot be read: No such file" in ran.err


def test_run_serves_until_sigterm_and_leaves_a_closed_ring(
    tmp_path: Path, shm_dir: str, start: Start
) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(GOOD.format(shm_dir=shm_dir))
    process = start("run", "-c", file)
    with Reader("sim", wait=60, directory=shm_dir) as reader:
        assert len(reader.read(timeout=30))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert inspect("sim", shm_dir).state_text == "closed"


def test_ctrl_c_ends_run_with_130(tmp_path: Path, shm_dir: str, start: Start) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(GOOD.format(shm_dir=shm_dir))
    process = start("run", "-c", file)
    with Reader("sim", wait=60, directory=shm_dir) as reader:
        assert len(reader.read(timeout=30))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_no_folder_for_the_rings(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(GOOD.format(shm_dir=tmp_path / "nowhere"))
    ran = run("run", "-c", file)
    assert ran.status == 1
    assert "there is no directory" in ran.sentence()
