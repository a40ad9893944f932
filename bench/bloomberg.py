"""Bloomberg's messages into a ring, beside the least that reading them takes: one run, side by side.

    python bench/bloomberg.py [--quick] [--only python,native,latency] [--rounds 5] [--save]

There is no Bloomberg here. `python`: the feed's loop on a session of the stand-in in whose queue messages wait,
beside the same session fetched from and iterated with ``toPy()`` alone, and the data plane alone, on events in
memory, beside their bare iteration. The stand-in's toPy makes its dictionary and each time in it anew, as published;
the real one reads elements of a library besides (12 to 24 us a message, with all the calls around it, were seen
elsewhere). CPU time, of the one thread. `native`: the data plane over
the SDK's C interface, on a double of the library, beside a C loop that reads the fields into slots and doubts
nothing. `latency`: from the return of ``nextEvent`` until the ticks are in the ring, of a session that sleeps
between events. Rounds are interleaved, and a ratio is the median of the ratios within each round. `--save` writes
``bench/results/bloomberg.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime as dt
import gc
import importlib
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import machine
from rounds import quantiles_us, ratio
from sections import selected

from mdfeedd.feeds.bloomberg.credentials import Credentials
from mdfeedd.feeds.bloomberg.failure import Pauses
from mdfeedd.feeds.bloomberg.line import Line, clock
from mdfeedd.feeds.bloomberg.moment import Now, Tell
from mdfeedd.feeds.bloomberg.native._plane import Library, Walker
from mdfeedd.feeds.bloomberg.native.decoder import Decoder, Staging, Touch
from mdfeedd.feeds.bloomberg.native.quick import QuickPlane
from mdfeedd.feeds.bloomberg.options import BloombergOptions, Topic
from mdfeedd.feeds.bloomberg.session import Link
from mdfeedd.feeds.bloomberg.topics import Stage, Topics
from mdfeedd.ring import Writer
from mdfeedd.sim.bloomberg import VirtualClock, World, path, playing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "bloomberg.json"
DOUBLE = HERE.parent / "tests" / "feeds" / "bloomberg" / "native"
SECTIONS = ("python", "native", "latency")
PACKAGES = ("mdfeedd", "numpy", "blpapi")
QUIET_LOAD = 0.5
SEED = 11
NAMES = tuple(f"BENCH{i} US Equity" for i in range(20))
BUSY, SINGLE = 400_000.0, 1_000.0  # ticks a second: several messages in an event, and one
DATE_PARTS, OFFSET_PART, TIME_PARTS = 0x07, 0x08, 0x70
BACKLOG = (
    1000  # messages that wait at a time: they stay in the cache, as those do that have just come
)
WAIT_MS = 250
SPIN_US = 100_000  # longer than any pause of the market
SLOTS = 1 << 16
REPLIES = 200  # turns within which all topics are live
DOUBLE_EVENT = 32  # messages in an event of the double


class Feed:
    """The feed's parts on a session of the stand-in, all topics live, in a process that does nothing else."""

    def __init__(self, world: World, writer: Writer, blpapi: Any, spin_us: int = 0) -> None:
        self.world = world
        self.staging = Staging()
        self.decoder = Decoder(self.staging)
        self.plane = QuickPlane(self.decoder, Tell())
        self.writer = writer
        topics_ = tuple(Topic(name) for name in NAMES)
        options = BloombergOptions(topics_, queue_events=1_000_000, spin_us=spin_us)
        pauses = Pauses(lambda: 0.0)
        topics = Topics(
            self.decoder, Tell(), pauses, lambda: 0.0, fields=options.fields, image_wait_ns=10**12
        )
        topics.follow(options.topics, lambda t: writer.instruments.add(t.name), clock())
        self.link = Link(blpapi, options, Credentials())
        self.line = Line(
            blpapi, self.link, topics, planes=[self.plane], options=options, tell=Tell(), pauses=pauses,
            publish=partial(self.staging.publish, writer),
        )  # fmt: skip
        self.link.start()
        for _ in range(REPLIES):
            self.line.turn(1)
            if all(topic.stage is Stage.LIVE for topic in topics):
                return
        raise RuntimeError("the topics did not become live")

    def publish(self) -> None:
        self.staging.publish(self.writer)


class Python:
    """Messages of one market, by the feed and by a bare loop."""

    def __init__(self, folder: Path, messages: int) -> None:
        self.folder = folder
        self.messages = messages
        sys.path.insert(0, path())
        self.blpapi = importlib.import_module("blpapi")

    @contextlib.contextmanager
    def feed(self, rate: float) -> Iterator[Feed]:
        world = World(SEED, NAMES, rate=rate, keep=False, clock=VirtualClock(time.time_ns()))
        with playing(world), Writer("bench", directory=str(self.folder)) as writer:
            feed = Feed(world, writer, self.blpapi)
            gc.collect()
            gc.disable()
            try:
                yield feed
            finally:
                gc.enable()

    def fill(self, feed: Feed, rate: float) -> int:
        """Let the market go on for some messages, which wait in the session's queue; how many events they are."""
        session, clock_ = feed.link._session, feed.world.clock
        until = session._core._messages + BACKLOG
        while session._core._messages < until:
            clock_.advance(int(BACKLOG / rate * 1e9 / 8))
            session._advance(clock_.now_ns())
        session._advanced_ns = clock_.now_ns()
        return len(session._core.queue)

    def measure(
        self, rate: float, work: Callable[[Feed, int], tuple[int, float]]
    ) -> dict[str, float]:
        """`work` uses so many events, and tells how many messages they were, and in what time."""
        had = events = 0
        took_s = 0.0
        with self.feed(rate) as feed:
            while had < self.messages:
                n = self.fill(feed, rate)
                messages, s = work(feed, n)
                had, events, took_s = had + messages, events + n, took_s + s
        return {"us": took_s / had * 1e6, "m_per_s": had / took_s / 1e6, "an_event": had / events}

    @staticmethod
    def bare_loop(feed: Feed, events: int) -> tuple[int, float]:
        next_event, had = feed.link._session.nextEvent, 0
        begin = time.thread_time()
        for _ in range(events):
            for message in next_event(WAIT_MS):
                message.toPy()
                had += 1
        return had, time.thread_time() - begin

    @staticmethod
    def feed_loop(feed: Feed, events: int) -> tuple[int, float]:
        turn, before = feed.line.turn, feed.decoder.messages
        begin = time.thread_time()
        for _ in range(events):
            turn()
        took_s = time.thread_time() - begin
        return feed.decoder.messages - before, took_s

    @staticmethod
    def bare_events(feed: Feed, events: int) -> tuple[int, float]:
        made, had = [feed.link._session.nextEvent(WAIT_MS) for _ in range(events)], 0
        begin = time.thread_time()
        for event in made:
            for message in event:
                message.toPy()
                had += 1
        return had, time.thread_time() - begin

    @staticmethod
    def read_events(feed: Feed, events: int) -> tuple[int, float]:
        """With what nobody can do without: whose message it is, and whether it is an image."""
        made, had = [feed.link._session.nextEvent(WAIT_MS) for _ in range(events)], 0
        begin = time.thread_time()
        for event in made:
            for message in event:
                message.toPy()
                message.recapType()
                message.correlationId().value()
                had += 1
        return had, time.thread_time() - begin

    @staticmethod
    def plane_events(feed: Feed, events: int) -> tuple[int, float]:
        made = [feed.link._session.nextEvent(WAIT_MS) for _ in range(events)]
        use, before, now, publish = feed.plane.use, feed.decoder.messages, clock(), feed.publish
        begin = time.thread_time()
        for event in made:
            use(event, now)
            publish()
        took_s = time.thread_time() - begin
        return feed.decoder.messages - before, took_s

    def contenders(self) -> dict[str, Callable[[], dict[str, float]]]:
        return {
            "session and toPy": lambda: self.measure(BUSY, self.bare_loop),
            "feed": lambda: self.measure(BUSY, self.feed_loop),
            "session and toPy, single": lambda: self.measure(SINGLE, self.bare_loop),
            "feed, single": lambda: self.measure(SINGLE, self.feed_loop),
            "toPy alone": lambda: self.measure(BUSY, self.bare_events),
            "toPy, cid and recap type": lambda: self.measure(BUSY, self.read_events),
            "data plane alone": lambda: self.measure(BUSY, self.plane_events),
        }

    def bare_latency(self) -> dict[str, float]:
        """As `latency`, but of the messages nothing is made but what ``toPy()`` makes."""
        world = World(SEED, NAMES, rate=SINGLE, keep=False)
        took: list[int] = []
        with playing(world), Writer("bench", directory=str(self.folder)) as writer:
            next_event = Feed(world, writer, self.blpapi).link._session.nextEvent
            while len(took) < self.messages:
                event = next_event(WAIT_MS)
                begin_ns, had = time.perf_counter_ns(), 0
                for message in event:
                    message.toPy()
                    had += 1
                if had:
                    took.append(time.perf_counter_ns() - begin_ns)
        return quantiles_us(took[len(took) // 10 :])

    def latency(self, spin_us: int = 0) -> dict[str, float]:
        """In real time: the session sleeps until the next event is due, or the feed asks for it meanwhile."""
        world = World(SEED, NAMES, rate=SINGLE, keep=False)
        took: list[int] = []
        with playing(world), Writer("bench", directory=str(self.folder)) as writer:
            feed = Feed(world, writer, self.blpapi, spin_us)
            stamped = _Stamping(feed, took)
            feed.line._link = stamped
            feed.line._publish = stamped.publish
            while len(took) < self.messages:
                feed.line.turn()
        return quantiles_us(took[len(took) // 10 :])


class _Stamping:
    """Stands between line and link, and looks at the clock."""

    def __init__(self, feed: Feed, took: list[int]) -> None:
        self.feed = feed
        self.took = took
        self.at_ns = 0

    def next(self, wait_ms: int) -> Any:
        event = self.feed.link.next(wait_ms)
        self.at_ns = time.perf_counter_ns()
        return event

    def publish(self) -> None:
        if len(self.feed.staging):
            self.feed.publish()
            self.took.append(time.perf_counter_ns() - self.at_ns)


class _Event:
    """An event of the double, as the data plane is given it."""

    def __init__(self, address: int) -> None:
        self.address = address

    def _handle(self) -> int:
        return self.address

    def __iter__(self) -> Any:
        raise RuntimeError("an ordinary message was handed back")


class Native:
    """Messages of the double, by the data plane and by a bare loop."""

    def __init__(self, folder: Path, messages: int) -> None:
        self.folder = folder
        flags = ["gcc", "-std=c11", "-O2", "-shared", "-fPIC"]
        both = folder / "libblpapi3_64.so"
        subprocess.run(
            [*flags, DOUBLE / "double.c", HERE / "blp_bare.c", "-o", both, "-lm"], check=True
        )
        self.library = ctypes.CDLL(str(both))
        self.library.double_event.restype = ctypes.c_void_p
        self.library.double_event.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        self.library.bare.argtypes = [
            ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_uint64,
        ]  # fmt: skip
        self.library.bare.restype = ctypes.c_long
        self.addresses = [self.library.double_event(raw, len(raw)) for raw in scripts(messages)]
        self.events = [_Event(address) for address in self.addresses]
        self.messages = len(self.events) * DOUBLE_EVENT
        self.path = str(both)

    def bare(self) -> dict[str, float]:
        array = (ctypes.c_void_p * len(self.addresses))(*self.addresses)
        slots = (ctypes.c_uint8 * (SLOTS * 64))()
        ctypes.memset(slots, 1, len(slots))
        begin = time.thread_time()
        had = self.library.bare(array, len(self.addresses), slots, SLOTS - 1)
        return self._rate(had, begin)

    def plane(self) -> dict[str, float]:
        decoder = Decoder(Staging())
        for i in range(len(NAMES)):
            decoder.open(i + 1, Touch(i + 1))
        with Writer("native", capacity=SLOTS, directory=str(self.folder)) as writer:
            plane = QuickPlane(decoder, Tell())
            use = Walker(decoder.kernel, writer, Library(self.path), plane, proofs=0).use
            now = Now(1, time.time_ns())
            begin = time.thread_time()
            for event in self.events:
                use(event, now)
            figures = self._rate(decoder.messages, begin)
            if writer.next_seq <= self.messages // 2:
                raise RuntimeError("the ring does not have the ticks")
        return figures

    def _rate(self, had: int, begin: float) -> dict[str, float]:
        took_s = time.thread_time() - begin
        if had != self.messages:
            raise RuntimeError(f"{had} messages of {self.messages}")
        return {"us": took_s / had * 1e6, "m_per_s": had / took_s / 1e6, "an_event": DOUBLE_EVENT}

    def contenders(self) -> dict[str, Callable[[], dict[str, float]]]:
        return {"C loop over the double": self.bare, "native data plane": self.plane}


def field(name: str, kind: int, value: bytes) -> bytes:
    """As double.c reads it."""
    return struct.pack("<BBBBI", len(name), kind, 0, 0, len(value)) + name.encode() + value


def message(rng: random.Random, now: dt.datetime) -> bytes:
    """A quote of one side, or a trade, with the fields that the simulated market gives."""
    stamp = struct.pack(
        "<BBBBHBBHhI", DATE_PARTS | OFFSET_PART | TIME_PARTS | 0x80, now.hour, now.minute, now.second,
        now.microsecond // 1000, now.month, now.day, now.year, 0, 0,
    )  # fmt: skip
    price, size = (
        struct.pack("<d", rng.randrange(10_000) / 100),
        struct.pack("<q", rng.randrange(1, 500)),
    )
    side = rng.choice(("BID", "ASK", "NEW"))
    kind = b"TRADE" if side == "NEW" else b"QUOTE"
    fields = [
        field("MKTDATA_EVENT_TYPE", 14, kind),
        field("MKTDATA_EVENT_SUBTYPE", 14, side.encode()),
    ]
    if side == "NEW":
        number = str(rng.randrange(10**9)).encode()
        fields += [field("EVT_TRADE_PRICE_RT", 7, price), field("EVT_TRADE_SIZE_RT", 4, size)]
        fields += [field("EVT_TRADE_IDENTIFIER_RT", 8, number)]
        fields += [
            field("EVT_TRADE_TIME_RT", 13, stamp),
            field("EVT_TRADE_EXECUTION_TIME_RT", 13, stamp),
        ]
        fields += [field("TRADE_UPDATE_STAMP_RT", 13, stamp), field("LAST_PRICE", 7, price)]
    else:
        fields += [field(side, 7, price), field(f"{side}_SIZE", 4, size)]
        fields += [
            field(f"{side}_UPDATE_STAMP_RT", 13, stamp),
            field(f"EVT_QUOTE_{side}_TIME_RT", 13, stamp),
        ]
    fields += [field("IS_DELAYED_STREAM", 1, bytes(4)), field("BLOOMBERG_SEND_TIME_RT", 13, stamp)]
    return struct.pack("<IIQII", 0, 1, rng.randrange(1, len(NAMES) + 1), 0, len(fields)) + b"".join(
        fields
    )


def scripts(messages: int) -> list[bytes]:
    """Events for the double."""
    rng, now = random.Random(SEED), dt.datetime.now(dt.UTC)
    head = struct.pack("<I", DOUBLE_EVENT)
    return [
        head + b"".join(message(rng, now) for _ in range(DOUBLE_EVENT))
        for _ in range(messages // DOUBLE_EVENT)
    ]


def interleaved(
    everyone: dict[str, Callable[[], dict[str, Any]]], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Rounds by contender, every second one in the opposite order."""
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in everyone}
    for number in range(rounds):
        for name in list(everyone)[:: -1 if number % 2 else 1]:
            out[name].append(everyone[name]())
    return out


def column(found: dict[str, list[dict[str, Any]]], name: str, key: str) -> list[float]:
    return [figures[key] for figures in found[name]]


def medians(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: round(statistics.median(column(found, name, key)), 3) for key in rows[0]}
        for name, rows in found.items()
    }


class Goal(NamedTuple):
    """One thing that is to be reached, or to be known (no limit)."""

    what: str
    value: float | None
    limit: float = 0
    is_least: bool = False

    def text(self) -> str:
        assert self.value is not None
        if not self.limit:
            return f"{self.what:60}{self.value:9.2f}"
        met = self.value >= self.limit if self.is_least else self.value <= self.limit
        sign = ">=" if self.is_least else "<="
        return (
            f"{self.what:60}{self.value:9.2f}   {sign} {self.limit:<6g}{'' if met else '  missed'}"
        )


def table(head: str, figures: dict[str, dict[str, float]]) -> None:
    print(f"\n{head:32}{'us/message':>12}{'M/s':>9}{'an event':>10}")
    for name, row in figures.items():
        print(f"{name:32}{row['us']:12.3f}{row['m_per_s']:9.3f}{row['an_event']:10.1f}")


def python(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    found = interleaved(Python(folder, options.messages).contenders(), options.rounds)
    figures = medians(found)
    table("Python path, on the stand-in", figures)

    def of(a: str, b: str) -> float | None:
        return ratio(column(found, a, "m_per_s"), column(found, b, "m_per_s"))

    lines = [
        Goal("rate of the feed, of session and toPy", of("feed", "session and toPy"), 0.8, is_least=True),
        Goal("rate of the feed, one message an event", of("feed, single", "session and toPy, single")),
        Goal("the data plane alone, of toPy alone", of("data plane alone", "toPy alone")),
        Goal("the data plane alone, of toPy, cid and recap type", of("data plane alone", "toPy, cid and recap type")),
    ]  # fmt: skip
    return figures | {"rounds": found}, lines


def native(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    found = interleaved(Native(folder, options.double_messages).contenders(), options.rounds)
    figures = medians(found)
    table("native path, over the double", figures)
    took = ratio(
        column(found, "native data plane", "us"), column(found, "C loop over the double", "us")
    )
    return figures | {"rounds": found}, [
        Goal("time of the native data plane, of a C loop's", took, 2)
    ]


def latency(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    bench = Python(folder, options.singles)
    contenders = {
        "feed": bench.latency,
        "feed that spins": partial(bench.latency, SPIN_US),
        "toPy alone": bench.bare_latency,
    }
    found = interleaved(contenders, options.latency_rounds)
    print(f"\n{'from nextEvent to the ring':32}{'p50 us':>12}{'p99 us':>9}")
    for name, row in medians(found).items():
        print(f"{name:32}{row['p50_us']:12.1f}{row['p99_us']:9.1f}")
    spun = medians(found)["feed that spins"]["p50_us"]
    of_bare = ratio(column(found, "feed", "p50_us"), column(found, "toPy alone", "p50_us"))
    lines = [
        Goal("us from nextEvent to the tick in the ring, p50, awake", spun, 20),
        Goal("of a feed that sleeps, of toPy alone after a sleep", of_bare),
    ]
    return medians(found) | {"rounds": found}, lines


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--double-messages", type=int, default=320_000)
    parser.add_argument("--singles", type=int, default=3000, help="events for the latency")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    options.latency_rounds = 3
    if options.quick:
        options.rounds, options.latency_rounds = 1, 1
        options.messages, options.double_messages, options.singles = 30_000, 64_000, 1000
    options.only = selected(parser, options.only, SECTIONS)
    return options


def main() -> int:
    options = parse()
    about, stolen = machine.describe(*PACKAGES), machine.stolen_s()
    about["busy"] = os.getloadavg()[0] > QUIET_LOAD
    if about["busy"]:
        print("this machine is busy: the figures are of its other work as well", file=sys.stderr)
    figures: dict[str, Any] = {}
    lines: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir="/dev/shm") as folder:
        for name, measure in (("python", python), ("native", native), ("latency", latency)):
            if name in options.only:
                figures[name], more = measure(Path(folder), options)
                lines += more
    print("\n" + "\n".join(line.text() for line in lines))
    about["stolen_s"] = round(machine.stolen_s() - stolen, 2)
    about["load_average_after"] = [round(x, 2) for x in os.getloadavg()]
    if options.save:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        reached = [line._asdict() for line in lines]
        document = {"machine": about, "lines": reached, "figures": figures}
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
