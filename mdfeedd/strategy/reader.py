"""`Reader` with what a strategy asks: last values, and waiting for a condition. Of several rings: a `MultiReader`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self, overload

from mdfeedd.ring import reader as ring_reader
from mdfeedd.ring import segment
from mdfeedd.ring._ring import TickBatch
from mdfeedd.ring.stream import YIELD_BATCHES, BatchStream, BatchT, end_of
from mdfeedd.strategy.last import LastValues, UnknownSymbol, Watcher, look_back
from mdfeedd.strategy.merged import MergedInstruments
from mdfeedd.tick import TICK, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from mdfeedd.ring.reader import OnOverrun, Start
    from mdfeedd.strategy.merge import Order
    from mdfeedd.strategy.multi import MultiReader
    from mdfeedd.strategy.symbols import SymbolMap

__all__ = ["Reader", "Waiting"]


class Waiting(BatchStream[BatchT]):
    """Waiting until something holds of the last values: for readers of one ring and of several."""

    if TYPE_CHECKING:  # what a reader has

        @property
        def last(self) -> LastValues:
            """See the readers."""
            ...

    def wait_until(
        self,
        condition: Callable[[LastValues], object],
        timeout_s: float | None = None,
        *,
        max_records: int = 4096,
        on_batch: Callable[[BatchT], object] | None = None,
    ) -> bool:
        """Read until ``condition(reader.last)`` is true: True; False after `timeout_s`, or when the rings have ended.

        ``reader.wait_until(lambda last: last["ESZ4"].ask < 4500, timeout_s=60)``: a price that is not there is NaN,
        and less than nothing. The condition is looked at now and after each batch of at most `max_records`: what held
        only within a batch is not seen, unless that is 1. `on_batch` is called with each batch that is read meanwhile.
        Raises what the condition and `on_batch` raise, and `KeyError` at the end where a symbol was unknown to the
        last; until then one that no table has yet counts as "no".
        """
        wait = _Condition(self.last, condition, timeout_s)
        while not wait.holds():
            if wait.over():
                return wait.failed()
            batch = self.read(max_records, wait.left_s())
            if len(batch) or batch.lost:
                if on_batch is not None:
                    on_batch(batch)
            elif self.stop_waiting():
                return wait.failed()
        return True

    async def wait_until_async(
        self,
        condition: Callable[[LastValues], object],
        timeout_s: float | None = None,
        *,
        max_records: int = 4096,
        on_batch: Callable[[BatchT], object] | None = None,
    ) -> bool:
        """As `wait_until`, in the running event loop, which goes on meanwhile. `on_batch` is a plain function."""
        import asyncio  # noqa: PLC0415 - it costs a plain reader 20 ms and 5 MiB

        wait = _Condition(self.last, condition, timeout_s)
        in_a_row = 0
        while not wait.holds():
            if wait.over():
                return wait.failed()
            batch = self.read(max_records, 0.0)
            if len(batch) or batch.lost:
                if on_batch is not None:
                    on_batch(batch)
                in_a_row += 1
                if in_a_row % YIELD_BATCHES == 0:
                    await asyncio.sleep(0)
            elif self.stop_waiting():
                return wait.failed()
            else:
                await self.wait(wait.left_s())
        return True


class _Condition:
    """A condition, and how long it is waited for."""

    def __init__(
        self, last: LastValues, holds: Callable[[LastValues], object], timeout_s: float | None
    ) -> None:
        self._last = last
        self._holds = holds
        self._end_s = end_of(timeout_s)
        self._missing: UnknownSymbol | None = None

    def holds(self) -> bool:
        try:
            held = bool(self._holds(self._last))
        except UnknownSymbol as error:  # its definition may come
            self._missing = error
            return False
        self._missing = None
        return held

    def left_s(self) -> float | None:
        return None if self._end_s is None else max(0.0, self._end_s - time.monotonic())

    def over(self) -> bool:
        return self._end_s is not None and time.monotonic() >= self._end_s

    def failed(self) -> bool:
        if self._missing is not None:
            raise self._missing
        return False


class Reader(ring_reader.Reader, Waiting[TickBatch]):
    """Attach to the ring `name`; ``Reader(["cme", "databento"])`` is a `MultiReader` over several.

    start: "now" (the next record), "oldest" (what the ring still holds), "resume" (after what the
        consumer of this name had acknowledged or read; else the oldest) or a sequence number.
    consumer: the name under which operators see this reader's lag and loss; by default made of the
        program's name and pid. Two living readers of one ring cannot have the same.
    dtype: what the ring must hold; None takes whatever it holds.
    wait: seconds to wait for a ring that does not exist yet (inf: for ever).
    follow: go on when the writer restarts, or another ring takes the name; False: iteration and
        blocking reads end when the writer is gone and everything is read.
    spin: seconds to spin before sleeping; inf never sleeps.
    on_overrun: where to go on after being lapped: "oldest" (with half a ring of slack), "latest", or
        "raise" `RingOverrun` (and go on from the oldest at the next read).

    Raises `RingMissing`, `RingMismatch`, `RingDenied`, `RingCorrupt`, `RingBusy`, `ValueError`.
    """

    _last: LastValues | None = None

    @overload
    def __new__(  # type: ignore[overload-overlap]  # a str is a sequence of them, too
        cls,
        name: str,
        start: Start | int = "now",
        consumer: str | None = None,
        *,
        dtype: np.dtype[Any] | None = None,
        wait: float = 0.0,
        follow: bool = True,
        spin: float = 20e-6,
        on_overrun: OnOverrun = "oldest",
        directory: str = segment.DEFAULT_DIRECTORY,
    ) -> Self: ...
    @overload
    def __new__(  # type: ignore[misc]  # mypy wants a Reader of what Reader() makes
        cls,
        name: Sequence[str],
        start: Start = "now",
        consumer: str | None = None,
        *,
        order: Order = "recv",
        hold_s: float | None = None,
        symbols: SymbolMap | str | Path | None = None,
        wait: float = 0.0,
        follow: bool = True,
        spin: float = 20e-6,
        on_overrun: OnOverrun = "oldest",
        directory: str = segment.DEFAULT_DIRECTORY,
    ) -> MultiReader: ...
    def __new__(cls, name: str | Sequence[str], *args: Any, **kwargs: Any) -> Any:
        """One ring: a reader; several: a `MultiReader`, which takes its options."""
        if isinstance(name, str):
            return super().__new__(cls)
        from mdfeedd.strategy.multi import MultiReader  # noqa: PLC0415 - it imports this module

        return MultiReader(name, *args, **kwargs)

    @property
    def last(self) -> LastValues:
        """The last values of each instrument, as of what has been read: ``reader.last["ESZ4"]`` is a `Book`.

        The first time it is asked for, what the ring still holds from before is taken over, so that it is best asked
        for before reading; from then on each read keeps it up to date, at the cost of some ns a tick. A reader that
        nobody asks pays nothing. Raises `TypeError` for a ring that holds no ticks.
        """
        if self._last is None:
            self._last = self._watch()
        return self._last

    def _watch(self) -> LastValues:
        if self.header()["layout"] != layout_of(TICK):
            raise TypeError(f"the ring '{self.name}' holds no ticks, so there are no last values")
        instruments = MergedInstruments([self], any_ring=True)
        last = LastValues(instruments, (self.name,))
        look_back(last.table, self, 0, self.next_seq, instruments)
        self.observe(Watcher(last.table, self))
        return last
