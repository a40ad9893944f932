"""Waiting for rings in an event loop: one sleeping C thread and one eventfd per loop.

No thread per wake-up, no polling: the thread sleeps in the kernel on all the rings that the loop's readers
wait for, and writes the eventfd once; the loop then asks each waiting reader whether it has something.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from typing import TYPE_CHECKING, Final

from mdfeedd.ring import segment
from mdfeedd.ring._ring import ReaderCore, Waker

if TYPE_CHECKING:
    from collections.abc import Collection

IDLE_S: Final = 1.0  # a wait without records looks at the ring's name this often

_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWaker] = weakref.WeakKeyDictionary()


class LoopWaker:
    """All the waiting readers of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._waker = Waker()
        self._waiting: dict[ReaderCore, asyncio.Future[bool]] = {}
        self._users: weakref.WeakSet[ReaderCore] = weakref.WeakSet()
        loop.add_reader(self._waker.fileno(), self._fired)
        segment.track(self)

    def _fired(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._waker.fileno())
        for reader, future in list(self._waiting.items()):
            if reader.closed or reader.ready:
                self._settle(future, True)
            else:
                self._waker.arm(reader)

    @staticmethod
    def _settle(future: asyncio.Future[bool], ready: bool) -> None:
        if not future.done():
            future.set_result(ready)

    async def wait(self, reader: ReaderCore, timeout: float) -> bool:  # noqa: ASYNC109 - a bound, not a cancellation
        """Whether `reader` has something, after at most `timeout` seconds."""
        return await self.wait_any((reader,), timeout)

    async def wait_any(self, readers: Collection[ReaderCore], timeout: float) -> bool:  # noqa: ASYNC109 - a bound, not a cancellation
        """Whether one of `readers` has something, after at most `timeout` seconds. None: a sleep."""
        loop = asyncio.get_running_loop()
        if not self._waiting.keys().isdisjoint(readers):
            raise RuntimeError("another task waits on this reader already")
        future: asyncio.Future[bool] = loop.create_future()
        self._users.update(readers)
        timer = loop.call_later(timeout, self._settle, future, False)
        try:
            for reader in readers:
                self._waiting[reader] = future
                self._waker.arm(reader)
            return await future
        finally:
            timer.cancel()
            for reader in readers:
                self._waiting.pop(reader, None)

    def release(self, reader: ReaderCore) -> None:
        """`reader` is closed; with the last one the thread ends. Nothing for a stranger."""
        if reader not in self._users:
            return
        future, loop = self._waiting.get(reader), self._loop()
        if future is not None and loop is not None and not loop.is_closed():
            self._settle(future, True)
        self._users.discard(reader)
        if self._users or loop is None:
            return
        _hubs.pop(loop, None)
        if not loop.is_closed():
            loop.remove_reader(self._waker.fileno())
        self._waker.close()

    def abandon(self) -> None:
        """In a forked child: the thread is not there."""
        self._waker.abandon()


def hub() -> LoopWaker:
    """That of the running loop."""
    loop = asyncio.get_running_loop()
    found = _hubs.get(loop)
    if found is None:
        found = _hubs[loop] = LoopWaker(loop)
    return found


def release(reader: ReaderCore) -> None:
    """Take `reader` out of whatever loop it was used in."""
    for found in list(_hubs.values()):
        found.release(reader)
