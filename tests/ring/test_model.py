"""The protocol's models: every interleaving, every kill, and their planted faults.

`spin` (Debian package ``spin``) is exhaustive under sequential consistency, with the writer killed
before any step. GenMC runs the real functions of `mdfeedd.h` under RC11 and IMM, and herd7 the fences
under AArch64: both must be built from source, and their tests skip where they are missing. What they
would find ``test_weak.py`` finds everywhere, and it checks that the spin models are the header's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
MODELS = HERE / "model"
HEADER_FOLDER = HERE.parent.parent / "mdfeedd" / "ring"
TIMEOUT_S = 280

# options of ring.pml: what is explored to the end
SOUND = {
    "no kill": "-DKILLS=0 -DLAST=4",
    "one record, killed": "-DKILLS=1 -DLAST=4 -DBLOCK=2",
    "one record, killed twice": "-DKILLS=2 -DLAST=3",
    "batch reader, killed": "-DKILLS=1 -DLAST=3 -DPATHS=1",
    "batches, killed": "-DKILLS=1 -DLAST=4 -DCAP=4 -DBLOCK=2 -DBURST=2 -DPATHS=1",
    "two readers": "-DKILLS=0 -DREADERS=2 -DLAST=2 -DPATHS=2",
    "two readers, killed": "-DKILLS=1 -DREADERS=2 -DLAST=2 -DPATHS=2",
}
ONE = "-DKILLS=1 -DLAST=3"
CALM = "-DKILLS=0 -DLAST=3"
BATCH = "-DKILLS=0 -DLAST=4 -DPATHS=1"
PAIR = "-DKILLS=1 -DREADERS=2 -DLAST=2 -DPATHS=2"
FAULTS = {
    "recovery trusts the tail alone": f"{PAIR} -DM_TAIL_ONLY",
    "recovery lowers reserve": f"{ONE} -DM_LOWER_RESERVE",
    "recovery wakes nobody": f"{ONE} -DM_NO_WAKE",
    "recovery clears the flag": f"{ONE} -DM_CLEAR_WAITERS",
    "wake without generation": f"{CALM} -DM_NO_GENERATION",
    "generation before the flag is cleared": f"{CALM} -DM_GENERATION_FIRST",
    "generation read after announcing": f"{CALM} -DM_GENERATION_LATE",
    "flag cleared after the wake": f"{CALM} -DM_NO_CLEAR",
    "reserve after the payload": f"{CALM} -DM_LATE_RESERVE",
    "reserve one too low": f"{CALM} -DM_LOW_RESERVE",
    "commit before the payload": f"{CALM} -DM_COMMIT_FIRST",
    "tail before the commit": f"{BATCH} -DM_TAIL_FIRST",
    "no look": f"{CALM} -DM_NO_LOOK",
    "no look, batch": f"{BATCH} -DM_NO_LOOK",
    "look before the copy": f"{CALM} -DM_LOOK_FIRST",
    "look before the copy, batch": f"{BATCH} -DM_LOOK_FIRST",
    "off by one": f"{CALM} -DM_OFF_BY_ONE",
    "off by one, batch": f"{BATCH} -DM_OFF_BY_ONE",
    "loss counted as one": f"{BATCH} -DLAST=6 -DM_LOSS_ONE".replace("-DLAST=4 ", ""),
}
INSTRUMENT_FAULTS = ("NO_JOURNAL", "INTENT_FIRST", "NO_ODD", "EVEN_FIRST", "COUNT_FIRST")


def explore(model: str, options: str, folder: Path, *, whole: bool) -> tuple[int, str]:
    """Errors that Spin finds, and its report; every state was visited if it finds none.

    `whole`: none is expected. Where one is, it is found long before a compiler's optimizer would be through.
    """
    for tool in ("spin", "cc"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool} on PATH (Debian packages: spin, gcc)")
    for command in (
        ["spin", "-a", *options.split(), str(MODELS / model)],
        [
            "cc",
            "-O2" if whole else "-O0",
            "-DSAFETY",
            "-DCOLLAPSE",
            "-DMEMLIM=3000",
            "-w",
            "-o",
            "pan",
            "pan.c",
        ],
    ):
        made = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert made.returncode == 0, made.stdout + made.stderr
    done = subprocess.run(
        ["./pan", "-m100000", "-n", "-w24" if whole else "-w20"],  # as many places as states
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    found = re.search(r"errors: (\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert "max search depth too small" not in done.stdout
    assert "out of memory" not in done.stdout
    return int(found[1]), done.stdout


@pytest.mark.parametrize("case", SOUND)
def test_ring_holds_in_every_interleaving(tmp_path, case):
    errors, report = explore("ring.pml", SOUND[case], tmp_path, whole=True)
    assert errors == 0, report


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_the_ring_model_is_found(tmp_path, fault):
    errors, report = explore("ring.pml", FAULTS[fault], tmp_path, whole=False)
    assert errors > 0, report


def test_instruments_hold_in_every_interleaving(tmp_path):
    errors, report = explore("instruments.pml", "", tmp_path, whole=True)
    assert errors == 0, report


@pytest.mark.parametrize("fault", INSTRUMENT_FAULTS)
def test_fault_in_the_instruments_model_is_found(tmp_path, fault):
    errors, report = explore("instruments.pml", f"-DM_{fault}", tmp_path, whole=False)
    assert errors > 0, report


# ------------------------------------------------------------- the real functions, weak memory orders

GENMC_RUNS = {
    "one record": ("ring_genmc.c", "-DLAST=3 -DTRIES=2"),
    "one record, block of two": ("ring_genmc.c", "-DLAST=3 -DTRIES=2 -DBLOCK=2"),
    "batch": ("ring_genmc.c", "-DBATCH=1 -DLAST=3 -DTRIES=2"),
    "batch by the tail": ("ring_genmc.c", "-DBATCH=2 -DLAST=3 -DTRIES=2"),
    "wake": ("wake_genmc.c", "-DLAST=2"),
}
FENCE_R = "    mdf_fence_acquire(); /* the copy before the look at `reserve` */\n"
FENCE_W = "    mdf_fence_release(); /* before every payload store of the block"
GENERATION = (
    "    *gen = mdf_load32_acquire(&r->h->wake_gen);\n"
    "    if (r->registry) __atomic_store_n(&r->registry->waiters, 1u, __ATOMIC_RELAXED);\n"
)
# a fault in the header, and the run that must find it
WEAK_FAULTS = {
    "no release fence after reserve": (FENCE_W, "    /*", "one record"),
    "no release fence, batch": (FENCE_W, "    /*", "batch"),
    "no acquire fence before the look": (FENCE_R, "", "one record"),
    "no acquire fence before the look, batch": (
        "    mdf_fence_acquire();\n    reserve = mdf_load",
        "    reserve = mdf_load",
        "batch",
    ),
    "commit relaxed": (
        "mdf_store_release(d, seq); /* COMMIT */",
        "mdf_store(d, seq);",
        "one record",
    ),
    "commit read relaxed": ("q = mdf_load_acquire(d);", "q = mdf_load(d);", "one record"),
    "tail relaxed": (
        "    mdf_store_release(&w->h->tail, s);\n    return s;",
        "    mdf_store(&w->h->tail, s);\n    return s;",
        "batch by the tail",
    ),
    "flush without its fence": ("    mdf_fence_full(); /* StoreLoad: the tail", "    /*", "wake"),
    "waiter without its fence": (
        "    mdf_fence_full();\n    return mdf_ready(r);",
        "    return mdf_ready(r);",
        "wake",
    ),
    "generation raised relaxed": (
        "    mdf_store32_release(&w->h->wake_gen, ++w->wake_gen);",
        "    mdf_store32(&w->h->wake_gen, ++w->wake_gen);",
        "wake",
    ),
    "generation read after announcing": (
        GENERATION,
        "\n".join(reversed(GENERATION.rstrip("\n").split("\n"))) + "\n",
        "wake",
    ),
}


def check_weak(
    run: str, memory_model: str, header_folder: Path
) -> subprocess.CompletedProcess[str]:
    source, options = GENMC_RUNS[run]
    if not shutil.which("genmc"):
        pytest.skip("no genmc on PATH (built from source: github.com/MPI-SWS/genmc)")
    command = ["genmc", f"--{memory_model}", "--", "-D_GNU_SOURCE", f"-I{header_folder}"]
    return subprocess.run(
        [*command, *options.split(), str(MODELS / source)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize("memory_model", ["rc11", "imm"])
@pytest.mark.parametrize("run", GENMC_RUNS)
def test_header_holds_under_weak_memory(run, memory_model):
    done = check_weak(run, memory_model, HEADER_FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No errors were detected" in done.stdout


@pytest.mark.parametrize("fault", WEAK_FAULTS)
def test_weak_fault_in_the_header_is_found(tmp_path, header, fault):
    old, new, run = WEAK_FAULTS[fault]
    assert header.count(old) == 1, "the header changed: plant the fault anew"
    (tmp_path / "mdfeedd.h").write_text(header.replace(old, new))
    done = check_weak(run, "rc11", tmp_path)
    assert "Error" in done.stdout + done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("run", GENMC_RUNS)
def test_weak_memory_harness_runs_natively(tmp_path, run):
    """The harness is kept compiling and right on this machine also where GenMC is missing."""
    source, options = GENMC_RUNS[run]
    program = tmp_path / "harness"
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-O1"]
    command += ["-D_GNU_SOURCE", f"-I{HEADER_FOLDER}", *options.split(), str(MODELS / source)]
    subprocess.run([*command, "-o", str(program), "-pthread"], check=True, timeout=60)
    for _ in range(50):
        subprocess.run([program], check=True, timeout=60)


FENCES = {  # a litmus file, and one instruction without which the forbidden outcome appears
    "overwrite_aarch64.litmus": ["DMB ISH  ", "DMB ISHLD"],
    "commit_aarch64.litmus": ["STLR W6,[X3]"],
    "wake_aarch64.litmus": ["DMB ISH  "],
}
WEAKER = {"DMB ISH  ": "NOP      ", "DMB ISHLD": "NOP      ", "STLR W6,[X3]": "STR W6,[X3] "}


def observe(path: Path) -> str:
    if not shutil.which("herd7"):
        pytest.skip("no herd7 on PATH (built from source: github.com/herd/herdtools7)")
    done = subprocess.run(
        ["herd7", str(path)], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    found = re.search(r"^Observation \S+ (\w+)", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return found[1]


@pytest.mark.parametrize("litmus", FENCES)
def test_order_is_kept_on_aarch64(litmus):
    assert observe(MODELS / litmus) == "Never"


@pytest.mark.parametrize("litmus", FENCES)
def test_order_is_lost_without_the_fence_on_aarch64(tmp_path, litmus):
    text = (MODELS / litmus).read_text()
    for instruction in FENCES[litmus]:
        assert instruction in text
        path = tmp_path / litmus
        path.write_text(text.replace(instruction, WEAKER[instruction], 1))
        assert observe(path) == "Sometimes"
