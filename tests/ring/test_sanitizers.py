"""Readers lapped at full speed, damaged files, racing consumers: under load and under sanitizers.

By hand, for minutes: ``MDFEEDD_STRESS_SECONDS=600 pytest tests/ring/test_sanitizers.py -k lapped -s``.
"""

from __future__ import annotations

import os
import re
import subprocess

import pytest

SECONDS = float(os.environ.get("MDFEEDD_STRESS_SECONDS", "2"))
READERS = max(2, os.cpu_count() or 2)
LINE = re.compile(r"reader=\d+ published=(\d+) got=(\d+) lost=(\d+) overruns=(\d+) waits=\d+")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def run(*command: object, timeout: float = 240) -> str:
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING: ThreadSanitizer" not in done.stderr
    return done.stdout


def check_counts(output: str, readers: int) -> None:
    """Loss and reading both happened, and add up."""
    lines = [tuple(map(int, m.groups())) for m in LINE.finditer(output)]
    assert len(lines) == readers
    assert len({published for published, *_ in lines}) == 1
    assert all(got + lost == published for published, got, lost, _ in lines)
    assert all(got > 0 for _, got, _, _ in lines)
    assert sum(overruns for *_, overruns in lines) > 0, "nobody was lapped: the test tested little"
    print(output)


@pytest.mark.parametrize("slot_size", [64, 128])
@pytest.mark.parametrize("mode", ["single", "batch", "mixed"])
def test_reader_lapped_while_copying(compile_c, shm_dir, mode, slot_size):
    program = compile_c("stress.c", flags=("-std=c11", "-O2", "-g"))
    seconds = SECONDS / 2 if SECONDS < 10 else SECONDS
    output = run(
        program, shm_dir, seconds, mode, slot_size, READERS, "processes", timeout=60 + 2 * seconds
    )
    check_counts(output, READERS)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_threads_race_on_one_mapping(compile_c, shm_dir, compiler):
    """ThreadSanitizer sees plain accesses that meet; missing fences are the models' business."""
    flags = ("-std=c11", "-O1", "-g", "-fsanitize=thread")
    if compiler == "gcc":
        flags += ("-Wno-tsan",)  # fences are not modelled: known, see the docstring
    program = compile_c("stress.c", flags=flags, compiler=compiler)
    for slot_size in (64, 128):
        check_counts(run(program, shm_dir, 1, "mixed", slot_size, 2, "threads"), 2)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_damaged_and_truncated_files_are_refused(compile_c, shm_dir, compiler):
    program = compile_c(
        "corrupt.c", flags=("-std=c11", "-O1", "-g", *SANITIZERS), compiler=compiler
    )
    refused, harmless = re.match(r"refused=(\d+) harmless=(\d+)", run(program, shm_dir)).groups()
    assert int(refused) > 300
    assert int(harmless) > 1000


def test_consumers_race_for_a_name_and_die(compile_c, shm_dir):
    program = compile_c("consumers.c", flags=("-std=c11", "-O1", "-g", *SANITIZERS))
    assert run(program, shm_dir) == "consumers ok\n"


def test_crash_points_under_sanitizers(compile_c, shm_dir):
    program = compile_c("crash_points.c", flags=("-std=c11", "-O1", "-g", *SANITIZERS))
    for scenario in ("create", "close", "replace"):
        assert scenario in run(program, shm_dir, scenario)
