"""Fixtures for all tests: a private folder for rings, and the sample data where they are present."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
NO_SANITIZER = ("cannot find -lasan", "cannot find -lubsan", "libclang_rt")


@pytest.fixture
def shm_dir() -> Iterator[str]:
    """A folder of this test's own on the shared-memory file system."""
    path = tempfile.mkdtemp(prefix="mdfeedd-test-", dir="/dev/shm")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real captures and samples; the test is skipped where it is absent."""
    path = Path(os.environ.get("MDFEEDD_TESTDATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no sample data at {path} (set MDFEEDD_TESTDATA)")
    return path


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compile a C program under the address and undefined-behaviour sanitizers; skips where there are none.

    `folders` of the package are searched for headers; a warning fails, unless `flags` are others.
    """

    def build(
        source: Path,
        *folders: str,
        compiler: str = "gcc",
        flags: tuple[str, ...] = ("-std=c11", "-Werror"),
    ) -> Path:
        program = tmp_path_factory.mktemp("sanitized") / source.stem
        done = subprocess.run(
            [
                compiler, *flags, "-g", "-O1", "-Wall", "-Wextra", "-Wno-unused-function",
                "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                *(f"-I{REPOSITORY / 'mdfeedd' / folder}" for folder in folders),
                source, "-o", program,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if any(text in done.stderr for text in NO_SANITIZER):
            pytest.skip("no sanitizers here")
        assert done.returncode == 0, done.stderr
        return program

    return build
