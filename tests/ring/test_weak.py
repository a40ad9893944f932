"""The header itself under C11's weak memory, and every order in it: needed, and why, or not.

``c/weak.h`` is a small model checker: `__atomic_load_n`, `__atomic_store_n`, the fences and the futex of `mdfeedd.h`
are made its own, and the functions run in every schedule, with every value that each load may take, and a kill of
the writer at every store. `tests.ring.orders` lists every acquire, release and fence of the protocol in the header's order: each
is weakened in turn, and the case named must find it; or it says why nothing here does. A header with another
order in it fails until the list says of it what it is for.

All cases and all weakenings, for minutes: ``MDFEEDD_WEAK=all pytest tests/ring/test_weak.py``.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ring.accesses import of_header, of_model
from tests.ring.orders import FUNCTION, ORDERS, sites, weakened

MODELS = Path(__file__).resolve().parent / "model"
ALL = os.environ.get("MDFEEDD_WEAK") == "all"
CASES = [
    "one",
    "batch",
    "batch_tail",
    "publish_batch",
    "killed",
    "killed_batch",
    "killed_batch_tail",
    "closed",
    "wake",
    "wake_again",
    "instruments",
    "named",
]
LONG = ["one_long", "wake_two"]
FAST = ("-std=c11", "-O2")
PLAIN = ("-std=c11", "-O0", "-Wno-unused")  # compiled anew for each fault


def run(program: Path, case: str, limit_s: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, case], capture_output=True, text=True, timeout=limit_s, check=False
    )


def test_checker_knows_the_litmus_tests(compile_c):
    done = subprocess.run(
        [compile_c("weak_litmus.c", flags=FAST)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES + LONG * ALL)
def test_header_holds_in_every_execution(compile_c, case):
    done = run(compile_c("weak_ring.c", flags=FAST), case)
    assert done.returncode == 0, done.stderr
    name, executions = done.stdout.split()
    assert name == case
    assert int(executions) > 1, "hardly anything was explored"


def test_reader_of_a_closed_ring_has_read_everything(header):
    """What the case "closed" stores in the name of mdf_writer_close is what that stores."""
    assert header.count("mdf_store32_release(&w->h->state, MDF_CLOSED);") == 1


def test_list_names_every_order_of_the_header(header):
    found = [
        (FUNCTION.findall(header, 0, site.start())[-1], site.group()) for site in sites(header)
    ]
    assert found == [(one.function, one.text) for one in ORDERS]
    assert all(bool(one.needed) != bool(one.why) for one in ORDERS)


NEEDED = [i for i, one in enumerate(ORDERS) if one.needed]


@pytest.mark.parametrize("i", NEEDED, ids=lambda i: f"{i}-{ORDERS[i].function}")
def test_weakened_order_is_found(compile_c, header, i):
    text = weakened(header, sites(header)[i])
    done = run(compile_c("weak_ring.c", flags=PLAIN, header=text), ORDERS[i].needed)
    assert done.returncode == 1, f"{ORDERS[i]} is not needed"
    assert "violates" in done.stderr


@pytest.mark.skipif(not ALL, reason="minutes; MDFEEDD_WEAK=all runs it")
@pytest.mark.parametrize("i", sorted(set(range(len(ORDERS))) - set(NEEDED)))
def test_order_that_no_case_needs(compile_c, header, i):
    """If one does, it should be said above."""
    text = weakened(header, sites(header)[i])
    program = compile_c("weak_ring.c", flags=FAST, header=text)
    assert [case for case in CASES if run(program, case).returncode] == []


# Faults that are no orders of memory: a check skipped, lines changed about


GENERATION = "    *gen = mdf_load32_acquire(&r->h->wake_gen);\n"
ANNOUNCE = "    if (r->registry) __atomic_store_n(&r->registry->waiters, 1u, __ATOMIC_RELAXED);\n"
GENERATION_LATE = (GENERATION + ANNOUNCE, ANNOUNCE + GENERATION)
CLEAR = "        mdf_store32(&w->registry->waiters, 0);"
COUNT_WAKE = (
    "        mdf_store(&w->h->wakes, mdf_load(&w->h->wakes) + 1);\n        mdf_wake_all(w);\n"
)
EVEN = "        mdf_store32_release(&e->version, version + 1);\n"
COUNT = "        if (index == count) mdf_store_release(&h->instruments_count, count + 1);\n"
LINES = {
    "one record: no look": (
        ("if (q == s && s + r->capacity >= reserve) {", "if (q == s) {"),
        "one",
    ),
    "batch: no second look": (
        ("    if (bad > n) bad = n;\n", "    bad = 0;\n"),
        "batch",
    ),
    "recovery lowers reserve": (
        ("w->reserved = mdf_load_acquire(&h->reserve);", "w->reserved = t + 1; mdf_store(&h->reserve, t + 1);"),
        "killed",
    ),
    "recovery trusts the tail alone": (("== t + 1) t++;", "== t + 1) break;"), "killed"),
    "generation raised before the flag is cleared": (
        (
            f"{CLEAR} /* clear first, then raise the generation */\n{COUNT_WAKE}",
            f"{COUNT_WAKE}{CLEAR}\n",
        ),
        "wake_again",
    ),
    "generation read after announcing": (GENERATION_LATE, "wake_again"),
    "a private futex": (("syscall(SYS_futex, word, op, value", "syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value"), "wake"),
    "an instrument read without a second look": (("if (mdf_load32(&e->version) == v) return 0;", "return 0;"), "instruments"),
}  # fmt: skip


@pytest.mark.parametrize("fault", LINES)
def test_fault_is_found(compile_c, header, fault):
    (old, new), case = LINES[fault]
    assert header.count(old) == 1, "the header changed: plant the fault anew"
    done = run(compile_c("weak_ring.c", flags=PLAIN, header=header.replace(old, new)), case)
    assert done.returncode == 1, "the fault was not noticed"
    assert "violates" in done.stderr


# The spin models have the header's loads and stores, in its order

RING = {"word0", "word1", "word2", "reserve", "tail", "wake_gen", "waiters"}
INSTRUMENTS = {"version", "word1", "word2", "count", "intent"}
CALLS = {"after_burst", "wait", "lose", "accept", "recover"}


def modelled() -> dict[str, list[str]]:
    """By function of the header: what its model does."""
    ring, table = MODELS / "ring.pml", MODELS / "instruments.pml"
    found = {
        name: of_model(ring, name, RING, without=CALLS)
        for name in ("recover", "flush", "read_one", "read_batch", "wait")
    }
    whole = of_model(ring, "Writer", RING, without=CALLS)
    found["publish"] = found["publish_batch"] = whole[: -len(found["flush"])]
    assert whole == found["publish"] + found["flush"]
    found["carry_out"] = of_model(table, "carry_out", INSTRUMENTS, without=set())
    found["read_instrument"] = of_model(table, "Reader", INSTRUMENTS, without=set())
    return found


def comparable(name: str, events: list[str]) -> list[str]:
    """Without what only one of them has."""
    known = INSTRUMENTS if name in ("carry_out", "read_instrument") else RING
    kept = [e for e in events if e.split()[-1] in known or e in ("wake", "sleep")]
    if name == "carry_out":  # the model knows beforehand what the header reads
        kept = [e for e in kept if e.startswith("W")]
    return [*kept[:-2], "sleep"] if kept[-2:] == ["R wake_gen", "sleep"] else kept


def differences(program: Path) -> list[str]:
    real, model = of_header(program), modelled()
    assert set(real) == set(model)
    assert all(len(events) > 2 for events in real.values())
    return [n for n in real if comparable(n, real[n]) != comparable(n, model[n])]


@pytest.fixture(autouse=True)
def possible():
    if not shutil.which("cpp"):
        pytest.skip("no cpp on PATH (Debian package: gcc)")
    if platform.machine() != "x86_64":
        pytest.skip("the checker takes hold of mdf_pause by its x86 builtin")


def test_models_have_the_steps_of_the_header(compile_c):
    assert differences(compile_c("accesses.c", flags=PLAIN)) == []


MOVED = {
    "tail before the records": (
        "    mdf_write_slot(w, s, (const uint8_t *)record);\n    mdf_store_release(&w->h->tail, s);\n",
        "    mdf_store_release(&w->h->tail, s);\n    mdf_write_slot(w, s, (const uint8_t *)record);\n",
        "publish",
    ),
    "reserve after the records": (
        "    mdf_reserve_to(w, s + 1);\n    mdf_write_slot(w, s, (const uint8_t *)record);\n",
        "    mdf_write_slot(w, s, (const uint8_t *)record);\n    mdf_reserve_to(w, s + 1);\n",
        "publish",
    ),
    "no look at reserve behind the copy": (
        "    mdf_fence_acquire();\n    reserve = mdf_load(&r->h->reserve);\n",
        "    mdf_fence_acquire();\n",
        "read_batch",
    ),
    "the announcement before the generation is read": (*GENERATION_LATE, "wait"),
    "the tail stored before reserve is read": (
        "    w->reserved = mdf_load_acquire(&h->reserve); /* never lowered */\n",
        "    mdf_store(&h->tail, t); w->reserved = mdf_load_acquire(&h->reserve);\n",
        "recover",
    ),
    "the count before the entry": (EVEN + COUNT, COUNT + EVEN, "carry_out"),
}  # fmt: skip


@pytest.mark.parametrize("move", MOVED)
def test_models_do_not_drift(compile_c, header, move):
    """A header whose steps are moved is not what the models have."""
    old, new, function = MOVED[move]
    assert header.count(old) == 1, "the header changed: move it anew"
    program = compile_c("accesses.c", flags=PLAIN, header=header.replace(old, new))
    assert function in differences(program)
