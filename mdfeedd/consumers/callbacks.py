"""The callbacks consumer: your functions, called with what comes.

    ring ─► batch ─► on_batch(TickBatch or RecordBatch)      one call per read
                 ├─► on_tick(Tick)                           one call per tick, of rings of ticks
                 └─► on_bar(Bar)                             one call per bar, of rings of bars

Functions are given as "module:function" in the configuration or as callables in Python. Each may be
plain or async; all run in one event loop (uvloop where it is installed), those of one ring in ring
order, one at a time. While a function runs, or is awaited, its ring is not read: who is slow is
lapped and loses records, which is told (`batch.lost`) and counted.

An exception in a function is logged once per distinct place, with the number of its repetitions,
and counted (`callback_errors`). ``on_error`` says what then: "continue" with the next call, or
"stop": `run` raises it. A batch is acknowledged when its calls have returned, so ``start="resume"``
repeats the batch that a crash or a stop interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect as introspection
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast

from mdfeedd.consumers.episode import Episode
from mdfeedd.consumers.event_loop import loop_factory
from mdfeedd.options import OptionsError, refuse, values
from mdfeedd.ring import Reader, RecordBatch, RingMissing, TickBatch
from mdfeedd.tick import BAR, PRICE_UNDEF, Bar, BarFlag

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from mdfeedd.tick import Tick

    Returned = Awaitable[object] | object

__all__ = ["CallbackConsumer", "CallbackErrors", "CallbackOptions", "bars_of"]

log: logging.Logger = logging.getLogger("mdfeedd.consumers.callbacks")

ATTACH_RETRY_S: Final = 0.2  # how often a ring that does not exist yet is looked for
IDLE_S: Final = 0.05  # longest sleep: bounds the notice of `stop`
STOP_S: Final = 8.0  # how long an async function may go on after `stop`
BEAT_ITEMS: Final = 64  # calls between heartbeats within a batch
REPEATS_S: Final = 60.0  # how often repeated errors are told
MAX_DISTINCT_ERRORS: Final = 64  # told apart; the rest are counted together


@dataclass(frozen=True, slots=True)
class CallbackOptions:
    """Which functions, from where on, and what an exception in them means."""

    on_batch: str = field(
        default="", metadata={"help": "module:function called with each batch of records"}
    )
    on_tick: str = field(default="", metadata={"help": "module:function called with each tick"})
    on_bar: str = field(default="", metadata={"help": "module:function called with each bar"})
    on_error: Literal["continue", "stop"] = field(
        default="continue", metadata={"help": "after an exception in a function: continue or stop"}
    )
    start: Literal["now", "oldest", "resume"] = field(
        default="now",
        metadata={"help": "now, oldest, or resume (after the last batch that was acknowledged)"},
    )
    batch_size: int = field(default=4096, metadata={"help": "records read at a time, at most"})
    follow: bool = field(
        default=True, metadata={"help": "go on when writers are gone; false: return then"}
    )
    wait_s: float = field(
        default=10.0,
        metadata={"help": "with follow false: how long to wait for rings to appear, in seconds"},
    )

    def __post_init__(self) -> None:
        refuse(self._check_functions(), self._check_start(), self._check_numbers())

    def _check_functions(self) -> Iterator[str]:
        for key, value in values(self, ("on_batch", "on_tick", "on_bar")):
            module, _, function = value.partition(":")
            if value and not (module and function):
                yield f"{key}: must be module:function, not {value!r}"

    def _check_start(self) -> Iterator[str]:
        if self.start not in ("now", "oldest", "resume"):
            yield f"start: must be now, oldest or resume, not {self.start!r}"
        if self.on_error not in ("continue", "stop"):
            yield f"on_error: must be continue or stop, not {self.on_error!r}"

    def _check_numbers(self) -> Iterator[str]:
        if not isinstance(self.batch_size, int) or not 1 <= self.batch_size <= 1_000_000:
            yield f"batch_size: must be a whole number from 1 to 1000000, not {self.batch_size!r}"
        if not self.wait_s >= 0:
            yield f"wait_s: must not be negative: {self.wait_s!r}"


def bars_of(batch: RecordBatch) -> Iterator[Bar]:
    """The bars of a batch of a bar ring, one at a time."""
    instruments = batch.instruments
    names = BAR.names or ()
    for record in batch.records.tolist():
        bar = dict(zip(names, record, strict=True))
        found = instruments.get(bar["instrument_id"])
        yield Bar(
            symbol=instruments.symbol(bar["instrument_id"]),
            vendor=(found.feed if found else "") or batch.feed,
            interval_s=bar["interval_s"],
            ts_open_ns=bar["ts_open"],
            open=bar["open"],
            high=bar["high"],
            low=bar["low"],
            close=bar["close"],
            volume=bar["volume"],
            vwap=None if bar["vwap"] == PRICE_UNDEF else bar["vwap"],
            count=bar["count"],
            flags=BarFlag(bar["flags"]),
        )


class CallbackErrors:
    """Exceptions of user code: each distinct one is logged once, its repetitions are counted."""

    def __init__(self) -> None:
        self._repeats: dict[tuple[str, str, int], int] = {}
        self._next_report = 0.0

    @staticmethod
    def _place(error: BaseException) -> tuple[str, str, int]:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is None:
            return type(error).__name__, "?", 0
        return type(error).__name__, trace.tb_frame.f_code.co_filename, trace.tb_lineno

    def tell(self, function: str, error: Exception) -> None:
        """One more."""
        place = self._place(error)
        if place not in self._repeats and len(self._repeats) >= MAX_DISTINCT_ERRORS:
            place = ("other exceptions", "other places", 0)
        if place in self._repeats:
            self._repeats[place] += 1
        else:
            self._repeats[place] = 0
            log.error("%s raised %s: %s", function, type(error).__name__, error, exc_info=error)
        self.report(time.monotonic())

    def report(self, now: float, *, over: bool = False) -> None:
        """Tell the repetitions since the last time, at most once in `REPEATS_S`."""
        if now < self._next_report and not over:
            return
        self._next_report = now + REPEATS_S
        for (kind, file, line), repeats in self._repeats.items():
            if repeats:
                log.error("%s at %s:%d was raised %d more times", kind, file, line, repeats)
                self._repeats[kind, file, line] = 0


class CallbackConsumer:
    """See the module. `name` is the consumer's name in the registry of each ring.

    A callable given here takes the place of the one that the options name. Raises `ValueError` if
    there is none at all. `run` raises `OptionsError` for a function that cannot be imported, what a
    function raised with on_error="stop", and `RingError`.
    """

    Options: ClassVar[type[Any]] = CallbackOptions

    def __init__(
        self,
        name: str,
        options: CallbackOptions,
        rings: Sequence[str],
        directory: str,
        *,
        on_batch: Callable[[RecordBatch], Returned] | None = None,
        on_tick: Callable[[Tick], Returned] | None = None,
        on_bar: Callable[[Bar], Returned] | None = None,
    ) -> None:
        self._name = name
        self._options = options
        self._rings = list(rings)
        self._directory = directory
        self._functions: dict[str, Callable[[Any], Returned] | None] = {
            "on_batch": on_batch,
            "on_tick": on_tick,
            "on_bar": on_bar,
        }
        if not any(given or getattr(options, key) for key, given in self._functions.items()):
            raise ValueError("on_batch: one of on_batch, on_tick and on_bar is needed")
        self._errors = CallbackErrors()
        self._readers: set[Reader] = set()
        self._halted = False

    def run(self, stop: threading.Event) -> None:
        """Read and call until `stop` is set, or with follow off until all rings ended."""
        for key, given in self._functions.items():
            if given is None and (text := getattr(self._options, key)):
                self._functions[key] = _import(key, text)
        self._halted = False
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._serve_all(stop))

    async def _serve_all(self, stop: threading.Event) -> None:
        deadline = float("inf")
        running = {asyncio.create_task(self._serve(ring, stop)) for ring in self._rings}
        try:
            while running:
                done, running = await asyncio.wait(
                    running, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    await task  # raises what it raised
                now = time.monotonic()
                for reader in self._readers:
                    reader.beat()  # the loop turns, though a function may wait for something
                self._errors.report(now)
                if deadline == float("inf") and stop.is_set():
                    deadline = now + STOP_S
                if now >= deadline:
                    log.error(
                        "a function did not return within %g s of the stop: cancelled", STOP_S
                    )
                    break
        finally:
            self._halted = True
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self._errors.report(time.monotonic(), over=True)

    async def _serve(self, ring: str, stop: threading.Event) -> None:
        reader = await self._attach(ring, stop)
        if reader is None:
            return
        lost = Episode(log, f"ring '{ring}': %d records lost, the functions were slower")
        with reader, self._known(reader):
            while not (stop.is_set() or self._halted):
                batch = reader.read(self._options.batch_size, timeout=0)
                lost.add(batch.lost, time.monotonic())
                if len(batch):
                    await self._give(reader, batch)
                    await asyncio.sleep(0)  # the other rings
                elif not self._options.follow and reader.ended:
                    break
                elif not batch.lost:
                    lost.settle(time.monotonic())
                    await reader.wait(IDLE_S)
            lost.settle(time.monotonic(), over=True)

    @contextlib.contextmanager
    def _known(self, reader: Reader) -> Iterator[None]:
        self._readers.add(reader)
        try:
            yield
        finally:
            self._readers.discard(reader)

    async def _attach(self, ring: str, stop: threading.Event) -> Reader | None:
        """Open the ring, once it exists; None if it is not waited for any more."""
        give_up = time.monotonic() + self._options.wait_s
        while not (stop.is_set() or self._halted):
            try:
                reader = Reader(
                    ring,
                    start=self._options.start,
                    consumer=self._name,
                    dtype=None,
                    follow=self._options.follow,
                    directory=self._directory,
                )
                reader.ack(reader.next_seq - 1)  # killed in the first batch, it is not yet done
                return reader  # noqa: TRY300
            except RingMissing:
                if not self._options.follow and time.monotonic() >= give_up:
                    log.warning("never appeared: ring '%s'", ring)
                    return None
            await asyncio.sleep(ATTACH_RETRY_S)
        return None

    async def _give(self, reader: Reader, batch: RecordBatch) -> None:
        """All calls for one batch; acknowledged at the end."""
        errors = await self._call(reader, "on_batch", (batch,))
        if isinstance(batch, TickBatch):
            errors += await self._call(reader, "on_tick", batch)
        elif self._functions["on_bar"] is not None and batch.records.dtype == BAR:
            errors += await self._call(reader, "on_bar", bars_of(batch))
        reader.counters.add("failed_flushes" if errors else "flushes")
        reader.ack(batch.last_seq)

    async def _call(self, reader: Reader, key: str, items: Iterable[Any]) -> int:
        """Call one function with each item; returns how many calls raised."""
        function = self._functions[key]
        if function is None:
            return 0
        errors = 0
        for place, item in enumerate(items):
            if not place % BEAT_ITEMS:
                reader.beat()  # many calls that take their time are no hang; one that does not end is
            try:
                result = function(item)
                if result is not None and introspection.isawaitable(result):
                    await result
            except Exception as error:
                errors += 1
                reader.counters.add("callback_errors")
                self._errors.tell(getattr(function, "__qualname__", repr(function)), error)
                if self._options.on_error == "stop":
                    reader.counters.add("failed_flushes")
                    raise
        return errors


def _import(key: str, text: str) -> Callable[[Any], Returned]:
    module, _, path = text.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise OptionsError([f"{key}: cannot import {text!r}: {error}"]) from error
    if not callable(found):
        raise OptionsError([f"{key}: {text!r} is not a function"])
    return cast("Callable[[Any], Returned]", found)


if TYPE_CHECKING:
    from mdfeedd.consumers.protocol import Consumer

    _conforms: type[Consumer] = CallbackConsumer
