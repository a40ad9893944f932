"""What the demo shows, measured as any reader of a ring would see it: by reading it.

One thread per ring sleeps in `Reader.read` without the GIL; each wakes for what its feed publishes, notes
how long ago that was, and keeps the last quote and trade of each instrument. The view takes copies.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.ring import Reader, RingError, RingMissing
from mdfeedd.tick import BAR, GAP, QUOTE, TICK, TRADE, Flag, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    from mdfeedd.ring import Instrument, RecordBatch

CONSUMER: Final = "demo-view"
WAIT_S: Final = 15.0  # for a ring to appear
ATTACH_STEP_S: Final = 0.02  # between two looks for it
READ_S: Final = 0.1  # longest sleep: bounds the notice of `stop`
SWITCH_S: Final = 50e-6  # how soon a woken thread takes the GIL from one that draws
BARS_KEPT: Final = 4096
_PER_OCTAVE: Final = 32  # buckets: percentiles are right to 2 %
_BUCKETS: Final = 40 * _PER_OCTAVE  # up to 2**40 ns, eighteen minutes


class Latencies:
    """A histogram of nanoseconds with buckets of equal ratio."""

    def __init__(self, counts: npt.NDArray[np.int64] | None = None) -> None:
        self.counts: npt.NDArray[np.int64] = (
            np.zeros(_BUCKETS, np.int64) if counts is None else counts
        )

    def add(self, latencies_ns: npt.NDArray[np.int64]) -> None:
        """Count them; what is negative (a clock that was set back) counts as 1 ns."""
        logs = np.log2(np.maximum(latencies_ns, 1)) * _PER_OCTAVE
        places = np.minimum(logs.astype(np.int64), _BUCKETS - 1)
        self.counts += np.bincount(places, minlength=_BUCKETS)

    def since(self, earlier: Latencies) -> Latencies:
        """What was added after `earlier` was copied."""
        return Latencies(self.counts - earlier.counts)

    def copy(self) -> Latencies:
        """As it is now."""
        return Latencies(self.counts.copy())

    def percentile_ns(self, percent: float) -> float:
        """The latency that so many percent do not exceed; NaN if there is none."""
        total = int(self.counts.sum())
        if not total:
            return math.nan
        place = int(np.searchsorted(np.cumsum(self.counts), total * percent / 100))
        return float(2 ** ((place + 0.5) / _PER_OCTAVE))


@dataclass(slots=True)
class Last:
    """The last seen of one instrument: records of shape (1,), or None."""

    instrument: Instrument
    quote: npt.NDArray[np.void] | None = None
    trade: npt.NDArray[np.void] | None = None


class _RingProbe(threading.Thread):
    """Reads one ring until told to stop, over restarts of its writer, and then what is left in it."""

    def __init__(self, ring: str, directory: str, stop: threading.Event) -> None:
        super().__init__(name=f"probe {ring}", daemon=True)
        self.ring = ring
        self.lost: int = 0
        self.seen: int = 0
        self.error: RingError | None = None
        self._directory = directory
        self._halt = stop

    def run(self) -> None:
        """Read; an error is kept for whoever looks."""
        try:
            reader = self._attach()
            if reader is None:
                return
            with reader:
                while True:
                    stopping = self._halt.is_set()
                    batch = reader.read(timeout=0 if stopping else READ_S)
                    self.lost = reader.lost
                    if len(batch):
                        self.use(batch)
                        self.seen += len(batch)
                    elif stopping:
                        return
        except RingError as error:
            self.error = error

    def _attach(self) -> Reader | None:
        """A reader, once the ring is there; None when told to stop before. Raises `RingError`."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return Reader(self.ring, "oldest", CONSUMER, directory=self._directory)
            except RingMissing:
                if time.monotonic() >= deadline:
                    raise
            if self._halt.wait(ATTACH_STEP_S):
                return None

    def use(self, batch: RecordBatch) -> None:
        """Note what the batch says."""
        raise NotImplementedError


class TickProbe(_RingProbe):
    """Latency and last prices of a ring of ticks."""

    def __init__(self, ring: str, directory: str, stop: threading.Event) -> None:
        super().__init__(ring, directory, stop)
        self.latencies: Latencies = Latencies()
        self.last: dict[int, Last] = {}
        self.gaps: int = 0  # told of the whole feed for what was lost on the way to it ...
        self.recovered: int = 0  # ... and those of which it has recovered
        self.holes: int = 0  # told of one instrument, of which the vendor had dropped data ...
        self.healed: int = 0  # ... and those that are over
        self.doubt_ns: int = 0  # from the last tick before each of these to its end
        self.first_ns: int = 0  # ts_recv of the first and the last tick
        self.last_ns: int = 0

    def use(self, batch: RecordBatch) -> None:
        """Latency from the feed's stamp to here, and the last quote and trade by instrument."""
        now_ns = time.time_ns()
        records = batch.records
        assert records.dtype == TICK
        self.latencies.add(now_ns - records["ts_recv"])
        self.first_ns = self.first_ns or int(records["ts_recv"][0])
        self.last_ns = int(records["ts_recv"][-1])
        self.gaps += _losses(records, Kind.GAP)
        self.recovered += _losses(records, Kind.RECOVERED)
        self.holes += len(_holes(records, Kind.GAP))
        ended = _holes(records, Kind.RECOVERED)
        self.healed += len(ended)
        self.doubt_ns += int(np.sum(ended["ts_recv"] - ended["first_missing"].astype(np.int64)))
        outright = records["flags"] & Flag.IMPLIED == 0
        for kind, dtype in ((Kind.QUOTE, QUOTE), (Kind.TRADE, TRADE)):
            rows = np.flatnonzero((records["kind"] == kind) & outright)[::-1]  # latest first
            ids, places = np.unique(records["instrument_id"][rows], return_index=True)
            for instrument_id, place in zip(ids.tolist(), rows[places].tolist(), strict=True):
                last = self.last.get(instrument_id)
                if last is None:
                    instrument = batch.instruments.get(instrument_id)
                    if instrument is None:
                        continue
                    last = self.last[instrument_id] = Last(instrument)
                row = records[place : place + 1].view(dtype)
                if kind == Kind.QUOTE:
                    last.quote = row
                else:
                    last.trade = row


def _losses(records: npt.NDArray[np.void], kind: Kind) -> int:
    """How many say this of what was lost on the way to the feed, not of one of its instruments."""
    rows = records[records["kind"] == kind].view(GAP)
    lost = np.isin(rows["reason"], (GapReason.PACKET_LOSS, GapReason.DISCONNECT))
    return int(np.sum(lost & (rows["instrument_id"] == 0)))


def _holes(records: npt.NDArray[np.void], kind: Kind) -> npt.NDArray[np.void]:
    """Those that say this of one instrument, of which the vendor had dropped data; the bounds are UNIX ns."""
    rows = records[records["kind"] == kind].view(GAP)
    chosen = (rows["reason"] == GapReason.VENDOR_SKIPPED) & (rows["instrument_id"] != 0)
    return np.compress(chosen, rows)


@dataclass(slots=True)
class LastBar:
    """A bar, shape (1,), and what it is of."""

    bar: npt.NDArray[np.void]
    instrument: Instrument


class BarProbe(_RingProbe):
    """The last bar of each instrument and interval."""

    def __init__(self, ring: str, directory: str, stop: threading.Event) -> None:
        super().__init__(ring, directory, stop)
        self.last: dict[tuple[int, int], LastBar] = {}

    def use(self, batch: RecordBatch) -> None:
        """Keep the last of each."""
        records = batch.records
        assert records.dtype == BAR
        for i in range(len(records)):
            bar = records[i : i + 1]
            instrument = batch.instruments.get(int(bar["instrument_id"][0]))
            key = int(bar["interval_s"][0]), int(bar["instrument_id"][0])
            if instrument is not None and (key in self.last or len(self.last) < BARS_KEPT):
                self.last[key] = LastBar(bar, instrument)


@dataclass(slots=True)
class Probes:
    """All of them, started and stopped together."""

    ticks: list[TickProbe]
    bars: BarProbe
    _stop: threading.Event = field(default_factory=threading.Event)
    _switch_s: float = field(default_factory=sys.getswitchinterval)

    @classmethod
    def start(cls, tick_rings: Sequence[str], bar_ring: str, directory: str) -> Probes:
        """Start a thread per ring; a ring that does not exist yet is waited for."""
        stop = threading.Event()
        ticks = [TickProbe(ring, directory, stop) for ring in tick_rings]
        probes = cls(ticks, BarProbe(bar_ring, directory, stop), stop)
        sys.setswitchinterval(SWITCH_S)
        for probe in (*probes.ticks, probes.bars):
            probe.start()
        return probes

    def stop(self) -> None:
        """Have all of them end, and wait for it."""
        self._stop.set()
        for probe in (*self.ticks, self.bars):
            probe.join()
        sys.setswitchinterval(self._switch_s)

    def span_s(self) -> float:
        """Seconds from the first tick of any ring to the last."""
        first = min(probe.first_ns for probe in self.ticks)
        return (max(probe.last_ns for probe in self.ticks) - first) / 1e9 if first else 0.0

    def latencies(self, rings: Collection[str]) -> Latencies:
        """Of these rings together."""
        together = Latencies()
        for probe in self.ticks:
            if probe.ring in rings:
                together.counts += probe.latencies.counts
        return together

    def tick(self, ring: str) -> TickProbe:
        """That of a ring."""
        return next(probe for probe in self.ticks if probe.ring == ring)
