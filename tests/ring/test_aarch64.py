"""The header as ARM machine code: the barriers that its orders need are there, and it runs.

A cross compiler makes the code (Debian: gcc-aarch64-linux-gnu), objdump shows it: an acquire load is LDAR (or LDAPR), a
release store STLR, a release or full fence DMB ISH, an acquire fence DMB ISHLD. Each order of the protocol must have
its instruction in each function that it is in; taking one out must show. What the instructions forbid is what
ARM promises, not what was seen: ``test_weak.py`` says which orders are needed.

Under qemu-user (Debian: qemu-user) readers and a writer run as ARM processes: layout, futexes and locks work there. It
says nothing of the order in which an ARM processor does what it does: an x86 host keeps more of it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.ring.orders import FUNCTION, ORDERS, sites, weakened
from tests.ring.test_sanitizers import check_counts

GCC, OBJDUMP, QEMU = "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objdump", "qemu-aarch64"
SOURCES = Path(__file__).resolve().parent / "c"
HEADER_FOLDER = SOURCES.parents[2] / "mdfeedd" / "ring"
INSTRUCTION = re.compile(r"\t(ldapr|ldar|stlr|dmb\t\w+)")
MADE_OF = {"load_acquire": "ldar", "store_release": "stlr", "fence_release": "dmb ish",
           "fence_full": "dmb ish", "fence_acquire": "dmb ishld"}  # fmt: skip
SECONDS = 1


def barriers(folder: Path, include: Path) -> dict[str, Counter[str]]:
    """By function: how often each instruction of ours is in its code, with all that is put into it."""
    if not shutil.which(GCC) or not shutil.which(OBJDUMP):
        pytest.skip(f"no {GCC} on PATH (Debian package: gcc-aarch64-linux-gnu)")
    compiled = folder / "orders.o"
    subprocess.run(
        [GCC, "-std=c11", "-O2", "-Wall", "-Wextra", "-Wno-unused", "-D_GNU_SOURCE", f"-I{include}",
         "-c", str(SOURCES / "orders.c"), "-o", str(compiled)],
        check=True, timeout=120,
    )  # fmt: skip
    listing = subprocess.run(
        [OBJDUMP, "-d", "--no-show-raw-insn", str(compiled)],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    found: dict[str, Counter[str]] = {}
    for block in re.split(r"\n(?=[0-9a-f]+ <)", listing):
        name = re.match(r"[0-9a-f]+ <(?:o|mdf)_(\w+)>:", block)
        if name:
            words = (
                w.replace("\t", " ").replace("ldapr", "ldar") for w in INSTRUCTION.findall(block)
            )
            found[f"mdf_{name[1]}"] = found.get(f"mdf_{name[1]}", Counter()) + Counter(words)
    return found


def wanted(header: str) -> dict[str, Counter[str]]:
    """By function: what its own orders are made of."""
    found: dict[str, Counter[str]] = {}
    for site in sites(header):
        function = FUNCTION.findall(header, 0, site.start())[-1]
        kind = re.match(r"mdf_(load|store|fence)(?:32)?_(\w+?)\(", site.group())
        found.setdefault(function, Counter())[MADE_OF[f"{kind[1]}_{kind[2]}"]] += 1
    return found


def missing(there: dict[str, Counter[str]], due: dict[str, Counter[str]]) -> list[str]:
    return [
        f"{function}: {n} {what}, not {there.get(function, Counter())[what]}"
        for function, counts in due.items()
        for what, n in counts.items()
        if there.get(function, Counter())[what] < n
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return barriers(tmp_path_factory.mktemp("whole"), HEADER_FOLDER)


def test_every_order_has_its_instruction(whole, header):
    assert missing(whole, wanted(header)) == []


#: Those that no execution of test_weak.py needs, and one of each kind that does
UNSEEN = [i for i, one in enumerate(ORDERS) if one.why] + [
    next(i for i, one in enumerate(ORDERS) if one.needed and part in one.text)
    for part in ("fence_release", "fence_acquire", "fence_full", "load_acquire", "store_release")
]


@pytest.mark.parametrize("i", UNSEEN, ids=lambda i: f"{i}-{ORDERS[i].function}")
def test_order_taken_out_shows(tmp_path, whole, header, i):
    (tmp_path / "mdfeedd.h").write_text(weakened(header, sites(header)[i]))
    less = barriers(tmp_path, tmp_path)
    assert sum(whole[ORDERS[i].function].values()) > sum(less[ORDERS[i].function].values())
    assert missing(less, whole) != []


@pytest.mark.parametrize("slot_size", [64, 128])
def test_arm_processes_lap_each_other(compile_c, shm_dir, slot_size):
    if not shutil.which(QEMU):
        pytest.skip(f"no {QEMU} on PATH (Debian package: qemu-user)")
    program = compile_c("stress.c", flags=("-std=c11", "-O2", "-static"), compiler=GCC)
    done = subprocess.run(
        [QEMU, program, shm_dir, str(SECONDS), "mixed", str(slot_size), "2", "processes"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check_counts(done.stdout, 2)
