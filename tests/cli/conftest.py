"""The command line as its users see it: a process, its output and its exit status."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., "Ran"]
    Start = Callable[..., subprocess.Popen[str]]

TIMEOUT_S = 120
OTHER_USER = 61_001
PROGRESS = re.compile(
    r" *\d+ %  [\d,]+ records"
)  # of a replay, which on a busy machine may take a second
REPOSITORY = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    def sentence(self) -> str:
        """The only line of standard error, progress aside: what is wrong, without a traceback."""
        lines = [line for line in self.err.strip().splitlines() if not PROGRESS.match(line)]
        assert len(lines) == 1, self.err
        return lines[0]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "COLUMNS": "100"}


@pytest.fixture
def start(spawn: Callable[..., subprocess.Popen[str]]) -> Start:
    def begin(*arguments: object, code: str | None = None) -> subprocess.Popen[str]:
        program = ["-m", "mdfeedd"] if code is None else ["-c", code]
        return spawn(
            [sys.executable, *program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    return begin


@pytest.fixture
def run(start: Start) -> Run:
    def complete(*arguments: object, code: str | None = None) -> Ran:
        process = start(*arguments, code=code)
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert "Traceback" not in err, err
        return Ran(process.returncode, out, err)

    return complete


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder that is another user's alone, or, where we are no root, that nobody may read."""
    folder = tmp_path / "private"
    (folder / "inner").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(folder, OTHER_USER, OTHER_USER)
    folder.chmod(0o700 if os.geteuid() == 0 else 0)
    return folder


@pytest.fixture
def run_humbly(spawn: Callable[..., subprocess.Popen[str]]) -> Run:
    """As `run`, without root's right to read everything."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if os.geteuid() == 0 and shutil.which(drop[0]) is None:
        pytest.skip("run as root, and no setpriv to give the rights up")

    def complete(*arguments: object) -> Ran:
        process = spawn(
            [
                *(drop if os.geteuid() == 0 else []),
                sys.executable,
                "-m",
                "mdfeedd",
                *map(str, arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert "Traceback" not in err, err
        return Ran(process.returncode, out, err)

    return complete
