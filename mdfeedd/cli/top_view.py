"""What ``mdfeedd top`` shows, apart from how it is drawn: rates, trends and the bottleneck out of snapshots.

    snapshot of `mdfeedd.daemon.status` ─► History.take ─► View: rows of numbers ─► `top_draw`, or JSON

Pure: no clock, no shared memory, no terminal.
"""

from __future__ import annotations

import collections
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon.troubles import troubles_of
from mdfeedd.ring.latency import Latency

if TYPE_CHECKING:
    Shown = dict[str, Any]

TREND: Final = 60
"""Rates that a sparkline remembers."""
WINDOW_S: Final = 10.0
"""Troubles that come and go (a loss, a refusal) are shown for so long."""
MAX_WINDOW: Final = 128
"""Snapshots of the window at most, whatever the interval."""
_SHARES: Final = {"p50": 0.50, "p99": 0.99}
_CALM_SHARE: Final = 0.01
"""A reader with less of its ring before it is no bottleneck."""


@dataclass(frozen=True, slots=True)
class FeedRow:
    """One feed. `rate` is None in the first look; `lost_packets` are those that no line brought."""

    name: str
    vendor: str
    state: str
    alive: bool
    rate: float | None
    trend: tuple[float, ...]
    published: int
    gaps: int
    open_books: int
    packets_rate: float | None
    duplicate_share: float | None
    """Of the packets since the last look, those that another line had brought already: about a half where A
    and B are well. A line that falls silent is seen at once, however long both were well."""
    late_packets: int
    lost_packets: int
    dropped_packets: int
    latency_s: float | None
    """Of the latest packet: arrival less the venue's sending time."""
    latency: dict[str, float]
    """p50 and p99 of arrival to ring, in seconds, of the last `WINDOW_S`; empty where nothing was sampled."""


@dataclass(frozen=True, slots=True)
class LineRow:
    """One line of a feed, such as 310 incremental A. Rates and shares are None where nothing is known to be new."""

    feed: str
    line: str
    incremental: bool
    rate: float | None
    first_share: float | None
    """Of its packets since the last look, those that it brought before the other line: together both make 1. None
    of lines of recovery, which are not compared."""
    lost_share: float | None
    """Of the packets since the first look of the window that should have come by it, those that did not."""
    lost: int
    late: int
    dropped: int
    malformed: int
    silent_s: float | None

    @property
    def shown(self) -> bool:
        """Lines of recovery are worth a row while they bring something."""
        return self.incremental or bool(self.rate)


@dataclass(frozen=True, slots=True)
class ReaderRow:
    """One reader of one ring. `unsafe`: committed, and not yet told to be stored."""

    name: str
    ring: str
    type: str
    alive: bool
    rate: float | None
    lag: int
    lag_share: float
    lost: int
    unsafe: int
    pending: int
    refused: int
    parked: bool
    latency: dict[str, float]
    """... of the ring to this reader."""


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process. `cpu_share`: of one processor; None in the first look or where it cannot be seen."""

    name: str
    kind: str
    state: str
    pid: int
    cpu_share: float | None
    rss_bytes: int | None
    restarts: int | None
    uptime_s: float | None
    last_failure: str


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is shown at one moment."""

    time_s: float
    source: str
    feeds: tuple[FeedRow, ...]
    lines: tuple[LineRow, ...]
    readers: tuple[ReaderRow, ...]
    processes: tuple[ProcessRow, ...]
    troubles: tuple[str, ...]
    bottleneck: str

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


class History:
    """Snapshots in, views out: remembers what rates and trends need."""

    def __init__(self) -> None:
        self._before: Shown | None = None
        self._window: collections.deque[Shown] = collections.deque(maxlen=MAX_WINDOW)
        self._trends: dict[str, collections.deque[float]] = {}

    def take(self, shown: Shown, *, answered: bool) -> View:
        """The view of a snapshot, by those that came before it."""
        before = self._before
        while self._window and self._window[0]["time_s"] < shown["time_s"] - WINDOW_S:
            self._window.popleft()
        first = self._window[0] if self._window else before
        troubles = troubles_of(shown, first)
        if not answered and not shown["processes"]:
            text = "no daemon runs, and nobody writes or reads a ring"
            troubles.insert(0, {"name": "", "trouble": "nothing runs", "text": text})
        change = _Change(shown, before, first)
        feeds = tuple(self._feed(feed, change) for feed in shown["feeds"])
        self._trends = {row.name: self._trends[row.name] for row in feeds}
        readers = tuple(_reader(reader, change) for reader in shown["consumers"])
        view = View(
            shown["time_s"],
            _source(shown, answered=answered),
            feeds,
            tuple(
                _line(f["name"], line, change)
                for f in shown["feeds"]
                for line in f.get("lines", ())
            ),
            readers,
            tuple(_process(process, change) for process in shown["processes"]),
            tuple(trouble["text"] for trouble in troubles),
            bottleneck_of(readers, [t["name"] for t in troubles if t["trouble"] == "refused"]),
        )
        self._before = shown
        self._window.append(shown)
        return view

    def _feed(self, feed: Shown, change: _Change) -> FeedRow:
        name, counters = feed["name"], feed["counters"]
        rate = change.rate("feeds", (name,), feed["published"], "published")
        trend = self._trends.setdefault(name, collections.deque(maxlen=TREND))
        if rate is not None:
            trend.append(rate)
        packets_rate = change.counter_rate("feeds", (name,), counters, "received_packets")
        twice_rate = change.counter_rate("feeds", (name,), counters, "duplicate_packets")
        return FeedRow(
            name=name,
            vendor=feed["vendor"],
            state=feed["state"],
            alive=feed["writer_alive"],
            rate=rate,
            trend=tuple(trend),
            published=feed["published"],
            gaps=counters.get("gaps", 0),
            open_books=counters.get("unproven_books", 0),
            packets_rate=packets_rate,
            duplicate_share=twice_rate / packets_rate
            if twice_rate is not None and packets_rate
            else None,
            late_packets=counters.get("late_packets", 0),
            lost_packets=counters.get("lost_packets", 0),
            dropped_packets=counters.get("dropped_packets", 0),
            latency_s=counters["latency_ns"] * 1e-9 if counters.get("latency_ns") else None,
            latency=change.latency(("rings", name), "arrival_latency"),
        )


class _Change:
    """What grew between two snapshots, a second. None: there was no other, or the row is new or began anew."""

    def __init__(self, shown: Shown, before: Shown | None, first: Shown | None) -> None:
        self._span_s = 0.0 if before is None else shown["time_s"] - before["time_s"]
        self._now = _by_key(shown)
        self._then = {} if before is None else _by_key(before)
        self._first = {} if first is None else _by_key(first)

    def rate(self, kind: str, key: tuple[Any, ...], value: float, of: str) -> float | None:
        """Of a value of a row."""
        row = self._then.get((kind, *key))
        return None if row is None else self._per_s(value, row[of])

    def counter_rate(
        self, kind: str, key: tuple[Any, ...], counters: dict[str, int], of: str
    ) -> float | None:
        """Of one of a row's counters."""
        row = self._then.get((kind, *key))
        if row is None or of not in row["counters"] or of not in counters:
            return None
        return self._per_s(counters[of], row["counters"][of])

    def line_growth(
        self, key: tuple[Any, ...], line: Shown, of: str, *, window: bool = False
    ) -> int | None:
        """How much one of a line's counts has grown, since the last look or the first of the window."""
        row = (self._first if window else self._then).get(("lines", *key))
        return None if row is None or line[of] < row[of] else line[of] - row[of]

    def latency(self, key: tuple[Any, ...], of: str) -> dict[str, float]:
        """Percentiles of one of a row's histograms, since the first of the snapshots remembered."""
        row, was = self._now.get(key), self._first.get(key)
        return {} if row is None else percentiles(row.get(of), None if was is None else was.get(of))

    def _per_s(self, value: float | None, was: float | None) -> float | None:
        if value is None or was is None or value < was or self._span_s <= 0:
            return None
        return (value - was) / self._span_s


def _by_key(shown: Shown) -> dict[tuple[Any, ...], Shown]:
    rows: dict[tuple[Any, ...], Shown] = {("feeds", feed["name"]): feed for feed in shown["feeds"]}
    rows |= {("rings", ring["name"]): ring for ring in shown["rings"]}
    rows |= {
        ("lines", feed["name"], _name_of(line)): line
        for feed in shown["feeds"]
        for line in feed.get("lines", ())
    }
    rows |= {("consumers", c["name"], c["ring"]): c for c in shown["consumers"]}
    return rows | {("processes", p["name"], p["pid"]): p for p in shown["processes"]}


def _name_of(line: Shown) -> str:
    return f"{line['channel']} {line['kind']} {line['side']}"


def _line(feed: str, line: Shown, change: _Change) -> LineRow:
    key, incremental = (feed, _name_of(line)), line["kind"] == "incremental"
    new = change.line_growth(key, line, "received_packets")
    twice = change.line_growth(key, line, "duplicate_packets")
    came = change.line_growth(key, line, "received_packets", window=True)
    lost = change.line_growth(key, line, "lost_packets", window=True)
    due = None if came is None or lost is None else came + lost
    return LineRow(
        feed=feed,
        line=key[1],
        incremental=incremental,
        rate=change.rate("lines", key, line["received_packets"], "received_packets"),
        first_share=max(0.0, 1 - twice / new)
        if new and twice is not None and incremental
        else None,
        lost_share=None if not due or lost is None else lost / due,
        lost=line["lost_packets"],
        late=line["late_packets"],
        dropped=line["dropped_packets"],
        malformed=line["malformed_packets"],
        silent_s=line["silent_s"],
    )


def _reader(reader: Shown, change: _Change) -> ReaderRow:
    key, counters = (reader["name"], reader["ring"]), reader["counters"]
    return ReaderRow(
        name=reader["name"],
        ring=reader["ring"],
        type=reader["type"],
        alive=reader["alive"],
        rate=change.rate("consumers", key, reader["read"], "read"),
        lag=reader["lag"],
        lag_share=reader["lag_share"],
        lost=reader["lost"],
        unsafe=reader["unsafe"],
        pending=counters.get("pending_records", 0),
        refused=counters.get("failed_flushes", 0),
        parked=reader["parked"],
        latency=change.latency(("consumers", *key), "latency"),
    )


def _process(process: Shown, change: _Change) -> ProcessRow:
    key = (process["name"], process["pid"])
    cpu_s = process["cpu_s"]
    share = None if cpu_s is None else change.rate("processes", key, cpu_s, "cpu_s")
    return ProcessRow(
        name=process["name"],
        kind=process["kind"],
        state=process["state"],
        pid=process["pid"],
        cpu_share=share,
        rss_bytes=process["rss_bytes"],
        restarts=process["restarts"],
        uptime_s=process["uptime_s"],
        last_failure=process["last_failure"],
    )


def _source(shown: Shown, *, answered: bool) -> str:
    daemon = shown["daemon"]
    if not answered or daemon is None:
        return f"no daemon answers: from shared memory in {shown['shm_dir']}"
    stopping = ", stopping" if daemon["stopping"] else ""
    return f"{daemon['version']}, pid {daemon['pid']}{stopping}"


def bottleneck_of(readers: tuple[ReaderRow, ...], refusing: list[str]) -> str:
    """Who holds the rest up: a sink that refuses, else the slowest reader; "" if nobody does."""
    for row in readers:
        if row.name in refusing:
            return (
                f"the sink of {row.name} on {row.ring} refuses: {row.pending:,} records wait for it"
            )
    slow = [row for row in readers if row.alive and not row.parked and row.lag_share >= _CALM_SHARE]
    if not slow:
        return ""
    worst = max(slow, key=lambda row: row.lag_share)
    return (
        f"the slowest reader is {worst.name} on {worst.ring}: {worst.lag:,} records behind, "
        f"{worst.lag_share:.0%} of the ring"
    )


def percentiles(latency: Any, before: Any) -> dict[str, float]:
    """``p50`` and ``p99`` in seconds of what came between two looks at a histogram; empty if nothing did."""
    if not isinstance(latency, dict):
        return {}
    now = Latency(tuple(latency["buckets"]), 0)
    was = Latency(tuple(before["buckets"]), 0) if isinstance(before, dict) else None
    news = now.since(was)
    found = {name: news.quantile_s(share) for name, share in _SHARES.items()}
    return {name: value for name, value in found.items() if value is not None}
