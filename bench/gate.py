"""What a record costs in instructions, against the table of what it may cost: ``tests/bench/instructions.json``.

    python bench/gate.py [--only PREFIX] [--renew]

The kernels in C (ring, DBN, MDP 3.0, Bloomberg's walk, bars, last values, JSON) run once over a fixed input under
valgrind's callgrind, which counts instructions and knows no clock: a busy machine, another processor and another
kernel give the same number. What grows by more than `ALLOWED` is an error, and says what it was. The compiler decides how
many instructions there are, so that the table has a column for each major version of gcc and each architecture, and
--renew writes the one of this machine's. Instructions are not time: `bench/README.md` tells what else to measure.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TABLE = ROOT / "tests" / "bench" / "instructions.json"
SOURCES = (HERE / "gate.c", HERE / "gate_blp.c")
INCLUDES = (
    "mdfeedd/ring",
    "mdfeedd/feeds",
    "mdfeedd/feeds/multicast",
    "mdfeedd/feeds/databento/codec",
    "mdfeedd/feeds/cme/codec",
    "mdfeedd/feeds/bloomberg/native",
    "mdfeedd/consumers/bars",
    "mdfeedd/strategy",
    "mdfeedd/sinks",
    "mdfeedd/sinks/kafka",
    "tests/feeds/bloomberg/native",
)
ALLOWED = 1.05
PATIENCE_S = 240
INPUT = dict.fromkeys(("cme.best", "cme.levels", "cme.new_best"), "cme.input")
"""What a kernel spends on making its own input, which another one shows alone."""


def compiler() -> str | None:
    """The column of the table: ``gcc 12 x86_64``; None: there is no gcc."""
    if shutil.which("gcc") is None:
        return None
    said = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True, check=True)
    return f"gcc {said.stdout.strip().split('.')[0]} {platform.machine()}"


def missing() -> str | None:
    """Why nothing can be counted here, or None."""
    if compiler() is None:
        return "there is no gcc"
    if shutil.which("valgrind") is None:
        return "there is no valgrind (Debian: valgrind)"
    return None


def flags() -> list[str]:
    """As the extension modules are compiled."""
    modules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    ring = next(m for m in modules["ext-modules"] if m["name"] == "mdfeedd.ring._ring")
    return [flag for flag in ring["extra-compile-args"] if not flag.startswith("-W")]


def build(folder: Path, first: Path | None = None) -> Path:
    """The program that is counted. `first`: a folder whose headers take the place of ours; without the feeds."""
    program = folder / "gate"
    sources = [SOURCES[0], "-DGATE_WITHOUT_FEEDS"] if first else SOURCES
    includes = [f"-I{path}" for path in ([first] if first else [])]
    includes += [f"-I{ROOT / name}" for name in INCLUDES]
    subprocess.run(["gcc", *flags(), *includes, *sources, "-o", program, "-lm", "-ldl"], check=True)
    return program


def count(program: Path, folder: Path, prefix: str = "") -> dict[str, float]:
    """Instructions a record, by kernel. Raises `RuntimeError` with the last words of what failed."""
    out = folder / "callgrind.out"
    command = [
        "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}",
        "--compress-strings=no", "--compress-pos=no", program, folder, prefix,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{program.name} under valgrind: {done.stderr.strip()[-1000:]}")
    found = {}
    for dump in sorted(folder.glob("callgrind.out.*"), key=lambda p: int(p.suffix[1:])):
        text = dump.read_text()
        said = re.search(r"^desc: Trigger: Client Request: (\S+) (\d+)$", text, re.MULTILINE)
        if said:
            found[said[1]] = instructions(text, program.name) / int(said[2])
        dump.unlink()
    for name, shared in INPUT.items():
        if name in found and shared in found:
            found[name] -= found[shared]
    return {name: round(n, 2) for name, n in found.items() if name not in INPUT.values()}


def instructions(dump: str, program: str) -> int:
    """Of the functions of the program itself, without those of the double of Bloomberg's library."""
    total, ours, is_call = 0, False, False
    object_ours = False
    for line in dump.splitlines():
        if line.startswith("ob="):
            object_ours = line.rpartition("/")[2] == program
        elif line.startswith("fn="):
            ours = object_ours and not line.startswith(("fn=blpapi_", "fn=double_"))
        elif line.startswith("calls="):
            is_call = True  # the next line is of what was called, which has lines of its own
        elif line[:1].isdigit():
            if ours and not is_call:
                total += int(line.split()[1])
            is_call = False
    return total


def judge(found: dict[str, float], allowed: dict[str, float]) -> list[str]:
    """What costs more than the table allows, or is not in it: a sentence each."""
    told = []
    for name, now in found.items():
        was = allowed.get(name)
        if was is None:
            told.append(f"{name}: {now:g} instructions a record, and none in the table")
        elif now > was * ALLOWED:
            more = (now / was - 1) * 100
            told.append(f"{name}: {now:g} instructions a record, {more:.0f} % more than {was:g}")
    return told


def table() -> dict[str, dict[str, float]]:
    return json.loads(TABLE.read_text()) if TABLE.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", metavar="PREFIX", help="kernels of that name")
    parser.add_argument("--renew", action="store_true", help="write this machine's column")
    options = parser.parse_args()
    if why := missing():
        parser.error(why)
    column = str(compiler())
    with tempfile.TemporaryDirectory(prefix="mdfeedd-gate-") as folder:
        found = count(build(Path(folder)), Path(folder), options.only)
    known = table()
    allowed = known.get(column, {})
    print(f"{column}: instructions a record")
    for name, now in found.items():
        was = allowed.get(name)
        print(f"{name:28}{now:10.2f}" + (f"{was:10.2f}{now / was:8.3f}" if was else ""))
    if options.renew:
        known[column] = allowed | found if options.only else found
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        return 0
    told = judge(found, allowed)
    for sentence in told:
        print(sentence, file=sys.stderr)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
