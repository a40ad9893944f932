"""What a manager's feeds and aggregations come to, as the daemon's plan.

    feeds ─────────► feed sections ─┐
    aggregations ──► a bars consumer ├─► mdfeedd.daemon.config.check ─► Plan
                     per feed, group ┘   (none for a feed that brings its vendor's bars)

Each feed has its bars made by a process of its own, so that feeds come and go without touching the open bars of
others; for the same reason an aggregation that is enabled later is a group of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon import config
from mdfeedd.manager.config import FeedConfig, Vendor, brings_bars, feed_section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mdfeedd.daemon.plan import Plan

__all__ = ["BarGroup", "check_feed", "plan_of"]

MAX_INTERVALS: Final = 8
"""Lengths of bars that one process makes."""
NAMED_INSTRUMENTS: Final = 16_384
"""Entries of the instruments table of a feed whose symbols are named one by one: 4 MiB."""
BARS_CAPACITY: Final = 16_384
SOURCE: Final = "FeedManager"


@dataclass(frozen=True, slots=True)
class BarGroup:
    """Lengths of bars that are made together. number: from 1."""

    number: int
    intervals_s: tuple[int, ...]

    def ring(self, feed: str) -> str:
        """The ring of the bars of a feed, and the name of the process that makes them."""
        return f"bars{self.number}-{feed}"


def check_feed(name: str, feed: FeedConfig) -> None:
    """Whether a feed can be had. Raises `ValueError` with a sentence for each mistake."""
    try:
        config.check(_file([_section(name, feed)], []), SOURCE)
    except config.ConfigError as error:
        raise ValueError(_told(name, error)) from None


def plan_of(
    feeds: Mapping[str, FeedConfig],
    groups: Iterable[BarGroup],
    directory: str,
    log_level: str,
) -> Plan:
    """The plan of all. Raises `ValueError`."""
    groups = list(groups)
    sections = [_section(name, feed) for name, feed in feeds.items()]
    for section in sections:
        if (
            section["vendor"] == Vendor.REPLAY
        ):  # it waits for its readers, and for the slowest of them
            section["options"].setdefault("min_consumers", 1 + len(groups))
    bars = [
        _bars(group, section)
        for section, feed in zip(sections, feeds.values(), strict=True)
        for group in groups
        if not brings_bars(feed)
    ]
    try:
        return config.check(
            _file(sections, bars) | {"shm_dir": directory, "log": {"level": log_level}}, SOURCE
        )
    except config.ConfigError as error:
        raise ValueError("; ".join(problem.sentence for problem in error.problems)) from None


def _section(name: str, feed: FeedConfig) -> dict[str, Any]:
    section = feed_section(feed, name)
    if feed.symbols and feed.stype in ("", "raw_symbol"):
        section["instruments_capacity"] = max(NAMED_INSTRUMENTS, 2 * len(feed.symbols))
    return section


def _bars(group: BarGroup, feed: dict[str, Any]) -> dict[str, Any]:
    ring = group.ring(feed["name"])
    options = {
        "intervals_s": list(group.intervals_s),
        "ring": ring,
        "capacity": BARS_CAPACITY,
    }
    if "instruments_capacity" in feed:  # as many as the ticks can have
        options["instruments_capacity"] = feed["instruments_capacity"]
    return {"name": ring, "type": "bars", "rings": [feed["name"]], "options": options}


def _file(feeds: list[dict[str, Any]], consumers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"metrics": None, "feeds": feeds, "consumers": consumers}


def _told(name: str, error: config.ConfigError) -> str:
    """The sentences about one feed, without the place that it would have in a file."""
    sentences = (
        problem.sentence.removeprefix("feeds[0].").replace("feeds[0]", "the feed")
        for problem in error.problems
    )
    return f"feed {name}: " + "; ".join(sentences)
