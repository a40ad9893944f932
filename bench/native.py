"""What is not Python: bench/ring.c, and if they are there Aeron's program and the Disruptor's; single rounds of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
AERON = Path(__file__).resolve().parent / "aeron"
AERON_PROGRAM = "aeron-ipc-bench"
DISRUPTOR = Path(__file__).resolve().parent / "disruptor" / "RingBench.java"
DISRUPTOR_JAR = "com.lmax:disruptor:4.0.0"
PATIENCE_S = 120


class Program:
    """One compiled benchmark; `run` is one round."""

    def __init__(self, path: Path, cpus: tuple[int, int], directory: str | None = None) -> None:
        self.path = path
        self.options = {"cpu_a": cpus[0], "cpu_b": cpus[1]}
        if directory is not None:
            self.options["dir"] = directory

    def run(self, mode: str, **options: int) -> dict[str, Any]:
        """The JSON object that the program prints; raises `RuntimeError` with its last words."""
        settings = [f"{key}={value}" for key, value in {**self.options, **options}.items()]
        try:
            done = subprocess.run(
                [self.path, mode, *settings],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{self.path.name} {mode} took more than {PATIENCE_S} s") from None
        if done.returncode:
            raise RuntimeError(f"{self.path.name} {mode}: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout)


def build_ring(to: Path) -> Path:
    """Compile ring.c into the folder `to`."""
    source, include = Path(__file__).with_name("ring.c"), ROOT / "mdfeedd" / "ring"
    program = to / "ring"
    flags = ["-O2", "-std=c11", f"-I{include}"]
    subprocess.run(["cc", *flags, source, "-o", program, "-lpthread"], check=True)
    return program


def _aeron_target() -> Path:
    target = os.environ.get("CARGO_TARGET_DIR")
    return Path(target) if target else ROOT / "build" / "aeron"


def find_aeron() -> Path | None:
    """Aeron's program, if it was built."""
    program = _aeron_target() / "release" / AERON_PROGRAM
    return program if program.exists() else None


def build_aeron() -> Path:
    """Build it; needs what bench/README.md names, and takes minutes."""
    if shutil.which("cargo") is None:
        raise SystemExit("--build-aeron needs cargo, and what else bench/README.md names")
    subprocess.run(["cargo", "build", "--release"], cwd=AERON, check=True)
    program = find_aeron()
    if program is None:
        raise SystemExit(f"cargo has not built {AERON_PROGRAM} in {_aeron_target()}")
    return program


def _disruptor_jar() -> Path:
    _, name, version = DISRUPTOR_JAR.split(":")
    return ROOT / "build" / "disruptor" / f"{name}-{version}.jar"


def find_disruptor() -> Path | None:
    """The Disruptor's jar, if it was fetched and there is a JDK to run it."""
    jar = _disruptor_jar()
    return jar if jar.exists() and shutil.which("javac") else None


def fetch_disruptor() -> Path:
    """Fetch the jar by Maven."""
    if shutil.which("mvn") is None or shutil.which("javac") is None:
        raise SystemExit("--build-disruptor needs a JDK and Maven")
    jar = _disruptor_jar()
    command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={DISRUPTOR_JAR}"]
    subprocess.run([*command, f"-DoutputDirectory={jar.parent}"], cwd="/", check=True)
    return jar


def run_disruptor(jar: Path, *arguments: str | int) -> dict[str, Any]:
    """One run in a JVM of its own; raises `RuntimeError` with its last words."""
    command = ["java", "-cp", jar, DISRUPTOR, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the Disruptor took more than {PATIENCE_S} s") from None
    if done.returncode:
        raise RuntimeError(f"the Disruptor: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)
