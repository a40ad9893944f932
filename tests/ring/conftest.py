"""C and C++ programs for the tests of the ring, compiled once per session against `mdfeedd.h`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

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
