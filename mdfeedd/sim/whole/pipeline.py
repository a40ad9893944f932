"""The consumers of a world: journals, batches into stores, bars, strategies; all real but the stores.

    ring ─► JournalConsumer ─► files ─► BatchConsumer ─► Store "ledger"
      ├───► BatchConsumer ─────────────────────────────► Store "mirror"
      ├───► BarsConsumer ─► ring of bars
      └───► a strategy: mdfeedd.strategy.Reader, slow at times

The shells are run as they are: `run(stop)`. Not here, because asyncio has time and sockets of its own: the
fan-out and the callbacks consumer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.consumers.bars import BarsConsumer, BarsOptions
from mdfeedd.consumers.batch import BatchConsumer, BatchOptions
from mdfeedd.consumers.journal import JournalConsumer, JournalOptions
from mdfeedd.journal import folder_of
from mdfeedd.journal.marks import MarksFile
from mdfeedd.journal.writer import MARKS
from mdfeedd.ring import RingMissing
from mdfeedd.sim.whole.sink import KeepingSink, Store, StoreSink
from mdfeedd.strategy import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from mdfeedd.sim.whole.process import Stop
    from mdfeedd.sim.whole.tap import Taps
    from mdfeedd.sim.whole.world import World

__all__ = ["Pipeline", "Strategy"]

SEGMENT_BYTES: Final = 1 << 16
READ_S: Final = 0.05
BARS: Final = "bars"  # as what it is registered in the rings
WAIT_S: Final = 0.2  # for a ring that does not exist yet


@dataclass(slots=True)
class Strategy:
    """What one strategy has seen of a ring, over all its lives."""

    ring: str
    name: str
    slow_s: float  # that it thinks about a batch, at most
    most: int  # records it reads at a time
    rows: list[npt.NDArray[np.void]] = field(default_factory=list)
    lives: list[tuple[int, int]] = field(default_factory=list)  # first seq, first part of each life
    last: npt.NDArray[np.void] | None = None  # values of the last life, when it was told to stop
    read_to: int = 0  # and the record before which that was
    lost: int = 0  # records that the last life was told to have lost


class Pipeline:
    """Adds the processes for the rings of some feeds to a world."""

    def __init__(self, world: World, rings: list[str]) -> None:
        self._world = world
        self._rng = world.rng("pipeline")
        self._directory = str(world.ring_folder)
        self.rings = rings
        self.journals: str = str(world.folder / "journal")
        self.ledger: Store = Store("ledger", keeps=self._rng.random() < 0.6)
        self.mirror: Store = Store("mirror", keeps=self._rng.random() < 0.5)
        self.batches: list[tuple[str, str, Store]] = []  # process, ring, store
        self.strategies: dict[str, Strategy] = {}
        self.bars_of: dict[str, str] = {}
        self.intervals_s: tuple[int, ...] = (1,) if self._rng.random() < 0.6 else (1, 2)
        for ring in rings:
            self._add(ring)

    def _add(self, ring: str) -> None:
        world, rng = self._world, self._rng
        options = JournalOptions(
            self.journals,
            segment_bytes=SEGMENT_BYTES,
            fsync=rng.choice(("none", "interval", "batch")),
            fsync_interval_s=rng.choice((0.01, 0.2)),
            keep_bytes=0,
            max_delay_s=rng.choice((0.0, 0.001, 0.02)),
        )
        world.add(
            f"journal {ring}",
            lambda: JournalConsumer("journal", options, [ring], self._directory).run,  # type: ignore[return-value,arg-type]
        )
        if rng.random() < 0.7:
            limit = "durable" if options.fsync != "none" and rng.random() < 0.3 else "written"
            self._add_batch(ring, self.ledger, "ledger", journal=self.journals, read_limit=limit)
        if rng.random() < 0.5:
            overflow = rng.choice(("block", "drop"))
            self._add_batch(ring, self.mirror, "mirror", overflow=overflow)
        if rng.random() < 0.6:
            self._add_bars(ring)
        if rng.random() < 0.5:
            self._add_strategy(ring)

    def _add_batch(self, ring: str, store: Store, name: str, **given: Any) -> None:
        rng = self._rng
        size = rng.choice((1, 16, 100))
        given |= {
            "batch_size": size,
            "catch_up_size": max(size, 128),
            "flush_interval_s": rng.choice((0.01, 0.1)),
            "max_pending": max(size, rng.choice((8, 64, 512))),
            "back_off_max_s": 0.4,
        }
        buffered = rng.choice((0, 0, 64, 256))
        sink_class = KeepingSink if store.keeps else StoreSink
        chance = self._world.rng(f"sink {name} {ring}")

        options = BatchOptions("mdfeedd.sim.whole.sink:StoreSink", **given)

        def make() -> Callable[[Stop], None]:
            sink = sink_class(self._world, store, chance, buffered=buffered)
            return BatchConsumer(name, options, [ring], self._directory, sink=sink).run  # type: ignore[return-value]

        self._world.add(f"{name} {ring}", make)
        self.batches.append((f"{name} {ring}", ring, store))

    def _add_bars(self, ring: str) -> None:
        out = self.bars_of[ring] = f"{ring}.bar"
        options = BarsOptions(
            intervals_s=self.intervals_s, ring=out, capacity=4096, instruments_capacity=256
        )
        self._world.add(
            f"bars {ring}",
            lambda: BarsConsumer(BARS, options, [ring], self._directory).run,  # type: ignore[return-value,arg-type]
        )

    def _add_strategy(self, ring: str) -> None:
        rng = self._rng
        strategy = self.strategies[ring] = Strategy(
            ring, "strategy", rng.choice((0.0, 0.01, 0.3)), rng.choice((16, 512))
        )
        self._world.add(f"strategy {ring}", lambda: lambda stop: self._think(strategy, stop))

    def waits_for(self, taps: Taps) -> str:
        """Who has not got all there is: the journals, the stores, and who makes bars; "" if all have."""
        late = []
        for ring in self.rings:
            last = taps.count(ring)
            try:
                marks = MarksFile(folder_of(self.journals, ring) / MARKS).load()
            except FileNotFoundError:
                marks = None
            if last and (marks is None or marks.written.seq < last):
                late.append(f"journal {ring} of {last}")
        for name, ring, store in self.batches:
            last = taps.count(ring)
            lost = [end for who, of, _, end in self._world.lost if (who, of) == (store.name, ring)]
            if max(store.last.get(ring, 0), *lost, 0) < last:
                late.append(f"{name} of {last}")
        late += [
            f"bars {ring} of {taps.count(ring)}"
            for ring in self.bars_of
            if taps.count(ring) and taps.read_by(ring, BARS) < taps.count(ring)
        ]
        return ", ".join(late)

    def is_drained(self, taps: Taps) -> bool:
        """Everything is stored everywhere."""
        return not self.waits_for(taps)

    def _think(self, strategy: Strategy, stop: Stop) -> None:
        """The loop of a strategy as a user writes it."""
        world = self._world
        chance = world.rng(f"thinking {strategy.ring} {len(strategy.lives)}")
        reader = None
        while reader is None:
            if stop.wait(WAIT_S):
                return
            try:
                reader = Reader(strategy.ring, "resume", strategy.name, directory=self._directory)
            except RingMissing:
                continue
        last = reader.last
        strategy.last = None
        strategy.lives.append((reader.next_seq, len(strategy.rows)))
        while not stop.is_set():
            batch = reader.read(strategy.most, READ_S)
            if len(batch):
                strategy.rows.append(batch.records.copy())
                for instrument_id in set(batch.records["instrument_id"].tolist()):
                    symbol = batch.instruments.symbol(instrument_id)
                    if symbol in last:
                        last[symbol]
            if strategy.slow_s and chance.random() < 0.3:
                world.pause(chance.uniform(0, strategy.slow_s))
        strategy.last, strategy.read_to, strategy.lost = last.records, reader.next_seq, reader.lost
        reader.close()
