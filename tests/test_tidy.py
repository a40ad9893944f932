"""Style as a test: lengths, banned words, banned modules, the top level of the repository."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 650
MAX_COLUMNS = 100
TOP_LEVEL = {
    "pyproject.toml",
    "mdfeedd",
    "config",
    "systemd",
    "tests",
    "bench",
    "README.md",
    "LICENSE",
}
# one header is what a C or C++ strategy attaches with; the compiled heart is one module by need
LONG_FILES = {"mdfeedd/ring/mdfeedd.h", "mdfeedd/ring/_ring.pyx"}


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = (REPOSITORY / line for line in listed.stdout.splitlines())
    return sorted(p for p in paths if p.is_file() and (not suffixes or p.suffix in suffixes))


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def test_top_level_is_fixed() -> None:
    names = {name_of(p).split("/")[0] for p in tracked()}
    assert {n for n in names if not n.startswith(".")} <= TOP_LEVEL


def test_function_is_too_long() -> None:
    long = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in tracked(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long


def test_file_is_too_long() -> None:
    long = {
        name_of(path)
        for path in tracked(".py", ".pyx", ".h", ".c", ".cpp")
        if path.read_text().count("\n") > MAX_FILE_LINES
    }
    assert long <= LONG_FILES


def test_line_is_too_wide_or_has_strange_characters() -> None:
    bad = []
    for path in tracked(".py", ".pyx", ".pxd", ".yaml", ".toml"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            wide = len(line) > MAX_COLUMNS and "noqa" not in line and path.suffix == ".pyx"
            if wide and len(line) > 110:
                bad.append(f"{name_of(path)}:{number}: {len(line)} columns")
            if re.search(r"[\x00-\x08\x0b-\x1f\x7f\u200b\ufeff]|\s$", line):
                bad.append(f"{name_of(path)}:{number}: control character or trailing space")
    assert not bad


def test_unfinished_work_is_marked_nowhere() -> None:
    words = re.compile(
        r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b"
    )
    bad = [
        f"{name_of(path)}:{number}"
        for path in tracked(".py", ".pyx", ".pxd", ".pyi", ".h", ".c", ".md", ".yaml", ".toml")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert not bad


def test_module_of_that_name_is_a_grab_bag() -> None:
    assert not [
        p for p in tracked(".py") if p.stem in {"utils", "util", "helpers", "common", "misc"}
    ]


def test_shared_memory_of_multiprocessing_unlinks_others_segments() -> None:
    guilty = [
        name_of(p)
        for p in tracked(".py", ".pyx")
        if p.is_relative_to(REPOSITORY / "mdfeedd") and "shared_memory" in p.read_text()
    ]
    assert not guilty


def test_package_does_not_say_where_its_data_comes_from() -> None:
    silent = []
    for path in tracked(".py"):
        if path.name == "__init__.py" and path.is_relative_to(REPOSITORY / "mdfeedd"):
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            if len(text.splitlines()) < 3 or len(text.splitlines()) > 45:
                silent.append(name_of(path))
    assert not silent


def test_compiled_module_without_stub() -> None:
    assert not [p for p in tracked(".pyx") if not p.with_suffix(".pyi").exists()]
