"""A feed that takes some changes while it runs, and writes down what it was told."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from daemon_test_plugins import TickingFeed

from mdfeedd.ring import Writer
from mdfeedd.tick import TICK, Kind

if TYPE_CHECKING:
    import threading
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Detail:
    depth: int = 1


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """`told`: file that gets a line at each start and each change."""

    told: Path
    symbols: tuple[str, ...] = ()
    detail: Detail = field(default_factory=Detail)
    fixed: int = 0


class LiveFeed:
    Options: ClassVar[type] = LiveOptions

    def __init__(self, name, options, ring):
        self.options, self.ring = options, ring

    @classmethod
    def live(cls, old, new):
        if "LIVE_FAILS" in new.symbols:
            raise RuntimeError("a bug in live")
        return dataclasses.replace(old, symbols=new.symbols, detail=new.detail) == new

    def reconfigure(self, options):
        if "REFUSE" in options.symbols:
            raise ValueError("that is too much")
        if "BREAK" in options.symbols:
            raise RuntimeError("a bug in reconfigure")
        if "HANG" in options.symbols:
            time.sleep(3600)
        if "DIE" in options.symbols:
            os._exit(9)
        self.write("change", options)

    def write(self, what, options):
        assert isinstance(options, LiveOptions)
        assert isinstance(options.detail, Detail)
        entry = [what, os.getpid(), list(options.symbols), options.detail.depth]
        with options.told.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def run(self, stop: threading.Event) -> None:
        r = self.ring
        self.write("start", self.options)
        records = np.zeros(10, TICK)
        records["kind"] = Kind.QUOTE
        with Writer(r.name, r.capacity, feed_index=r.feed_index, directory=r.directory) as w:
            records["instrument_id"] = w.instruments.add("TEST")
            while not stop.is_set():
                w.publish(records)
                w.beat()
                stop.wait(0.005)


class TickingFeedOfHalf(TickingFeed):
    """`live` without `reconfigure` promises nothing."""

    @classmethod
    def live(cls, old, new):
        return True
