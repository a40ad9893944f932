"""Memory of a channel with 100,000 instruments: taken once, bounded, and nothing of it per packet."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mdfeedd.feeds.cme.codec import layout

CODEC = Path(layout.__file__).parent
PACKAGE = CODEC.parents[2]
INSTRUMENTS = 100_000
MIB = 1 << 20
MOST_TRADED = 160 * MIB  # resident with every instrument defined and traded
MOST_EVER = 240 * MIB  # all that there is, queue of updates included


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    program = tmp_path_factory.mktemp("memory") / "memory_mdp"
    includes = [f"-I{folder}" for folder in (PACKAGE / "ring", PACKAGE / "feeds", CODEC)]
    wraps = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc")]
    build = subprocess.run(
        [
            "gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-function", *includes, *wraps,
            Path(__file__).parents[1] / "c/memory_mdp.c", "-o", program,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert build.returncode == 0, build.stderr
    done = subprocess.run(
        [program, str(INSTRUMENTS)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    names = ("before", "opened", "traded", "later", "allocations", "allocations_later", "asked")
    return dict(zip(names, map(int, done.stdout.split()), strict=True))


def test_no_packet_allocates(figures):
    """Neither a new instrument, nor a loss, nor a full queue: none at all after opening."""
    assert figures["allocations"] == figures["allocations_later"] == 0


def test_memory_that_is_not_used_costs_nothing(figures):
    assert figures["opened"] - figures["before"] < 16 * MIB


def test_memory_of_a_channel_with_100_000_instruments_is_bounded(figures):
    assert figures["traded"] - figures["before"] < MOST_TRADED
    assert figures["asked"] < MOST_EVER
    assert figures["later"] - figures["before"] < figures["asked"] + 4 * MIB
