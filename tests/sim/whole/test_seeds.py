"""The whole daemon from thousands of seeds: nothing lost in silence, nothing twice, nothing made up.

MDFEEDD_SIM_SEEDS says how many. A seed that fails is told with its command and its last moments. What a seed
once found has a test of its own where it was mended: a change of what is drawn makes other worlds of all seeds.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("greenlet", reason="the simulation's processes are greenlets")

from mdfeedd.sim.whole.play import MARKS, play
from mdfeedd.sim.whole.report import command, shrink, tell

SEEDS = int(os.environ.get("MDFEEDD_SIM_SEEDS", "1500"))
CHUNKS = 16
RARE = {  # in any chunk, that is
    "journal torn", "journal lapped", "reader lapped", "batch dropped", "sequence anew",
}  # fmt: skip
FREQUENT = MARKS.keys() - RARE
MOST_TOLD = 3  # failing seeds of a chunk, before it is given up


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_world_holds_whatever_goes_wrong(chunk: int) -> None:
    failed: list[str] = []
    marks: set[str] = set()
    for seed in range(chunk, SEEDS, CHUNKS):
        result = play(seed)
        marks |= result.marks
        if result.violations:
            failed.append(tell(shrink(result)))
        if len(failed) == MOST_TOLD:
            break
    assert not failed, "\n\n".join(failed)
    if SEEDS >= 1_000:  # then each chunk has enough of them
        assert marks >= FREQUENT


def test_rare_paths_are_taken() -> None:
    """Each by some seed of a few hundred: else the worlds have become too tame to show anything."""
    missing = set(RARE)
    for seed in range(10_100, 10_400):
        if not missing:
            break
        missing -= play(seed, vendors=("cme",)).marks
    assert not missing


def test_same_seed_gives_the_same_trace() -> None:
    for seed in (5, 8, 31):
        once, again = play(seed), play(seed)
        assert once.notes == again.notes
        assert once.digest == again.digest
        assert once.records == again.records > 0


FIRST = """
import sys
from mdfeedd.sim.whole.play import play
before = set(sys.modules)
digests = [play(seed).digest for _ in range(2) for seed in range(8)]
assert digests[:8] == digests[8:], "the first worlds of a process are others"
print(sorted(name for name in set(sys.modules) - before if name.startswith("mdfeedd.")))
"""


def test_first_worlds_of_a_process_are_those_of_any_other() -> None:
    """Of a module that is loaded within a world, time and chance would be the host's."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_seeds_differ() -> None:
    assert len({play(seed).digest for seed in range(6)}) == 6


def test_command_of_a_failing_seed_names_what_it_takes() -> None:
    told = command(7, frozenset({"stall", "kill"}), ("cme",))
    assert told == (
        "python -m mdfeedd.sim --seeds 1 --start 7 --without kill --without stall --vendor cme --trace"
    )
