"""Small feeds and consumers that real worker processes run in the tests."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from mdfeedd.ring import Reader, RingMissing, Writer
from mdfeedd.tick import TICK, Kind

if TYPE_CHECKING:
    import threading

BATCH = 50


@dataclass(frozen=True, slots=True)
class Nested:
    depth: int
    label: str = "x"


@dataclass(frozen=True, slots=True)
class TickingOptions:
    """A feed that publishes numbered ticks (ts_event) at its pace."""

    total: int = field(default=0, metadata={"help": "ticks to publish; 0: until stopped"})
    pause_s: float = 0.005
    exit_status: int = 0
    wait_consumers: int = 0
    crash: bool = False
    deaf: bool = False
    path: Path | None = None
    pair: tuple[int, str] = (1, "a")
    symbols: tuple[str, ...] = ()
    mode: Literal["fast", "slow"] = "fast"
    speed: Literal["max"] | float = "max"
    listed: int | tuple[str, ...] = 8
    nested: Nested | None = None
    many: tuple[Nested, ...] = ()

    def __post_init__(self) -> None:
        if self.pause_s < 0:
            raise ValueError(f"pause_s: must not be negative, not {self.pause_s}")
        if self.mode == "slow" and not self.pause_s:
            raise ValueError("slow needs a pause")


class TickingFeed:
    Options: ClassVar[type] = TickingOptions

    def __init__(self, name, options, ring):
        self.options, self.ring = options, ring

    def run(self, stop: threading.Event) -> None:
        o, r = self.options, self.ring
        if o.crash:
            raise RuntimeError("a bug in the feed")
        if o.exit_status:
            raise SystemExit(o.exit_status)
        if o.deaf:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        records = np.zeros(BATCH, TICK)
        records["kind"] = Kind.QUOTE
        with Writer(r.name, r.capacity, feed_index=r.feed_index, directory=r.directory) as w:
            w.instruments.add("TEST")
            while w.consumer_count() < o.wait_consumers and not stop.is_set():
                time.sleep(0.001)
            while not stop.is_set() or o.deaf:
                records["ts_event"] = np.arange(w.next_seq, w.next_seq + BATCH)
                w.publish(records)
                w.beat()
                w.counters.add("published_quotes", BATCH)
                w.counters.add("received_bytes", BATCH * 10)
                if o.total and w.next_seq > o.total:
                    return
                stop.wait(o.pause_s) if not o.deaf else time.sleep(o.pause_s)


@dataclass(frozen=True, slots=True)
class CountingOptions:
    """A consumer that writes down at its end how much it has read and lost."""

    out: str
    follow: bool = True
    ring: str = ""
    slow_s: float = 0.0
    missing: bool = False


class CountingConsumer:
    Options: ClassVar[type] = CountingOptions

    def __init__(self, name, options, rings, directory):
        self.name, self.options, self.rings, self.directory = name, options, rings, directory

    def run(self, stop: threading.Event) -> None:
        o = self.options
        if o.missing:
            raise FileNotFoundError(f"no such folder: {o.out}")
        writer = Writer(o.ring, 256, directory=self.directory) if o.ring else None
        reader = self.attach(stop)
        if reader is None:
            return
        records = 0
        with reader:
            while not stop.is_set():
                batch = reader.read(1000, timeout=0.05)
                records += len(batch)
                if writer is not None and len(batch):
                    writer.publish(batch.records)
                reader.counters.add("stored_records", len(batch))
                if o.slow_s:
                    time.sleep(o.slow_s)
                if not o.follow and not len(batch) and reader.ended:
                    break
            lost = reader.lost
        if writer is not None:
            writer.close()
        path = Path(o.out)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(f"{records} {lost}", encoding="ascii")
        temporary.rename(path)

    def attach(self, stop):
        while not stop.is_set():
            try:
                return Reader(
                    self.rings[0],
                    "resume",
                    self.name,
                    follow=self.options.follow,
                    directory=self.directory,
                )
            except RingMissing:
                stop.wait(0.02)
        return None


class NoOptions:
    """Not a plugin."""


@dataclass(frozen=True, slots=True)
class SinkHolderOptions:
    sink_type: str
    sink_options: dict = field(default_factory=dict)
    rows: int = 10


class SinkHolder:
    Options: ClassVar[type] = SinkHolderOptions

    def __init__(self, name, options, rings, directory):
        if options.rows == 13:
            raise ValueError("rows: 13 is not possible here")

    def run(self, stop: threading.Event) -> None:
        stop.wait()


@dataclass(frozen=True, slots=True)
class FolderOptions:
    path: str
    size: int = 5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size: must be at least 1, not {self.size}")


class FolderSink:
    """As far as a configuration looks at one."""

    Options: ClassVar[type] = FolderOptions
    keeps_positions: ClassVar[bool] = False

    def __init__(self, options, name):
        self.options = options

    def position(self, ring):
        return None

    def write(self, batch):
        pass

    def housekeep(self):
        pass

    def flush(self):
        pass

    def progress(self, ring_id):
        return None

    def close(self):
        pass


@dataclass(frozen=True, slots=True)
class SecretOptions:
    password: str = ""
    url: str = ""
    more: dict[str, str] = field(default_factory=dict)
    token_credential: str = ""


class SecretFeed(TickingFeed):
    """Holds in its options what it should not."""

    Options: ClassVar[type] = SecretOptions


class StuckFeed(TickingFeed):
    """Makes its ring and then waits for what never comes."""

    Options: ClassVar[type] = TickingOptions

    def run(self, stop: threading.Event) -> None:
        r = self.ring
        with Writer(r.name, r.capacity, feed_index=r.feed_index, directory=r.directory) as w:
            w.beat()
            self.stuck_here()

    def stuck_here(self) -> None:
        while True:
            time.sleep(0.1)


class RinglessFeed(StuckFeed):
    """Waits before it has made its ring."""

    def run(self, stop: threading.Event) -> None:
        self.stuck_here()


class BeatlessFeed(TickingFeed):
    """Publishes all the time, and never says that it lives."""

    Options: ClassVar[type] = TickingOptions

    def run(self, stop: threading.Event) -> None:
        r = self.ring
        with Writer(r.name, r.capacity, feed_index=r.feed_index, directory=r.directory) as w:
            while not stop.wait(self.options.pause_s):
                w.publish(np.zeros(1, TICK))
