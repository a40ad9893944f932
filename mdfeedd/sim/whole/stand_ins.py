"""What the product meets in a simulated world instead of the real one, for as long as a world runs.

time, random            every mdfeedd module that has them            clock.VirtualTime, SeededRandom
Reader.read, wait_ready wait by `World.pause`; told losses are kept
Writer.beat             is remembered by virtual time, and so is `last_beat_ns`
JournalReader.wait      until a journal's writer has told how far it is
track                   what the kernel lets go of when the process dies
Disk                    disk.SimulatedDisk: full at times, torn where its process dies
threading of the syncer tasks; the heart of the batch consumer does not beat
load_sink               gives the simulated sink
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self

import mdfeedd.consumers.batch.consumer
import mdfeedd.consumers.batch.journal_source  # loaded within a world it would go by the host's clock
import mdfeedd.consumers.batch.options
import mdfeedd.journal.marks
import mdfeedd.journal.sync
import mdfeedd.journal.writer
import mdfeedd.ring.segment
from mdfeedd.consumers.batch import BatchConsumer
from mdfeedd.journal import JournalReader
from mdfeedd.ring._ring import ReaderCore, WriterCore
from mdfeedd.ring.reader import Reader
from mdfeedd.ring.writer import Writer
from mdfeedd.sim.whole.clock import SeededRandom
from mdfeedd.sim.whole.disk import SimulatedDisk
from mdfeedd.sim.whole.sink import StoreSink
from mdfeedd.sim.whole.threads import VirtualThreading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mdfeedd.sim.whole.process import Handle
    from mdfeedd.sim.whole.world import World

__all__ = ["Patch", "standing_in"]

Patch = tuple[Any, str, Any]

SLICE_S: Final = (
    0.1  # after which a waiting reader looks whether its ring is still the one of that name
)
FOR_EVER_S: Final = 1e9
_OURS: Final = "mdfeedd."
_SIMULATION: Final = "mdfeedd.sim.whole"


class _NoHeart:
    """In the place of the batch consumer's heart: nobody looks at registries' heartbeats here."""

    def __init__(self, _sources: object) -> None:
        self.turn_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@contextlib.contextmanager
def standing_in(world: World, more: Iterable[Patch] = ()) -> Iterator[None]:
    """Within it, `mdfeedd` lives in `world`. `more`: what the vendors replace."""
    missing = object()
    before: list[Patch] = []
    try:
        for owner, name, stand_in in (*_common(world), *_modules(world), *more):
            own = vars(owner).get(name, missing)
            before.append((owner, name, own))
            setattr(owner, name, stand_in)
        yield
    finally:
        for owner, name, own in reversed(before):
            if own is missing:
                delattr(owner, name)
            else:
                setattr(owner, name, own)


def _modules(world: World) -> Iterator[Patch]:
    """Time and chance of all modules that are loaded."""
    chance = SeededRandom(world.rng("chance"))
    for name, module in list(sys.modules.items()):
        if not name.startswith(_OURS) or name.startswith(_SIMULATION):
            continue
        if getattr(module, "time", None) is time:
            yield module, "time", world.time
        if getattr(module, "random", None) is random:
            yield module, "random", chance


def _common(world: World) -> Iterator[Patch]:
    yield from _ring(world)
    yield mdfeedd.journal.writer, "Disk", lambda: SimulatedDisk(world)
    threading = VirtualThreading(world)  # a lock of the real one would outlive who holds it
    yield mdfeedd.journal.sync, "threading", threading
    yield mdfeedd.journal.writer, "threading", threading
    yield mdfeedd.consumers.batch.consumer, "Heart", _NoHeart
    # by its name it would be looked for among all packages of the host, in each world
    yield mdfeedd.consumers.batch.options, "load_sink", lambda _name: StoreSink
    yield from _drops(world)
    store = mdfeedd.journal.marks._Twice.store  # noqa: SLF001 - a write that no disk sees: a mapped page

    def stepping_store(self: Any, content: bytes) -> None:
        world.step("mark")
        store(self, content)

    store_marks = mdfeedd.journal.marks.MarksFile.store

    def telling_store(self: Any, marks: Any) -> None:
        store_marks(self, marks)
        world.marks_stored[str(self._path.parent)] += 1

    def wait(self: Any, timeout_s: float) -> None:
        folder = str(self.folder)
        seen = world.marks_stored[folder]
        world.pause(timeout_s, lambda: world.marks_stored[folder] != seen)

    yield mdfeedd.journal.marks._Twice, "store", stepping_store  # noqa: SLF001
    yield mdfeedd.journal.marks.MarksFile, "store", telling_store
    yield JournalReader, "wait", wait


def _drops(world: World) -> Iterator[Patch]:
    """What a batch consumer counts as dropped is told lost."""
    enqueue = BatchConsumer._enqueue  # noqa: SLF001 - where it is decided

    def telling_enqueue(self: Any, source: Any, batch: Any, now: float) -> None:
        before = source.dropped
        enqueue(self, source, batch, now)
        if source.dropped != before:
            first, last = int(batch.records["seq"][0]), int(batch.records["seq"][-1])
            world.lost.append((self._name, source.name, first, last))
            world.note(self._name, f"drops {first} to {last} of {source.name}")

    yield BatchConsumer, "_enqueue", telling_enqueue


def _ring(world: World) -> Iterator[Patch]:
    def wait_ready(self: Reader, timeout: float | None) -> bool:
        end_ns = world.now_ns + round((FOR_EVER_S if timeout is None else timeout) * 1e9)
        while True:
            left_s = min(SLICE_S, (end_ns - world.now_ns) * 1e-9)
            if world.pause(max(left_s, 0.0), lambda: self.ready):
                return True
            if self.on_idle() or self.stop_waiting():
                return True
            if world.now_ns >= end_ns or world.closing:
                return False

    def read(self: Reader, max_records: int = 4096, timeout: float | None = None) -> Any:
        world.step("read")
        end_ns = world.now_ns + round((FOR_EVER_S if timeout is None else timeout) * 1e9)
        while not self.available and timeout != 0 and not self.stop_waiting():
            if self.wait_ready((end_ns - world.now_ns) * 1e-9) and not self.available:
                self.on_change()
            if world.now_ns >= end_ns or world.closing:
                break
        batch = ReaderCore.read(self, max_records, 0.0)
        if batch.lost:
            first = self.next_seq - len(batch) - batch.lost
            world.lost.append((self.consumer, self.name, first, first + batch.lost - 1))
            world.note(self.consumer, f"is told that {batch.lost} records of {self.name} are lost")
        return batch

    def beat(self: Writer) -> None:
        world.beats[str(self.path)] = world.now_ns
        WriterCore.beat(self)

    def track(handle: Handle) -> None:
        world.own(handle)
        if isinstance(handle, Reader):
            world.attached.append((handle.consumer, handle.name, handle.next_seq))
        if isinstance(handle, Writer):
            world.beats[str(handle.path)] = world.now_ns
            if world.process is not None:
                world.taps.begin(handle, world.process.name)

    yield Reader, "wait_ready", wait_ready
    yield Reader, "read", read
    yield Writer, "beat", beat
    yield mdfeedd.ring.segment, "track", track
    yield mdfeedd.journal.writer, "track", track
