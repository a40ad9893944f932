"""Folders that the system keeps from us: one sentence with the path and the reason, whatever the command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

DENIED = "Permission denied"
#: %s is where the folder's path goes.
COMMANDS = [
    ("replay", "%s"),
    ("replay", "%s", "--vendor", "journal"),
    ("journal", "ls", "%s"),
    ("query", "--data", "%s", "SELECT 1"),
    ("query", "--journal", "%s", "SELECT 1"),
    ("demo", "--seconds", "1", "--out", "%s"),
]


def put(command: tuple[str, ...], path: object) -> list[str]:
    return [str(path) if word == "%s" else word for word in command]


@pytest.mark.parametrize("inner", [False, True], ids=["itself", "inside"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_folder_without_permission(
    command: tuple[str, ...], inner: bool, private: Path, run_humbly: Run, shm_dir: str
) -> None:
    if command[0] == "query":
        pytest.importorskip("duckdb")
    path = private / "inner" if inner else private
    rings = ("--shm-dir", shm_dir) if command[0] in {"replay", "demo"} else ()
    ran = run_humbly(*put(command, path), *rings)
    assert ran.status == 1, ran
    sentence = ran.sentence()
    assert str(path) in sentence
    assert sentence.endswith(DENIED), sentence


@pytest.mark.parametrize("inner", [False, True], ids=["itself", "inside"])
def test_a_folder_of_rings(inner: bool, private: Path, run_humbly: Run) -> None:
    folder = private / "inner" if inner else private
    ran = run_humbly("top", "--once", "--shm-dir", folder)
    assert (ran.status, ran.out) == (1, "")
    assert ran.sentence() == f"mdfeedd top: cannot list {folder}: {DENIED}"


def test_no_feed_is_started_where_no_ring_can_be_made(private: Path, run_humbly: Run) -> None:
    private.chmod(0o755 if os.geteuid() == 0 else 0o555)
    ran = run_humbly("live", "--vendors", "synthetic", "--seconds", 1, "--shm-dir", private)
    assert (ran.status, ran.out) == (1, "")
    assert ran.sentence() == f"mdfeedd live: no ring can be made in {private}: {DENIED}"


def test_a_capture_in_it(private: Path, run_humbly: Run) -> None:
    ran = run_humbly("replay", "--vendor", "cme", private / "inner" / "day.pcap")
    assert ran.status == 1, ran
    assert ran.sentence().endswith(f"{private}/inner/day.pcap cannot be read: {DENIED}")


def test_a_folder_for_the_files_of_a_replay(
    private: Path, run_humbly: Run, testdata: Path, shm_dir: str
) -> None:
    dbn = testdata / "dbn/databento__dbn/tests/data/test_data.trades.dbn"
    for path in (private, private / "inner"):
        ran = run_humbly("replay", dbn, "--out", path, "--shm-dir", shm_dir)
        assert ran.status == 1, ran
        assert str(path) in ran.sentence()
        assert ran.sentence().endswith(DENIED)


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--vendor" not in c], ids=" ".join)
def test_a_name_that_is_too_long(
    command: tuple[str, ...], run: Run, tmp_path: Path, shm_dir: str
) -> None:
    if command[0] == "query":
        pytest.importorskip("duckdb")
    rings = ("--shm-dir", shm_dir) if command[0] in {"replay", "demo"} else ()
    ran = run(*put(command, tmp_path / ("x" * 300)), *rings)
    assert ran.status == 1, ran
    assert "xxx" in ran.sentence()
    assert ran.sentence().endswith("File name too long")


def test_a_table_without_permission_is_not_taken_for_empty(
    private: Path, run_humbly: Run, tmp_path: Path
) -> None:
    pytest.importorskip("duckdb")
    data = tmp_path / "data"
    data.mkdir()
    private.rename(data / "trades")
    ran = run_humbly("query", "--data", data, "SELECT count(*) FROM trades")
    assert ran.status == 1, ran
    assert ran.sentence().endswith(f"{data / 'trades'} cannot be read: {DENIED}")
