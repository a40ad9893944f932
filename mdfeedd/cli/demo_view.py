"""What the demo looks like while it runs: numbers taken from shared memory, as a table or as lines."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mdfeedd.cli import units
from mdfeedd.cli.demo_gateway import Sessions
from mdfeedd.cli.demo_plan import BARS_RING, READ_RINGS, SESSION, TERMINAL, TICK_RINGS, WIRED
from mdfeedd.cli.demo_terminal import Losses
from mdfeedd.cli.demo_venue import Account
from mdfeedd.cli.probe import CONSUMER, LastBar, Latencies, Probes
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import RingInfo, inspect
from mdfeedd.tick import PRICE_UNDEF, Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table

    from mdfeedd.cli.demo_gateway import Server
    from mdfeedd.cli.demo_venue import Channel
    from mdfeedd.cli.probe import Last
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.ring import Instrument

FRAME_S: Final = 0.25
LINE_S: Final = 1.0
RATE_OVER_S: Final = 2.0  # rates and latencies are those of so many last seconds
BEGIN_S: Final = 5.0  # from the first feed that trades to the last
WIDE: Final = 118  # columns for two panes side by side
_FIXED_LINES: Final = 16  # of the narrow table, without its prices
_ROOM_FOR_BARS: Final = 5  # lines of it, for prices and bars together


@dataclass(slots=True)
class Snapshot:
    """All rings at one moment."""

    at: float
    rings: dict[str, RingInfo]
    latencies: dict[str, Latencies]

    def published(self, ring: str) -> int:
        """Records ever published, 0 for a ring that is not there."""
        info = self.rings.get(ring)
        return info.published if info else 0


@dataclass(slots=True)
class Reading:
    """One consumer, over all rings that it reads: records read, behind, and lost."""

    name: str
    read: int = 0
    lag: int = 0
    lost: int = 0


@dataclass(slots=True)
class Frame:
    """What is shown at one moment: the run so far, and its last `RATE_OVER_S` seconds."""

    elapsed_s: float
    seconds: float
    trading: bool
    now: Snapshot
    before: Snapshot
    probes: Probes
    losses: Losses
    troubles: list[str] = field(default_factory=list)
    account: Account | None = None
    sessions: Sessions | None = None

    def rate(self, rings: tuple[str, ...] = TICK_RINGS) -> float:
        """Ticks a second over the last seconds; NaN in the first moment."""
        span = self.now.at - self.before.at
        new = sum(self.now.published(r) - self.before.published(r) for r in rings)
        return new / span if span > 0 else math.nan

    def latencies(self, ring: str) -> Latencies:
        """Those of one ring over the last seconds."""
        return self.now.latencies[ring].since(self.before.latencies[ring])

    def vendor(self, ring: str) -> str:
        """Whose data a ring has."""
        if ring == TERMINAL:
            return "Bloomberg"
        if ring == WIRED and self.account is not None:
            return "CME"
        return "Databento" if ring == SESSION and self.sessions is not None else "synthetic"

    def gaps(self) -> tuple[int, int]:
        """Gaps told of all feeds, and those that are over."""
        told = [part for part in (self.account, self.sessions, self.losses) if part is not None]
        return sum(part.gaps for part in told), sum(part.recovered for part in told)

    def readers(self) -> list[Reading]:
        """The living consumers, by name."""
        found: dict[str, Reading] = {}
        for info in self.now.rings.values():
            for consumer in info.consumers:
                if consumer.same_ring and consumer.alive:
                    reading = found.setdefault(consumer.name, Reading(consumer.name))
                    reading.read += consumer.records
                    reading.lag += consumer.lag
                    reading.lost += consumer.lost
        return [found[name] for name in sorted(found)]


class Watch:
    """Looks at the rings, and remembers enough to say what the last seconds were like."""

    def __init__(
        self,
        probes: Probes,
        shm_dir: str,
        seconds: float,
        channel: Channel | None = None,
        server: Server | None = None,
    ) -> None:
        self.probes = probes
        self.shm_dir = shm_dir
        self.seconds = seconds
        self.channel = channel
        self.server = server
        self.since: float | None = None  # when trading began
        self._first_at: float | None = None  # ... on the first feed
        self._past: list[Snapshot] = []

    def look(self, supervisor: Supervisor) -> Frame:
        """A frame of now."""
        now = self._snapshot()
        if self.since is None and self._trading(now):
            self.since = now.at
            self._past.clear()  # rates count from here
        self._past.append(now)
        while len(self._past) > 2 and self._past[1].at <= now.at - RATE_OVER_S:
            self._past.pop(0)
        elapsed_s = 0.0 if self.since is None else now.at - self.since
        troubles = [
            f"{child.label}: {child.last_failure}"
            for child in supervisor.children
            if child.last_failure
        ]
        account = None
        if self.channel is not None:
            account = Account.take(self.channel, now.rings.get(WIRED), self.probes)
            troubles = [self.channel.check(), *troubles] if self.channel.check() else troubles
        sessions = None
        if self.server is not None:
            sessions = Sessions.take(now.rings.get(SESSION), self.probes)
            troubles = [self.server.check(), *troubles] if self.server.check() else troubles
        return Frame(
            elapsed_s,
            self.seconds,
            self.since is not None,
            now,
            self._past[0],
            self.probes,
            Losses.take(self.probes),
            troubles,
            account,
            sessions,
        )

    def _trading(self, now: Snapshot) -> bool:
        """All feeds have begun, or one has and the others take their time."""
        begun = [bool(now.published(ring)) for ring in TICK_RINGS]
        if any(begun) and self._first_at is None:
            self._first_at = now.at
        return all(begun) or (self._first_at is not None and now.at - self._first_at >= BEGIN_S)

    def _snapshot(self) -> Snapshot:
        rings = {}
        for ring in READ_RINGS:
            try:
                rings[ring] = inspect(ring, self.shm_dir)
            except RingError:
                continue  # not made yet
        latencies = {probe.ring: probe.latencies.copy() for probe in self.probes.ticks}
        return Snapshot(time.monotonic(), rings, latencies)

    def over(self, frame: Frame) -> bool:
        """Whether the time is up."""
        return frame.trading and frame.elapsed_s >= self.seconds


async def show_lines(watch: Watch, supervisor: Supervisor) -> None:
    """One line a second, until the time is over."""
    shown = 0
    told: set[str] = set()
    while True:
        frame = watch.look(supervisor)
        for trouble in frame.troubles:
            if trouble not in told:
                told.add(trouble)
                print(f"trouble: {trouble}", flush=True)
        if frame.elapsed_s >= shown + LINE_S:
            shown = int(frame.elapsed_s)
            print(cut(line(frame)), flush=True)
        if watch.over(frame):
            return
        await asyncio.sleep(FRAME_S)


def cut(text: str) -> str:
    """As much of it as a terminal has columns; all of it where the output goes elsewhere."""
    if not sys.stdout.isatty():
        return text
    return text[: max(1, os.get_terminal_size(sys.stdout.fileno()).columns or len(text))]


def line(frame: Frame) -> str:
    """The frame in one line."""
    together = Latencies()
    for ring in TICK_RINGS:
        together.counts += frame.latencies(ring).counts
    readers = frame.readers()
    lag, lost = sum(r.lag for r in readers), sum(r.lost for r in readers)
    words = [
        f"{frame.elapsed_s:3.0f} s",
        f"{units.count(frame.rate()):>9} ticks/s",
        f"p50 {units.duration(together.percentile_ns(50))}",
        f"p99 {units.duration(together.percentile_ns(99))}",
        f"lag {units.count(lag)}",
        f"lost {units.count(lost)}",
        f"bars {units.count(frame.now.published(BARS_RING))}",
    ]
    gaps, recovered = frame.gaps()
    words.append(f"gaps {gaps}, {recovered} recovered")
    if frame.sessions is not None and frame.sessions.disconnects:
        words.append(f"replayed {units.count(frame.sessions.replayed)}")
    for first in _lasts(frame, 1):
        bid, ask = _touch(first)
        words.append(f"{first.instrument.symbol} {bid}/{ask}")
    return "  ".join(words)


async def show_table(watch: Watch, supervisor: Supervisor, console: Console) -> None:
    """A live table, until the time is over."""
    from rich.live import Live

    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            frame = watch.look(supervisor)
            live.update(_draw(frame, console.width, console.height), refresh=True)
            if watch.over(frame):
                return
            await asyncio.sleep(FRAME_S)


# ------------------------------------------------------------------------------------------ the table


def _draw(frame: Frame, width: int, height: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    wide = width >= WIDE
    head = Text.assemble(
        ("mdfeedd demo", "bold"),
        "  simulated vendors: no account, no network  ",
        (f"{min(frame.elapsed_s, frame.seconds):.0f} of {frame.seconds:.0f} s", "bold")
        if frame.trading
        else ("starting", "dim"),
    )
    parts: list[RenderableType] = [head, ""]
    parts += [Text(trouble, "bold red") for trouble in frame.troubles[:2]]
    feeds, readers = _feeds(frame), _readers(frame)
    if frame.account is not None:
        parts += [Text(frame.account.sentence(), "dim", no_wrap=not wide)]
    if frame.sessions is not None:
        parts += [Text(frame.sessions.sentence(), "dim", no_wrap=not wide)]
    parts += [Text(frame.losses.sentence(), "dim", no_wrap=not wide), ""]
    if wide:
        left = Group(feeds, "", readers, "", _bars(frame, max(3, height - 21 - len(parts))))
        grid = Table.grid(padding=(0, 4))
        grid.add_row(left, _prices(frame, height - 3 - len(parts)))
        return Group(*parts, grid)
    room = height - _FIXED_LINES - len(parts)
    if room < _ROOM_FOR_BARS:
        return Group(*parts, feeds, "", readers, "", _prices(frame, max(1, room + 2)))
    bars = max(2, room // 4)
    prices = max(3, room - bars)
    return Group(*parts, feeds, "", readers, "", _prices(frame, prices), "", _bars(frame, bars))


def _table(*columns: str) -> Table:
    """Columns with their headings; those that begin with > are numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        number = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if number else "left", no_wrap=True)
    return table


def _feeds(frame: Frame) -> Table:
    table = _table("feed", "vendor", "> ticks/s", "> ticks", "> latency p50", "> p99")
    for ring in TICK_RINGS:
        latencies = frame.latencies(ring)
        table.add_row(
            ring,
            frame.vendor(ring),
            _rate(frame.rate((ring,))),
            units.count(frame.now.published(ring)),
            units.duration(latencies.percentile_ns(50)),
            units.duration(latencies.percentile_ns(99)),
        )
    return table


def _readers(frame: Frame) -> Table:
    from rich.text import Text

    table = _table("reader", "> read", "> lag", "> lost")
    for reading in frame.readers():
        shown = f"{reading.name} (this table)" if reading.name == CONSUMER else reading.name
        lost = Text(units.count(reading.lost), "bold red" if reading.lost else "green")
        table.add_row(shown, units.count(reading.read), units.count(reading.lag), lost)
    return table


def _prices(frame: Frame, rows: int) -> Table:
    from rich.text import Text

    table = _table("symbol", "> size", "> bid", "> ask", "size", "> last", "")
    for last in _lasts(frame, rows):
        assert last.quote is not None
        bid, ask = _touch(last)
        traded = arrow = Text("")
        if last.trade is not None:
            bought = last.trade["side"][0] == Side.BUY
            style = "green" if bought else "red"
            traded = Text(_price(last, int(last.trade["price"][0])), style)
            arrow = Text("▲" if bought else "▼", style)
        table.add_row(
            Text(last.instrument.symbol, "bold"),
            _size(int(last.quote["bid_size"][0])),
            bid,
            ask,
            _size(int(last.quote["ask_size"][0])),
            traded,
            arrow,
        )
    return table


def _bars(frame: Frame, rows: int) -> Table:
    table = _table("1 s bar", "> open", "> high", "> low", "> close", "> volume")
    for found in _last_bars(frame)[: max(0, rows)]:
        bar = found.bar[0]
        prices = [int(bar[k]) for k in ("open", "high", "low", "close")]
        decimals = _decimals(found.instrument, prices)
        shown = (units.price(price, decimals) for price in prices)
        table.add_row(found.instrument.symbol, *shown, units.compact(int(bar["volume"])))
    return table


def _rate(rate: float) -> str:
    return "-" if math.isnan(rate) else units.count(rate)


def _lasts(frame: Frame, most: int) -> list[Last]:
    """Last quotes and trades of so many instruments, as many of each feed: feed by feed, most active first."""
    seen = [sorted(dict(probe.last).items()) for probe in frame.probes.ticks]
    found = [[last for _, last in lasts if last.quote is not None] for lasts in seen]
    ranked = sorted((rank, feed) for feed, lasts in enumerate(found) for rank in range(len(lasts)))
    chosen = sorted((feed, rank) for rank, feed in ranked[: max(0, most)])
    return [found[feed][rank] for feed, rank in chosen]


def _last_bars(frame: Frame) -> list[LastBar]:
    """The bars of one second: of each market's most active instrument, then the second of each ..."""
    bars = dict(frame.probes.bars.last)
    ranked = sorted(
        (instrument_id & 0xFFFFFF, instrument_id >> 24, interval_s)
        for interval_s, instrument_id in bars
    )
    return [bars[1, feed << 24 | index] for index, feed, interval_s in ranked if interval_s == 1]


def _size(size: int) -> str:
    """``-`` for none: currencies of Bloomberg have no sizes."""
    return units.compact(size) if size else "-"


def _touch(last: Last) -> tuple[str, str]:
    assert last.quote is not None
    bid, ask = (int(last.quote[name][0]) for name in ("bid_price", "ask_price"))
    return _price(last, bid), _price(last, ask)


def _price(last: Last, fixed: int) -> str:
    records = ((last.quote, ("bid_price", "ask_price")), (last.trade, ("price",)))
    prices = [int(r[name][0]) for r, names in records if r is not None for name in names]
    return units.price(fixed, _decimals(last.instrument, prices))


def _decimals(instrument: Instrument, prices: Sequence[int]) -> int:
    """Those of its grid; where the vendor tells none (Bloomberg), as many as all of these prices need."""
    grid = instrument.tick_size or math.gcd(*(p for p in prices if p != PRICE_UNDEF))
    return units.decimals_of(grid)
