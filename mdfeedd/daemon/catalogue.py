"""Every metric: name, kind, labels, help, and where in shared memory its value comes from.

Names are ``mdfeedd_<subsystem>_<noun>_<verb>_<unit>[_total]``: singular noun, verb as past participle, seconds
and bytes. The counters that feeds and consumers keep are derived from the two lists of `mdfeedd.h`
(``received_bytes`` -> ``mdfeedd_feed_received_bytes_total``), so a counter added there is exported, described
and labelled without a change here; the few whose derived name would read badly are in `_SPECIAL`. So are those of
each line of a feed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from mdfeedd.ring import CONSUMER_COUNTERS, FEED_COUNTERS
from mdfeedd.ring._ring import clock_ns
from mdfeedd.ring.counters import TIMES
from mdfeedd.ring.latency import BOUNDS_S, LATENCY_EVERY
from mdfeedd.ring.lines import LINE_VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mdfeedd.ring.inspect import ConsumerInfo, RingInfo
    from mdfeedd.ring.latency import Latency

MetricKind = Literal["counter", "gauge", "histogram"]

STATES: Final = ("waiting", "starting", "running", "backoff", "finished", "failed", "stopped")
"""Codes of ``mdfeedd_child_state`` by place."""
_NS: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """How one sample of a family is read from its object; `extra` are the values of the last labels.

    `value` gives None where there is nothing to show, and of a histogram a `Latency`.
    """

    metric: Metric
    value: Callable[[Any], float | Latency | None]
    extra: tuple[str, ...] = ()


LATENCY_BOUNDS_S: Final = BOUNDS_S
"""Upper bounds of the buckets of every histogram, in seconds."""


def _ring(name: str, kind: MetricKind, text: str, value: Callable[[RingInfo], float]) -> Sample:
    return Sample(Metric(f"mdfeedd_ring_{name}", kind, text, ("ring",)), value)


def _reader(
    name: str, kind: MetricKind, text: str, value: Callable[[ConsumerInfo], float]
) -> Sample:
    return Sample(Metric(f"mdfeedd_reader_{name}", kind, text, ("ring", "reader")), value)


def _utilisation(info: RingInfo) -> float:
    """How much of the ring the slowest living reader still has before it."""
    lag = max((c.lag for c in info.consumers if c.alive and c.same_ring), default=0)
    return min(1.0, lag / info.capacity)


RING_SAMPLES: Final = (
    _ring(
        "tick_published_total",
        "counter",
        "records (ticks or bars) committed, over restarts of the writer",
        lambda r: r.tail,
    ),
    _ring("tick_capacity", "gauge", "records that the ring holds", lambda r: r.capacity),
    _ring("size_bytes", "gauge", "size of the ring's shared memory", lambda r: r.total_size),
    _ring(
        "utilisation_ratio",
        "gauge",
        "largest lag of a living reader over the capacity; 1: it is being lapped",
        _utilisation,
    ),
    _ring(
        "writer_alive", "gauge", "1 while the ring has a living writer", lambda r: r.writer_alive
    ),
    _ring(
        "heartbeat_age_seconds",
        "gauge",
        "since the writer last stamped its heartbeat; what it publishes is a sign of life, too",
        lambda r: max(0, r.heartbeat_age_ns) * _NS,
    ),
    _ring("writer_epoch", "gauge", "writers that the ring has had", lambda r: r.epoch),
    _ring(
        "instrument_known",
        "gauge",
        "entries of the instruments table",
        lambda r: r.instruments_count,
    ),
    _ring("batch_published_total", "counter", "batches published", lambda r: r.batches),
    _ring(
        "reader_woken_total", "counter", "times that sleeping readers were woken", lambda r: r.wakes
    ),
    Sample(
        Metric(
            "mdfeedd_ring_arrival_latency_seconds",
            "histogram",
            "wire to ring: from the arrival of a record at this host (stamped by card, kernel or process) to its "
            f"commit. A sample is the oldest record of one burst in {LATENCY_EVERY}; no recordings, no bars",
            ("ring",),
        ),
        lambda r: r.arrival_latency,
    ),
    Sample(
        Metric(
            "mdfeedd_ring_venue_latency_seconds",
            "histogram",
            "venue to ring: from the venue's time of the same records to their commit, so over two clocks; without "
            "snapshots, delayed streams and times known to be wrong",
            ("ring",),
        ),
        lambda r: r.venue_latency,
    ),
)

READER_SAMPLES: Final = (
    _reader("alive", "gauge", "1 while the reader is attached", lambda c: c.alive),
    _reader("tick_read_total", "counter", "records read", lambda c: c.records),
    _reader(
        "tick_lost_total", "counter", "records overwritten before they were read", lambda c: c.lost
    ),
    _reader("tick_lag", "gauge", "records committed and not yet read", lambda c: c.lag),
    _reader(
        "tick_unsafe",
        "gauge",
        "records committed that the reader has not yet told to be stored (of one that tells)",
        lambda c: c.unsafe,
    ),
    _reader(
        "overrun_total", "counter", "times that the writer lapped the reader", lambda c: c.overruns
    ),
    _reader("sleep_total", "counter", "times that the reader went to sleep", lambda c: c.sleeps),
    Sample(
        Metric(
            "mdfeedd_reader_latency_seconds",
            "histogram",
            "wire to reader: from the arrival of a record at this host to its read. A sample is the oldest record "
            f"of one read in {LATENCY_EVERY}; no recordings, no bars",
            ("ring", "reader"),
        ),
        lambda c: c.latency,
    ),
)

_CHILD: Final = ("child", "kind")
CHILD_RESTART: Final = Metric(
    "mdfeedd_child_restart_total", "counter", "restarts of a feed or consumer process", _CHILD
)
CHILD_HANG: Final = Metric(
    "mdfeedd_child_hang_total", "counter", "processes ended for giving no sign of life", _CHILD
)
CHILD_STATE: Final = Metric(
    "mdfeedd_child_state",
    "gauge",
    ", ".join(f"{code} {state}" for code, state in enumerate(STATES)),
    _CHILD,
)
CHILD_UPTIME: Final = Metric(
    "mdfeedd_child_uptime_seconds",
    "gauge",
    "since the process was started; 0 while none runs",
    _CHILD,
)
_DISK: Final = ("child", "kind", "path")
DISK_SIZE: Final = Metric(
    "mdfeedd_disk_size_bytes",
    "gauge",
    "of the file system with the folder of a journal, of Parquet files or of recorded sessions",
    _DISK,
)
DISK_FREE: Final = Metric(
    "mdfeedd_disk_free_bytes",
    "gauge",
    "what is left of it for whoever is not root; a journal has taken the room of its last file already",
    _DISK,
)
BUILD_INFO: Final = Metric(
    "mdfeedd_build_info", "gauge", "always 1; what is running", ("version", "python")
)
BEAT_AGE: Final = Metric(
    "mdfeedd_supervisor_heartbeat_age_seconds", "gauge", "since the supervisor's loop last ran", ()
)
CONFIG_OK: Final = Metric(
    "mdfeedd_config_last_reload_successful",
    "gauge",
    "1: the file was taken at the start or last reload; 0: it was refused, the old one goes on",
    (),
)
CONFIG_TIME: Final = Metric(
    "mdfeedd_config_last_reload_success_timestamp_seconds",
    "gauge",
    "when the configuration that runs was taken, in UNIX time",
    (),
)
CONFIG_INFO: Final = Metric(
    "mdfeedd_config_info", "gauge", "always 1; which configuration runs", ("sha256",)
)
RING_UNREADABLE: Final = Metric(
    "mdfeedd_ring_unreadable", "gauge", "rings in the folder that could not be looked at", ()
)
SCRAPE_DURATION: Final = Metric(
    "mdfeedd_scrape_duration_seconds", "gauge", "time to read all of this from shared memory", ()
)

# ------------------------------------------------------------------------- derived from the lists in C

_GAUGES: Final = frozenset({
    "pending_records", "behind_records", "unproven_books", "latency_ns", "failed_topics",
    "delayed_topics", *TIMES,
})  # fmt: skip
_SPECIAL: Final[dict[str, tuple[str, str, str]]] = {
    # counter: (name without prefix and suffix, extra label, its value)
    "published_quotes": ("tick_published", "kind", "quote"),
    "published_trades": ("tick_published", "kind", "trade"),
    "published_others": ("tick_published", "kind", "other"),
    "skipped_records": ("record_unused", "reason", "skipped"),
    "unknown_records": ("record_unused", "reason", "unknown"),
    "malformed_records": ("record_unused", "reason", "malformed"),
    "gaps": ("gap_published", "", ""),
    "latency_ns": ("packet_delay_seconds", "", ""),
    "silences": ("silence_noticed", "", ""),
    "sessions": ("session_begun", "", ""),
    "disconnects": ("session_cut", "", ""),
    "slow_warnings": ("slowness_warned", "", ""),
    "bad_time_trades": ("trade_mistimed", "", ""),
    "last_record_ns": ("last_record_timestamp_seconds", "", ""),
    "doubted_since_ns": ("doubted_since_timestamp_seconds", "", ""),
    "flushes": ("batch_given", "", ""),
    "failed_flushes": ("batch_refused", "", ""),
    "callback_errors": ("callback_failed", "", ""),
}
_SPECIAL_HELP: Final = {  # by subsystem and name without prefix and suffix
    "feed_tick_published": "ticks published, by kind",
    "feed_record_unused": "vendor records that made no tick: of a kind that makes none (skipped), of a kind "
    "that this version does not know (unknown), or contradicting their own layout (malformed)",
    "feed_packet_delay_seconds": "arrival less the venue's sending time, of the latest packet: two clocks",
    "feed_last_record_timestamp_seconds": "when the latest record came, in UNIX time",
    "feed_doubted_since_timestamp_seconds": "since when data pass unused that may yet be of a new sequence, "
    "in UNIX time; only while some do",
}


def _singular(noun: str) -> str:
    return noun.removesuffix("es") if noun.endswith("shes") else noun.removesuffix("s")


def _derived(subsystem: str, counter: str, text: str, labels: tuple[str, ...]) -> Sample:
    """The sample of one counter of C."""
    kind: MetricKind = "gauge" if counter in _GAUGES else "counter"
    stem, label, value = _SPECIAL.get(counter, ("", "", ""))
    if not stem:
        verb, _, noun = counter.rpartition("_")
        words = (verb, "bytes") if noun == "bytes" else (_singular(noun), verb)
        stem = "_".join(word for word in words if word)
    suffix = "_total" if kind == "counter" else ""
    metric = Metric(
        f"mdfeedd_{subsystem}_{stem}{suffix}",
        kind,
        _SPECIAL_HELP.get(f"{subsystem}_{stem}", text),
        (*labels, label) if label else labels,
    )
    scale = _NS if counter.endswith("_ns") else 1

    def read(counters: Any) -> float | None:
        n: int = counters[counter]
        return None if not n and counter in TIMES else n * scale

    return Sample(metric, read, (value,) if label else ())


FEED_SAMPLES: Final = tuple(_derived("feed", name, text, ("feed",)) for name, text in FEED_COUNTERS)
LINE_LABELS: Final = ("feed", "channel", "kind", "line")
"""`kind`: incremental, definition, snapshot or orders; `line`: its side, A or B."""


def _silent_s(values: dict[str, int]) -> float | None:
    """Since the latest packet of a line; None of one that has brought none, or comes from a recording."""
    latest_ns = values["last_packet_ns"]
    return (clock_ns() - latest_ns) * _NS if latest_ns else None


LINE_SAMPLES: Final = (
    *(_derived("line", name, text, LINE_LABELS) for name, text in LINE_VALUES if name != "last_packet_ns"),
    Sample(
        Metric(
            "mdfeedd_line_silent_seconds",
            "gauge",
            "since the line brought its latest packet; not told before the first, nor of recordings",
            LINE_LABELS,
        ),
        _silent_s,
    ),
)  # fmt: skip
CHANNEL_SILENT: Final = Metric(
    "mdfeedd_channel_silent",
    "gauge",
    "1 while no incremental line of the channel has brought anything, no heartbeat either, for the feed's "
    "`silence_s`; of lines that are counted one by one, while the feed has a living writer",
    ("feed", "channel"),
)
CONSUMER_SAMPLES: Final = tuple(
    _derived("consumer", name, text, ("ring", "reader")) for name, text in CONSUMER_COUNTERS
)


def metrics() -> Iterator[Metric]:
    """The whole catalogue, each family once."""
    samples = (*RING_SAMPLES, *READER_SAMPLES, *FEED_SAMPLES, *LINE_SAMPLES, *CONSUMER_SAMPLES)
    others = (
        CHANNEL_SILENT,
        CHILD_RESTART,
        CHILD_HANG,
        CHILD_STATE,
        CHILD_UPTIME,
        DISK_SIZE,
        DISK_FREE,
        BUILD_INFO,
        BEAT_AGE,
        CONFIG_OK,
        CONFIG_TIME,
        CONFIG_INFO,
        RING_UNREADABLE,
    )
    seen: dict[str, Metric] = {}
    for metric in (*(sample.metric for sample in samples), *others, SCRAPE_DURATION):
        known = seen.setdefault(metric.name, metric)
        if known is metric:
            yield metric
        assert known == metric, f"two metrics are called {metric.name}"
