"""The synthetic feed in front of a real ring."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mdfeedd.feeds.protocol import Feed, RingPlan
from mdfeedd.feeds.shard import Shard
from mdfeedd.ring import Reader
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim import feed as feed_module
from mdfeedd.sim.feed import SyntheticFeed, SyntheticOptions
from mdfeedd.tick import GAP, QUOTE, Flag, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.ring import TickBatch


@contextmanager
def running(shm_dir: str, shard: Shard | None = None, **options: object) -> Iterator[SyntheticFeed]:
    made: Feed = SyntheticFeed(
        "sim",
        SyntheticOptions(**options),  # type: ignore[arg-type]
        RingPlan("sim", feed_index=3, instruments_capacity=1024, directory=shm_dir, shard=shard),
    )
    stop = threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    try:
        yield made  # type: ignore[misc]
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def collect(reader: Reader, n: int) -> np.ndarray:
    parts: list[TickBatch] = []
    while sum(map(len, parts)) < n:
        parts.append(reader.read(timeout=5))
        assert len(parts[-1]), "the feed has stopped"
        assert parts[-1].lost == 0
    return np.concatenate([part.records for part in parts])


def test_opening_first_then_a_living_market(shm_dir: str) -> None:
    with (
        running(shm_dir, instruments=4, rate=50_000, seed=9),
        Reader("sim", "oldest", wait=5, directory=shm_dir) as reader,
    ):
        ticks = collect(reader, 20_000)
        opening, rest = ticks[:4].view(QUOTE), ticks[4:]
        assert (opening["flags"] == Flag.SNAPSHOT | Flag.EVENT_END).all()
        assert [reader.instruments.symbol(i) for i in opening["instrument_id"]] == [
            "ESZ6",
            "NQZ6",
            "ZNH7",
            "CLF7",
        ]
        es = reader.instruments[int(opening["instrument_id"][0])]
        assert (es.tick_size, es.currency, es.venue) == (250_000_000, "USD", "GLBX")
        assert es.instrument_id >> 24 == 3
        assert not (rest["flags"] & Flag.SNAPSHOT).any()
        assert (np.diff(ticks["ts_event"]) >= 0).all()
        assert (np.diff(ticks["ts_recv"]) >= 0).all()
        assert (ticks["ts_recv"] >= ticks["ts_event"]).all()
        assert abs(int(ticks["ts_recv"][-1]) - time.time_ns()) < 60 * 10**9
        assert reader.writer_alive
    assert inspect("sim", shm_dir).state_text == "closed"


def test_counters_equal_what_was_published(shm_dir: str) -> None:
    with running(shm_dir, rate=20_000), Reader("sim", "oldest", wait=5, directory=shm_dir) as r:
        collect(r, 2_000)
    with Reader("sim", "oldest", follow=False, directory=shm_dir) as reader:
        ticks = np.concatenate([batch.records for batch in reader])
    counters = inspect("sim", shm_dir).counters
    assert counters["published_quotes"] == np.count_nonzero(ticks["kind"] == Kind.QUOTE)
    assert counters["published_trades"] == np.count_nonzero(ticks["kind"] == Kind.TRADE)
    assert counters["published_others"] == counters["gaps"] == 0
    assert counters["received_records"] == len(ticks)


def test_second_life_begins_with_a_gap_over_the_time_between(shm_dir: str) -> None:
    with running(shm_dir, rate=20_000), Reader("sim", "oldest", wait=5, directory=shm_dir) as r:
        collect(r, 500)
    between_ns = time.time_ns()
    first_life = inspect("sim", shm_dir)
    with (
        running(shm_dir, rate=20_000),
        Reader("sim", first_life.tail + 1, directory=shm_dir) as reader,
    ):
        ticks = collect(reader, 500)
    gap = ticks[:1].view(GAP)
    assert gap["kind"][0] == Kind.GAP
    assert gap["reason"][0] == GapReason.RESTART
    assert gap["instrument_id"][0] == 0
    assert gap["first_missing"][0] <= between_ns <= gap["last_missing"][0]
    closed = ticks[1:2].view(GAP)
    assert closed["kind"][0] == Kind.RECOVERED, "or bars would say GAP from then on"
    assert closed["first_missing"][0] == gap["first_missing"][0]
    assert ticks["flags"][2] & Flag.SNAPSHOT, "then the touch of every instrument"
    info = inspect("sim", shm_dir)
    assert info.epoch == 2
    assert (info.counters["gaps"], info.counters["published_others"]) == (1, 2)


def test_a_second_life_waits_for_nobody(shm_dir: str) -> None:
    with running(shm_dir, rate=20_000), Reader("sim", "oldest", wait=5, directory=shm_dir) as r:
        collect(r, 500)
    with (
        running(shm_dir, rate=20_000, wait_consumers=5),
        Reader("sim", wait=5, directory=shm_dir) as reader,
    ):
        collect(reader, 500)  # in vain within 5 s, if it waited for the consumers of its first life
    assert inspect("sim", shm_dir).epoch == 2


def test_a_stall_is_not_made_up_for_beyond_the_limit(
    shm_dir: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real_ns, jump_ns = time.monotonic_ns, 0

    class Clock:
        sleep = staticmethod(time.sleep)
        time_ns = staticmethod(time.time_ns)
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def monotonic_ns() -> int:
            return real_ns() + jump_ns

    monkeypatch.setattr(feed_module, "time", Clock)
    with running(shm_dir, rate=20_000), Reader("sim", wait=5, directory=shm_dir) as reader:
        collect(reader, 100)
        jump_ns = 3600 * 10**9  # as if the process had been stopped for an hour
        ticks = collect(reader, 2_000)
    assert (np.diff(ticks["ts_event"]) >= 0).all()
    assert inspect("sim", shm_dir).tail < 500_000, "an hour would have been 72 million"
    assert "stalled: 3599." in caplog.text


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"rate": 0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"market": "bonds"}, "market"),
        ({"instruments": 0}, "instruments"),
        ({"instruments": ("ES", "ES")}, "instruments"),
        ({"burstiness": -0.1}, "burstiness"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_that_cannot_be_name_their_key(options: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        SyntheticOptions(**options)  # type: ignore[arg-type]


def market_of(shm_dir: str, shard: Shard | None, n: int) -> tuple[list[tuple[str, bytes]], int]:
    """The first `n` ticks of a market: by name, without the times; and how many were skipped."""
    folder = Path(shm_dir) / str(shard).replace("/", "of")
    folder.mkdir()
    with (
        running(str(folder), shard, instruments=8, rate=50_000, seed=9),
        Reader("sim", "oldest", wait=5, directory=str(folder)) as reader,
    ):
        ticks = collect(reader, n)
        symbols = [reader.instruments.symbol(i) for i in ticks["instrument_id"].tolist()]
    payloads = [tick["payload"].tobytes() for tick in ticks]
    counters = inspect("sim", str(folder)).counters
    assert counters["received_records"] == counters["skipped_records"] + sum(
        counters[f"published_{kind}"] for kind in ("quotes", "trades")
    )
    return list(zip(symbols, payloads, strict=True)), counters["skipped_records"]


def test_shards_are_together_the_same_market(shm_dir: str) -> None:
    whole, skipped = market_of(shm_dir, None, 8_000)
    assert skipped == 0
    for index in (1, 2, 3):
        shard = Shard(index, 3)
        expected = [tick for tick in whole if shard.has(tick[0])]
        ours, skipped = market_of(shm_dir, shard, len(expected))
        assert ours[: len(expected)] == expected
        assert skipped > 0
