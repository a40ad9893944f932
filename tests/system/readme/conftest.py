"""The blocks of the README, run as they stand: in a shell, in Python, against simulators and real servers.

What cannot run here unchanged is replaced, and all that is replaced stands in `SUBSTITUTIONS`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parents[3]
README = REPOSITORY / "README.md"
STRATEGIES = REPOSITORY / "mdfeedd" / "docs" / "strategies.md"
LIBRARY = REPOSITORY / "mdfeedd" / "docs" / "library.md"
PARQUET = REPOSITORY / "mdfeedd" / "docs" / "parquet.md"
PATIENCE_S = 120

SUBSTITUTIONS = {
    # what is said: what is run here. {names} are of the test
    # the tests run where everything is installed already, and by that interpreter
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[parquet,cli]' && .venv/bin/mdfeedd demo": (
        "mdfeedd demo --seconds 3 --shm-dir {shm}"
    ),
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest -n auto": (
        "cd {repository} && python -m pytest -q -p no:cacheprovider tests/tick"
    ),
    # rings of their own, beside other tests
    "/dev/shm/": "{shm}/",
    'Reader("demo-futures"': 'Reader("demo-futures", directory="{shm}"',
    'Reader("demo-equities"': 'Reader("demo-equities", directory="{shm}"',
    'Reader(["demo-futures", "demo-equities"]': (
        'Reader(["demo-futures", "demo-equities"], directory="{shm}"'
    ),
    'Reader(["demo-equities", "demo-synthetic"]': (
        'Reader(["demo-equities", "demo-synthetic"], directory="{shm}"'
    ),
    'mdfeedd.bars("demo-bars"': 'mdfeedd.bars("demo-bars", directory="{shm}"',
    "mdfeedd tail demo": "mdfeedd tail demo --shm-dir {shm}",
    "include: conf.d/*.yaml": "shm_dir: {shm}\nmetrics: {{port: {port}}}\ninclude: conf.d/*.yaml",
    "# host-b.yaml": "shm_dir: {shm_b}\nmetrics: null\n# host-b.yaml",
    "127.0.0.1:9464": "127.0.0.1:{port}",
    # what is the reader's own
    "day.dbn.zst": "{recording}",
    "host=db.example dbname=market user=mdfeedd sslmode=verify-full": "{dsn}",
    "/etc/mdfeedd/postgres-password": "{password}",
    "kafka1:9092,kafka2:9092": "{brokers}",
    "-I mdfeedd/ring": "-I {repository}/mdfeedd/ring",
}

BLOCKS = {
    "demo": ("Two commands", 0),
    "tests": ("Two commands", 1),
    "replay": ("Replay a file of your own", 0),
    "reader": ("A strategy in ten lines", 0),
    "last": ("A strategy in ten lines", 1),
    "cpp": ("A strategy in ten lines", 2),
    "cpp build": ("A strategy in ten lines", 3),
    "bars": ("Bars in a notebook", 0),
    "library": ("In your own program", 0),
    "daemon": ("The daemon", 0),
    "daemon start": ("The daemon", 1),
    "daemon look": ("The daemon", 2),
    "timescaledb": ("Into TimescaleDB", 0),
    "timescaledb query": ("Into TimescaleDB", 1),
    "kafka": ("Into Kafka, and on to another host", 0),
    "kafka far": ("Into Kafka, and on to another host", 1),
    "service": ("As a service", 0),
}
"""Every block of the README that is not a drawing, by the name under which a test runs it."""


class Block(NamedTuple):
    """One fenced block: its language, and what is in it."""

    language: str
    text: str


def blocks_of(path: Path) -> dict[tuple[str, int], Block]:
    """All blocks with a language, by the heading above them and their number below it."""
    found: dict[tuple[str, int], Block] = {}
    for section in re.split(r"^## ", path.read_text(), flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        given = re.findall(r"^```(\w+)\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
        found |= {(heading, i): Block(*block) for i, block in enumerate(given)}
    return found


def substituted(text: str, **values: object) -> str:
    """The text with everything replaced that stands in `SUBSTITUTIONS`."""
    longest_first = sorted(SUBSTITUTIONS, key=len, reverse=True)
    return re.sub(
        "|".join(map(re.escape, longest_first)),
        lambda said: SUBSTITUTIONS[said[0]].format(repository=REPOSITORY, **values),
        text,
    )


class Place:
    """A folder of a newcomer's own, a folder for rings, and a shell in which `mdfeedd` and `python` are found."""

    def __init__(self, folder: Path, shm: str, **values: object) -> None:
        self.folder = folder
        self.shm = shm
        self.values = {"shm": shm, "port": free_port(), **values}
        self._started: list[subprocess.Popen[str]] = []
        commands = folder / "bin"
        commands.mkdir()
        for name, words in (("mdfeedd", "-m mdfeedd"), ("python", "")):
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
            script.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "160",
        }

    def text(self, name: str) -> Block:
        """A block of the README with what must be replaced."""
        block = blocks_of(README)[BLOCKS[name]]
        return Block(block.language, substituted(block.text, **self.values))

    def write(self, name: str) -> Path:
        """A block as the file that its first line names."""
        text = self.text(name).text
        (path,) = re.findall(r"^(?:#|//) ([\w./-]+\.(?:yaml|cpp))", text, flags=re.MULTILINE)[:1]
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text(text)
        return self.folder / path

    def run(self, text: str, *, language: str = "bash") -> str:
        """What a whole block prints; its last command, and each before it, must succeed."""
        process = self.start(text, language=language)
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.end(process)
            raise
        assert process.returncode == 0, f"{text}\n{out}\n{err}"
        return out

    def start(self, text: str, *, language: str = "bash") -> subprocess.Popen[str]:
        """The same, and it goes on."""
        words = {
            "bash": ["bash", "-euo", "pipefail", "-c", text],
            "python": [sys.executable, "-c", text],
        }[language]
        process = subprocess.Popen(
            words, cwd=self.folder, env=self.environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def end(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
        """End it and all that it has started; what it still had to say."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return out + err

    def close(self) -> None:
        """End what is still there."""
        for process in self._started:
            if process.poll() is None:
                self.end(process)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lines_of(process: subprocess.Popen[str], count: int) -> list[str]:
    """The first lines that it prints; the test's own time limit bounds the wait."""
    assert process.stdout is not None
    lines = [line for _, line in zip(range(count), process.stdout, strict=False)]
    assert len(lines) == count, (lines, process.stderr and process.stderr.read())
    return lines


def until(condition: Callable[[], object], what: str) -> object:
    """Wait for what comes in a second or two on a machine that has time."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.1)
    return found


def has_traded(shm: str) -> bool:
    """Whether the demo has what its readers ask for: a bar of five seconds, and with it all rings."""
    import mdfeedd
    from mdfeedd.ring import RingMissing

    with contextlib.suppress(RingMissing, KeyError):
        shown = mdfeedd.bars("demo-bars", 5, symbols=["AAPL"], frame="numpy", directory=shm)
        return len(shown["close"]) > 0
    return False


@pytest.fixture(scope="session")
def readme() -> object:
    """This module, for the tests beside it, which pytest's import mode gives no way to import it."""
    return sys.modules[__name__]


@pytest.fixture
def place(tmp_path: Path, shm_dir: str) -> Iterator[Place]:
    """A place of this test's own."""
    made = Place(tmp_path, shm_dir)
    yield made
    made.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place where the demo runs, at a rate that leaves a processor to the tests."""
    import shutil
    import tempfile

    shm = tempfile.mkdtemp(prefix="mdfeedd-test-", dir="/dev/shm")
    made = Place(tmp_path_factory.mktemp("demo"), shm)
    running = made.start(
        f"exec mdfeedd demo --seconds 600 --rate 500 --shm-dir {shm} >demo.log 2>&1"
    )
    try:
        until(lambda: has_traded(shm), "bars of the demo")
        yield made
        assert running.poll() is None, (made.folder / "demo.log").read_text()
    finally:
        made.close()
        shutil.rmtree(shm, ignore_errors=True)


def server_module(name: str):
    """A module of tests/sinks/servers, which pytest's import mode gives no name."""
    path = REPOSITORY / "tests" / "sinks" / "servers" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"mdfeedd_readme_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shared_kafka, kafka, apache = (
    getattr(server_module("kafka"), name) for name in ("shared_kafka", "kafka", "apache")
)
