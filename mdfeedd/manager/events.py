"""What callbacks are told beside ticks and bars, what `FeedManager.stats` gives, and how a feed fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from mdfeedd.tick import GAP, TICK, GapReason, Kind

if TYPE_CHECKING:
    import numpy as np

    from mdfeedd.ring import RecordBatch, TickBatch

__all__ = ["FeedFailed", "FeedState", "FeedStats", "FeedStatus", "Gap", "Stats"]

FeedState = Literal["waiting", "starting", "running", "backoff", "finished", "failed", "stopped"]
UNKNOWN_REASON: Final = GapReason.VENDOR_SKIPPED


class FeedFailed(Exception):
    """A feed was given up. The text is one sentence: what the feed itself said last, if it said something.

    feed: its name. exit_status: of its process: 77 credentials, 78 configuration, 70 a crash, 65 damaged files ...; None: none ran.
    """

    def __init__(self, feed: str, sentence: str, exit_status: int | None = None) -> None:
        super().__init__(f"feed {feed}: {sentence}")
        self.feed = feed
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class Gap:
    """Data are missing before the next tick of a feed.

    symbol: of which instrument; "" for the whole feed. reason: whose fault; what `first_missing` to
    `last_missing` count follows from it (see `GapReason`): packets, venue times in ns, or, for `RING_LAPPED`,
    ticks of the ring: these came here, and the callbacks were too slow for them. Times in UNIX ns.
    """

    feed: str
    symbol: str
    reason: GapReason
    first_missing: int
    last_missing: int
    ts_event_ns: int
    ts_recv_ns: int

    @property
    def lost(self) -> int:
        """Ticks that the callbacks missed by their own slowness; 0 for what never came here."""
        if self.reason is not GapReason.RING_LAPPED:
            return 0
        return self.last_missing - self.first_missing + 1


def gaps_in(batch: TickBatch) -> list[Gap]:
    """The GAPs in a batch, in order."""
    if not batch.has(Kind.GAP):
        return []
    return [_gap(record, batch) for record in batch.of_kind(Kind.GAP, GAP)]


def _gap(record: np.void, batch: TickBatch) -> Gap:
    code = int(record["reason"])
    known = code in GapReason.__members__.values()
    return Gap(
        batch.feed,
        batch.instruments.symbol(int(record["instrument_id"])),
        GapReason(code) if known else UNKNOWN_REASON,
        int(record["first_missing"]),
        int(record["last_missing"]),
        int(record["ts_event"]),
        int(record["ts_recv"]),
    )


def lapped(feed: str, first: int, last: int, after: RecordBatch | None) -> Gap:
    """The gap of the records `first` to `last` of a ring; its times are those of the first of `after`."""
    event_ns = recv_ns = 0
    records = None if after is None else after.records[:1]
    if records is not None and len(records) and records.dtype == TICK:
        event_ns, recv_ns = int(records["ts_event"][0]), int(records["ts_recv"][0])
    return Gap(feed, "", GapReason.RING_LAPPED, first, last, event_ns, recv_ns)


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """A feed's process has got another state.

    state: waiting, starting, running, backoff (it ended, and is started again soon), finished (a recording is at
    its end), failed (it was given up), stopped. reason: for backoff and failed, what it said or how it ended;
    else "". restarts: so far. Of a feed of a daemon (`FeedManager.attach`) running and stopped are told.
    """

    feed: str
    state: FeedState
    reason: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class FeedStats:
    """One feed. Counts are of ticks since `start`.

    published: by the feed's process, all kinds. delivered: given to callbacks. dropped: left out because of
    backpressure="drop". lost: overwritten in the ring before the callbacks had them. behind: now in the ring and
    not delivered. gaps: told by the feed.
    """

    state: FeedState
    restarts: int = 0
    published: int = 0
    delivered: int = 0
    dropped: int = 0
    lost: int = 0
    behind: int = 0
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """What a manager has done since `start`. feeds: by name.

    batches, ticks, bars: calls of on_batch, on_tick and on_bar. callback_errors: exceptions of callbacks.
    stalls, longest_stall_s: how often the event loop stood still for more than a quarter of a second, and how
    long at most: a callback that blocks does that.
    """

    feeds: dict[str, FeedStats] = field(default_factory=dict)
    batches: int = 0
    ticks: int = 0
    bars: int = 0
    callback_errors: int = 0
    stalls: int = 0
    longest_stall_s: float = 0.0
