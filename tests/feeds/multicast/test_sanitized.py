"""The C alone, under the address and undefined-behaviour sanitizers, fed with what no kernel should say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "mdfeedd"
FOLDERS = ("ring", "feeds", "feeds/multicast")
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("multicast") / "harness"
    built = subprocess.run(
        [
            compiler, *FLAGS, "-Wno-unused-function",
            "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
            *(f"-I{PACKAGE / folder}" for folder in FOLDERS),
            str(HERE / "harness.c"), "-o", str(program),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return program


@pytest.mark.parametrize("seed", range(1, 5))
def test_hostile_frames_and_control_messages(harness, seed):
    ran = subprocess.run(
        [str(harness), "5000", str(seed)], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
