"""The data plane in C under AddressSanitizer and UndefinedBehaviorSanitizer, on mutated scripts of the double."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("MDFEEDD_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def fuzzer(sanitized):
    source = Path(__file__).with_name("fuzz_walk.c")
    return sanitized(source, "ring", "feeds/bloomberg/native")


def test_mutated_scripts(fuzzer, make_script, record_property):
    done = subprocess.run(
        [fuzzer, str(SEED), str(SECONDS)], input=make_script(SEED), capture_output=True, check=False,
        timeout=60 + SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {SEED}: {done.stderr.decode()[-3000:]}"
    assert int(done.stdout) >= 200
    record_property("inputs", int(done.stdout))


def test_what_was_found_once(fuzzer, replay_regressions):
    replay_regressions(fuzzer, "blpapi")
