"""Readers of a ring, and a writer with a registry, whose other side means harm: in C, under sanitizers.

By hand, for minutes: ``python -m tests.fuzz --target ring --minutes 10``.
"""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from .c_targets import C_TARGETS, ENVIRONMENT, REPOSITORY, build

SECONDS = float(os.environ.get("MDFEEDD_FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))
HEADER = REPOSITORY / "mdfeedd" / "ring" / "mdfeedd.h"
COUNTS = re.compile(
    r"(\d+) opened=(\d+) refused=(\d+) records=(\d+) with_a_scribbler=(\d+) cuts=(\d+)"
)
RACE = "geometry used as it is now, not as it was checked"
#: What stands between a hostile file and us, and what it would be without.
MUTANTS = {
    "copy not bounded by the ring": (
        "    if (n > r->capacity) n = r->capacity;",
        "    if (n > UINT64_MAX - 1) n = r->capacity;",
    ),
    RACE: (
        "    int code = mdf_check_header(&seen,",
        "    int code = mdf_check_header(h,",
    ),
    "instruments bounded by what the writer says": (
        "|| index >= capacity) return -1;",
        "|| index >= h->instruments_capacity + 0 * capacity) return -1;",
    ),
    "damaged registry keeps the writer away": (
        "        if (code != MDF_E_CORRUPT) return code;\n",
        "        return code;\n",
    ),
    "cut file kills whoever has it mapped": (
        "        if (!from || (uintptr_t)info->si_addr - from >= size) continue;",
        "        continue;",
    ),
}


def run(program, shm_dir, seconds=SECONDS):
    line, environment = [program, str(SEED), str(seconds)], {**ENVIRONMENT, "FUZZ_DIR": shm_dir}
    return subprocess.run(line, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def built(once):
    """Builds the program once for all processes of the tests, with this header or the package's."""

    def make(name, header=None):
        def compile_to(path):
            include = None
            if header is not None:
                include = path.with_suffix(".include")
                include.mkdir(exist_ok=True)
                (include / "mdfeedd.h").write_text(header)
            build(C_TARGETS["ring"], path, include=include)

        return once(name, compile_to)

    return make


def test_hostile_ring_and_registry(built, shm_dir, record_property):
    done = run(built("fuzz-ring"), shm_dir)
    assert done.returncode == 0, f"MDFEEDD_FUZZ_SEED={SEED}: {done.stderr[-4000:]}"
    inputs, opened, refused, records, scribbled, cuts = map(int, COUNTS.match(done.stdout).groups())
    record_property("inputs", inputs + scribbled)
    assert min(opened, refused, records, scribbled, cuts) > 0


@pytest.mark.parametrize("name", MUTANTS)
def test_check_that_is_missing_is_noticed(built, shm_dir, name):
    if name == RACE and SECONDS < 10:
        pytest.skip("takes two CPUs and some luck: MDFEEDD_FUZZ_SECONDS=30")
    old, new = MUTANTS[name]
    text = HEADER.read_text()
    assert text.count(old) == 1
    program = built(f"fuzz-ring-{list(MUTANTS).index(name)}", text.replace(old, new))
    assert run(program, shm_dir, max(20, SECONDS)).returncode != 0
