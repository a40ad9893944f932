"""A reader of a ring: batches, exact loss, waiting, asyncio."""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from mdfeedd.ring import segment
from mdfeedd.ring._ring import (
    START_NOW,
    START_OLDEST,
    START_RESUME,
    STATE_CLOSED,
    STATE_SUPERSEDED,
    ReaderCore,
    TickBatch,
)
from mdfeedd.ring.counters import CONSUMER_INDEX, Counters
from mdfeedd.ring.errors import RingCorrupt, RingError, RingMismatch, RingMissing
from mdfeedd.ring.instruments import Instruments
from mdfeedd.ring.look import Look
from mdfeedd.ring.stream import BatchStream, end_of, seconds
from mdfeedd.tick import dtype_of, layout_of

if TYPE_CHECKING:
    import numpy as np

Start = Literal["now", "oldest", "resume"]
OnOverrun = Literal["oldest", "latest", "raise"]

WAIT_STEP_S: Final = 0.05  # how often a reader looks for a ring that does not exist yet
_NAME_BYTES: Final = 31
_STARTS: Final[dict[str, int]] = {
    "now": START_NOW,
    "oldest": START_OLDEST,
    "resume": START_RESUME,
}
_POLICIES: Final[dict[str, int]] = {"oldest": 0, "latest": 1, "raise": 0}
_unnamed = itertools.count(1)


def _default_consumer() -> str:
    program = Path(sys.argv[0] if sys.argv and sys.argv[0] else "python").stem or "python"
    return f"{program[:14]}-{os.getpid()}-{next(_unnamed)}"


class Reader(ReaderCore, BatchStream[TickBatch]):
    """Attach to the ring `name`. A reader is of one thread at a time; another one may close it.

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

    def __init__(
        self,
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
    ) -> None:
        self.path: Path = segment.ring_path(name, directory)
        self.name = name
        self.follow = follow
        self.consumer: str = _default_consumer() if consumer is None else consumer
        if not 0 < len(self.consumer.encode()) <= _NAME_BYTES:
            raise ValueError(f"a consumer's name has 1 to {_NAME_BYTES} bytes: {self.consumer!r}")
        if on_overrun not in _POLICIES:
            raise ValueError(
                f"on_overrun must be one of {', '.join(_POLICIES)}, not {on_overrun!r}"
            )
        self._on_overrun = on_overrun
        self._spin = spin
        self._wanted = dtype
        self.reattached: int = 0
        self._attach(self._start(start), time.monotonic() + seconds(wait))
        self.counters: Counters = Counters(self, CONSUMER_INDEX)
        segment.track(self)

    @staticmethod
    def _start(start: Start | int) -> int:
        if isinstance(start, str):
            if start not in _STARTS:
                raise ValueError(f"start must be now, oldest, resume or a number, not {start!r}")
            return _STARTS[start]
        if start < 1:
            raise ValueError(f"sequence numbers begin at 1: start={start}")
        return start

    def _attach(self, start: int, deadline: float) -> None:
        while True:
            try:
                self._open(start)
            except RingMissing:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise RingMissing(
                        f"no ring '{self.name}' in {self.path.parent}: is its writer running? "
                        f"(wait= waits for it, 'mdfeedd doctor' lists the rings)"
                    ) from None
                time.sleep(min(WAIT_STEP_S, left))
            else:
                return

    def _open(self, start: int) -> None:
        dtype, layout = self._wanted, None
        if dtype is None:
            with Look(self.path) as probe:
                layout = probe.header()["layout"]
            try:
                dtype = dtype_of(layout)
            except ValueError as error:
                raise RingMismatch(f"{self.path} holds no records that we know: {error}") from None
        else:
            layout = layout_of(dtype)
        if self.instruments is not None:
            self.instruments.freeze()  # batches of the old ring keep its names
        self.open_core(
            bytes(self.path),
            layout.encode(),
            dtype,
            start,
            self.consumer.encode(),
            _POLICIES[self._on_overrun],
            self._on_overrun == "raise",
            self._spin,
        )
        header = self.header()
        self.feed: str = header["feed"]
        self.capacity: int = header["capacity"]
        self.set_instruments(Instruments(self, self.feed))
        self._inode = os.fstat(self.fd).st_ino

    @property
    def ended(self) -> bool:
        """The writer has closed the ring or is gone, and everything it wrote is read."""
        if self.state != STATE_CLOSED and self.writer_alive:
            return False
        return bool(self.available == 0)

    def on_change(self) -> None:
        """The writer restarted, closed, or was replaced; all it wrote is read."""
        state = self.acknowledge_state()
        self._check_whole()
        if (state == STATE_SUPERSEDED and not self.available) or self._registry_was_made_anew():
            self._reattach()

    def on_idle(self) -> bool:
        """Nothing came: does the name still mean this ring?"""
        self.beat()
        self._check_whole()
        try:
            named = os.stat(self.path).st_ino
        except OSError:  # removed: the mapping stays, and a new ring may come
            return False
        return named != self._inode and (self.available > 0 or self._reattach())

    def _check_whole(self) -> None:
        """Raises `RingCorrupt` where somebody has cut the ring's file: nothing comes by it any more."""
        size = os.fstat(self.fd).st_size
        if size != self.map_size:
            raise RingCorrupt(f"{self.path} was cut from {self.map_size} bytes to {size}")

    def _registry_was_made_anew(self) -> bool:
        """As a writer does where it finds it damaged; in the old one nobody sees us."""
        if self.registry_fd < 0:
            return False
        try:
            named = os.stat(segment.registry_path(self.name, str(self.path.parent)))
        except OSError:
            return False
        return named.st_ino != os.fstat(self.registry_fd).st_ino

    def _reattach(self) -> bool:
        """Change over to the ring that has the name now; the sequence goes on if the space is the same."""
        ring_id, start = self.ring_id, self.next_seq
        try:
            with Look(self.path) as probe:
                same = probe.ring_id == ring_id
        except RingError:  # gone again, or not whole: stay with what we have and look again later
            return False
        self._open(start if same else START_OLDEST)
        self.reattached += 1
        return True

    def stop_waiting(self) -> bool:
        """A reader that does not follow stops when the ring has ended."""
        return not self.follow and self.ended

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - a bound, not a cancellation
        """Sleep until there is something to read; False after `timeout` seconds, or if the ring ended."""
        from mdfeedd.ring import aio  # noqa: PLC0415 - asyncio costs a plain reader 20 ms and 5 MiB

        end = end_of(timeout)
        while not self.available:
            if self.ready:
                self.on_change()
            if self.stop_waiting():
                return False
            left = aio.IDLE_S if end is None else min(aio.IDLE_S, end - time.monotonic())
            if left <= 0:
                return False
            if not await aio.hub().wait(self, left) and not self.closed:
                self.on_idle()
        return True

    def close(self) -> None:
        """Detach and give the consumer's slot back. Another thread that waits in a read of it gets `ValueError`."""
        aio = sys.modules.get("mdfeedd.ring.aio")
        if aio is not None:
            aio.release(self)
        self.close_core()

    def abandon(self) -> None:
        """Let go, as a forked child must."""
        self.close_core(forked=True)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"next {self.next_seq}, lag {self.lag}"
        return f"<Reader {self.consumer} of {self.path}: {state}, lost {self.lost}>"
