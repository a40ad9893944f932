"""Readers of every ring that are never lapped, because they read at every step of whoever writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mdfeedd.ring._ring import START_OLDEST, ReaderCore
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.instruments import Instrument
from mdfeedd.ring.look import Look
from mdfeedd.sim.whole.tape import Tape
from mdfeedd.tick import dtype_of, layout_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from mdfeedd.ring import Writer
    from mdfeedd.sim.whole.world import World

__all__ = ["Taps"]


class _Tap:
    """One ring, over all lives of its writer."""

    def __init__(self, writer: Writer, dtype: np.dtype[Any], path: bytes) -> None:
        self.parts: list[tuple[npt.NDArray[np.void], int, int, int]] = []
        self.count = 0
        self.process = ""
        self.core = ReaderCore()
        self.core.open_core(
            path, layout_of(dtype).encode(), dtype, START_OLDEST, None, 0, False, 0.0
        )
        self.buffer = np.empty(writer.capacity, dtype)


class Taps:
    """By ring."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._taps: dict[str, _Tap] = {}
        self._each: list[_Tap] = []

    def begin(self, writer: Writer, process: str) -> None:
        """Read this ring from now on; `process` writes it."""
        tap = self._taps.get(writer.name)
        if tap is None:
            layout = _layout(writer)
            tap = _Tap(writer, dtype_of(layout), bytes(writer.path))
            self._taps[writer.name] = tap
            self._each.append(tap)
        tap.process = process

    def read(self) -> None:
        """What has been published since the last time."""
        for tap in self._each:
            if tap.core.available:
                self._take(tap)

    def _take(self, tap: _Tap) -> None:
        world = self._world
        n = tap.core.poll_into(tap.buffer)
        if tap.core.lost:
            raise RuntimeError("the tap was lapped: too much was published in one step")
        process = world.processes.get(tap.process)
        life = 0 if process is None else process.life
        tap.parts.append((tap.buffer[:n].copy(), world.now_ns, life, world.step_ns))
        tap.count += n

    @property
    def rings(self) -> list[str]:
        """All that ever were."""
        return list(self._taps)

    def count(self, ring: str) -> int:
        """Records so far."""
        tap = self._taps.get(ring)
        return 0 if tap is None else tap.count

    def read_by(self, ring: str, consumer: str) -> int:
        """The last record that the consumer has read, by the ring's own registry; 0: none."""
        consumers = inspect(ring, str(self._world.ring_folder)).consumers
        return max((one.cursor for one in consumers if one.name == consumer), default=0)

    def tape(self, ring: str) -> Tape:
        """All that the ring ever got."""
        tap = self._taps[ring]
        parts = tap.parts
        rows = np.concatenate([part[0] for part in parts]) if parts else tap.buffer[:0].copy()
        sizes = [len(part[0]) for part in parts]
        at_ns, life, offset = (
            np.repeat(np.array([part[i] for part in parts], np.int64), sizes) for i in (1, 2, 3)
        )
        process = self._world.processes.get(tap.process)
        instruments = {}
        for place in range(tap.core.instruments_count):
            entry = tap.core.instrument_get(place)
            if entry is not None:
                found = Instrument(*entry)  # type: ignore[arg-type]
                instruments[found.instrument_id] = found
        return Tape(
            ring,
            rows,
            at_ns,
            life,
            offset,
            [] if process is None else process.lives,
            instruments,
            self._counters(ring),
        )

    def _counters(self, ring: str) -> dict[str, int]:
        return dict(inspect(ring, str(self._world.ring_folder)).counters)

    def close(self) -> None:
        """Let go."""
        for tap in self._each:
            tap.core.close_core()


def _layout(writer: Writer) -> str:
    with Look(writer.path) as look:
        return str(look.header()["layout"])
