"""The demo as a plan: one feed of each vendor, a synthetic one, a bars consumer, and one that stores it all.

Where UDP or TCP does not work on this machine, the feed that needs it is synthetic, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon import config
from mdfeedd.feeds.protocol import ORDERS_SUFFIX
from mdfeedd.sim import bloomberg
from mdfeedd.sim.listings import listings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mdfeedd.daemon.plan import Plan
    from mdfeedd.sim.cme.lines import Line

BARS_RING: Final = "demo-bars"
BARS: Final = "bars"
STORE: Final = "parquet"
HELD_S: Final = 10.0  # of its feed's ticks that a ring holds, so that a busy machine loses none
LEAST_CAPACITY: Final = 65_536
MOST_CAPACITY: Final = 1 << 22  # 256 MiB
BARS_CAPACITY: Final = 16_384
INSTRUMENTS_CAPACITY: Final = 1024
CHANNEL: Final = 310
HOST: Final = "127.0.0.1"
WIRE_SHARE: Final = 0.15  # of the ticks: those that come as packets ...
MOST_WIRE_RATE: Final = 1_500.0  # ... a third of what the venue, in Python, makes on one core
TICKS_PER_EVENT: Final = 0.9  # of the simulated venue
SESSION_SHARE: Final = 0.2  # of the ticks: those of the session with the simulated gateway ...
MOST_SESSION_RATE: Final = 6_000.0  # ... a fraction of what that, in Python, makes on one core
RECORDS_PER_EVENT: Final = 0.9  # of its market
TERMINAL_SHARE: Final = 0.1  # of the ticks: those of the stand-in for Bloomberg's package ...
MOST_TERMINAL_RATE: Final = 1_500.0  # ... which, in Python, makes five messages for one of them
TOPICS: Final = ("EURUSD Curncy", "USDJPY Curncy", "GBPUSD Curncy", "AUDUSD Curncy")
DATASET: Final = "XNAS.ITCH"
KEY_VARIABLE: Final = "MDFEEDD_DEMO_KEY"
REPLAY_REACH_S: Final = 2.0
RECEIVE_BUFFER: Final = 4 << 20  # of each line, bytes
MAX_WAIT_MS: Final = 500.0  # for the other line: the venue may be out of breath
MOST_ENTRIES: Final = 65_536  # of updates that wait for a snapshot, and of orders
_OVERHEAD: Final = 1 << 20  # header, counters, instruments, registry of a ring, generously


@dataclass(frozen=True, slots=True)
class Venue:
    """One feed of the demo, `feed` its name and its ring's: its market, and its share of what is synthetic."""

    feed: str
    market: str
    symbols: tuple[str, ...]
    share: float


def _symbols(market: str, of: slice) -> tuple[str, ...]:
    return tuple(item.symbol for item in listings(market, of.stop)[of])


VENUES: Final = (
    Venue("demo-futures", "futures", _symbols("futures", slice(8)), 0.5),
    Venue("demo-equities", "equities", _symbols("equities", slice(8)), 0.35),
    Venue("demo-fx", "fx", TOPICS, 0.0),
    Venue("demo-synthetic", "equities", _symbols("equities", slice(8, 16)), 0.15),
)
WIRED: Final = VENUES[0].feed  # the feed that reads packets, where that is possible
SESSION: Final = VENUES[1].feed  # the feed that is a session with a gateway, where that is possible
TERMINAL: Final = VENUES[
    2
].feed  # the feed that subscribes with Bloomberg's package, played by a stand-in
ORDERS_RING: Final = WIRED + ORDERS_SUFFIX
TICK_RINGS: Final = tuple(venue.feed for venue in VENUES)
READ_RINGS: Final = (*TICK_RINGS, BARS_RING)
RINGS: Final = (*READ_RINGS, ORDERS_RING)


def rates(rate: float, *, wired: bool, session: bool) -> dict[str, float]:
    """Ticks per second of each feed, `rate` in all. What is made by the simulators in Python is limited.

    The synthetic market, which is not, makes what is left.
    """
    made = {TERMINAL: min(rate * TERMINAL_SHARE, MOST_TERMINAL_RATE)}
    if wired:
        made[WIRED] = min(rate * WIRE_SHARE, MOST_WIRE_RATE)
    if session:
        made[SESSION] = min(rate * SESSION_SHARE, MOST_SESSION_RATE)
    others = [venue for venue in VENUES if venue.feed not in made]
    left, shares = rate - sum(made.values()), sum(venue.share for venue in others)
    return made | {venue.feed: left * venue.share / shares for venue in others}


def capacity(rate: float) -> int:
    """Slots for a feed of so many ticks per second."""
    wanted = max(LEAST_CAPACITY, min(MOST_CAPACITY, int(rate * HELD_S)))
    return 1 << (wanted - 1).bit_length()


def needed_bytes(rate: float) -> int:
    """Shared memory that the rings of the demo take, at most."""
    both = (True, False)
    ticks = max(
        sum(64 * capacity(each) for each in rates(rate, wired=wired, session=session).values())
        for wired in both
        for session in both
    )
    orders = 64 * capacity(MOST_WIRE_RATE)
    return ticks + orders + 128 * BARS_CAPACITY + len(RINGS) * _OVERHEAD


def readers(out: Path | None, viewers: int) -> int:
    """How many consumers each ring of ticks has."""
    return viewers + (1 if out is None else 2)


def plan(
    rate: float,
    bars_s: int,
    shm_dir: str,
    out: Path | None,
    *,
    viewers: int,
    lines: Sequence[Line] | None = None,
    gateway: str = "",
) -> Plan:
    """The plan: `rate` ticks/s in all, `viewers` readers besides its own, no store without `out`.

    lines: where the packets of the first feed come; without, it is synthetic. gateway: host:port that the second
    one connects to; likewise.
    """
    attached = readers(out, viewers)
    each = rates(rate, wired=lines is not None, session=bool(gateway))
    feeds = [
        {
            "name": venue.feed,
            "capacity": capacity(each[venue.feed]),
            "instruments_capacity": INSTRUMENTS_CAPACITY,
        }
        | (
            {"vendor": "cme", "options": _cme(lines)}
            if lines is not None and venue.feed == WIRED
            else {"vendor": "databento", "options": _databento(gateway)}
            if gateway and venue.feed == SESSION
            else {"vendor": "bloomberg", "options": _bloomberg()}
            if venue.feed == TERMINAL
            else {"vendor": "synthetic", "options": _synthetic(venue, each[venue.feed], attached)}
        )
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
        "rings": list(READ_RINGS),
        "options": {"sink": {"type": "parquet", "path": str(out)}},
    }
    return config.check(
        {
            "shm_dir": shm_dir,
            "metrics": None,
            "log": {"level": "error"},  # gaps are told by the view
            "feeds": feeds,
            "consumers": [bars] if out is None else [bars, store],
        },
        "demo",
    )


def _synthetic(venue: Venue, rate: float, attached: int) -> dict[str, Any]:
    return {
        "market": venue.market,
        "instruments": list(venue.symbols),
        "rate": rate,
        "wait_consumers": attached,
    }


def _bloomberg() -> dict[str, Any]:
    return {"topics": [{"topic": topic} for topic in TOPICS], "blpapi_path": bloomberg.path()}


def _databento(gateway: str) -> dict[str, Any]:
    return {
        "dataset": DATASET,
        "gateway": gateway,
        "key_env": KEY_VARIABLE,
        "subscriptions": [{"schema": "mbp-1", "symbols": ["ALL_SYMBOLS"], "recovery": "replay"}],
        "replay_reach_s": REPLAY_REACH_S,
        "receive_buffer_bytes": RECEIVE_BUFFER,
    }


def _cme(lines: Sequence[Line]) -> dict[str, Any]:
    return {
        "lines": [
            {
                "channel": CHANNEL,
                "feed": line.feed.name.lower(),
                "side": "AB"[line.side],
                "address": line.address,
                "port": line.port,
            }
            for line in lines
        ],
        "orders": True,
        "max_wait_ms": MAX_WAIT_MS,
        "max_instruments": INSTRUMENTS_CAPACITY,
        "max_orders": MOST_ENTRIES,
        "recovery_entries": MOST_ENTRIES,
        "receive_buffer_bytes": RECEIVE_BUFFER,
        "cache_dir": "",
    }
