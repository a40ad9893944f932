"""The synthetic market as a feed process: paced by the wall clock, into a ring."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol

import numpy as np

from mdfeedd.options import refuse, told
from mdfeedd.ring.restart import last_beat_ns, tell_restart, tell_return
from mdfeedd.sim.listings import Listing, listings
from mdfeedd.sim.market import MAX_RATE, Market
from mdfeedd.tick import TICK, Kind

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    import numpy.typing as npt

    from mdfeedd.ring import Writer

__all__ = ["SyntheticFeed", "SyntheticOptions"]

logger: logging.Logger = logging.getLogger("mdfeedd.sim.feed")

CHUNK_S: Final = 0.001  # what is due is published this often
CHUNK_RECORDS: Final = (
    4096  # ... and so many records at a time, so that stop and heartbeat are seen
)
CATCH_UP_NS: Final = 250_000_000  # of a longer stall, the rest is left out of the market's time
BEAT_NS: Final = 100_000_000
_WAIT_S: Final = 10.0
_WAIT_STEP_S: Final = 0.01
_MAX_CONSUMERS: Final = 128
_SEED_BITS: Final = 63


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """What the market is like."""

    market: Literal["futures", "equities", "fx"] = field(
        default="futures", metadata={"help": "futures, equities or fx"}
    )
    instruments: int | tuple[str, ...] = field(
        default=8, metadata={"help": "how many of the market's instruments, or their symbols"}
    )
    rate: float = field(default=10_000.0, metadata={"help": "ticks per second, on average"})
    burstiness: float = field(
        default=0.5, metadata={"help": "0: evenly random; 1: calm and busy times, and bursts"}
    )
    seed: int | None = field(
        default=None, metadata={"help": "the same seed gives the same market; null: a new one"}
    )

    wait_consumers: int = field(
        default=0,
        metadata={
            "help": "trade only when so many consumers are attached (at most 10 s later; not after a restart)"
        },
    )

    def __post_init__(self) -> None:
        refuse(
            told(lambda: listings(self.market, self.instruments)),
            self._check_rate(),
            self._check_burstiness(),
            self._check_counts(),
        )

    def _check_rate(self) -> Iterator[str]:
        if not 0 < self.rate <= MAX_RATE:
            yield f"rate: must be above 0 and at most {MAX_RATE:.0f}, not {self.rate}"

    def _check_burstiness(self) -> Iterator[str]:
        if not 0 <= self.burstiness <= 1:
            yield f"burstiness: must be 0 to 1, not {self.burstiness}"

    def _check_counts(self) -> Iterator[str]:
        if self.seed is not None and not 0 <= self.seed < 1 << _SEED_BITS:
            yield f"seed: must be 0 to 2**{_SEED_BITS} - 1, not {self.seed}"
        if not 0 <= self.wait_consumers <= _MAX_CONSUMERS:
            yield f"wait_consumers: must be 0 to {_MAX_CONSUMERS}, not {self.wait_consumers}"


class _Shard(Protocol):
    def has(self, symbol: str) -> bool: ...


class _RingPlan(Protocol):
    """What this needs of `mdfeedd.feeds.protocol.RingPlan`; simulation does not import feeds."""

    @property
    def name(self) -> str: ...
    @property
    def directory(self) -> str: ...
    @property
    def shard(self) -> _Shard | None: ...
    def writer(self, feed: str, dtype: np.dtype[Any]) -> Writer: ...


class SyntheticFeed:
    """Writes the ring of `ring` with a market that trades in real time.

    ts_event is when the market made the tick, ts_recv when it was published, at most `CHUNK_S` and some
    scheduling later. After a restart the first tick is a GAP for the time in between. The opening touch of
    every instrument comes first, flagged SNAPSHOT. With a shard it is the same market: what is not of ours is left
    out, and counted as skipped.
    """

    Options: ClassVar[type[Any]] = SyntheticOptions

    def __init__(self, name: str, options: SyntheticOptions, ring: _RingPlan) -> None:
        self.name = name
        self.options = options
        self.ring = ring

    def run(self, stop: threading.Event) -> None:
        """Trade until `stop` is set. Raises `RingError` if the ring cannot be made."""
        plan, options = self.ring, self.options
        left_ns = last_beat_ns(plan.name, plan.directory)
        with plan.writer(self.name, TICK) as writer:
            listed = listings(options.market, options.instruments)
            seed = int.from_bytes(os.urandom(8)) >> 1 if options.seed is None else options.seed
            logger.info("%d instruments at %g ticks/s, seed %d", len(listed), options.rate, seed)
            if (
                writer.epoch == 1
            ):  # who goes on with a ring finds its readers there, or gone for good
                self._wait_for_consumers(writer, stop)
            start_ns = time.time_ns()
            if writer.epoch > 1:
                tell_return(writer, tell_restart(writer, left_ns, start_ns), start_ns)
            market = Market(
                listed,
                options.rate,
                seed,
                start_ns=start_ns,
                burstiness=options.burstiness,
                ids=[_add(writer, item) if self._is_ours(item) else 0 for item in listed],
            )
            self._publish(writer, market.opening())
            self._trade(writer, market, stop)

    def _is_ours(self, item: Listing) -> bool:
        return self.ring.shard is None or self.ring.shard.has(item.symbol)

    def _wait_for_consumers(self, writer: Writer, stop: threading.Event) -> None:
        wanted, deadline = self.options.wait_consumers, time.monotonic() + _WAIT_S
        while wanted and writer.consumer_count() < wanted and not stop.is_set():
            if time.monotonic() >= deadline:
                there = writer.consumer_count()
                logger.warning("%d of %d consumers after %.0f s: going on", there, wanted, _WAIT_S)
                return
            writer.beat()
            time.sleep(_WAIT_STEP_S)

    def _trade(self, writer: Writer, market: Market, stop: threading.Event) -> None:
        """The loop. The market's clock is the monotonic one, less `skipped_ns`, which stalls left out."""
        offset_ns = market.now_ns - time.monotonic_ns()
        skipped_ns = 0
        beat_ns = 0
        while not stop.is_set():
            now_ns = time.monotonic_ns()
            market_ns = now_ns + offset_ns - skipped_ns
            excess_ns = market_ns - market.next_ns() - CATCH_UP_NS
            if excess_ns > 0:
                skipped_ns += excess_ns
                market_ns -= excess_ns
                logger.warning("stalled: %.3f s of the market are left out", excess_ns / 1e9)
            ticks = market.until(market_ns, CHUNK_RECORDS)
            if len(ticks):
                ticks["ts_event"] += skipped_ns
                self._publish(writer, ticks)
            if now_ns - beat_ns >= BEAT_NS:
                writer.beat()
                beat_ns = now_ns
            if len(ticks) < CHUNK_RECORDS:
                time.sleep(CHUNK_S)

    def _publish(self, writer: Writer, ticks: npt.NDArray[np.void]) -> None:
        writer.counters.add("received_records", len(ticks))
        if self.ring.shard is not None:
            ours = ticks[ticks["instrument_id"] != 0]
            writer.counters.add("skipped_records", len(ticks) - len(ours))
            ticks = ours
        kinds = np.bincount(ticks["kind"], minlength=Kind.TRADE + 1)
        ticks["ts_recv"] = time.time_ns()
        writer.publish(ticks)
        quotes, trades = int(kinds[Kind.QUOTE]), int(kinds[Kind.TRADE])
        writer.counters.add("published_quotes", quotes)
        writer.counters.add("published_trades", trades)


def _add(writer: Writer, item: Listing) -> int:
    return writer.instruments.add(
        item.symbol,
        venue=item.venue,
        currency=item.currency,
        tick_size=item.tick_size,
        multiplier=item.multiplier,
    )
