"""``python -m mdfeedd.sim``: the whole daemon, simulated, from as many seeds as you have time for."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mdfeedd.sim",
        description="Simulate the whole daemon: feeds, rings, journals, batches, bars and strategies in one "
        "process, on virtual time, with faults; everything is drawn from the seed, and checked.",
    )
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many (100)")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first of them (0)")
    parser.add_argument(
        "--vendor", action="append", metavar="V",
        help="only this one (may be repeated): else each seed draws one, two or all",
    )  # fmt: skip
    parser.add_argument(
        "--without", action="append", default=[], metavar="F",
        help="leave out a family of faults: kill, stall, disk, outage, clock, reload, stop, loss, ...",
    )  # fmt: skip
    parser.add_argument("--trace", action="store_true", help="print all that happened, in order")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """0: every seed holds; 1: one does not, and is told; 2: nothing can be played."""
    arguments = _arguments(given)
    try:
        from mdfeedd.sim.whole import report  # noqa: PLC0415 - greenlet may be missing
        from mdfeedd.sim.whole.play import FAMILIES, play  # noqa: PLC0415
        from mdfeedd.sim.whole.vendors import ACTORS  # noqa: PLC0415
    except ImportError as error:
        sys.stderr.write(f"{error}: pip install 'mdfeedd[sim]'\n")
        return 2
    vendors = tuple(sorted(set(arguments.vendor))) if arguments.vendor else None
    without = frozenset(arguments.without)
    for unknown in sorted({*(vendors or ())} - ACTORS.keys()) + sorted(without - {*FAMILIES}):
        known = ", ".join([*ACTORS, *FAMILIES])
        sys.stderr.write(
            f"{unknown}: there is no such vendor or family of faults (there are: {known})\n"
        )
        return 2
    failed, records, kills, longest_s = [], 0, 0, 0.0
    began = time.process_time()
    for seed in range(arguments.start, arguments.start + arguments.seeds):
        result = play(seed, vendors=vendors, without=without)
        records, kills = records + result.records, kills + result.kills
        longest_s = max(longest_s, result.recovery_s)
        if arguments.trace:
            sys.stdout.write("\n".join(report.trace(result, None)) + "\n")
        if not result.violations:
            continue
        failed.append(seed)
        shrunk = report.Shrunk(result, without, vendors)
        sys.stdout.write(
            report.tell(shrunk if arguments.trace else report.shrink(result, vendors)) + "\n"
        )
        sys.stdout.flush()
    spent_s = time.process_time() - began
    sys.stdout.write(
        f"{arguments.seeds} seeds, {len(failed)} failed; {records} records, {kills} kills, recovered within "
        f"{longest_s:.1f} s of virtual time; {spent_s / max(1, arguments.seeds) * 1e3:.0f} ms of CPU a seed\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
