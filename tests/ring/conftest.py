"""For the tests of the ring: C programs compiled once per session, quotes, fresh interpreters."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest

from mdfeedd.tick import TICK, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent.parent / "mdfeedd" / "ring" / "mdfeedd.h"
COMPILE_TIMEOUT_S = 120
WARNINGS = ("-Wall", "-Wextra", "-Werror")


class Compile(Protocol):
    """Compiles ``tests/ring/c/SOURCE``; `header` replaces ``mdfeedd.h``; gives the program's path."""

    def __call__(
        self,
        source: str,
        *,
        flags: Sequence[str] = ("-std=c11", "-O1", "-g"),
        compiler: str = "cc",
        header: str | None = None,
    ) -> Path: ...


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Skips where the compiler is missing; fails on any warning."""
    folder = tmp_path_factory.mktemp("programs")
    made: dict[tuple[object, ...], Path] = {}

    def compile_program(
        source: str,
        *,
        flags: Sequence[str] = ("-std=c11", "-O1", "-g"),
        compiler: str = "cc",
        header: str | None = None,
    ) -> Path:
        if not shutil.which(compiler):
            pytest.skip(f"no {compiler} on PATH")
        key = (source, tuple(flags), compiler, header)
        if key not in made:
            program = folder / f"{Path(source).stem}-{len(made)}"
            include = HEADER.parent
            if header is not None:
                include = folder / f"header-{len(made)}"
                include.mkdir()
                (include / "mdfeedd.h").write_text(header)
            command = [compiler, *flags, *WARNINGS, "-D_GNU_SOURCE", f"-I{include}"]
            command += [str(HERE / "c" / source), "-o", str(program), "-pthread"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
            )
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
            made[key] = program
        return made[key]

    return compile_program


@pytest.fixture(scope="session")
def header() -> str:
    """The text of `mdfeedd.h`."""
    return HEADER.read_text()


@pytest.fixture
def ticks():
    """A function: n quotes whose ts_event counts from `first`."""

    def made(n: int, first: int = 1) -> np.ndarray:
        out = np.zeros(n, TICK)
        out["kind"] = Kind.QUOTE
        out["ts_event"] = np.arange(first, first + n)
        return out

    return made


@pytest.fixture
def run_python():
    """A function: run code in a fresh interpreter; its output as text."""

    def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), *args],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
