"""From nothing to the demo, a replay, a strategy in Python and C++, bars, the library and the daemon: as the README has it."""

from __future__ import annotations

import re
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

RECORDING = """
shm_dir: {shm}
metrics: null
feeds:
  - name: databento
    vendor: databento
    options:
      dataset: GLBX.MDP3
      gateway: 127.0.0.1:{port}
      subscriptions: [{{schema: mbp-1, symbols: [ESZ6, NQZ6]}}]
      record: {folder}
"""
KEY = "db-simulated0000000000000000000k"
"""The one that `mdfeedd sim databento` takes unless it is told another."""


def test_the_demo(place) -> None:
    pytest.importorskip("pyarrow")
    told = place.run(place.text("demo").text)
    assert "rows" in told
    assert list((place.folder / "mdfeedd-demo").rglob("*.parquet"))


def test_the_tests(place) -> None:
    assert " passed" in place.run(place.text("tests").text)


@pytest.fixture
def recording(place, readme) -> Path:
    """A DBN file: a session of the Databento feed with the simulated gateway, kept by `record`."""
    port, folder = readme.free_port(), place.folder / "sessions"
    config = place.folder / "record.yaml"
    config.write_text(RECORDING.format(shm=place.shm, port=port, folder=folder))
    gateway = place.start(
        f"exec mdfeedd sim databento --port {port} --instruments ESZ6,NQZ6 --rate 1000"
    )
    feed = place.start(f"DATABENTO_API_KEY={KEY} exec mdfeedd run -c {config}")
    try:
        tail = place.start(f"exec mdfeedd tail databento --wait 60 --shm-dir {place.shm}")
        readme.until((place.folder / "sessions").is_dir, "a session")
        readme.lines_of(tail, 500)
    finally:
        for process in (feed, gateway):
            place.end(process)
    (found,) = folder.rglob("*.dbn.zst")
    return found


def test_a_file_of_your_own(place, readme, recording) -> None:
    """The README's commands, and on the files that they leave what the page on Parquet has."""
    pytest.importorskip("duckdb")
    pytest.importorskip("pandas")
    place.values["recording"] = recording
    told = place.run(place.text("replay").text)
    assert re.search(r"\bESZ6\b.*\bNQZ6\b|\bNQZ6\b.*\bESZ6\b", told, flags=re.DOTALL)
    assert "ts_open" in told
    (code,) = [b.text for b in readme.blocks_of(readme.PARQUET).values() if b.language == "python"]
    assert re.search(r"symbol +trades +high\n0 +ESZ6 ", place.run(code, language="python"))


def test_a_strategy(demo, readme) -> None:
    strategy = demo.start(demo.text("reader").text, language="python")
    lines = readme.lines_of(strategy, 20)
    demo.end(strategy)
    assert all(re.fullmatch(r"\w+ [\d.]+ \d+|lost \d+", line.strip()) for line in lines)


def test_last_values(demo) -> None:
    told = demo.run(demo.text("last").text, language="python")
    assert re.fullmatch(r"AAPL [\d.]+ [\d.]+ [\d.]+ [\d.]+ (True|False)\n", told)


def test_a_strategy_in_cpp(demo, readme) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++ on PATH")
    demo.write("cpp")
    strategy = demo.start(demo.text("cpp build").text)
    lines = readme.lines_of(strategy, 20)
    demo.end(strategy)
    assert all(re.fullmatch(r"\d+ [\d.]+ \d+\n", line) for line in lines)


def test_bars_in_a_notebook(demo) -> None:
    pytest.importorskip("pandas")
    told = demo.run(demo.text("bars").text, language="python")
    assert re.search(r"ts_open +open +high +low +close +volume\n0 ", told)


def test_the_library(place) -> None:
    told = place.run(place.text("library").text, language="python")
    assert re.search(r"^\d+ ticks, the last of (ESZ6|NQZ6)$", told, flags=re.MULTILINE)
    assert re.search(r"^(ESZ6|NQZ6)( \d+\.\d{9}){4}$", told, flags=re.MULTILINE)


def test_the_daemon(place, readme) -> None:
    pytest.importorskip("pyarrow")
    place.write("daemon")
    commands = place.text("daemon start").text
    daemon = place.start(f"{{ {commands}}} 2>daemon.log")
    shown = place.text("daemon look").text

    def looked() -> str:
        """What the block prints once all is well; until then its first command fails, and it ends there."""
        asked = place.start(shown)
        out, _ = asked.communicate(timeout=readme.PATIENCE_S)
        return out if asked.returncode == 0 else ""

    told = readme.until(looked, "a daemon that is well")
    assert "all is well" in told
    assert re.search(
        r"^mdfeedd_ring_tick_published_total\{.*ring=\"demo\".*\} [1-9]", told, re.MULTILINE
    )
    log = place.end(daemon, signal.SIGINT) + (place.folder / "daemon.log").read_text()
    assert "Traceback" not in log
    assert list((place.folder / "data").rglob("*.parquet")), log
