"""What `live` prints: once a second what came by each ring, each bar as it comes, and at the end the sums.

    rings ─► Reader each, in the supervisor's event loop ─► counts, last quote ─► a line a second
    ring of bars ─► Reader ─► a line each

Standard output has the lines; the log has the rest. A terminal that is too slow loses records of its own, which
are told; nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble
from mdfeedd.consumers.callbacks import bars_of
from mdfeedd.daemon.child import State
from mdfeedd.ring import Reader, RingError, RingMissing, TickBatch
from mdfeedd.tick import BarFlag

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from mdfeedd.daemon.plan import Plan
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.ring import RecordBatch
    from mdfeedd.tick import Bar

CONSUMER: Final = "live-view"
LINE_S: Final = 1.0
ATTACH_STEP_S: Final = 0.05
"""Between two looks for a ring that is not there yet."""
READ_S: Final = 0.25
"""Longest sleep of a reader."""
_LABEL_COLUMNS: Final = 12


@dataclass(slots=True)
class _Came:
    """What came by one ring."""

    batches: int = 0
    ticks: int = 0
    quotes: int = 0
    trades: int = 0
    lost: int = 0

    def add(self, other: _Came) -> None:
        """Count that, too."""
        self.batches += other.batches
        self.ticks += other.ticks
        self.quotes += other.quotes
        self.trades += other.trades
        self.lost += other.lost

    def __str__(self) -> str:
        kinds = f"{units.of(self.quotes, 'quote')}, {units.of(self.trades, 'trade')}"
        lost = f"; {units.count(self.lost)} lost by this terminal" if self.lost else ""
        return f"{units.of(self.ticks, 'tick')} ({kinds}){lost}"


@dataclass(slots=True)
class _Ring:
    """A ring of ticks: what came since the last line, what came in all, and the last quote as text."""

    name: str
    label: str
    lately: _Came
    whole: _Came
    last: str = ""

    def use(self, batch: TickBatch) -> None:
        """Count a batch, and note its last quote."""
        quotes = batch.quotes
        came = _Came(1, len(batch), len(quotes), len(batch.trades), batch.lost)
        self.lately.add(came)
        self.whole.add(came)
        if len(quotes):
            bid, ask = int(quotes["bid_price"][-1]), int(quotes["ask_price"][-1])
            instrument = batch.instruments.get(int(quotes["instrument_id"][-1]))
            if instrument is not None:
                shown = _alike((bid, ask), units.decimals_of(instrument.tick_size))
                self.last = f"{units.printable(instrument.symbol)} {' | '.join(shown)}"


def _alike(prices: Sequence[int], decimals: int = 0) -> list[str]:
    """Prices as text, all with as many decimals as the one that needs most."""
    needed = (len(units.price(price, decimals).partition(".")[2]) for price in prices)
    most = max(needed)
    return [units.price(price, most) for price in prices]


class Lines:
    """Prints the lines of a plan that runs. `show` is the view of `supervised.supervise`.

    prefix: of the names of rings, left out in what is shown. seconds: `show` returns after so long, or when
    all feeds have ended.
    """

    def __init__(self, plan: Plan, prefix: str, seconds: float | None) -> None:
        self._directory = plan.shm_dir
        self._prefix = prefix
        self._seconds = seconds
        self._rings = [
            _Ring(feed.name, feed.name.removeprefix(prefix), _Came(), _Came())
            for feed in plan.feeds
        ]
        self._bars_rings = [ring for consumer in plan.consumers for ring in consumer.outputs]
        self._bars = 0
        self._began_s = time.monotonic()
        self._readers: list[tuple[Reader, _Ring | None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for reader, _ in self._readers:
            reader.close()

    async def show(self, supervisor: Supervisor) -> None:
        """Print until the time is over or no feed is left. Raises `Trouble` and `OSError`."""
        names = ", ".join(ring.name for ring in self._rings)
        print(f"rings {names} in {self._directory}; Ctrl-C ends it", flush=True)
        end_s = float("inf") if self._seconds is None else self._began_s + self._seconds
        following = [self._follow(ring.name, ring) for ring in self._rings]
        following += [self._follow(name, None) for name in self._bars_rings]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each) for each in following]
                while time.monotonic() < end_s and self._any_feed(supervisor):
                    await asyncio.sleep(max(0.0, min(LINE_S, end_s - time.monotonic())))
                    self._tell()
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as group:
            error = group.exceptions[0]
            raise (Trouble(str(error)) if isinstance(error, RingError) else error) from None

    @staticmethod
    def _any_feed(supervisor: Supervisor) -> bool:
        ended = (State.FINISHED, State.FAILED, State.STOPPED)
        feeds = [child for child in supervisor.children if child.kind == "feed"]
        return any(child.state not in ended for child in feeds)

    async def _follow(self, name: str, ring: _Ring | None) -> None:
        reader = await self._attach(name)
        self._readers.append((reader, ring))
        while True:
            batch = reader.read(timeout=0)
            if len(batch) or batch.lost:
                self._use(batch, ring)
                await asyncio.sleep(0)  # the other rings
            else:
                await reader.wait(READ_S)

    async def _attach(self, name: str) -> Reader:
        while True:
            with contextlib.suppress(RingMissing):
                return Reader(name, "oldest", CONSUMER, directory=self._directory)
            await asyncio.sleep(ATTACH_STEP_S)

    def _use(self, batch: RecordBatch, ring: _Ring | None) -> None:
        if ring is not None and isinstance(batch, TickBatch):
            ring.use(batch)
        elif ring is None:
            for bar in bars_of(batch):
                self._bars += 1
                print(f"{units.clock(bar.ts_open_ns)[:8]} {self._bar(bar)}", flush=True)

    def _bar(self, bar: Bar) -> str:
        label = bar.vendor.removeprefix(self._prefix)
        prices = _alike((bar.open, bar.high, bar.low, bar.close))
        shown = " ".join(f"{name}={price}" for name, price in zip("OHLC", prices, strict=True))
        flags = ", ".join(str(flag.name).lower() for flag in BarFlag if flag & bar.flags)
        told = f" ({flags})" if flags else ""
        return (
            f"{label:{_LABEL_COLUMNS}} bar of {bar.interval_s} s {units.printable(bar.symbol)}: {shown} "
            f"V={bar.volume}{told}"
        )

    def _tell(self) -> None:
        """A line for each ring by which something came."""
        now = units.clock(time.time_ns())[:8]
        for ring in self._rings:
            came, ring.lately = ring.lately, _Came()
            if came.batches:
                batches = f"{came.batches} batch{'' if came.batches == 1 else 'es'}"
                last = f"   {ring.last}" if ring.last else ""
                print(f"{now} {ring.label:{_LABEL_COLUMNS}} {batches}, {came}{last}", flush=True)

    def rest(self) -> None:
        """What was written after `show` was told to end: the last ticks, and bars that were not full."""
        for reader, ring in self._readers:
            with contextlib.suppress(RingError):
                while len(batch := reader.read(timeout=0)) or batch.lost:
                    self._use(batch, ring)

    def summary(self) -> None:
        """The sums."""
        print(f"{time.monotonic() - self._began_s:.1f} s, {units.of(self._bars, 'bar')}")
        for ring in self._rings:
            print(f"  {ring.label:{_LABEL_COLUMNS}} {ring.whole}")
