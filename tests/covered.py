"""What the tests execute: lines and branches of the Python code, of the C kernels, and lines of the Cython code.

    python tests/covered.py                               all tests; hours of a CPU, so CI does without
    python tests/covered.py tests/journal tests/ring      some of them: any arguments of pytest
    python tests/covered.py --folder OUT -n 2 tests       keep it all in OUT: the copy, html/, coverage.json

A copy of the repository is built for gcov (without optimization), and its tests run there under coverage.py
([tool.coverage] of pyproject.toml), processes that they start included. What a process has executed that is
killed by -9 is not told by anyone, so figures are what is covered at least. Needs gcc and coverage.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
LEFT_OUT = (".git", "*.so", "build", "__pycache__", "*.egg-info", ".venv*", ".*_cache")
BUILD = "from setuptools import setup; setup()"
Counts = dict[str, list[int]]
"""By package: lines, lines executed, branches, branches taken."""


def build(folder: Path) -> None:
    """Copy the repository and make its extensions such that they count."""
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    # C of an earlier build names no lines of the Cython that it comes from
    for source in folder.glob("mdfeedd/**/*.pyx"):
        source.with_suffix(".c").unlink(missing_ok=True)
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace('"-O2"', '"-O0"').replace('"-O3"', '"-O0"'))
    jobs = str(len(os.sched_getaffinity(0)))
    flags = {"CFLAGS": "--coverage", "LDFLAGS": "--coverage"}
    subprocess.run(
        [sys.executable, "-c", BUILD, "-q", "build_ext", "--inplace", "-j", jobs,
         "--cython-line-directives"],
        cwd=folder, env=os.environ | flags, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def run(folder: Path, arguments: list[str]) -> int:
    """The tests, in the copy; pytest's exit status."""
    samples = REPOSITORY.parent / "shared" / "data"
    environment = {"PYTHONPATH": str(folder)} | os.environ
    if samples.is_dir():
        environment.setdefault("MDFEEDD_TESTDATA", str(samples))
    done = subprocess.run(
        [sys.executable, "-m", "coverage", "run", "-m", "pytest", *arguments],
        cwd=folder, env=environment, check=False,
    )  # fmt: skip
    for words in (
        ["combine", "-q"],
        ["json", "-q", "-o", "coverage.json"],
        ["html", "-q", "-d", "html"],
    ):
        subprocess.run([sys.executable, "-m", "coverage", *words], cwd=folder, check=True)
    return done.returncode


def package_of(name: str) -> str:
    """mdfeedd/feeds/cme/codec/mdp.h -> feeds/cme."""
    parts = Path(name).parts[1:-1]
    return "/".join(parts[:2]) or "mdfeedd"


def python_counts(folder: Path) -> Counts:
    """By coverage.py."""
    counts: Counts = defaultdict(lambda: [0, 0, 0, 0])
    for name, file in json.loads((folder / "coverage.json").read_text())["files"].items():
        told = file["summary"]
        here = counts[package_of(name)]
        for i, key in enumerate(
            ("num_statements", "covered_lines", "num_branches", "covered_branches")
        ):
            here[i] += told[key]
    return counts


def gcov(folder: Path) -> dict[str, dict[int, list[int]]]:
    """By file and line: how often it ran, then each branch of it; over all extensions that include it."""
    found: dict[str, dict[int, list[int]]] = defaultdict(dict)
    for notes in folder.glob("build/**/*.gcno"):
        done = subprocess.run(
            ["gcov", "--json-format", "--stdout", "--branch-probabilities", notes],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for text in done.stdout.splitlines():
            for file in json.loads(text)["files"]:
                path = Path(os.path.normpath(folder / file["file"]))
                if path.suffix in {".h", ".pyx", ".pxd"} and path.is_relative_to(
                    folder / "mdfeedd"
                ):
                    # Cython's own code counts on from the last line
                    last = len(path.read_text().splitlines())
                    told = [line for line in file["lines"] if line["line_number"] <= last]
                    _add(found[str(path.relative_to(folder))], told, path.suffix == ".h")
    return found


def _add(lines: dict[int, list[int]], told: list[dict[str, Any]], branches: bool) -> None:
    for line in told:
        ways = [branch["count"] for branch in line["branches"] if not branch["throw"]]
        new = [
            line["count"],
            *(ways if branches else ()),
        ]  # those of Cython's code are the compiler's
        old = lines.get(line["line_number"], [])
        width = max(len(old), len(new))
        both = [each + [0] * (width - len(each)) for each in (old, new)]
        lines[line["line_number"]] = [a + b for a, b in zip(*both, strict=True)]


def native_counts(files: dict[str, dict[int, list[int]]], suffixes: set[str]) -> Counts:
    """By gcov, of files with these suffixes."""
    counts: Counts = defaultdict(lambda: [0, 0, 0, 0])
    for name, lines in files.items():
        if Path(name).suffix not in suffixes:
            continue
        here = counts[package_of(name)]
        for ran, *ways in lines.values():
            here[0] += 1
            here[1] += ran > 0
            here[2] += len(ways)
            here[3] += sum(way > 0 for way in ways)
    return counts


def show(title: str, counts: Counts) -> None:
    """A table."""
    print(f"\n{title:24}{'lines':>9}{'covered':>9}{'branches':>10}{'covered':>9}")
    whole = [sum(column) for column in zip(*counts.values(), strict=True)] or [0] * 4
    for name, (lines, ran, branches, taken) in [*sorted(counts.items()), ("all", whole)]:
        share = f"{100 * taken / branches:8.1f}%" if branches else f"{'-':>9}"
        print(f"{name:24}{lines:>9}{100 * ran / max(lines, 1):8.1f}%{branches:>10}{share}")


def missing(files: dict[str, dict[int, list[int]]]) -> dict[str, list[int]]:
    """Lines of C and Cython that never ran."""
    return {
        name: absent
        for name, lines in sorted(files.items())
        if (absent := sorted(number for number, (ran, *_) in lines.items() if not ran))
    }


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], prog="covered.py")
    parser.add_argument("--folder", type=Path, help="keep everything here; must not be there yet")
    given, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="mdfeedd-covered-") as temporary:
        folder = (given.folder or Path(temporary) / "copy").resolve()
        build(folder)
        status = run(folder, arguments or ["-q", "-n", "auto", "tests"])
        files = gcov(folder)
        (folder / "missing.json").write_text(json.dumps(missing(files), indent=1))
        show("Python", python_counts(folder))
        show("C", native_counts(files, {".h"}))
        show("Cython", native_counts(files, {".pyx", ".pxd"}))
        if given.folder:
            print(f"\n{folder}/html/index.html; lines of C and Cython that never ran: missing.json")
    return status


if __name__ == "__main__":
    sys.exit(main())
