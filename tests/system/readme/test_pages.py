"""The pieces of the pages on strategies and the library run as they stand."""

from __future__ import annotations

import re
import signal

import pytest


def pieces(readme, name: str) -> list[str]:
    path = getattr(readme, name)
    return [block.text for block in readme.blocks_of(path).values() if block.language == "python"]


def test_there_are_pieces(readme) -> None:
    assert len(pieces(readme, "STRATEGIES")) == 7
    assert len(pieces(readme, "LIBRARY")) == 4


@pytest.mark.parametrize("number", range(7))
def test_piece_on_strategies(demo, readme, number) -> None:
    code = pieces(readme, "STRATEGIES")
    for package in ("polars", "numba", "pandas"):
        if f"import {package}" in code[number]:
            pytest.importorskip(package)
    assert demo.run(readme.substituted(code[number], **demo.values), language="python")


TOLD = {
    0: "FeedStats(",
    2: "vendor=",
    3: "stopped by: a mistake in a callback",
}
"""What each piece on the library prints that ends by itself."""


@pytest.mark.parametrize("number", sorted(TOLD))
def test_piece_on_the_library(place, readme, number) -> None:
    told = place.run(pieces(readme, "LIBRARY")[number], language="python")
    assert TOLD[number] in told
    assert "your-key" not in told


def test_script_ends_at_ctrl_c(place, readme) -> None:
    script = place.start(pieces(readme, "LIBRARY")[1], language="python")
    lines = readme.lines_of(script, 200)
    assert any(line.startswith("FeedStatus(feed='synthetic', state='running'") for line in lines)
    assert any(re.fullmatch(r"(ESZ6|NQZ6) [\d.]+ \d+\n", line) for line in lines)
    told = place.end(script, signal.SIGINT)
    assert script.returncode == 0
    assert "Traceback" not in told
