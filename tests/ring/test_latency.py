"""Latencies in shared memory: what is timed, what is not, and what is read from the buckets."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mdfeedd.ring import Reader, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.latency import BOUNDS_S, LATENCY_EVERY, Latency
from mdfeedd.tick import BAR, TICK, Flag

S = 1_000_000_000


def tick(age_s: float, venue_age_s: float | None = None, flags: int = 0) -> np.ndarray:
    """One that arrived `age_s` ago, by a venue's time of `venue_age_s` ago."""
    record = np.zeros(1, TICK)
    now = time.time_ns()
    record["ts_recv"] = now - int(age_s * S)
    record["ts_event"] = now - int((age_s if venue_age_s is None else venue_age_s) * S)
    record["flags"] = flags
    return record


def low_high(latency: Latency) -> tuple[float, float]:
    """The bounds of the only bucket that is not empty."""
    (i,) = (i for i, n in enumerate(latency.buckets) if n)
    return (BOUNDS_S[i - 1] if i else 0.0, BOUNDS_S[i])


def publish(writer: Writer, record: np.ndarray, times: int = LATENCY_EVERY) -> None:
    for _ in range(times):
        writer.publish(record)


def test_one_flush_in_so_many_is_timed_from_arrival_and_from_the_venue(shm_dir: str) -> None:
    with Writer("lat", 256, directory=shm_dir) as writer:
        publish(writer, tick(3.0, 40.0), 3 * LATENCY_EVERY + LATENCY_EVERY - 1)
        info = inspect("lat", shm_dir)
        assert info.arrival_latency is not None
        assert info.venue_latency is not None
        assert info.arrival_latency.samples == info.venue_latency.samples == 3
        assert low_high(info.arrival_latency)[1] >= 3.0
        assert info.arrival_latency.sum_ns >= 9 * S
        assert low_high(info.venue_latency)[1] >= 40.0


def test_the_oldest_record_of_a_burst_is_the_sample(shm_dir: str) -> None:
    with Writer("old", 256, directory=shm_dir) as writer:
        publish(writer, tick(0.0), LATENCY_EVERY - 1)
        writer.publish(np.concatenate([tick(100.0), *[tick(0.0)] * 60]))
        latency = inspect("old", shm_dir).arrival_latency
        assert latency is not None
        assert latency.samples == 1
        assert latency.sum_ns >= 100 * S


@pytest.mark.parametrize("publishing", [Flag.REPLAYED, None])
def test_recordings_and_records_without_a_time_are_not_timed(
    shm_dir: str, publishing: Flag | None
) -> None:
    with Writer("rec", 256, directory=shm_dir) as writer:
        record = np.zeros(1, TICK) if publishing is None else tick(5.0, flags=int(publishing))
        with Reader("rec", "now", "me", directory=shm_dir) as reader:
            for _ in range(LATENCY_EVERY):
                writer.publish(record)
                reader.read(timeout=0)
            info = inspect("rec", shm_dir)
            latencies = (info.arrival_latency, info.venue_latency, info.consumers[0].latency)
            assert [latency and latency.samples for latency in latencies] == [0, 0, 0]


@pytest.mark.parametrize("flag", [Flag.SNAPSHOT, Flag.BAD_TS, Flag.DELAYED])
def test_a_venue_s_time_that_says_nothing_is_not_timed(shm_dir: str, flag: Flag) -> None:
    with Writer("bad", 256, directory=shm_dir) as writer:
        publish(writer, tick(1.0, flags=int(flag)))
        info = inspect("bad", shm_dir)
        assert info.arrival_latency is not None
        assert info.venue_latency is not None
        assert (info.arrival_latency.samples, info.venue_latency.samples) == (1, 0)


def test_a_clock_that_was_stepped_back_counts_as_no_time(shm_dir: str) -> None:
    with Writer("back", 256, directory=shm_dir) as writer:
        publish(writer, tick(-1000.0))
        latency = inspect("back", shm_dir).arrival_latency
        assert latency is not None
        assert latency.buckets[0] == 1
        assert latency.sum_ns == 0


def test_flushes_of_nothing_and_of_more_than_the_ring_are_not_timed(shm_dir: str) -> None:
    with Writer("none", 256, directory=shm_dir) as writer:
        for _ in range(LATENCY_EVERY):
            writer.flush()
        publish(writer, np.repeat(tick(1.0), 300))
        latency = inspect("none", shm_dir).arrival_latency
        assert latency is not None
        assert latency.samples == 0


def test_one_read_in_so_many_is_timed_by_consumer(shm_dir: str) -> None:
    with (
        Writer("read", 256, directory=shm_dir) as writer,
        Reader("read", "now", "slow", directory=shm_dir) as slow,
        Reader("read", "now", "fast", directory=shm_dir) as fast,
    ):
        for _ in range(2 * LATENCY_EVERY):
            writer.publish(tick(20.0))
            assert len(fast.read(timeout=0)) == 1
        slow.read(timeout=0)
        by_name = {c.name: c.latency for c in inspect("read", shm_dir).consumers}
        assert by_name["slow"] is not None
        assert by_name["slow"].samples == 0
        assert by_name["fast"] is not None
        assert by_name["fast"].samples == 2
        assert by_name["fast"].sum_ns >= 40 * S


def test_a_consumer_that_attaches_again_begins_anew_and_the_ring_s_goes_on(shm_dir: str) -> None:
    for epoch in (1, 2):
        with (
            Writer("again", 256, directory=shm_dir) as writer,
            Reader("again", "now", "me", directory=shm_dir) as reader,
        ):
            for _ in range(LATENCY_EVERY):
                writer.publish(tick(0.5))
                reader.read(timeout=0)
            info = inspect("again", shm_dir)
            assert info.consumers[0].latency is not None
            assert info.arrival_latency is not None
            assert info.consumers[0].latency.samples == 1
            assert info.arrival_latency.samples == epoch


def test_a_ring_that_is_replaced_keeps_its_latencies(shm_dir: str) -> None:
    for capacity in (256, 512):
        with Writer("more", capacity, directory=shm_dir) as writer:
            publish(writer, tick(0.5))
    latency = inspect("more", shm_dir).arrival_latency
    assert latency is not None
    assert latency.samples == 2


def test_bars_have_no_time_of_arrival(shm_dir: str) -> None:
    with (
        Writer("bars", 256, dtype=BAR, directory=shm_dir) as writer,
        Reader("bars", "now", "me", directory=shm_dir) as reader,
    ):
        for _ in range(LATENCY_EVERY):
            writer.publish(np.zeros(1, BAR))
            reader.read(timeout=0)
        info = inspect("bars", shm_dir)
        assert info.arrival_latency is info.venue_latency is info.consumers[0].latency is None


def test_quantiles_lie_in_their_buckets() -> None:
    none = Latency((0,) * (len(BOUNDS_S) + 1), 0)
    assert none.quantile_s(0.5) is None
    some = Latency((10, 0, 80, *[0] * (len(BOUNDS_S) - 3), 10), 1)
    assert some.samples == 100
    assert some.quantile_s(0.05) == pytest.approx(BOUNDS_S[0] / 2)
    assert some.quantile_s(0.5) == pytest.approx((BOUNDS_S[1] + BOUNDS_S[2]) / 2)
    assert some.quantile_s(0.99) == BOUNDS_S[-1]
    later = Latency(tuple(n + 1 for n in some.buckets), 7)
    assert later.since(some) == Latency((1,) * (len(BOUNDS_S) + 1), 6)
    assert later.since(None) == later
    assert some.since(later) == some
