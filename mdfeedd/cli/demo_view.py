"""What the demo looks like while it runs: numbers taken from shared memory, as a table or as lines."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mdfeedd.cli import units
from mdfeedd.cli.demo_gateway import Sessions
from mdfeedd.cli.demo_plan import BARS_RING, READ_RINGS, SESSION, TICK_RINGS, WIRED
from mdfeedd.cli.demo_venue import Account
from mdfeedd.cli.probe import CONSUMER, LastBar, Latencies, Probes
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import RingInfo, inspect
from mdfeedd.tick import Side

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from mdfeedd.cli.demo_gateway import Server
    from mdfeedd.cli.demo_venue import Channel
    from mdfeedd.cli.probe import Last
    from mdfeedd.daemon.supervisor import Supervisor

FRAME_S: Final = 0.25
LINE_S: Final = 1.0
RATE_OVER_S: Final = 2.0  # rates and latencies are those of so many last seconds
BEGIN_S: Final = 5.0  # from the first feed that trades to the last
WIDE: Final = 118  # columns for two panes side by side
_FIXED_LINES: Final = 15  # of the narrow table, without its prices


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
            print(line(frame), flush=True)
        if watch.over(frame):
            return
        await asyncio.sleep(FRAME_S)


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
    if frame.account is not None:
        words.append(f"gaps {frame.account.gaps}, {frame.account.recovered} recovered")
    if frame.sessions is not None and frame.sessions.disconnects:
        words.append(f"replayed {units.count(frame.sessions.replayed)}")
    first = next(iter(_lasts(frame)), None)
    if first is not None and first.quote is not None:
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
        "  a synthetic market: no account, no network  ",
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
    if frame.account is not None or frame.sessions is not None:
        parts += [""]
    if wide:
        left = Group(feeds, "", readers, "", _bars(frame, max(3, height - 20 - len(parts))))
        grid = Table.grid(padding=(0, 4))
        grid.add_row(left, _prices(frame, height - 3 - len(parts)))
        return Group(*parts, grid)
    room = height - _FIXED_LINES - len(parts)
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
    table = _table("feed", "> ticks/s", "> ticks", "> latency p50", "> p99")
    for ring in TICK_RINGS:
        latencies = frame.latencies(ring)
        table.add_row(
            ring,
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
    for last in _lasts(frame)[: max(0, rows)]:
        if last.quote is None:
            continue
        bid, ask = _touch(last)
        traded = arrow = Text("")
        if last.trade is not None:
            bought = last.trade["side"][0] == Side.BUY
            style = "green" if bought else "red"
            traded = Text(_price(last, int(last.trade["price"][0])), style)
            arrow = Text("▲" if bought else "▼", style)
        table.add_row(
            Text(last.instrument.symbol, "bold"),
            units.compact(int(last.quote["bid_size"][0])),
            bid,
            ask,
            units.compact(int(last.quote["ask_size"][0])),
            traded,
            arrow,
        )
    return table


def _bars(frame: Frame, rows: int) -> Table:
    table = _table("1 s bar", "> open", "> high", "> low", "> close", "> volume")
    for found in _last_bars(frame)[: max(0, rows)]:
        bar = found.bar[0]
        decimals = units.decimals_of(found.instrument.tick_size)
        prices = (units.price(int(bar[k]), decimals) for k in ("open", "high", "low", "close"))
        table.add_row(found.instrument.symbol, *prices, units.compact(int(bar["volume"])))
    return table


def _rate(rate: float) -> str:
    return "-" if math.isnan(rate) else units.count(rate)


def _lasts(frame: Frame) -> list[Last]:
    """Last quotes and trades: feed by feed, most active first."""
    found = [dict(probe.last) for probe in frame.probes.ticks]
    return [last for lasts in found for _, last in sorted(lasts.items())]


def _last_bars(frame: Frame) -> list[LastBar]:
    """The bars of one second: of each market's most active instrument, then the second of each ..."""
    bars = dict(frame.probes.bars.last)
    ranked = sorted(
        (instrument_id & 0xFFFFFF, instrument_id >> 24, interval_s)
        for interval_s, instrument_id in bars
    )
    return [bars[1, feed << 24 | index] for index, feed, interval_s in ranked if interval_s == 1]


def _touch(last: Last) -> tuple[str, str]:
    assert last.quote is not None
    bid, ask = (int(last.quote[name][0]) for name in ("bid_price", "ask_price"))
    return _price(last, bid), _price(last, ask)


def _price(last: Last, fixed: int) -> str:
    return units.price(fixed, units.decimals_of(last.instrument.tick_size))
