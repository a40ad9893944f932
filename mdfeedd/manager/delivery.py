"""From rings to callbacks, in one task of the caller's event loop.

    rings of ticks ─► Source: read, skip, hold ─► on_gap ─► on_batch ─► on_tick        in ring order
    rings of bars ──► Source ─────────────────────────────► on_bar of the bar's length
    changes of feeds ─────────────────────────────────────► on_status

One callback runs at a time, also an async one: a second is not begun before the first has returned. Rings take
turns, a batch each. Nobody asks again and again: one C thread sleeps for all rings and wakes the loop.
The ring is the only buffer. A batch that is not full yet waits there until `batch_delay_s` is over.
"""

from __future__ import annotations

import asyncio
import collections
import inspect
import itertools
import logging
import operator
import time
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from mdfeedd.consumers.callbacks import CallbackErrors, bars_of
from mdfeedd.consumers.episode import Episode
from mdfeedd.manager.events import gaps_in, lapped
from mdfeedd.ring import Reader, RingMissing, TickBatch, aio
from mdfeedd.tick import BAR, TICK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mdfeedd.manager.events import FeedStatus, Gap
    from mdfeedd.ring import RecordBatch
    from mdfeedd.ring.reader import Start
    from mdfeedd.tick import Bar, Tick

    Returned = Awaitable[object] | object

__all__ = ["Backpressure", "Callbacks", "Delivery", "Handling", "OnError", "Source"]

logger: logging.Logger = logging.getLogger("mdfeedd.manager")

Backpressure = Literal["drop", "wait"]
OnError = Literal["stop", "continue"]

IDLE_S: Final = 0.05  # the longest sleep: bounds the notice of a change, and of a ring that appears
HOLD_LOOKS: Final = 4  # at a batch that is held: it may be full by then
HOLD_STEP_S: Final = 0.001  # ... but not more often
LOOK_S: Final = 1.0  # between looks at the name of an idle ring
SKIP_RECORDS: Final = 8192  # read at a time, to be dropped
MAX_STATUSES: Final = 1024  # not told yet; the oldest go first
CALLS: Final = 64  # of on_tick between looks at the clock
YIELD_S: Final = 0.005  # of them, until the loop may do something else


@dataclass(slots=True)
class Callbacks:
    """The functions; each may be plain or async. on_bar: by ring and length of the bars in seconds."""

    on_batch: Callable[[TickBatch], Returned] | None = None
    on_tick: Callable[[Tick], Returned] | None = None
    on_gap: Callable[[Gap], Returned] | None = None
    on_status: Callable[[FeedStatus], Returned] | None = None
    on_bar: dict[tuple[str, int], list[Callable[[Bar], Returned]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Handling:
    """How to read and what an exception means. Raises `ValueError`."""

    batch_size: int = 1000
    batch_delay_s: float = 0.0
    backpressure: Backpressure = "drop"
    on_error: OnError = "stop"
    spin_s: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.batch_size, int) or not 1 <= self.batch_size <= 1_000_000:
            raise ValueError(
                f"batch_size: must be a whole number from 1 to 1000000, not {self.batch_size!r}"
            )
        if not 0 <= self.batch_delay_s <= 60:
            raise ValueError(f"batch_delay_s: must be 0 to 60 s, not {self.batch_delay_s!r}")
        if not self.spin_s >= 0:
            raise ValueError(f"spin_s: must not be negative: {self.spin_s!r}")
        if self.backpressure not in ("drop", "wait"):
            raise ValueError(f"backpressure: must be drop or wait, not {self.backpressure!r}")
        if self.on_error not in ("stop", "continue"):
            raise ValueError(f"on_error: must be stop or continue, not {self.on_error!r}")


class Source:
    """One ring and where we are in it. feed: whose ticks it holds, or whose bars."""

    def __init__(
        self, ring: str, feed: str, directory: str, start: Start | int, *, bars: bool
    ) -> None:
        self.ring = ring
        self.key: str = ring
        """Of `Delivery.sources`: another one once the ring's name is that of a new source."""
        self.feed = feed
        self.bars = bars
        self.reader: Reader | None = None
        self.first_seq: int = 0
        self.due_s: float | None = None
        """Until then a batch is held that is not full."""
        self.leaving = False
        self.delivered = self.dropped = self.gaps = 0
        self._published = 0
        self._directory = directory
        self._start = start
        self._look_s = 0.0
        self.too_slow: Episode = Episode(
            logger, f"feed {feed}: %d ticks were lost to callbacks that are slower than the feed"
        )

    def attach(self) -> bool:
        """Open the ring if it is there by now."""
        if self.reader is None:
            try:
                self.reader = Reader(
                    self.ring,
                    self._start,
                    dtype=BAR if self.bars else TICK,
                    directory=self._directory,
                )
            except RingMissing:
                return False
            self.first_seq = self.reader.next_seq
        return True

    def look(self, now_s: float) -> None:
        """Has the ring been replaced, or its writer changed? When nothing comes."""
        reader = self.reader
        if reader is None or self.leaving:  # who leaves does not go over to a new ring of the name
            return
        if reader.ready:
            reader.on_change()
        if now_s - self._look_s >= LOOK_S:
            self._look_s = now_s
            reader.on_idle()
            self.too_slow.settle(now_s)

    @property
    def at_end(self) -> bool:
        """All is read, and nobody writes."""
        return self.reader is None or self.reader.ended

    @property
    def published(self) -> int:
        """Records of the ring since we began."""
        if self.reader is None or self.reader.closed:
            return self._published
        return self.reader.next_seq + self.reader.available - self.first_seq

    @property
    def behind(self) -> int:
        """Records that wait in the ring."""
        return 0 if self.reader is None or self.reader.closed else self.reader.available

    @property
    def lost(self) -> int:
        """Records that were overwritten before we had them."""
        return 0 if self.reader is None else self.reader.lost

    def close(self) -> None:
        """Let go of the ring; the counts stay."""
        self.too_slow.settle(time.monotonic(), over=True)
        self._published = self.published
        if self.reader is not None:
            self.reader.close()


class Delivery:
    """See the module. `run` in the loop in which everything else here is called.

    `run` returns after `finish`, when all rings have been read to their end, and after `halt`. It raises what
    a callback raised, if `Handling.on_error` is stop.
    """

    def __init__(self, callbacks: Callbacks, handling: Handling) -> None:
        self.callbacks = callbacks
        self.handling = handling
        self.sources: dict[str, Source] = {}
        self.left: list[Source] = []
        """Those that were read to their end, or let go."""
        self.batches: int = 0
        self.ticks: int = 0
        self.bars: int = 0
        self.errors: int = 0
        self.calling: str = ""
        """The callback that was called last."""
        self._told = CallbackErrors()
        self._statuses: collections.deque[FeedStatus] = collections.deque(maxlen=MAX_STATUSES)
        self._turns: tuple[Source, ...] = ()
        self._worked = False
        self._spin_until_s = 0.0
        self._finishing = False
        self._halted = False

    @property
    def _drops(self) -> bool:
        return self.handling.backpressure == "drop"

    # ------------------------------------------------------------------------------------- from outside

    def follow(
        self, ring: str, feed: str, directory: str, start: Start | int, *, bars: bool = False
    ) -> None:
        """Read a ring from now on; it may appear later."""
        before = self.sources.get(ring)
        if before is not None and not before.leaving:
            return
        if before is not None:  # of a feed that was removed: to its end, beside the new one
            before.key = f"{ring}/{id(before)}"
            self.sources[before.key] = self.sources.pop(ring)
        self.sources[ring] = Source(ring, feed, directory, start, bars=bars)
        self._turns = tuple(self.sources.values())

    def leave(self, ring: str) -> None:
        """Read a ring no longer than to its end, which is near: its writer is gone, and its name soon."""
        if ring in self.sources:
            self.sources[ring].attach()
            self.sources[ring].leaving = True

    def tell(self, status: FeedStatus) -> None:
        """Have on_status called."""
        if self.callbacks.on_status is not None:
            self._statuses.append(status)

    def finish(self) -> None:
        """Go on to the end of each ring, and return then."""
        self._finishing = True

    def halt(self) -> None:
        """Call nothing more."""
        self._halted = True

    # ------------------------------------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Until `finish` and the end, or `halt`."""
        try:
            while not self._halted:
                worked = bool(self._statuses) and await self._tell_status()
                for source in self._turns:
                    if self._halted:
                        return
                    worked = await self._turn(source) or worked
                if worked or self._spins():
                    self._worked = worked or self._worked
                    await asyncio.sleep(0)
                elif self._settle():
                    return
                else:
                    await self._wait()
        finally:
            self._told.report(time.monotonic(), over=True)
            for key in list(self.sources):
                self._let_go(key)

    def _let_go(self, key: str) -> None:
        source = self.sources.pop(key)
        self._turns = tuple(self.sources.values())
        source.close()
        self.left.append(source)

    def _settle(self) -> bool:
        """Let go of rings at their end; is it over?"""
        for source in list(self.sources.values()):
            if (source.leaving or self._finishing) and source.at_end:
                self._let_go(source.key)
        return self._finishing and not self.sources

    async def _wait(self) -> None:
        """Until a ring has something."""
        held = [source.due_s for source in self.sources.values() if source.due_s is not None]
        wait_s = IDLE_S
        if held:
            step_s = max(HOLD_STEP_S, self.handling.batch_delay_s / HOLD_LOOKS)
            wait_s = min(IDLE_S, step_s, max(0.0, min(held) - time.monotonic()))
        readers = [s.reader for s in self.sources.values() if s.reader and s.due_s is None]
        if await aio.hub().wait_any(readers, wait_s) or held:
            return
        now_s = time.monotonic()
        for source in self.sources.values():
            source.look(now_s)
        self._told.report(now_s)

    def _spins(self) -> bool:
        """Is the loop to go on without a sleep, though nothing came?"""
        if not self.handling.spin_s or self._finishing:
            return False
        now_s = time.monotonic()
        if self._worked:
            self._worked, self._spin_until_s = False, now_s + self.handling.spin_s
        return now_s < self._spin_until_s

    async def _tell_status(self) -> bool:
        assert self.callbacks.on_status is not None
        await self._call("on_status", self.callbacks.on_status, self._statuses.popleft())
        return True

    async def _turn(self, source: Source) -> bool:
        """Give one batch of a ring; False if there was none."""
        if not source.attach():
            return False
        reader = source.reader
        assert reader is not None
        size, available = self.handling.batch_size, reader.available
        if not available:
            if reader.ready and not source.leaving:
                reader.on_change()
            return False
        if available < size and self._hold(source):
            return False
        source.due_s = None
        if available > max(size, reader.capacity // 2) and self._drops and not source.bars:
            await self._skip(source, reader, available - size)
        batch: RecordBatch = reader.read(size, timeout=0)
        if batch.lost:
            after = batch.first_seq if len(batch) else reader.next_seq
            await self._tell_lost(source, lapped(source.feed, after - batch.lost, after - 1, batch))
        if len(batch):
            if isinstance(batch, TickBatch):
                await self._give_ticks(source, batch)
            else:
                await self._give_bars(source, batch)
            source.delivered += len(batch)
            reader.ack(batch.last_seq)
        return True

    def _hold(self, source: Source) -> bool:
        """Is a batch that is not full to wait for more?"""
        delay_s = self.handling.batch_delay_s
        if not delay_s or self._finishing or source.leaving:
            return False
        now_s = time.monotonic()
        if source.due_s is None:
            source.due_s = now_s + delay_s
        return now_s < source.due_s

    async def _skip(self, source: Source, reader: Reader, excess: int) -> None:
        """Leave out the oldest ticks; the gaps among them are told, and that they are missing."""
        first, wanted = reader.next_seq, reader.next_seq + excess
        batch: RecordBatch | None = None
        while reader.next_seq < wanted:
            lapped_now = (
                reader.available > reader.capacity
            )  # where it goes on is known after a read
            most = 1 if lapped_now else min(SKIP_RECORDS, wanted - reader.next_seq)
            batch = reader.read(most, timeout=0)
            if not len(batch) and not batch.lost:
                break
            source.dropped += len(batch)
            reader.counters.add("dropped_records", len(batch))
            if isinstance(batch, TickBatch):
                await self._tell_gaps(source, batch)
        await self._tell_lost(source, lapped(source.feed, first, reader.next_seq - 1, batch))

    # ----------------------------------------------------------------------------------------- the calls

    async def _tell_lost(self, source: Source, gap: Gap) -> None:
        source.too_slow.add(gap.lost, time.monotonic())
        if self.callbacks.on_gap is not None:
            await self._call("on_gap", self.callbacks.on_gap, gap)

    async def _tell_gaps(self, source: Source, batch: TickBatch) -> None:
        for gap in gaps_in(batch):
            source.gaps += 1
            if self.callbacks.on_gap is not None:
                await self._call("on_gap", self.callbacks.on_gap, gap)

    async def _give_ticks(self, source: Source, batch: TickBatch) -> None:
        await self._tell_gaps(source, batch)
        if self.callbacks.on_batch is not None:
            self.batches += 1
            await self._call("on_batch", self.callbacks.on_batch, batch)
        if self.callbacks.on_tick is not None:
            await self._call_each("on_tick", self.callbacks.on_tick, batch)

    async def _give_bars(self, source: Source, batch: RecordBatch) -> None:
        for bar in bars_of(batch):
            for function in self.callbacks.on_bar.get((source.ring, bar.interval_s), ()):
                self.bars += 1
                await self._call("on_bar", function, bar)

    async def _call(self, name: str, function: Callable[[Any], Returned], argument: Any) -> None:
        if self._halted:
            return
        self.calling = name
        try:
            result = function(argument)
            if result is not None and inspect.isawaitable(result):
                await result
        except asyncio.CancelledError as error:
            self._cancelled(name, error)
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises
            self._failed(name, error)

    async def _call_each(
        self, name: str, function: Callable[[Any], Returned], batch: TickBatch
    ) -> None:
        """One call after the other; the loop has its turn where they take their time."""
        self.calling = name
        ticks = iter(batch)
        begun_s = time.monotonic()
        while left := operator.length_hint(ticks):
            try:
                for tick in itertools.islice(ticks, CALLS):
                    result = function(tick)
                    if result is not None and (
                        type(result) is types.CoroutineType or inspect.isawaitable(result)
                    ):
                        await result
                    if self._halted:
                        return
            except asyncio.CancelledError as error:
                self._cancelled(name, error)
            except Exception as error:  # noqa: BLE001 - see _call
                self._failed(name, error)
            finally:
                self.ticks += left - operator.length_hint(ticks)
            if time.monotonic() - begun_s >= YIELD_S:
                await asyncio.sleep(0)
                begun_s = time.monotonic()

    def _cancelled(self, name: str, error: asyncio.CancelledError) -> None:
        """What a callback waited for was cancelled: an exception like others, unless it is we who are to end."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
        failure = RuntimeError(f"{name}: what it waited for was cancelled")
        failure.__cause__ = error
        self._failed(name, failure)

    def _failed(self, name: str, error: Exception) -> None:
        """Tell of an exception, and raise it again if that is what is wanted."""
        self.errors += 1
        self._told.tell(name, error)
        if self.handling.on_error == "stop":
            raise error
