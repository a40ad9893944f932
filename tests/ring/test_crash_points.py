"""The writer is killed after every single store of the protocol; what must hold then holds.

See ``c/crash_points.c`` for the scenarios and for what is looked at. One failure is repeated with
``crash_points DIRECTORY SCENARIO``; the message names the store.
"""

from __future__ import annotations

import subprocess

import pytest

# the least number of kills: a scenario that enumerated less would prove less than it says
SCENARIOS = {
    "create": 30,
    "single": 500,
    "batch": 700,
    "chunks": 500,
    "wake": 400,
    "instruments": 900,
    "close": 50,
    "replace": 150,
    "twice": 2000,
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_writer_killed_at_every_store(compile_c, shm_dir, scenario):
    program = compile_c("crash_points.c")
    done = subprocess.run(
        [program, shm_dir, scenario], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    name, kills = done.stdout.split()
    assert name == scenario
    assert int(kills) >= SCENARIOS[scenario]
