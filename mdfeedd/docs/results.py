"""What the benchmarks have kept, and how to get at a figure of it.

bench/results/*.json ─► load() ─► at(result, "figures.native.single.mps")
                               └► medians() of rounds, machine_of()
"""

from __future__ import annotations

import json
import re
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Results", "at", "load", "machine_of", "medians"]

Results = dict[str, Any]


def load(folder: Path) -> Results:
    """Each result by the name of its file; of one with several runs the last."""
    results = {}
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        results[path.stem] = found[-1] if isinstance(found, list) else found
    return results


def machine_of(result: Results) -> dict[str, Any]:
    """What was written of the machine: beside the figures, or in a mapping of its own, here or one below."""
    for found in (result, *(value for value in result.values() if isinstance(value, dict))):
        machine = found.get("machine")
        if isinstance(machine, dict):
            return machine
    return result


def at(result: Any, path: str) -> Any:
    """The value at a path of keys with dots between; of rounds on the way the median, or the one of a number.

    A dot of a key itself is written with a backslash before it. Raises `KeyError`.
    """
    for key in re.split(r"(?<!\\)\.", path):
        if isinstance(result, list):
            result = result[int(key)] if key.isdigit() else medians(result)[key]
        else:
            result = result[key.replace("\\.", ".")]
    return result


def medians(rounds: Sequence[Any]) -> Any:
    """One value in place of many of one shape: the median of each number, of the rounds that have it."""
    first = rounds[0]
    if isinstance(first, dict):
        keys = dict.fromkeys(key for one in rounds for key in one)
        return {key: medians([one[key] for one in rounds if key in one]) for key in keys}
    if isinstance(first, bool) or not isinstance(first, int | float):
        return first
    return statistics.median(rounds)
