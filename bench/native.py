"""The C side: builds bench/ring.c and, if asked, Aeron's program, and runs single rounds of them."""

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
