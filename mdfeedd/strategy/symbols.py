"""One name for what is called differently by each feed: ``{"ESZ4": {"databento": "ESZ4", "bloomberg": "ESZ4 Index"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mdfeedd.options import OptionsError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SymbolMap", "load_symbols", "symbol_map"]

SymbolMap = Mapping[str, Mapping[str, str]]
"""Name -> feed -> how the feed, or its vendor, calls it."""


def load_symbols(path: str | Path) -> dict[str, dict[str, str]]:
    """The section ``symbols`` of a configuration file, and of what it includes; empty where there is none.

    Nothing else of the file is checked but the names of its feeds, so a strategy's host needs none of the packages of
    feeds and sinks. Raises `mdfeedd.daemon.config.ConfigError`, a `ValueError`, with every mistake of the section.
    """
    from mdfeedd.daemon import symbols  # noqa: PLC0415 - pydantic and YAML, for those who have a file

    return symbols.load(path)


def symbol_map(given: SymbolMap | str | Path | None) -> dict[str, dict[str, str]]:
    """What a reader was given as ``symbols=``. Raises `ValueError` for a mapping of another shape."""
    if given is None:
        return {}
    if isinstance(given, str | Path):
        return load_symbols(given)
    if not isinstance(given, Mapping):
        raise OptionsError(
            [f"symbols: must be a mapping or the path of a configuration, not {given!r}"]
        )
    if mistakes := list(_mistakes(given)):
        raise OptionsError(mistakes)
    return {name: dict(feeds) for name, feeds in given.items()}


def _mistakes(given: SymbolMap) -> Iterator[str]:
    taken: dict[tuple[str, str], str] = {}
    for name, feeds in given.items():
        if not isinstance(feeds, Mapping) or not feeds:
            yield f"symbols: {name!r} must map feeds to what they call it, such as {{'cme': 'ESZ4'}}"
            continue
        for feed, text in feeds.items():
            if not isinstance(text, str) or not text:
                yield f"symbols: {name!r} of {feed!r} must be a symbol, not {text!r}"
                continue
            first = taken.setdefault((feed, text), name)
            if first != name:
                yield f"symbols: {text!r} of {feed!r} is {first!r} already, it cannot be {name!r} too"
