"""What a fuzzer once found is tried again for ever; and each target is played for a moment.

``regressions/TARGET/NAME``: one input, small, under a name that says what it was.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from .c_targets import C_TARGETS, ENVIRONMENT, build
from .mutation import mutated
from .python_targets import PYTHON_TARGETS

REGRESSIONS = Path(__file__).resolve().parent / "regressions"
MAX_BYTES = 16_384
SECONDS = float(os.environ.get("MDFEEDD_FUZZ_SECONDS", "3")) / 6
SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))
KEPT = sorted(path for path in REGRESSIONS.glob("*/*") if path.is_file())


def test_each_regression_belongs_to_a_target():
    assert {path.parent.name for path in KEPT} <= {*C_TARGETS, *PYTHON_TARGETS}
    assert all(path.stat().st_size <= MAX_BYTES for path in KEPT)
    assert len(KEPT) >= 10


@pytest.mark.parametrize(
    "path",
    [p for p in KEPT if p.parent.name in PYTHON_TARGETS],
    ids=lambda p: f"{p.parent.name}-{p.name}",
)
def test_regression_in_python(path):
    PYTHON_TARGETS[path.parent.name].one(path.read_bytes())


def test_regressions_of_the_ring(once, shm_dir):
    """Those of the other targets in C are replayed where the target is built: `replay_regressions`."""
    program = once("fuzz-ring", lambda path: build(C_TARGETS["ring"], path))
    files = [path for path in KEPT if path.parent.name == "ring"]
    done = subprocess.run(
        [program, "replay", *files],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "FUZZ_DIR": shm_dir},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout) == len(files)


@pytest.mark.parametrize("name", C_TARGETS)
def test_target_in_c_has_something_to_replay(name):
    assert [path for path in KEPT if path.parent.name == name]


@pytest.mark.parametrize("name", PYTHON_TARGETS)
def test_target_by_chance(name, record_property):
    """By hand: ``python -m tests.fuzz --target NAME --minutes 10``."""
    target = PYTHON_TARGETS[name]
    seeds = target.seeds()
    for seed in seeds:
        target.one(seed)
    end, rounds = time.process_time() + SECONDS, 0
    while time.process_time() < end or rounds < 20:
        data = mutated(f"{name} {SEED} {rounds}", seeds, target.words)
        rounds += 1
        try:
            target.one(data)
        except BaseException as error:
            error.add_note(f"MDFEEDD_FUZZ_SEED={SEED}, round {rounds - 1}: {data[:300]!r}")
            raise
    record_property("inputs", rounds)
