"""Feeds of the manager's tests: a counter as fast as it is told to be, and some that fail."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field

import numpy as np

from mdfeedd.tick import GAP, QUOTE, TICK, TRADE, GapReason, Kind

logger = logging.getLogger("manager_test_feeds")


@dataclass(frozen=True, slots=True)
class CountingOptions:
    symbols: tuple[str, ...] = field(default=("A",), metadata={"help": "instruments"})
    ticks: int = field(default=100, metadata={"help": "how many; then it waits for the end"})
    at_a_time: int = field(default=10, metadata={"help": "published together"})
    pause_s: float = field(default=0.001, metadata={"help": "between them"})
    start_file: str = field(default="", metadata={"help": "begin when this file is there"})
    end: bool = field(default=False, metadata={"help": "return after them"})
    gap_after: int = field(default=0, metadata={"help": "tell a gap after so many; 0: none"})
    key_env: str = field(default="", metadata={"help": "write the key's length into `told`"})
    told: str = field(default="", metadata={"help": "file that says what this process was given"})


class CountingFeed:
    """Quotes numbered by `venue_seq` from 1; every tenth is a trade."""

    Options = CountingOptions

    def __init__(self, name, options, ring):
        self.name, self.options, self.ring = name, options, ring

    def run(self, stop):
        options = self.options
        self._tell()
        with self.ring.writer(self.name, TICK) as writer:
            ids = [writer.instruments.add(symbol) for symbol in options.symbols]
            while options.start_file and not os.path.exists(options.start_file):
                writer.beat()
                if stop.wait(0.005):
                    return
            first = 1
            while first <= options.ticks and not stop.is_set():
                n = min(options.at_a_time, options.ticks - first + 1)
                writer.publish(_ticks(first, n, ids))
                writer.beat()
                first += n
                if options.gap_after and first > options.gap_after >= first - n:
                    writer.publish(_gap())
                stop.wait(options.pause_s)
            while not options.end and not stop.wait(0.02):
                writer.beat()

    def _tell(self):
        options = self.options
        if options.told:
            with open(options.told, "a", encoding="utf-8") as file:
                key = os.environ.get(options.key_env, "") if options.key_env else ""
                file.write(f"{self.name} {len(key)} {','.join(options.symbols)}\n")


def _ticks(first, n, ids):
    numbers = np.arange(first, first + n)
    quotes = np.zeros(n, QUOTE)
    quotes["venue_seq"] = numbers
    quotes["ts_event"] = quotes["ts_recv"] = time.time_ns()
    quotes["instrument_id"] = np.array(ids)[numbers % len(ids)]
    quotes["kind"] = Kind.QUOTE
    quotes["bid_price"], quotes["ask_price"] = numbers * 10**9, (numbers + 1) * 10**9
    ticks = quotes.view(TICK)
    trades = numbers % 10 == 0
    rows = ticks[trades].view(TRADE)
    rows["kind"], rows["price"], rows["size"] = Kind.TRADE, numbers[trades] * 10**9, 3
    ticks[trades] = rows.view(TICK)
    return ticks


def _gap():
    gap = np.zeros(1, GAP)
    gap["kind"], gap["reason"] = Kind.GAP, GapReason.PACKET_LOSS
    gap["first_missing"], gap["last_missing"] = 7, 9
    gap["ts_event"] = gap["ts_recv"] = time.time_ns()
    return gap.view(TICK)


@dataclass(frozen=True, slots=True)
class NoOptions:
    symbols: tuple[str, ...] = field(default=(), metadata={"help": "instruments"})


class LockedOutFeed:
    """Has no credentials."""

    Options = NoOptions

    def __init__(self, name, options, ring):
        self.name, self.ring = name, ring

    def run(self, stop):
        logger.error("%s: the door is locked", self.name)
        raise SystemExit(77)


class SilentFeed(LockedOutFeed):
    """Never has a ring."""

    def run(self, stop):
        stop.wait()


class MortalFeed(LockedOutFeed):
    """Comes up, publishes, and loses its entitlement."""

    def run(self, stop):
        with self.ring.writer(self.name, TICK) as writer:
            writer.publish(_ticks(1, 5, [writer.instruments.add("A")]))
            stop.wait(0.5)
        logger.error("%s: no longer entitled", self.name)
        raise SystemExit(77)
