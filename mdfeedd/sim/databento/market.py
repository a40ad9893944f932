"""A market out of one seed: order books whose events become records of every schema.

    rng ─► events (time, instrument, publisher) ─► Book: steps ─► mbo
             │                                        ├─► top of the book before and after ─► mbp-1, mbp-10, cmbp-1
             │                                        └─► trades ─► trades, tbbo, tcbbo, bars, last trade
             └─► boundaries of intervals ─► bbo, cbbo, ohlcv      now and then: definition, statistics, ...

Made event by event as far as somebody asks; who asks when, and for what, changes nothing. ts_recv never goes
back within a schema; many are equal. ts_event is a little earlier, in a `backward` market by so different
spans that it goes back often. All records of an event have one (ts_event, sequence), now and then two events have.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.databento.book import Book, Step, Touch
from mdfeedd.sim.databento.instruments import Symbols, made_up
from mdfeedd.sim.databento.layouts import ALL_SCHEMAS
from mdfeedd.sim.databento.rare import definition, rare
from mdfeedd.sim.databento.timeline import Record, Timeline, snapshot_rows
from mdfeedd.sim.databento.writer import Event, Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdfeedd.sim.databento.instruments import Instrument

__all__ = ["MAX_RATE", "Market"]

MAX_RATE: Final = 100_000.0  # events per second of market time
MAX_PUBLISHERS: Final = 100
START_NS: Final = 1_795_000_000_000_000_000  # a Wednesday in November 2026
_NS_PER_S: Final = 1_000_000_000
_LATENCY_NS: Final = 180_000
_MAX_DETOUR_NS: Final = 4_000_000  # that an event of a backward market may take longer
_SAME_TIME: Final = 0.15  # of the events come at the ts_recv of the one before
_SAME_SEQUENCE: Final = 0.05  # of the events have ts_event and sequence of the one before
_RARE: Final = 0.02  # of the events are followed by something that is no order
_FIRST_ORDERS: Final = 8  # of each book, at the start
_FORGET_EVERY_NS: Final = 10 * _NS_PER_S
INTERVALS: Final = {"1s": 1, "1m": 60, "1h": 3_600, "1d": 86_400}


class Market:
    """An endless market from `start_ns` on, `rate` events a second.

    instruments: how many, or which. publishers: of each instrument. keep_ns: forget what is older (nothing).
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        instruments: int | Sequence[str] = 4,
        schemas: Sequence[str] = ALL_SCHEMAS,
        rate: float = 100.0,
        start_ns: int = START_NS,
        publishers: int = 1,
        backward: bool = False,
        keep_ns: int | None = None,
    ) -> None:
        _check(schemas, rate, publishers)
        self.start_ns = start_ns
        self.schemas: tuple[str, ...] = tuple(schemas)
        self.rate = rate
        self.backward = backward
        self.instruments: tuple[Instrument, ...] = made_up(instruments)
        self.symbols: Symbols = Symbols(self.instruments)
        self.publishers: tuple[int, ...] = tuple(range(1, publishers + 1))
        self.now_ns: int = start_ns - 1
        self._keep_ns = keep_ns
        self._forget_ns = start_ns
        self._rng = random.Random(f"databento {seed}")  # noqa: S311 - chance, not secrets
        self._timelines = {schema: Timeline(schema) for schema in schemas}
        self._books = {
            (publisher, item.instrument_id): Book(item.price, item.tick_size)
            for item in self.instruments
            for publisher in self.publishers
        }
        self._keys = list(self._books)
        self._writer = Writer(self._books, self._put, self.schemas)
        self._order_id = 1_000
        self._sequences = dict.fromkeys(self.publishers, 0)
        self._last_event_ns = start_ns - _LATENCY_NS
        self._next_ns = start_ns + 1
        self._next_s = start_ns // _NS_PER_S + 1
        self._began = False

    @property
    def next_ns(self) -> int:
        """When the next event is, or the next interval ends."""
        return min(self._next_ns, self._next_s * _NS_PER_S) if self._began else self.start_ns

    def after_ns(self, events: int) -> int:
        """By when about so many more events will have happened."""
        return self.next_ns + int(events * _NS_PER_S / self.rate)

    def timeline(self, schema: str) -> Timeline:
        """What there is of a schema; KeyError if the market has none of it."""
        return self._timelines[schema]

    def records(self, schema: str, from_ns: int, until_ns: int) -> list[Record]:
        """Those whose index time is in [from, until), made if they are not there yet; bars that have ended."""
        self.run_until(until_ns)
        return self._timelines[schema].between(from_ns, until_ns)

    def run_until(self, now_ns: int) -> None:
        """Make what falls due up to then."""
        if not self._began and now_ns >= self.start_ns:
            self._begin()
        while self._began:
            boundary_ns = self._next_s * _NS_PER_S
            if min(boundary_ns, self._next_ns) > now_ns:
                break
            if boundary_ns <= self._next_ns:
                self._end_intervals()
            else:
                self._happen()
        self.now_ns = max(self.now_ns, now_ns)
        if self._keep_ns is not None and now_ns - self._forget_ns > _FORGET_EVERY_NS:
            self._forget_ns = now_ns
            for timeline in self._timelines.values():
                timeline.forget(now_ns - self._keep_ns)

    def snapshot(self, instrument_ids: Sequence[int], at_ns: int) -> list[Record]:
        """The order books after all that fell due until `at_ns`."""
        self.run_until(at_ns)
        timeline = self._timelines["mbo"]
        return snapshot_rows(timeline.books(timeline.after(at_ns)), instrument_ids, at_ns)

    def _put(
        self, schema: str, raw: bytes, instrument_id: int, times_ns: tuple[int, int, int]
    ) -> None:
        self._timelines[schema].append(Record(raw, schema, instrument_id, *times_ns))

    def _begin(self) -> None:
        """Every instrument is defined and trades; every book is cleared and has its first orders."""
        self._began = True
        for schema in ("definition", "status"):
            for item in self.instruments if schema in self._timelines else ():
                for publisher in self.publishers:
                    self._tell(
                        schema, definition if schema == "definition" else None, publisher, item
                    )
        for key in self._keys:
            self._do(key, [Step(b"R", b"N", 2**63 - 1, 0, 0)], self.start_ns)
            for _ in range(_FIRST_ORDERS):
                self._do(key, self._drawn(key), self.start_ns)

    def _tell(self, schema: str, make: Any, publisher: int, item: Any) -> None:
        times = (self.start_ns, self._last_event_ns)
        if make is None:
            raw = rare("status", publisher, item, times, self._rng, opening=True)
        else:
            raw = make(publisher, item, times)
        self._put(schema, raw, item.instrument_id, (times[0], times[1], times[0]))

    def _drawn(self, key: tuple[int, int]) -> list[Step]:
        self._order_id += 1
        return self._books[key].draw(self._rng, self._order_id)

    def _happen(self) -> None:
        """One event, and when the next will be."""
        rng = self._rng
        now_ns = self._next_ns
        key = rng.choice(self._keys)
        self._do(key, self._drawn(key), now_ns)
        if rng.random() < _RARE:
            self._happen_rarely(key, now_ns)
        if rng.random() >= _SAME_TIME:
            self._next_ns = now_ns + 1 + int(rng.expovariate(self.rate * (1 - _SAME_TIME)) * 1e9)

    def _happen_rarely(self, key: tuple[int, int], now_ns: int) -> None:
        rng = self._rng
        schema = rng.choice(("statistics", "imbalance", "statistics", "status", "definition"))
        publisher, instrument_id = key
        item = self.symbols.by_id[instrument_id]
        times = (now_ns, self._last_event_ns)
        raw = rare(schema, publisher, item, times, rng)
        if schema in self._timelines:
            self._put(schema, raw, instrument_id, (now_ns, times[1], now_ns))

    def _do(self, key: tuple[int, int], steps: list[Step], now_ns: int) -> None:
        rng = self._rng
        event_ns = now_ns - _LATENCY_NS
        detour = rng.random()
        if self.backward and detour < 0.5:
            event_ns -= int(detour * 2 * _MAX_DETOUR_NS)
        if rng.random() >= _SAME_SEQUENCE or not self._sequences[key[0]]:
            self._sequences[key[0]] += rng.randint(1, 3)
            self._last_event_ns = event_ns
        event = Event(
            now_ns,
            self._last_event_ns,
            rng.randint(8_000, 30_000),
            self._sequences[key[0]] & 0xFFFFFFFF,
        )
        self._writer.write(key, steps, event)

    def _end_intervals(self) -> None:
        """What is told at the end of each second, minute, hour and day."""
        end_s = self._next_s
        self._next_s += 1
        for name, seconds in INTERVALS.items():
            if end_s % seconds == 0:
                self._writer.end_interval(name, end_s * _NS_PER_S, seconds * _NS_PER_S)

    def touch(self, instrument_id: int, publisher_id: int = 1) -> Touch:
        """The touch now, that is after all that has been made."""
        return self._books[publisher_id, instrument_id].touch()


def _check(schemas: Sequence[str], rate: float, publishers: int) -> None:
    for schema in schemas:
        if schema not in ALL_SCHEMAS:
            raise ValueError(f"schemas: must be of {', '.join(ALL_SCHEMAS)}, not {schema!r}")
    if not schemas:
        raise ValueError("schemas: at least one")
    if not 0 < rate <= MAX_RATE:
        raise ValueError(f"rate: must be above 0 and at most {MAX_RATE:.0f} events/s, not {rate:g}")
    if not 1 <= publishers <= MAX_PUBLISHERS:
        raise ValueError(f"publishers: must be 1 to {MAX_PUBLISHERS}, not {publishers}")
