"""The C kernel alone, under the address and undefined-behaviour sanitizers, fed with garbage."""

from __future__ import annotations

import subprocess
from pathlib import Path


def test_garbage_under_sanitizers(sanitized):
    program = sanitized(Path(__file__).with_name("harness.c"), "ring", "consumers/bars")
    ran = subprocess.run(
        [program, "300", "1"], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
