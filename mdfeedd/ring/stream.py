"""Batches one after the other: what readers of one ring and of several have in common."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["YIELD_BATCHES", "BatchStream", "BatchT", "end_of", "seconds"]

YIELD_BATCHES: Final = 16
"""Batches in a row that an async reader takes before others may run."""


class _Batch(Protocol):
    @property
    def lost(self) -> int: ...
    def __len__(self) -> int: ...


def seconds(wait: float) -> float:
    """A time to wait. Raises `ValueError` for nan, which would never be over."""
    if math.isnan(wait):
        raise ValueError("a time to wait is a number of seconds, not nan")
    return wait


def end_of(timeout: float | None) -> float | None:
    """When a wait of `timeout` seconds is over, by `time.monotonic`; None: never. Raises `ValueError` for nan."""
    return None if timeout is None else time.monotonic() + seconds(timeout)


BatchT = TypeVar("BatchT", bound=_Batch)


class BatchStream(Generic[BatchT]):
    """Iteration, plain and async, and ``with``, for what has `read`, `wait`, `stop_waiting` and `close`."""

    _in_a_row = 0

    if TYPE_CHECKING:  # what a reader has

        def read(self, max_records: int = 4096, timeout: float | None = None) -> BatchT:
            """See the readers."""
            ...

        async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - a bound
            """See the readers."""
            ...

        def stop_waiting(self) -> bool:
            """See the readers."""
            ...

        def close(self) -> None:
            """See the readers."""
            ...

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> BatchT:
        batch = self.read()
        if len(batch) or batch.lost:
            return batch
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchT:
        import asyncio  # noqa: PLC0415 - it costs a plain reader 20 ms and 5 MiB

        self._in_a_row += 1
        if self._in_a_row >= YIELD_BATCHES:
            self._in_a_row = 0
            await asyncio.sleep(0)
        while True:
            batch = self.read(timeout=0)
            if len(batch) or batch.lost:
                return batch
            self._in_a_row = 0
            if not await self.wait() and self.stop_waiting():
                raise StopAsyncIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
