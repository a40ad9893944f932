"""The section ``symbols``: what each feed calls an instrument that several feeds have.

    symbols:                                    reader.last["ESZ6"] is then the best of three feeds
      ESZ6: {cme: ESZ6, databento: ESZ6, bloomberg: ESZ6 Index}

The daemon checks it and does nothing with it: it is for those who read (`mdfeedd.MultiReader`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from mdfeedd.daemon import including, yaml12
from mdfeedd.daemon.problems import ConfigError, Mark, Problem, Problems, suggest
from mdfeedd.daemon.schema import fill
from mdfeedd.daemon.yaml12 import Node

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["MAX_SYMBOL", "SYMBOLS_KEY", "Names", "check", "load"]

SYMBOLS_KEY: Final = "symbols"
MAX_SYMBOL: Final = 71
"""Bytes of a symbol in an instruments table."""

_Text = Annotated[str, Field(min_length=1, max_length=MAX_SYMBOL)]
Names = dict[_Text, Annotated[dict[str, _Text], Field(min_length=1)]]
"""Our name -> feed -> how that feed, or its vendor, calls it."""


@dataclass(frozen=True, slots=True)
class _Section:
    """The part of a file that is read here."""

    symbols: Names = field(default_factory=dict)


def load(path: str | Path) -> dict[str, dict[str, str]]:
    """The section of a file, and of what it includes. Of the rest only the names of feeds are read.

    Raises `ConfigError` with every mistake, also where the file cannot be read.
    """
    data = including.read(path)
    if isinstance(data, Problem):
        raise ConfigError([data])
    root, problems = yaml12.parse(data, str(path))
    if root is not None:
        root = including.join(root, problems)
    problems.raise_if_any()
    assert root is not None
    nodes = root.value if isinstance(root.value, dict) else {}
    node = nodes.get(SYMBOLS_KEY)
    if node is None:
        return {}
    section = fill(Node({SYMBOLS_KEY: node}, root.mark), _Section, problems, "")
    check(node, _feeds(nodes.get("feeds")), problems)
    problems.raise_if_any()
    assert isinstance(section, _Section)
    return {name: dict(feeds) for name, feeds in section.symbols.items()}


def _feeds(node: Node | None) -> list[str]:
    items = node.value if node is not None and isinstance(node.value, list) else []
    names = (item.value.get("name") for item in items if isinstance(item.value, dict))
    return [name.value for name in names if name is not None and isinstance(name.value, str)]


def check(node: Node | None, feeds: Collection[str], problems: Problems) -> None:
    """Tell of feeds that are not there, and of instruments that would be two things. Wrong types are told elsewhere."""
    taken: dict[tuple[str, str], str] = {}
    for name, named in _items(node):
        for feed, text in _items(named):
            if feed not in feeds:
                place = named.keys.get(feed, Mark())
                sentence = f"{SYMBOLS_KEY}.{name}: there is no feed '{feed}'{suggest(feed, feeds)}"
                problems.add(place, sentence)
            elif isinstance(text.value, str):
                first = taken.setdefault((feed, text.value), name)
                if first != name:
                    sentence = f"'{text.value}' of the feed '{feed}' is '{first}' already"
                    problems.add(text.mark, f"{SYMBOLS_KEY}.{name}.{feed}: {sentence}")


def _items(node: Node | None) -> list[tuple[str, Node]]:
    return list(node.value.items()) if node is not None and isinstance(node.value, dict) else []
