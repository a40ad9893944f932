"""Recordings through the whole system, and recordings that are none."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from mdfeedd.ring import Reader, Writer, list_rings
from mdfeedd.tick import TICK, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start

DBN = "dbn/databento__dbn/tests/data"
FOLDERS = [
    DBN,
    "dbn/databento__databento-cpp/tests/data",
    "dbn/databento__databento-python/tests/data/EQUS.MINI",
    "dbn/databento__databento-python/tests/data/OPRA.PILLAR",
    "dbn/nautechsystems__nautilus_trader/tests/test_data/databento",
]


def said(out: str, name: str) -> int:
    found = re.search(rf"^  {name} +([\d,]+)  ", out, re.MULTILINE)
    assert found, out
    return int(found[1].replace(",", ""))


def rows(out: Path, table: str) -> int:
    return sum(pq.read_metadata(path).num_rows for path in out.glob(f"{table}/**/*.parquet"))


def recordings(folder: Path) -> list[Path]:
    """All with metadata, raw and compressed."""
    found = [*folder.rglob("*.dbn"), *folder.rglob("*.dbn.zst")]
    return sorted(path for path in found if path.stat().st_size < 1 << 20)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_sample_of_a_folder_merged_into_files(
    folder: str, testdata: Path, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    paths = recordings(testdata / folder)
    assert paths
    ran = run("replay", *paths, "--out", tmp_path, "--shm-dir", shm_dir, "--feed", "samples")
    assert ran.status == 0, ran
    quotes, trades = rows(tmp_path, "quotes"), rows(tmp_path, "trades")
    assert f"{quotes:,} quotes, {trades:,} trades" in ran.out
    stored = quotes + trades + rows(tmp_path, "bars") + rows(tmp_path, "corrections")
    assert said(ran.out, "stored") == stored
    assert said(ran.out, "lost") == 0
    assert said(ran.out, "records") >= said(ran.out, "ticks") > 0
    assert f"of {len(paths)} file" in ran.out
    assert list_rings(shm_dir) == []


@pytest.mark.parametrize("schema", ["mbp-1", "trades", "mbo", "ohlcv-1m", "definition", "status"])
def test_one_file_of_a_schema(
    schema: str, testdata: Path, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    path = testdata / DBN / f"test_data.{schema}.dbn"
    ran = run("replay", path, "--out", tmp_path, "--bars", 1, "--shm-dir", shm_dir)
    assert ran.status == 0, ran
    assert said(ran.out, "records") == (4 if schema == "status" else 2)
    if schema == "ohlcv-1m":
        assert said(ran.out, "vendor bars") == rows(tmp_path, "bars") == 2
    if schema == "trades":
        assert said(ran.out, "bars") == rows(tmp_path, "bars") > 0


def test_without_out_the_ring_stays_for_others(testdata: Path, run: Run, shm_dir: str) -> None:
    path = testdata / DBN / "test_data.mbp-1.dbn"
    for _ in range(2):  # the second takes the place of the first
        ran = run("replay", path, "--feed", "mine", "--shm-dir", shm_dir)
        assert ran.status == 0, ran
        assert f" tail mine --oldest --no-follow --shm-dir {shm_dir}" in ran.out
        with Reader("mine", "oldest", follow=False, directory=shm_dir) as reader:
            ticks = np.concatenate([batch.records for batch in reader])
        assert np.count_nonzero(ticks["kind"] == Kind.QUOTE) == 2


def test_a_strategy_that_is_waited_for_sees_everything(
    testdata: Path, start: Start, shm_dir: str
) -> None:
    path = testdata / DBN / "test_data.mbp-1.dbn"
    process = start("replay", path, "--wait-consumers", 1, "--shm-dir", shm_dir)
    with Reader("replay", "oldest", wait=60, follow=False, directory=shm_dir) as reader:
        seen = sum(len(batch) for batch in reader)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert seen == said(out, "ticks") == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_it_waits(
    number: signal.Signals, status: int, testdata: Path, start: Start, shm_dir: str
) -> None:
    path = testdata / DBN / "test_data.mbp-1.dbn"
    process = start("replay", path, "--wait-consumers", 2, "--shm-dir", shm_dir)
    with Reader("replay", wait=60, directory=shm_dir):
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert out.startswith("interrupted by ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"garbage that is no recording\n", "is not DBN"),
        (b"\x28\xb5\x2f\xfd" + 64 * b"\xff", "has a damaged zstd frame near byte 0"),
    ],
)
def test_a_file_that_is_no_recording(
    content: bytes, sentence: str, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.dbn"
    path.write_bytes(content)
    ran = run("replay", path, "--out", tmp_path / "out", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert sentence in ran.sentence()
    assert str(path) in ran.err
    assert list_rings(shm_dir) == []
    assert not (tmp_path / "out").exists(), "nothing is left of it"


def test_a_file_that_does_not_exist(run: Run, shm_dir: str, tmp_path: Path) -> None:
    ran = run("replay", tmp_path / "x.dbn", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "there is no file" in ran.sentence()


def test_a_name_that_is_not_utf8(run: Run, testdata: Path, shm_dir: str, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"na\xefve.dbn")
    path.write_bytes((testdata / DBN / "test_data.mbp-1.dbn").read_bytes())
    ran = run("replay", path, "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "must be UTF-8 text, found" in ran.sentence()
    assert "na\\udcefve.dbn" in ran.sentence()


@pytest.mark.parametrize("bytes_cut", [1, 50, 130])
def test_a_recording_that_ends_in_the_middle(
    bytes_cut: int, testdata: Path, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    path = tmp_path / "cut.dbn"
    path.write_bytes((testdata / DBN / "test_data.mbp-1.dbn").read_bytes()[:-bytes_cut])
    ran = run("replay", path, "--out", tmp_path / "out", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "cut.dbn" in ran.sentence()
    if bytes_cut < 80:
        whole = (
            f"trouble: damaged, the rest is replayed: {path}: the stream ends within a record, at"
        )
    else:
        whole = "trouble: feed replay ended early; see the line above"
    assert whole in ran.out
    assert "exit status" not in ran.out
    assert (tmp_path / "out").exists() == bool(kept := 1 if bytes_cut < 80 else 0)
    assert ("counted" in ran.out) == bool(kept)
    assert ("/feed=replay/date=" in ran.out) == bool(kept)
    assert said(ran.out, "stored") == rows(tmp_path / "out", "quotes") == kept
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert list_rings(shm_dir) == []


def test_a_damaged_file_does_not_end_the_others(
    testdata: Path, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    content = (testdata / DBN / "test_data.mbp-1.dbn").read_bytes()
    paths = [tmp_path / name for name in ("cut.dbn", "whole.dbn", "cut2.dbn")]
    for path, end in zip(paths, (-1, None, -50), strict=True):
        path.write_bytes(content[:end])
    ran = run("replay", *paths, "--out", tmp_path / "out", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert said(ran.out, "records") == said(ran.out, "ticks") == said(ran.out, "stored") == 4
    assert "   read of 3 files, " in ran.out
    assert rows(tmp_path / "out", "quotes") == 4
    (trouble,) = [line for line in ran.out.splitlines() if line.startswith("trouble: ")]
    for path in paths[::2]:
        assert f"{path}: the stream ends within a record" in trouble
        assert f"{path}: the stream ends within a record" in ran.err


def test_a_ring_that_somebody_writes(
    testdata: Path, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    path = testdata / DBN / "test_data.mbp-1.dbn"
    with Writer("replay", directory=shm_dir) as writer:
        writer.publish(np.zeros(1, TICK))
        ran = run("replay", path, "--out", tmp_path, "--shm-dir", shm_dir)
        assert ran.status == 1
        assert "choose another --feed NAME" in ran.sentence()
        assert writer.next_seq == 2


@pytest.mark.parametrize("name", ["a/b", "", "x.readers", 32 * "x"])
def test_a_name_that_cannot_be(name: str, testdata: Path, run: Run, shm_dir: str) -> None:
    path = testdata / DBN / "test_data.mbp-1.dbn"
    ran = run("replay", path, "--feed", name, "--shm-dir", shm_dir)
    assert ran.status == 2
    assert ran.err.count("--feed:") == 1


def test_a_folder_that_cannot_be_written(
    testdata: Path, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    path = testdata / DBN / "test_data.mbp-1.dbn"
    ran = run("replay", path, "--out", tmp_path / "file" / "x", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "cannot write to the folder" in ran.sentence()


def test_the_same_replay_into_the_same_folder_needs_to_be_meant(
    testdata: Path, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    path = testdata / DBN / "test_data.mbp-1.dbn"
    assert run("replay", path, "--out", tmp_path, "--shm-dir", shm_dir).status == 0
    ran = run("replay", path, "--out", tmp_path, "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "--append adds to them" in ran.sentence()
    assert rows(tmp_path, "quotes") == 2
    ran = run("replay", path, "--out", tmp_path, "--append", "--shm-dir", shm_dir)
    assert ran.status == 0
    assert "this adds to them" in ran.sentence()
    assert said(ran.out, "stored") == 2, "of this run"
    assert rows(tmp_path, "quotes") == 4
