"""The process that makes bars: tick rings in, one bar ring out."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.consumers.bars._bars import MAX_DEPTH, MAX_INTERVAL_S, MAX_INTERVALS, BarBuilder
from mdfeedd.options import refuse
from mdfeedd.ring import Reader, RingMissing, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import BAR, TICK, Flag

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from mdfeedd.ring import Instrument, TickBatch
    from mdfeedd.ring.inspect import ConsumerInfo
    from mdfeedd.ring.reader import Start

BATCH: Final = 4096  # ticks taken from a ring at a time
TURNS: Final = 16  # batches in a row from one ring before the next has its turn
IDLE_S: Final = (
    0.05  # the longest time that a ring waits for another one's sleep, and `stop` for both
)
MAX_CAPACITY: Final = 1 << 24
MAX_RING_INSTRUMENTS: Final = 1 << 20
INSTRUMENTS: Final = 65_536  # of one feed
FEED_NAME_BYTES: Final = 31
LOOK_BACK: Final = "bars-look-back"  # reads at the start what earlier runs have published

logger: logging.Logger = logging.getLogger("mdfeedd.consumers.bars")


@dataclass(frozen=True, slots=True)
class BarsOptions:
    """What can be set for a bars consumer."""

    intervals_s: tuple[int, ...] = field(
        default=(60,), metadata={"help": "lengths of the bars in seconds, e.g. [1, 60, 3600]"}
    )
    ring: str = field(default="bars", metadata={"help": "name of the ring for the bars"})
    capacity: int = field(default=65_536, metadata={"help": "slots of that ring"})
    instruments_capacity: int = field(
        default=0,
        metadata={"help": "entries of its instruments table; 0: 65,536 for each ring that is read"},
    )
    flat: bool = field(
        default=False, metadata={"help": "also make bars of intervals without a trade"}
    )
    flat_limit: int = field(
        default=1440, metadata={"help": "flat bars in a row, after which an instrument is left out"}
    )
    lateness_s: float = field(
        default=0.0, metadata={"help": "how long, in venue time, a bar stays open for late trades"}
    )
    follow: bool = field(
        default=True, metadata={"help": "go on when the feeds end; off: end with them"}
    )

    def __post_init__(self) -> None:
        refuse(self._check_times(), self._check_ring(), self._check_flat())

    def _check_times(self) -> Iterator[str]:
        object.__setattr__(self, "intervals_s", tuple(sorted(set(self.intervals_s))))
        if not 1 <= len(self.intervals_s) <= MAX_INTERVALS:
            yield f"intervals_s: must be 1 to {MAX_INTERVALS} different lengths"
            return
        wrong = [seconds for seconds in self.intervals_s if not 1 <= seconds <= MAX_INTERVAL_S]
        for seconds in wrong:
            yield f"intervals_s: must be 1 to {MAX_INTERVAL_S} s, not {seconds}"
        longest_s = (MAX_DEPTH - 1) * self.intervals_s[0]
        in_range = math.isfinite(self.lateness_s) and 0 <= self.lateness_s <= longest_s
        if not wrong and not in_range:
            yield (
                f"lateness_s: must be 0 to {longest_s} ({MAX_DEPTH - 1} times the shortest "
                f"interval), not {self.lateness_s}"
            )

    def _check_ring(self) -> Iterator[str]:
        if not self.ring:
            yield "ring: must name the ring for the bars"
        if not 1 <= self.capacity <= MAX_CAPACITY:
            yield f"capacity: must be 1 to {MAX_CAPACITY}, not {self.capacity}"
        if not 0 <= self.instruments_capacity <= MAX_RING_INSTRUMENTS:
            yield (
                f"instruments_capacity: must be 0 to {MAX_RING_INSTRUMENTS}, "
                f"not {self.instruments_capacity}"
            )

    def _check_flat(self) -> Iterator[str]:
        if self.flat_limit < 1:
            yield f"flat_limit: must be at least 1, not {self.flat_limit}"


class BarRing:
    """The bar ring and what it tells of earlier runs. Its table grows by what is published."""

    def __init__(self, writer: Writer, directory: str) -> None:
        self._writer = writer
        self._entries: dict[int, Instrument | None] = {}
        self._earlier = self._read_back(directory)

    def _read_back(self, directory: str) -> npt.NDArray[np.void]:
        """The bars that an earlier run left in the ring, oldest first."""
        with Reader(
            self._writer.name,
            start="oldest",
            consumer=LOOK_BACK,
            dtype=BAR,
            follow=False,
            directory=directory,
        ) as reader:
            batches = [reader.read(BATCH, timeout=0).records]
            while len(batches[-1]):
                batches.append(reader.read(BATCH, timeout=0).records)
        return np.concatenate(batches)

    def take_earlier(self, feed_index: int) -> npt.NDArray[np.void]:
        """What earlier runs have published of the feed; asked once per feed."""
        of_feed = self._earlier["instrument_id"] >> 24 == feed_index
        bars: npt.NDArray[np.void] = self._earlier[of_feed]
        self._earlier = self._earlier[~of_feed]
        return bars

    def publish(self, bars: npt.NDArray[np.void], source: Reader) -> None:
        """Publish bars made of the ticks of `source`, their instruments first."""
        for instrument_id in np.unique(bars["instrument_id"]).tolist():
            if self._entries.get(instrument_id) is None:
                self._introduce(instrument_id, source)
        self._writer.publish(bars)

    def _introduce(self, instrument_id: int, source: Reader) -> None:
        """Copy an instrument's entry; one that has none is called by its number until it has."""
        entry = source.instruments.get(instrument_id)
        if entry is None and instrument_id in self._entries:
            return
        add = self._writer.instruments.add
        if entry is None:
            add(f"#{instrument_id}", feed=source.feed, instrument_id=instrument_id)
        else:
            add(entry.symbol, **entry.attributes(), instrument_id=instrument_id)
        self._entries[instrument_id] = entry

    def beat(self) -> None:
        """Alive, though there is nothing to publish."""
        self._writer.beat()


class Source:
    """One tick ring and the bars that are made of it."""

    def __init__(
        self, ring: str, consumer: str, options: BarsOptions, out: BarRing, directory: str
    ) -> None:
        earlier = _earlier_run(ring, consumer, directory)
        self.reader: Reader = Reader(
            ring,
            start=_start_after(earlier),
            consumer=consumer,
            dtype=TICK,
            follow=options.follow,
            directory=directory,
        )
        if earlier is None and self.reader.next_seq > 1:
            self.reader.ack(self.reader.next_seq - 1)  # what came before us is nobody's loss
        self._out = out
        self._builder = BarBuilder(
            options.intervals_s,
            flat=options.flat,
            flat_limit=options.flat_limit,
            lateness_ns=round(options.lateness_s * 1e9),
            instruments_limit=INSTRUMENTS,
        )
        self._foreign_told = False
        self._ring_id = self.reader.ring_id
        header = self.reader.header()
        self._epoch, self._epoch_first_seq = header["epoch"], header["epoch_first_seq"]
        cursor = 0 if earlier is None else earlier.cursor
        self._in_epoch = cursor >= self._epoch_first_seq
        acked = 0 if earlier is None else earlier.acked
        self._builder.seed(out.take_earlier(header["feed_index"]), acked=acked)

    def use(self, batch: TickBatch) -> None:
        """Make bars of a batch, publish them, acknowledge what they no longer need."""
        reader, ticks = self.reader, batch.records
        if reader.ring_id != self._ring_id:  # another ring has taken the name, with its own numbers
            self._begin_anew()
            self._ring_id, self._in_epoch = reader.ring_id, True
        if reader.epoch != self._epoch:
            header = reader.header()
            self._epoch, self._epoch_first_seq = header["epoch"], header["epoch_first_seq"]
            self._in_epoch = False
        if batch.lost:
            self._builder.mark_gap()
        if not self._in_epoch and len(ticks) and int(ticks["seq"][-1]) >= self._epoch_first_seq:
            first = max(0, self._epoch_first_seq - int(ticks["seq"][0]))
            self._publish(self._builder.chunks(ticks[:first]))
            ticks = ticks[first:]
            self._enter_epoch(ticks, lost=batch.lost > 0 and first == 0)
        self._publish(self._builder.chunks(ticks))
        self._account()

    def _enter_epoch(self, ticks: npt.NDArray[np.void], *, lost: bool) -> None:
        """`ticks` begins with the first that is read of a writer.

        A live one goes on where the one before left off, and tells a gap; a recording begins again,
        and its times with it.
        """
        self._in_epoch = True
        if int(ticks["flags"][0]) & Flag.REPLAYED:
            self._begin_anew()
            if lost:
                self._builder.mark_gap()

    def _begin_anew(self) -> None:
        self._publish([self._builder.flush(partial=True)])
        self._builder.reset()

    def finish(self) -> None:
        """Publish what is open, flagged PARTIAL.

        A restart makes it again, and so it is not acknowledged; but what the ring may have left no more by then goes
        on where it was cut (see `BarBuilder.seed`).
        """
        self._publish([self._builder.flush(partial=True)])
        self._account()
        header = self.reader.header()
        kept = header["tail"] - header["capacity"] // 2
        if 0 < self._builder.position < kept:
            self.reader.ack(self._builder.position_since(kept) - 1)

    def _publish(self, chunks: Iterable[npt.NDArray[np.void]]) -> None:
        for bars in chunks:
            if len(bars):
                self._out.publish(bars, self.reader)

    def _account(self) -> None:
        builder, counters = self._builder, self.reader.counters
        counters.set("closed_bars", builder.closed_bars)
        counters.set("late_trades", builder.late_trades)
        counters.set("bad_time_trades", builder.bad_time_trades)
        dropped = builder.foreign_ticks + builder.priceless_trades + builder.snapshot_trades
        counters.set("dropped_records", dropped)
        if builder.foreign_ticks and not self._foreign_told:
            self._foreign_told = True
            logger.warning(
                "ring %s has ticks of instrument ids that do not fit a table of %d, or of another "
                "feed: left out of bars",
                self.reader.name,
                INSTRUMENTS,
            )
        position = builder.position
        if position > 1:
            self.reader.ack(position - 1)


def _start_after(earlier: ConsumerInfo | None) -> Start | int:
    """Where to begin. Of an earlier run without an acknowledgement nothing is safe, and it began with record 1."""
    if earlier is None:
        return "oldest"
    return "resume" if earlier.acked else 1


def _earlier_run(ring: str, consumer: str, directory: str) -> ConsumerInfo | None:
    """What the registry holds of the last run of `consumer` on this ring. Raises `RingMissing`."""
    for info in inspect(ring, directory).consumers:
        if info.name == consumer and info.same_ring:
            return info
    return None


class BarsConsumer:
    """Make bars of all trades in some tick rings (`mdfeedd.consumers.protocol.Consumer`).

    A ring that does not exist yet is waited for; the others go on meanwhile. Raises the `RingError`
    of whatever cannot be read or written.
    """

    Options = BarsOptions

    def __init__(
        self, name: str, options: BarsOptions, rings: Sequence[str], directory: str
    ) -> None:
        if not rings:
            raise ValueError("rings: a bars consumer must read at least one")
        self._name = name
        self._options = options
        self._rings = tuple(rings)
        self._directory = directory

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set or, without `follow`, until all rings have ended."""
        feed = self._rings[0] if len(self._rings) == 1 else self._name
        entries = self._options.instruments_capacity or INSTRUMENTS * len(self._rings)
        with Writer(
            self._options.ring,
            self._options.capacity,
            BAR,
            feed=feed.encode()[:FEED_NAME_BYTES].decode(errors="ignore"),
            instruments_capacity=min(entries, MAX_RING_INSTRUMENTS),
            directory=self._directory,
        ) as writer:
            sources: list[Source] = []
            try:
                self._loop(stop, BarRing(writer, self._directory), sources)
                for source in sources:
                    source.finish()
            finally:
                for source in sources:
                    source.reader.close()

    def _loop(self, stop: threading.Event, out: BarRing, sources: list[Source]) -> None:
        missing = list(self._rings)
        while not stop.is_set():
            self._attach(missing, sources, out)
            worked = [self._turn(source) for source in sources]
            if any(worked):
                continue
            out.beat()
            if not missing and not self._options.follow and all(s.reader.ended for s in sources):
                return
            if not sources:
                stop.wait(IDLE_S)
            for source in sources:
                if source.reader.wait_ready(IDLE_S / len(sources)):
                    break

    def _attach(self, missing: list[str], sources: list[Source], out: BarRing) -> None:
        """Attach to those of the missing rings that have appeared."""
        for ring in list(missing):
            try:
                source = Source(ring, self._name, self._options, out, self._directory)
            except RingMissing:
                continue
            missing.remove(ring)
            sources.append(source)

    def _turn(self, source: Source) -> bool:
        """Use what one ring has, up to a limit; whether there was anything."""
        for turn in range(TURNS):
            batch = source.reader.read(BATCH, timeout=0)
            if not len(batch) and not batch.lost:
                return turn > 0
            source.use(batch)
        return True
