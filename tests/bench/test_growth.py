"""What growth.py measures is what the page draws, and its figures are of what it says they are of."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from mdfeedd.docs import plots
from mdfeedd.ring import Writer

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def growth(monkeypatch):
    """bench/growth.py, which imports its neighbours."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "bench"), *sys.path])
    yield importlib.import_module("growth")
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(REPOSITORY / "bench")):
            del sys.modules[name]


def drawn(path: str) -> set[str]:
    """The columns that the plots take from rows of this part."""
    chosen = [p for p in plots.PLOTS if isinstance(p, plots.Lines) and p.result == "growth"]
    return {key for p in chosen if p.path == path for key in (p.x, *dict(p.lines))}


def test_instruments_are_as_many_as_it_says(growth, tmp_path) -> None:
    rows = growth.growth_symbols.measure((10, 200), str(tmp_path), quick=True)
    assert [row["instruments"] for row in rows] == [10, 200]
    for row in rows:
        assert drawn("symbols") <= set(row)
        assert all(value > 0 for name, value in row.items() if name != "last_ns"), row
    assert not list(tmp_path.iterdir())


def test_records_are_as_large_as_it_says(growth, tmp_path, monkeypatch) -> None:
    made = []

    def writer(name, capacity, dtype, **more):
        made.append((dtype.itemsize, capacity * dtype.itemsize))
        return Writer(name, capacity, dtype, **more)

    monkeypatch.setattr(growth, "Writer", writer)
    rows = growth.record_size((64, 384), str(tmp_path), quick=True)
    assert [size for size, _ in made] == [64, 384] == [row["bytes"] for row in rows]
    for row, (size, ring) in zip(rows, made, strict=True):
        assert drawn("record_size") <= set(row)
        assert row["write_gb_per_s"] == pytest.approx(size / row["write_ns"], rel=0.02)
        assert ring <= growth.RING_BYTES
