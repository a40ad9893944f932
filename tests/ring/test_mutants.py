"""Faults planted in a copy of `mdfeedd.h`: the tests of the tests.

Each mutant is one exact substitution (it must apply exactly once, so that a changed header cannot make
a mutant silently idle) and names the program that must find it and the words of the finding. Mutants
of the order in which a wake-up's lines stand, and of fences, cannot be seen by running on x86: those
are planted in the models (``test_model.py``).
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import NamedTuple

import pytest

SLEEPER_TIMEOUT_S = 1
TORN = "torn or stale"
TWO_WRITES = "    mdf_reserve_to(w, s + 1);\n    mdf_write_slot(w, s, (const uint8_t *)record);\n"
PUBLISH_END = "    mdf_store_release(&w->h->tail, s);\n    return s;\n"
LAST_STORE = "    mdf_store_release(&h->magic, MDF_RING_MAGIC);\n    if (mdf_name_file("
COPY_ONE = "    mdf_copy_words((uint64_t *)out, d, r->words);\n    mdf_fence_acquire();"
LOOK_ONE = "    uint64_t reserve = mdf_load(&r->h->reserve);\n    if (q == s &&"
COPY_LOOP = "    for (size_t i = 0; i < words; i += 8) { /* slots are multiples of 8 words */\n"
# No fault, but a reader that the scheduler stops in the middle of a copy, as may happen to any
SLOW_COPY = (
    COPY_LOOP,
    "    static __thread unsigned turn;\n"
    + COPY_LOOP
    + "        if (++turn % 1021 == 0) usleep(1);\n"
    + "        for (volatile unsigned k = turn % 61 ? 0 : turn % 2048; k; k--) {}\n",
)
COMMIT = "    mdf_store_release(d, seq); /* COMMIT */\n"


class Mutant(NamedTuple):
    name: str
    edits: tuple[tuple[str, str], ...]  # (text of the header, what stands there instead)
    program: str  # "crash_points SCENARIO", "stress MODE", "consumers", "corrupt" or "threads"
    finding: str  # a regular expression


MUTANTS = [
    Mutant(
        "recovery trusts the tail alone",
        (("== t + 1) t++;", "== t + 1) break;"),),
        "crash_points single",
        "the next writer goes on at",
    ),
    Mutant(
        "recovery lowers reserve",
        (
            (
                "w->reserved = mdf_load_acquire(&h->reserve); /* never lowered */",
                "w->reserved = t + 1; mdf_store(&h->reserve, t + 1);",
            ),
        ),
        "crash_points single",
        "reserve went back",
    ),
    Mutant(
        "recovery forgets what was reserved",
        (
            (
                "w->reserved = mdf_load_acquire(&h->reserve); /* never lowered */",
                "w->reserved = t + 1;",
            ),
            ("mdf_store(&w->h->reserve, to);", "mdf_store(&w->h->reserve, need);"),
        ),
        "crash_points twice",
        "is committed and not reserved|beyond its tail",
    ),
    Mutant(
        "recovery wakes nobody",
        (("    mdf_wake_all(w); /* unconditional,", "    /* unconditional,"),),
        "crash_points wake",
        "a sleeper was not woken",
    ),
    Mutant(
        "recovery does not raise the epoch",
        (("    mdf_store_release(&h->epoch, mdf_load(&h->epoch) + 1);\n", ""),),
        "crash_points single",
        "did not raise the epoch",
    ),
    Mutant(
        "recovery does not bring the tail up",
        (("    mdf_store_release(&h->tail, t);\n", ""),),
        "crash_points single",
        "left the tail behind",
    ),
    Mutant(
        "reserve stored after the payload",
        (
            (
                TWO_WRITES,
                (
                    "    mdf_write_slot(w, s, (const uint8_t *)record);\n"
                    "    mdf_reserve_to(w, s + 1);\n"
                ),
            ),
        ),
        "crash_points single",
        "is committed and not reserved",
    ),
    Mutant(
        "reserve one too low",
        (("    mdf_reserve_to(w, s + 1);", "    mdf_reserve_to(w, s);"),),
        "crash_points single",
        "is committed and not reserved",
    ),
    Mutant(
        "reserve of a batch one too low",
        (("    mdf_reserve_to(w, s0 + m);", "    mdf_reserve_to(w, s0 + m - 1);"),),
        "crash_points chunks",
        "is committed and not reserved",
    ),
    Mutant(
        "commit before the payload",
        (
            (COMMIT, ""),
            (
                "    uint64_t *d = mdf_slot(w->slots, seq, w->mask, w->words);\n",
                (
                    "    uint64_t *d = mdf_slot(w->slots, seq, w->mask, w->words);\n"
                    "    mdf_store_release(d, seq);\n"
                ),
            ),
        ),
        "crash_points single",
        TORN,
    ),
    Mutant(
        "tail before the commit",
        (
            (
                TWO_WRITES + PUBLISH_END,
                (
                    "    mdf_reserve_to(w, s + 1);\n    mdf_store_release(&w->h->tail, s);\n"
                    "    mdf_write_slot(w, s, (const uint8_t *)record);\n    return s;\n"
                ),
            ),
        ),
        "crash_points single",
        f"{TORN}|beyond the last commit",
    ),
    Mutant(
        "tail of a batch one too far",
        (
            (
                "mdf_store_release(&w->h->tail, s0 + m - 1);",
                "mdf_store_release(&w->h->tail, s0 + m);",
            ),
        ),
        "crash_points batch",
        f"{TORN}|beyond the last commit",
    ),
    Mutant(
        "one record: no look at reserve",
        (("if (q == s && s + r->capacity >= reserve) {", "if (q == s) {"),),
        "crash_points single",
        "read_one says 1",
    ),
    Mutant(
        "one record: the look is off by one",
        (
            (
                "if (q == s && s + r->capacity >= reserve) {",
                "if (q == s && s + r->capacity + 1 >= reserve) {",
            ),
        ),
        "crash_points single",
        "read_one says 1",
    ),
    Mutant(
        "one record: the look is too strict",
        (
            (
                "if (q == s && s + r->capacity >= reserve) {",
                "if (q == s && s + r->capacity > reserve) {",
            ),
        ),
        "crash_points single",
        "read_one says -1",
    ),
    Mutant(
        "one record: the look comes before the copy",
        (
            SLOW_COPY,
            (LOOK_ONE, "    if (q == s &&"),
            (COPY_ONE, "    uint64_t reserve = mdf_load(&r->h->reserve);\n" + COPY_ONE),
        ),
        "stress single",
        TORN,
    ),
    Mutant(
        "batch: the look comes before the copy",
        (
            SLOW_COPY,
            ("    mdf_fence_acquire();\n    reserve = mdf_load(&r->h->reserve);\n", ""),
        ),
        "stress batch",
        TORN,
    ),
    Mutant(
        "batch: the second look is off by a block",
        (
            SLOW_COPY,
            (
                "uint64_t bad = s + r->capacity < reserve ? reserve - r->capacity - s : 0;",
                "uint64_t bad = s + r->capacity + 64 < reserve ? reserve - r->capacity - s - 64 : 0;",
            ),
        ),
        "stress batch",
        TORN,
    ),
    Mutant(
        "batch: what was torn is not counted",
        (("    if (bad) mdf_reader_lose(r, s + bad);\n", ""), SLOW_COPY),
        "stress batch",
        "got",
    ),
    Mutant(
        "batch: one too many by the commit words",
        (("        if (ahead < 0) return n;\n", "        if (ahead < 0) return n + 1;\n"),),
        "stress batch",
        TORN,
    ),
    Mutant(
        "loss counted as one",
        (("    r->lost += to - r->next;\n", "    r->lost += 1;\n"),),
        "stress mixed",
        "got",
    ),
    Mutant(
        "payload by plain stores",
        (
            (
                (
                    "for (uint32_t i = 1; i < w->words; i++) "
                    "mdf_store(d + i, mdf_unaligned(record + 8 * (size_t)i));"
                ),
                "memcpy(d + 1, record + 8, 8 * (size_t)(w->words - 1));",
            ),
        ),
        "threads",
        "data race",
    ),
    Mutant(
        "flush wakes nobody",
        (("    if (mdf_load32(&w->registry->waiters)) {", "    if (0) {"),),
        "crash_points single",
        "a sleeper was not woken",
    ),
    Mutant(
        "a private futex",
        (
            (
                "return syscall(SYS_futex, word, op, value,",
                "return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value,",
            ),
        ),
        "crash_points wake",
        "a sleeper was not woken",
    ),
    Mutant(
        "named before it is whole",
        (
            (LAST_STORE, "    if (mdf_name_file("),
            (
                "    MDF_AFTER_STORE();\n    return 0;\n}\n\n/* Take an existing file",
                (
                    "    MDF_AFTER_STORE();\n    mdf_store_release(&h->magic, MDF_RING_MAGIC);\n"
                    "    return 0;\n}\n\n/* Take an existing file"
                ),
            ),
        ),
        "crash_points create",
        "what has the name is not whole",
    ),
    Mutant(
        "a killed replacement is left over",
        (("    unlink(temporary); /* left by a kill", "    /* left by a kill"),),
        "crash_points replace",
        "File exists",
    ),
    Mutant(
        "a replaced ring begins anew",
        (("last = mdf_load_acquire(&old->tail);", "last = 0;"),),
        "crash_points replace",
        "the next writer goes on at",
    ),
    Mutant(
        "a start before the segment is believed",
        (
            (
                "if (r->next < r->h->first_seq) mdf_reader_lose(r, r->h->first_seq);",
                "",
            ),
        ),
        "crash_points replace",
        "the new ring begins at|a late reader stopped early",
    ),
    Mutant(
        "two writers",
        (("    if (busy) return mdf_fail(err, MDF_E_BUSY,", "    if (0) return mdf_fail(err, 0,"),),
        "crash_points create",
        "two writers at once",
    ),
    Mutant(
        "an instrument half written is not carried out",
        (("    if (mdf_load_acquire(&h->intent)) mdf_instrument_carry_out(w);", "   "),),
        "crash_points instruments",
        "cannot be read",
    ),
    Mutant(
        "an instrument without its sequence lock",
        (
            ("    mdf_store32(&e->version, version);\n        mdf_fence_release();\n", ""),
            (
                "uint32_t version = mdf_load32(&e->version) | 1;",
                "uint32_t version = mdf_load32(&e->version) + 1;",
            ),
            (
                "(mdf_load(&h->intended[0]) >> 32 << 32) | version)",
                "(mdf_load(&h->intended[0]) >> 32 << 32) | (version - 1))",
            ),
        ),
        "crash_points instruments",
        "half of one and half of another",
    ),
    Mutant(
        "close wakes nobody",
        (
            (
                "        mdf_store32_release(&w->h->state, MDF_CLOSED);\n        mdf_wake_all(w);\n",
                "        mdf_store32_release(&w->h->state, MDF_CLOSED);\n",
            ),
        ),
        "crash_points close",
        "a sleeper was not woken",
    ),
    Mutant(
        "claims are not one at a time",
        (
            ("code = claims ? mdf_claim_begin(r->registry_fd, path, err) : 0;", "code = 0;"),
            (
                "        int64_t oldest = INT64_MAX;\n",
                "        int64_t oldest = INT64_MAX;\n        if (pass) usleep(1000);\n",
            ),
        ),
        "consumers",
        "living consumers of one name",
    ),
    Mutant(
        "a consumer's acknowledgement is forgotten when it comes back",
        (
            (
                "(mdf_load32(&c->says_acked) ? mdf_load(&c->acked) : mdf_load(&c->cursor)) + 1",
                "mdf_load(&c->cursor) + 1",
            ),
        ),
        "consumers",
        "after what it acknowledged",
    ),
    Mutant(
        "offsets may wrap",
        ((" || h->data_off > size ||", " ||"),),
        "corrupt",
        "an offset that wraps was believed|AddressSanitizer",
    ),
    Mutant(
        "the file's size is not looked at",
        (("    if (h->total_size != size || c <", "    size = h->total_size; if (c <"),),
        "corrupt",
        "AddressSanitizer|a truncated ring was read",  # a page cut off, or read from the one left
    ),
]
PLAIN = ("-std=c11", "-O0", "-Wno-unused")  # compiled anew for each mutant
OPTIMISED = ("-std=c11", "-O2", "-g", "-Wno-unused")


def mutate(header: str, *edits: tuple[str, str]) -> str:
    for old, new in edits:
        assert header.count(old) == 1, f"{header.count(old)} times in the header: {old!r}"
        header = header.replace(old, new)
    return header


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name.replace(" ", "-"))
def test_mutant_is_found(compile_c, shm_dir, header, mutant):
    text = mutate(header, *mutant.edits)
    program, _, argument = mutant.program.partition(" ")
    if program == "crash_points":
        command = [compile_c("crash_points.c", flags=PLAIN, header=text)]
        arguments = [argument, SLEEPER_TIMEOUT_S]
    elif program == "stress":
        command = [compile_c("stress.c", flags=OPTIMISED, header=text)]
        arguments = [3, argument, 64, 4, "processes"]
    elif program == "threads":
        flags = (*PLAIN, "-fsanitize=thread", "-Wno-tsan")
        command = [compile_c("stress.c", flags=flags, compiler="gcc", header=text)]
        arguments = [2, "mixed", 128, 2, "threads"]
    else:
        flags = (*PLAIN, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
        command = [compile_c(f"{program}.c", flags=flags, header=text)]
        arguments = []
    done = subprocess.run(
        [str(c) for c in (*command, shm_dir, *arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1"},  # one finding is enough
        timeout=120,
        check=False,
    )
    assert done.returncode != 0, "the fault was not noticed"
    assert re.search(mutant.finding, done.stderr), done.stderr


@pytest.mark.parametrize("mode", ["single", "batch"])
def test_stopped_in_the_middle_of_a_copy(compile_c, shm_dir, header, mode):
    program = compile_c("stress.c", flags=OPTIMISED, header=mutate(header, SLOW_COPY))
    subprocess.run([program, shm_dir, "1", mode, "64", "4", "processes"], check=True, timeout=60)
