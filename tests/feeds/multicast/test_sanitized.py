"""The C alone, under the address and undefined-behaviour sanitizers, fed with what no kernel should say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-Werror")


@pytest.fixture(scope="module")
def harness(sanitized):
    source = Path(__file__).with_name("harness.c")
    return sanitized(source, "ring", "feeds", "feeds/multicast", flags=FLAGS)


@pytest.mark.parametrize("seed", range(1, 5))
def test_hostile_frames_and_control_messages(harness, seed):
    ran = subprocess.run(
        [harness, "5000", str(seed)], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
