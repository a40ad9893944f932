"""numpy starts no threads in processes of ours, unless somebody wants them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from mdfeedd.daemon import blas
from mdfeedd.daemon.process import _environment

THREADS = "import os, sys, mdfeedd.cli, numpy; print(os.environ[sys.argv[1]], len(os.listdir('/proc/self/task')))"


@pytest.mark.parametrize(("wanted", "told"), [(None, "1"), ("2", "2")])
def test_command_has_the_threads_that_are_wanted(wanted: str | None, told: str) -> None:
    if "openblas" not in str(np.show_config("dicts")) or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("numpy has no OpenBLAS here, or one processor to run it on")
    env = {key: value for key, value in os.environ.items() if key != blas.VARIABLE}
    env |= {} if wanted is None else {blas.VARIABLE: wanted}
    ran = subprocess.run(
        [sys.executable, "-c", THREADS, blas.VARIABLE],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.split() == [told, told]


def test_worker_has_one_unless_it_is_told_otherwise() -> None:
    assert _environment({})[blas.VARIABLE] == "1"
    assert _environment({blas.VARIABLE: "4"})[blas.VARIABLE] == "4"
