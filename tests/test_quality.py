"""The linters and type checkers, run as tests: what they refuse does not land."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

COMMANDS = {
    "ruff": [BIN / "ruff", "check", "--no-cache", "--output-format=concise", "."],
    "format": [BIN / "ruff", "format", "--no-cache", "--check", "."],
    "mypy": [BIN / "mypy", "--strict"],
    "import-linter": [BIN / "lint-imports", "--no-cache"],
    "cython-lint": [BIN / "cython-lint", "mdfeedd"],
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_tool_has_a_complaint(name: str) -> None:
    command = COMMANDS[name]
    if not command[0].exists():
        pytest.skip(f"{command[0].name} is not installed (pip install -e '.[test]')")
    done = subprocess.run(
        [str(part) for part in command],
        cwd=REPOSITORY,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# import-linter reads .py only: what compiled codecs import and include is looked at here
IO_MODULES = {
    "asyncio",
    "logging",
    "os",
    "random",
    "secrets",
    "selectors",
    "socket",
    "threading",
    "time",
}
IO_HEADERS = {
    "pthread.h",
    "sys/socket.h",
    "time.h",
    "sys/time.h",
    "unistd.h",
    "fcntl.h",
    "poll.h",
    "sys/epoll.h",
}
LAYERS = ["tick", "ring", "sinks", "feeds consumers sim", "daemon", "strategy", "cli"]


def compiled_sources() -> list[Path]:
    return [
        path
        for suffix in ("*.pyx", "*.pxd", "*.h")
        for path in sorted((REPOSITORY / "mdfeedd").rglob(suffix))
    ]


IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", flags=re.MULTILINE)


def imports(path: Path) -> set[str]:
    return {a or b for a, b in IMPORT.findall(path.read_text())}


@pytest.mark.parametrize(
    "path", compiled_sources(), ids=lambda p: str(p.relative_to(REPOSITORY / "mdfeedd"))
)
def test_compiled_source_reaches_where_it_must_not(path: Path) -> None:
    found = imports(path)
    room = path.relative_to(REPOSITORY / "mdfeedd").parts
    if "codec" in room or path.name in {"_bars.pyx", "bars.h"}:
        assert not {name.split(".")[0] for name in found} & IO_MODULES
        includes = set(re.findall(r'#include\s+[<"]([^>"]+)[>"]', path.read_text()))
        assert not includes & IO_HEADERS
    level = next(i for i, names in enumerate(LAYERS) if room[0] in names.split())
    for name in found:
        if name.startswith("mdfeedd."):
            target = name.split(".")[1]
            theirs = next(i for i, names in enumerate(LAYERS) if target in names.split())
            assert theirs < level or target == room[0], f"{path.name} imports {name}"
