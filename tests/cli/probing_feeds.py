"""Feeds that ``mdfeedd check --connect`` asks; none of them could run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mdfeedd.feeds.protocol import ProbeLine, Severity


@dataclass(frozen=True, slots=True)
class ProbedOptions:
    """`lines`: what the probe finds; each a severity and a text. `then`: how it ends."""

    lines: tuple[tuple[str, str], ...] = ()
    then: str = ""
    path: Path = Path("x")


class ProbedFeed:
    Options: ClassVar[type] = ProbedOptions

    def __init__(self, name, options, ring):
        pass

    def run(self, stop):
        raise AssertionError("a check starts nothing")

    @classmethod
    def probe(cls, name, options):
        assert isinstance(options.path, Path)
        for word, text in options.lines:
            severity = Severity[word.upper()]
            yield ProbeLine(severity <= Severity.WARNING, f"{name}: {text}", severity)
        if options.then == "unreachable":
            raise ConnectionRefusedError(111, "Connection refused")
        if options.then == "crash":
            raise RuntimeError("a bug in the probe")
        if options.then == "exit":
            raise SystemExit(0)
        while options.then == "hang":
            time.sleep(0.05)  # a signal just before a long sleep would be told after it
        if options.then == "endless":
            while True:
                yield ProbeLine(True, "and another")
