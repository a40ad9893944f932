"""``python -m tests.fuzz --minutes 10 --target dbn``: fuzz for as long as you like; all targets, one after the other,
without ``--target``. In a checkout, in the environment of the tests.

Targets in C are guided by coverage (libFuzzer) where there is a clang that can, and played by chance, each for half of
the time. Those in Python are guided by atheris where it is installed (``pip install atheris``), else by chance. What is found is
written to ``--findings`` as one file, which belongs into ``tests/fuzz/regressions/TARGET/`` under a name that says what it
was: the tests replay each of those for ever (``tests/fuzz/test_regressions.py``).

Exit status: 0 nothing was found, 1 something was.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ET
from pathlib import Path

from .c_targets import C_TARGETS, ENVIRONMENT, REPOSITORY, build
from .mutation import mutated
from .python_targets import PYTHON_TARGETS

HERE = Path(__file__).resolve().parent
REGRESSIONS = HERE / "regressions"
MAX_INPUT_BYTES = 16_384


def corpus_of(name: str, seeds: list[bytes], folder: Path) -> Path:
    """Seeds and regressions, as files."""
    made = folder / f"{name}-corpus"
    made.mkdir()
    for i, seed in enumerate(seeds):
        (made / f"seed-{i}").write_bytes(seed)
    for path in sorted((REGRESSIONS / name).glob("*")):
        shutil.copy(path, made / path.name)
    return made


def guided_c(name: str, seconds: float, seed: int, findings: Path, folder: Path) -> tuple[int, int]:
    """Inputs that libFuzzer ran, and what it found; (0, 0) where it is not to be had."""
    target = C_TARGETS[name]
    if shutil.which("clang") is None:
        return 0, 0
    try:
        program = build(target, folder / f"{name}-guided", guided=True)
    except subprocess.CalledProcessError as error:
        print(f"{name}: not guided: {error.stderr[-300:]}", flush=True)
        return 0, 0
    corpus = corpus_of(name, list(target.seeds()), folder)
    done = subprocess.run(
        [
            program, corpus, f"-max_total_time={max(1, round(seconds))}", f"-seed={seed}", "-print_final_stats=1",
            f"-artifact_prefix={findings}/{name}-", f"-max_len={MAX_INPUT_BYTES}", "-handle_bus=0", "-timeout=60",
            "-rss_limit_mb=4096", "-detect_leaks=1",
        ],
        capture_output=True, text=True, errors="replace", env={**ENVIRONMENT, "FUZZ_DIR": os.environ["FUZZ_DIR"]}, check=False,
    )  # fmt: skip
    found = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    if done.returncode:
        print(done.stderr[-3000:], flush=True)
    return int(found[1]) if found else 0, int(done.returncode != 0)


def by_chance_c(name: str, seconds: float, seed: int, folder: Path) -> tuple[int, int]:
    """Inputs that the target's own test played, and whether it failed."""
    report = folder / f"{name}.xml"
    environment = {
        **os.environ,
        "MDFEEDD_FUZZ_SECONDS": str(seconds),
        "MDFEEDD_FUZZ_SEED": str(seed),
    }
    test = REPOSITORY / "tests" / C_TARGETS[name].test
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:randomly",
        "-o",
        "timeout=0",
        "-o",
        "junit_family=xunit1",
        f"--junitxml={report}",
    ]
    done = subprocess.run(
        [*line, test], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        print(done.stdout[-5000:], flush=True)
    properties = ET.parse(report).iter("property")
    inputs = sum(int(p.get("value", "0")) for p in properties if p.get("name") == "inputs")
    return inputs, int(done.returncode != 0)


def by_chance_python(name: str, seconds: float, seed: int, findings: Path) -> tuple[int, int]:
    """Inputs by mutation; what raised is written down, each place in the code once."""
    target = PYTHON_TARGETS[name]
    seeds, places = target.seeds(), set()
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutated(f"{name} {seed} {rounds}", seeds, target.words)
        rounds += 1
        try:
            target.one(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            last = traceback.extract_tb(error.__traceback__)[-1]
            if (last.filename, last.lineno) not in places:
                places.add((last.filename, last.lineno))
                path = findings / f"{name}-{hashlib.sha1(data).hexdigest()[:12]}"
                path.write_bytes(data)
                print(f"{path}:", "".join(traceback.format_exception(error, limit=-5)), flush=True)
    return rounds, len(places)


def guided_python(
    name: str, seconds: float, seed: int, findings: Path, folder: Path
) -> tuple[int, int]:
    """The same under atheris, in a process of its own: libFuzzer ends it at the first finding."""
    corpus = corpus_of(name, list(PYTHON_TARGETS[name].seeds()), folder)
    line = [
        sys.executable,
        "-m",
        "tests.fuzz.guided",
        name,
        str(corpus),
        f"-max_total_time={max(1, round(seconds))}",
    ]
    line += [
        f"-seed={seed}",
        f"-artifact_prefix={findings}/{name}-",
        f"-max_len={MAX_INPUT_BYTES}",
        "-print_final_stats=1",
    ]
    done = subprocess.run(
        line, cwd=REPOSITORY, capture_output=True, text=True, errors="replace", check=False
    )
    found = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    if done.returncode:
        print(done.stdout[-1000:], done.stderr[-3000:], flush=True)
    return int(found[1]) if found else 0, int(done.returncode != 0)


def fuzz(name: str, seconds: float, seed: int, findings: Path) -> tuple[dict[str, int], int]:
    """Inputs by way of making them, and the number of findings."""
    with tempfile.TemporaryDirectory(prefix="mdfeedd-fuzz-") as temporary:
        folder = Path(temporary)
        if name in C_TARGETS:
            guided, bad = guided_c(name, seconds / 2, seed, findings, folder)
            chance, worse = by_chance_c(name, seconds / (2 if guided else 1), seed, folder)
            return {"guided": guided, "by chance": chance}, bad + worse
        if importlib.util.find_spec("atheris") is None:
            chance, bad = by_chance_python(name, seconds, seed, findings)
            return {"by chance": chance}, bad
        guided, bad = guided_python(name, seconds / 2, seed, findings, folder)
        chance, worse = by_chance_python(name, seconds / 2, seed, findings)
        return {"guided": guided, "by chance": chance}, bad + worse


def main() -> int:
    names = sorted({*C_TARGETS, *PYTHON_TARGETS})
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument(
        "--target", action="append", choices=names, help="which; again for more (all)"
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="of each target (1)")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="where to begin (the time)"
    )
    parser.add_argument(
        "--findings", type=Path, default=Path("fuzz-findings"), help="where inputs that failed go"
    )
    arguments = parser.parse_args()
    findings = arguments.findings.resolve()
    findings.mkdir(parents=True, exist_ok=True)
    total = 0
    rings = tempfile.mkdtemp(prefix="mdfeedd-fuzz-", dir="/dev/shm")
    atexit.register(shutil.rmtree, rings, ignore_errors=True)
    os.environ["FUZZ_DIR"] = rings
    for name in arguments.target or names:
        inputs, bad = fuzz(name, arguments.minutes * 60, arguments.seed, findings)
        total += bad
        print(
            json.dumps({"target": name, "seed": arguments.seed, **inputs, "findings": bad}),
            flush=True,
        )
    if not any(findings.iterdir()):
        findings.rmdir()
    return int(total > 0)


if __name__ == "__main__":
    raise SystemExit(main())
