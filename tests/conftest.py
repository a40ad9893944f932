"""Fixtures for all tests: a private folder for rings, processes that none leaves behind, programs compiled once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mdfeedd.daemon import blas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Spawn = Callable[..., subprocess.Popen[Any]]
    Once = Callable[[str, Callable[[Path], None]], Path]

REPOSITORY = Path(__file__).resolve().parent.parent
blas.hold_to_one_thread(os.environ)  # of a thousand interpreters, most of which import numpy
NO_SANITIZER = ("cannot find -lasan", "cannot find -lubsan", "libclang_rt")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of ``-n auto``: a third of the time of a test is waiting for other processes, so more than there are CPUs."""
    return (3 * len(os.sched_getaffinity(0)) + 1) // 2


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands set up the logging of their process, which is here that of all the tests after this one."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logger.level for name, logger in _loggers()}
    yield
    for handler in root.handlers[:]:
        if handler not in handlers and not type(handler).__module__.startswith("_pytest."):
            root.removeHandler(handler)
    root.setLevel(level)
    for name, logger in _loggers():
        logger.setLevel(levels.get(name, logging.NOTSET))
    logging.captureWarnings(capture=False)


def _loggers() -> Iterator[tuple[str, logging.Logger]]:
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith("mdfeedd") and isinstance(logger, logging.Logger):
            yield name, logger


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


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """`subprocess.Popen`; what a test that failed has left running is killed and reaped, its pipes are closed."""
    made: list[subprocess.Popen[Any]] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[Any]:
        made.append(subprocess.Popen(*arguments, **options))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        process.wait()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(key, make)`: the file that `make(path)` makes, for all test processes of this session together."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    folder.mkdir(exist_ok=True)

    def get(key: str, make: Callable[[Path], None]) -> Path:
        path = folder / key
        with (folder / f"{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                partial = folder / f"{key}.partial"
                make(partial)
                partial.rename(path)
        return path

    return get


@pytest.fixture(scope="session")
def replay_regressions() -> Callable[[Path, str], None]:
    """`replay_regressions(program, target)`: what was once found in a fuzz target in C is not found again."""

    def replay(program: Path, target: str) -> None:
        files = sorted((REPOSITORY / "tests" / "fuzz" / "regressions" / target).iterdir())
        done = subprocess.run(
            [program, "replay", *files], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        assert int(done.stdout) == len(files) > 0

    return replay


@pytest.fixture(scope="session")
def sanitized(once: Once) -> Callable[..., Path]:
    """Compile a C program under the address and undefined-behaviour sanitizers; skips where there are none.

    `folders` of the package are searched for headers; a warning fails, unless `flags` are others.
    """

    def build(
        source: Path,
        *folders: str,
        compiler: str = "gcc",
        flags: tuple[str, ...] = ("-std=c11", "-Werror"),
    ) -> Path:
        if shutil.which(compiler) is None:
            pytest.skip(f"no {compiler} here")
        command = [
            compiler, *flags, "-g", "-Og", "-Wall", "-Wextra", "-Wno-unused-function",
            "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
            *(f"-I{REPOSITORY / 'mdfeedd' / folder}" for folder in folders),
            str(source),
        ]  # fmt: skip

        def compile_to(program: Path) -> None:
            done = subprocess.run(
                [*command, "-o", program], capture_output=True, text=True, check=False
            )
            if any(text in done.stderr for text in NO_SANITIZER):
                pytest.skip("no sanitizers here")
            assert done.returncode == 0, done.stderr

        digest = hashlib.sha256("\0".join(command).encode()).hexdigest()
        return once(f"{source.stem}-{digest[:16]}", compile_to)

    return build
