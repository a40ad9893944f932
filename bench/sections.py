"""Which parts of a benchmark are to run: what `--only` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection


def selected(parser: argparse.ArgumentParser, only: str, names: Collection[str]) -> list[str]:
    """The names in `only`, with commas between; ends the program for one that is not of `names`."""
    wanted = only.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"--only takes {', '.join(names)}, not {', '.join(sorted(unknown))}")
    return wanted
