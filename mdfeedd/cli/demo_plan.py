"""The demo as a plan: three synthetic feeds, a bars consumer, a batch consumer that stores it all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdfeedd.daemon import config

if TYPE_CHECKING:
    from pathlib import Path

    from mdfeedd.daemon.plan import Plan

BARS_RING: Final = "demo-bars"
BARS: Final = "bars"
STORE: Final = "parquet"
HELD_S: Final = 4.0  # of its feed's ticks that a ring holds, so that a busy machine loses none
LEAST_CAPACITY: Final = 65_536
MOST_CAPACITY: Final = 1 << 22  # 256 MiB
BARS_CAPACITY: Final = 16_384
INSTRUMENTS_CAPACITY: Final = 1024
_OVERHEAD: Final = 1 << 20  # header, counters, instruments, registry of a ring, generously


@dataclass(frozen=True, slots=True)
class Venue:
    """One feed of the demo: its market, how many instruments, and its share of the ticks."""

    market: str
    instruments: int
    share: float

    @property
    def feed(self) -> str:
        """The name of the feed, and of its ring."""
        return f"demo-{self.market}"


VENUES: Final = (Venue("futures", 8, 0.5), Venue("equities", 8, 0.35), Venue("fx", 4, 0.15))
TICK_RINGS: Final = tuple(venue.feed for venue in VENUES)
RINGS: Final = (*TICK_RINGS, BARS_RING)


def capacity(rate: float) -> int:
    """Slots for a feed of so many ticks per second."""
    wanted = max(LEAST_CAPACITY, min(MOST_CAPACITY, int(rate * HELD_S)))
    return 1 << (wanted - 1).bit_length()


def needed_bytes(rate: float) -> int:
    """Shared memory that the rings of the demo take, at most."""
    ticks = sum(64 * capacity(rate * venue.share) for venue in VENUES)
    return ticks + 128 * BARS_CAPACITY + len(RINGS) * _OVERHEAD


def plan(rate: float, bars_s: int, shm_dir: str, out: Path | None, viewers: int) -> Plan:
    """The plan: `rate` ticks/s in all, `viewers` readers besides its own, no store without `out`."""
    attached = viewers + (1 if out is None else 2)
    feeds = [
        {
            "name": venue.feed,
            "vendor": "synthetic",
            "capacity": capacity(rate * venue.share),
            "instruments_capacity": INSTRUMENTS_CAPACITY,
            "options": {
                "market": venue.market,
                "instruments": venue.instruments,
                "rate": rate * venue.share,
                "wait_consumers": attached,
            },
        }
        for venue in VENUES
    ]
    bars = {
        "name": BARS,
        "type": "bars",
        "rings": list(TICK_RINGS),
        "options": {
            "intervals_s": sorted({1, bars_s}),
            "ring": BARS_RING,
            "capacity": BARS_CAPACITY,
        },
    }
    store = {
        "name": STORE,
        "type": "batch",
        "rings": list(RINGS),
        "options": {"sink": {"type": "parquet", "path": str(out)}},
    }
    return config.check(
        {
            "shm_dir": shm_dir,
            "metrics": None,
            "log": {"level": "warning"},
            "feeds": feeds,
            "consumers": [bars] if out is None else [bars, store],
        },
        "demo",
    )
