"""For the tests of the ring: C programs compiled once per session, quotes, fresh interpreters."""

from __future__ import annotations

import hashlib
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
def compile_c(once) -> Compile:
    """Skips where the compiler is missing; fails on any warning."""

    def compile_program(
        source: str,
        *,
        flags: Sequence[str] = ("-std=c11", "-O1", "-g"),
        compiler: str = "cc",
        header: str | None = None,
    ) -> Path:
        if not shutil.which(compiler):
            pytest.skip(f"no {compiler} on PATH")

        def compile_to(program: Path) -> None:
            include = HEADER.parent
            if header is not None:
                include = program.with_suffix(".include")
                include.mkdir(exist_ok=True)
                (include / "mdfeedd.h").write_text(header)
            command = [compiler, *flags, *WARNINGS, "-D_GNU_SOURCE", f"-I{include}"]
            command += [str(HERE / "c" / source), "-o", str(program), "-pthread"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
            )
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"

        what = "\0".join((source, compiler, *flags, "\0", header or ""))
        digest = hashlib.sha256(what.encode()).hexdigest()
        return once(f"{Path(source).stem}-{digest[:16]}", compile_to)

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
