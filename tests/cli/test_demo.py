"""The demo from start to summary: its numbers against the files, and its ends, good and bad."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from mdfeedd.cli import probe
from mdfeedd.cli.demo_plan import RINGS, TICK_RINGS, VENUES, capacity, plan
from mdfeedd.ring import list_rings
from mdfeedd.ring.inspect import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Run, Start


def said(out: str, name: str) -> int:
    """The number beside a name in the summary."""
    found = re.search(rf"^  {name} +([\d,]+)  ", out, re.MULTILINE)
    assert found, out
    return int(found[1].replace(",", ""))


def rows(out: Path, table: str) -> int:
    return sum(pq.read_metadata(path).num_rows for path in out.glob(f"{table}/**/*.parquet"))


def end_by(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Send a signal when the first second has been shown; the rest of its output."""
    assert process.stdout is not None
    assert "ticks/s" in process.stdout.readline()
    process.send_signal(number)
    return process.communicate(timeout=100)


def wait_until_nobody_writes(shm_dir: str) -> None:
    deadline = time.monotonic() + 60
    while any(inspect(ring, shm_dir).writer_alive for ring in list_rings(shm_dir)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_everything_published_is_in_the_files(run: Run, shm_dir: str, tmp_path: Path) -> None:
    out = tmp_path / "ticks"
    ran = run("demo", "--seconds", 2, "--rate", 30_000, "--out", out, "--shm-dir", shm_dir)
    assert ran.status == 0, ran
    assert ran.err == ""
    quotes, trades = rows(out, "quotes"), rows(out, "trades")
    assert said(ran.out, "ticks in") == said(ran.out, "ticks stored") == quotes + trades > 10_000
    assert said(ran.out, "bars") == rows(out, "bars") > 0
    assert said(ran.out, "lost") == 0
    assert f"{quotes:,} quotes, {trades:,} trades" in ran.out
    assert "no account, no network" in ran.out
    assert list_rings(shm_dir) == [], "the rings are removed"
    feeds = {path.name for path in (out / "quotes").iterdir()}
    assert feeds == {f"feed={ring}" for ring in TICK_RINGS}
    table = pq.read_table(out / "quotes")
    assert len(set(table["symbol"].to_pylist())) == 20
    spread = np.array(table["ask_price"].to_pylist()) - np.array(table["bid_price"].to_pylist())
    assert (spread > 0).all()


def test_the_commands_that_the_summary_shows_work(
    run: Run, shm_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("demo", "--seconds", 1, "--shm-dir", shm_dir, "--bars", 1)
    assert ran.status == 0, ran
    assert (tmp_path / "mdfeedd-demo").is_dir(), "the folder of the default"
    commands = [line.strip() for line in ran.out.splitlines() if "read_parquet" in line]
    assert len(commands) == 2
    for command in commands:
        shown = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        assert "ESZ6" in shown.stdout or "AAPL" in shown.stdout


def test_demo_as_an_option_with_the_old_name_of_the_bars(
    run: Run, shm_dir: str, tmp_path: Path
) -> None:
    options = ["--seconds", 1, "--out", tmp_path, "--shm-dir", shm_dir]
    ran = run("--demo", "--aggregation-timeframe", 300, *options)
    assert ran.status == 0, ran
    assert "of 1 s and 300 s" in ran.out


def test_without_pyarrow_it_runs_and_says_what_is_missing(
    run: Run, shm_dir: str, tmp_path: Path
) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None; from mdfeedd.cli import main; sys.exit(main())"
    )
    options = ["--seconds", 1, "--out", tmp_path / "x", "--shm-dir", shm_dir]
    ran = run("demo", *options, code=code)
    assert ran.status == 0, ran
    assert "pip install 'mdfeedd[parquet]'" in ran.sentence()
    assert not (tmp_path / "x").exists()
    assert said(ran.out, "ticks in") > 0
    assert "nothing is stored" in ran.out


def test_without_rich_there_are_lines(start: Start, shm_dir: str, tmp_path: Path) -> None:
    process = start("demo", "--seconds", 2, "--out", tmp_path, "--shm-dir", shm_dir)
    out, _ = process.communicate(timeout=100)
    lines = [line for line in out.splitlines() if "ticks/s" in line]
    assert len(lines) >= 1
    assert re.search(r"p50 [\d.]+ .s  p99 .+  lag \d+  lost 0  bars \d+  ESZ6 [\d.]+/[\d.]+", out)


def test_a_second_demo_is_told_of_the_first(start: Start, run: Run, shm_dir: str) -> None:
    with tempfile.TemporaryDirectory() as out:
        first = start("demo", "--seconds", 60, "--out", out, "--shm-dir", shm_dir)
        assert first.stdout is not None
        assert first.stdout.readline()
        refused = Path(out, "refused")
        second = run("demo", "--seconds", 1, "--out", refused, "--shm-dir", shm_dir)
        assert second.status == 1
        assert not refused.exists()
        assert "another demo is running" in second.sentence()
        first.send_signal(signal.SIGTERM)
        rest, _ = first.communicate(timeout=100)
    assert first.returncode == 143
    assert "interrupted by SIGTERM" in rest
    assert "all of them" in rest


def test_ctrl_c_ends_it_early_with_everything_stored(
    start: Start, shm_dir: str, tmp_path: Path
) -> None:
    process = start("demo", "--seconds", 60, "--out", tmp_path, "--shm-dir", shm_dir)
    rest, err = end_by(process, signal.SIGINT)
    assert process.returncode == 130
    assert err == ""
    assert said(rest, "ticks stored") == rows(tmp_path, "quotes") + rows(tmp_path, "trades") > 0
    assert list_rings(shm_dir) == []


def test_a_feed_that_is_killed_goes_on_and_all_its_lives_are_counted(
    start: Start, shm_dir: str, tmp_path: Path
) -> None:
    process = start("demo", "--seconds", 6, "--out", tmp_path, "--shm-dir", shm_dir)
    assert process.stdout is not None
    assert "ticks/s" in process.stdout.readline()
    os.kill(inspect("demo-fx", shm_dir).pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (ring := inspect("demo-fx", shm_dir)).epoch < 2 or ring.tail < ring.epoch_first_seq + 500:
        assert time.monotonic() < deadline, "it is silent"
        time.sleep(0.05)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "trouble: feed demo-fx: killed by SIGKILL; restarted once" in out
    assert "NOT ALL" not in out
    assert said(out, "ticks stored") == rows(tmp_path, "quotes") + rows(tmp_path, "trades")


def test_probes_stop_though_their_rings_never_come(shm_dir: str) -> None:
    probes = probe.Probes.start(["never"], "neither", shm_dir)
    probes.stop()  # not after WAIT_S only, with the error of a ring that is missing
    assert [p.error for p in (*probes.ticks, probes.bars)] == [None, None]


def test_out_that_is_a_file(run: Run, shm_dir: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("demo", "--out", tmp_path / "file", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "is a file, not a folder" in ran.sentence()


def test_a_killed_demo_is_cleared_away_by_the_next(
    start: Start, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    process = start("demo", "--seconds", 60, "--out", tmp_path, "--shm-dir", shm_dir)
    end_by(process, signal.SIGKILL)
    wait_until_nobody_writes(shm_dir)
    assert list_rings(shm_dir) == sorted(RINGS)
    ran = run("demo", "--seconds", 1, "--out", tmp_path / "b", "--shm-dir", shm_dir)
    assert ran.status == 0, ran
    assert list_rings(shm_dir) == []


def test_a_closed_pipe_ends_it_and_its_rings(start: Start, shm_dir: str, tmp_path: Path) -> None:
    process = start("demo", "--seconds", 60, "--out", tmp_path, "--shm-dir", shm_dir)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=100) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert list_rings(shm_dir) == []


def test_a_folder_that_cannot_be_written(run: Run, shm_dir: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("demo", "--out", tmp_path / "file" / "ticks", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "cannot write to the folder" in ran.sentence()
    assert list_rings(shm_dir) == []


@pytest.fixture
def small_dir(tmp_path: Path) -> Iterator[Path]:
    """A shared-memory file system of four megabytes."""
    folder = tmp_path / "shm"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_shared_memory_that_is_too_small(run: Run, small_dir: Path, tmp_path: Path) -> None:
    ran = run("demo", "--out", tmp_path / "x", "--shm-dir", small_dir)
    assert ran.status == 1
    assert "4.19 MB free" in ran.sentence()
    assert "--shm-size" in ran.sentence()
    assert not (tmp_path / "x").exists()
    assert list_rings(str(small_dir)) == []


def test_no_such_shared_memory(run: Run, tmp_path: Path) -> None:
    ran = run("demo", "--out", tmp_path / "x", "--shm-dir", tmp_path / "nowhere")
    assert ran.status == 1
    assert "cannot use" in ran.sentence()


def test_the_plan_holds_seconds_of_ticks_at_any_rate(tmp_path: Path) -> None:
    for rate in (1, 20_000, 1_000_000):
        made = plan(rate, 5, "/x", tmp_path, viewers=1)
        for feed, venue in zip(made.feeds, VENUES, strict=True):
            assert feed.capacity == capacity(rate * venue.share)
            assert feed.capacity >= 2 * rate * venue.share
            assert feed.capacity & (feed.capacity - 1) == 0
            assert feed.options["wait_consumers"] == 3
        assert made.order()[-1].name == "parquet", "after the bars it stores"


def test_latencies_are_right_to_a_few_percent() -> None:
    latencies = probe.Latencies()
    assert np.isnan(latencies.percentile_ns(50))
    values = np.arange(1, 100_001, dtype=np.int64) * 1000
    latencies.add(values)
    before = latencies.copy()
    for percent in (1, 50, 99, 100):
        exact = np.percentile(values, percent)
        assert latencies.percentile_ns(percent) == pytest.approx(exact, rel=0.03)
    latencies.add(np.full(10, 7_000_000, np.int64))
    assert latencies.since(before).percentile_ns(50) == pytest.approx(7e6, rel=0.03)
    assert latencies.counts.sum() == 100_010


def test_latencies_of_a_clock_that_was_set() -> None:
    latencies = probe.Latencies()
    latencies.add(np.array([-5, 0, 2**62], np.int64))
    assert latencies.counts.sum() == 3
