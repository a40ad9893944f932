"""/metrics against the facts, read by Prometheus' own parser."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

import mdfeedd
from mdfeedd.daemon import catalogue, config
from mdfeedd.daemon.supervisor import Limits, StartError, State, Supervisor
from mdfeedd.ring import CONSUMER_COUNTERS, FEED_COUNTERS, Reader, Writer
from mdfeedd.ring.latency import BOUNDS_S, LATENCY_EVERY
from mdfeedd.ring.lines import LINE_VALUES, LineKey, WriterLines
from mdfeedd.tick import BAR, TICK

P = "daemon_test_plugins"


def plan_of(shm_dir, feeds, consumers=(), **metrics):
    return config.check(
        {
            "shm_dir": shm_dir,
            "metrics": {"port": 0, **metrics},
            "feeds": feeds,
            "consumers": list(consumers),
        }
    )


def feed(name="f", **options):
    return {"name": name, "vendor": f"{P}:TickingFeed", "capacity": 256, "options": options}


def get(supervisor, path="/metrics", **headers):
    host = supervisor.exporter.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{supervisor.exporter.port}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.read().decode()


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(supervisor):
    return samples(await asyncio.to_thread(get, supervisor))


async def until(condition):
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.01)


def test_scrape_tells_the_facts(shm_dir, tmp_path):
    options = {"out": str(tmp_path / "out")}
    consumer = {
        "name": "c",
        "type": f"{P}:CountingConsumer",
        "rings": ["f"],
        "options": options,
    }

    async def scenario():
        plan = plan_of(shm_dir, [feed(total=1000, pause_s=0.001, wait_consumers=2)], [consumer])
        async with Supervisor(plan) as supervisor:
            with Reader("f", "now", "outside", directory=shm_dir):
                await until(lambda: supervisor.find("f").state is State.FINISHED)
                await supervisor._drained(supervisor.find("c"), float("inf"))
                found = await scrape(supervisor)
        return found

    found = asyncio.run(scenario())
    assert found["mdfeedd_ring_tick_published_total", "f"] == 1000
    assert found["mdfeedd_ring_tick_capacity", "f"] == 256
    assert found["mdfeedd_ring_writer_alive", "f"] == 0
    assert found["mdfeedd_ring_writer_epoch", "f"] == 1
    assert found["mdfeedd_ring_instrument_known", "f"] == 1
    assert found["mdfeedd_ring_heartbeat_age_seconds", "f"] >= 0
    assert found["mdfeedd_ring_utilisation_ratio", "f"] == 1
    assert found["mdfeedd_feed_tick_published_total", "f", "quote"] == 1000
    assert found["mdfeedd_feed_tick_published_total", "f", "trade"] == 0
    assert found["mdfeedd_feed_received_bytes_total", "f"] == 10_000
    assert ("mdfeedd_feed_last_record_timestamp_seconds", "f") not in found
    lost = found["mdfeedd_reader_tick_lost_total", "c", "f"]
    assert found["mdfeedd_reader_tick_read_total", "c", "f"] + lost == 1000
    assert found["mdfeedd_reader_tick_lag", "c", "f"] == 0
    assert found["mdfeedd_consumer_record_stored_total", "c", "f"] == 1000 - lost
    assert found["mdfeedd_reader_tick_lag", "f", "outside"] > 256
    assert ("mdfeedd_consumer_record_stored_total", "f", "outside") not in found
    assert found["mdfeedd_child_restart_total", "f", "feed"] == 0
    assert found["mdfeedd_child_state", "f", "feed"] == catalogue.STATES.index("finished")
    assert found["mdfeedd_child_state", "c", "consumer"] == catalogue.STATES.index("running")
    assert found["mdfeedd_child_uptime_seconds", "c", "consumer"] > 0
    assert found["mdfeedd_supervisor_heartbeat_age_seconds",] < 10
    versions = next(key for key in found if key[0] == "mdfeedd_build_info")
    assert mdfeedd.__version__ in versions


def test_restarts_are_counted(shm_dir):
    async def scenario():
        limits = Limits(restart_first_s=0.01)
        async with Supervisor(plan_of(shm_dir, [feed()]), limits=limits) as supervisor:
            os.kill(supervisor.find("f").pid, signal.SIGKILL)
            child = supervisor.find("f")
            await until(lambda: child.restarts == 1 and child.state is State.RUNNING)
            found = await scrape(supervisor)
            assert found["mdfeedd_child_restart_total", "f", "feed"] == 1
            assert found["mdfeedd_ring_writer_epoch", "f"] == 2

    asyncio.run(scenario())


def test_rings_of_other_programs_and_rubbish_in_the_folder(shm_dir):
    Path(shm_dir, "mdfeedd.rubbish").write_bytes(b"not a ring" * 1000)
    Path(shm_dir, "mdfeedd.empty").touch()
    Path(shm_dir, "mdfeedd.no ring's name").touch()

    async def scenario():
        async with Supervisor(plan_of(shm_dir, [feed()])) as supervisor:
            with Writer("mine", 256, directory=shm_dir) as writer:
                writer.publish(np.zeros(7, TICK))
                found = await scrape(supervisor)
            assert found["mdfeedd_ring_tick_published_total", "mine"] == 7
            assert found["mdfeedd_ring_unreadable",] == 3

    asyncio.run(scenario())


def test_reader_that_left_is_not_shown_any_more(shm_dir):
    async def scenario():
        async with Supervisor(plan_of(shm_dir, [feed()])) as supervisor:
            Reader("f", "now", "guest", directory=shm_dir).close()
            found = await scrape(supervisor)
            assert not [key for key in found if "guest" in key]

    asyncio.run(scenario())


def test_port_in_use_is_one_sentence(shm_dir):
    async def scenario(port):
        with pytest.raises(
            StartError, match=r"cannot serve /metrics on 127\.0\.0\.1 port \d+: Addr"
        ):
            async with Supervisor(plan_of(shm_dir, [feed()], port=port)):
                pass

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(scenario(taken.getsockname()[1]))


def test_host_that_is_not_ours_is_one_sentence(shm_dir):
    async def scenario():
        with pytest.raises(StartError, match=r"cannot serve /metrics on 192\.0\.2\.1 port 0: "):
            async with Supervisor(plan_of(shm_dir, [feed()], host="192.0.2.1")):
                pass

    asyncio.run(scenario())


def test_other_paths_openmetrics_and_a_closed_port(shm_dir):
    async def scenario():
        async with Supervisor(plan_of(shm_dir, [feed()])) as supervisor:
            with pytest.raises(urllib.error.HTTPError, match="404") as refused:
                await asyncio.to_thread(get, supervisor, "/other")
            with refused.value as answer:
                paths = b"/, /last, /metrics, /status, /healthz and /readyz"
                assert answer.read().startswith(paths)
            accept = "application/openmetrics-text; version=1.0.0"
            text = await asyncio.to_thread(get, supervisor, Accept=accept)
            assert text.endswith("# EOF\n")
            port = supervisor.exporter.port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)

    asyncio.run(scenario())


def test_latencies_are_histograms_in_seconds_that_add_up(shm_dir):
    async def scenario():
        async with Supervisor(plan_of(shm_dir, [feed("other")])) as supervisor:
            with (
                Writer("mine", 256, directory=shm_dir) as writer,
                Writer("mine-bars", 256, feed="mine", dtype=BAR, directory=shm_dir),
                Reader("mine", "now", "me", directory=shm_dir) as reader,
            ):
                record = np.zeros(1, TICK)
                for age_s in (3, 50):
                    record["ts_recv"] = time.time_ns() - age_s * 10**9
                    record["ts_event"] = record["ts_recv"] - 10**9
                    for _ in range(LATENCY_EVERY):
                        writer.publish(record)
                        reader.read(timeout=0)
                return await asyncio.to_thread(get, supervisor)

    found = samples(asyncio.run(scenario()))
    for name, labels, more_s in (
        ("mdfeedd_ring_arrival_latency_seconds", ("mine",), 0),
        ("mdfeedd_ring_venue_latency_seconds", ("mine",), 2),
        ("mdfeedd_reader_latency_seconds", ("me", "mine"), 0),
    ):
        assert found[f"{name}_count", *labels] == 2
        assert 53 + more_s <= found[f"{name}_sum", *labels] < 600
        buckets = {
            float(*(set(key[1:]) - set(labels))): value
            for key, value in found.items()
            if key[0] == f"{name}_bucket" and set(labels) <= set(key)
        }
        assert len(buckets) == len(BOUNDS_S) + 1
        below = [buckets[bound] for bound in sorted(buckets)]
        assert below == sorted(below)
        assert buckets[math.inf] == 2
        assert buckets[min(b for b in buckets if b > 2)] == 0
    assert not [key for key in found if "latency" in key[0] and "mine-bars" in key]


def test_ten_feeds_and_twenty_readers_in_one_scrape(shm_dir):
    async def scenario():
        async with Supervisor(plan_of(shm_dir, [feed("other")])) as supervisor:
            with contextlib.ExitStack() as stack:
                for i in range(10):
                    writer = stack.enter_context(Writer(f"f{i}", 256, directory=shm_dir))
                    writer.publish(np.zeros(i + 2, TICK))
                    for j in range(2):
                        reader = Reader(f"f{i}", "oldest", f"r{j}", directory=shm_dir)
                        stack.enter_context(reader).read(i + 2 - j, timeout=0)
                return await scrape(supervisor), await asyncio.to_thread(
                    get, supervisor, Accept="application/openmetrics-text"
                )

    found, openmetrics = asyncio.run(scenario())
    for i in range(10):
        assert found["mdfeedd_ring_tick_published_total", f"f{i}"] == i + 2
        assert found["mdfeedd_reader_tick_lag", f"f{i}", "r0"] == 0
        assert found["mdfeedd_reader_tick_lag", f"f{i}", "r1"] == 1
    families = {family.name for family in parse_openmetrics(openmetrics)}
    assert {"mdfeedd_ring_tick_published", "mdfeedd_reader_latency_seconds"} <= families


def test_each_line_of_a_feed_is_told_with_its_channel_and_side(shm_dir):
    async def scenario():
        async with Supervisor(plan_of(shm_dir, [feed()])) as supervisor:
            with Writer("cme", 256, directory=shm_dir) as writer:
                keys = [LineKey(310, "incremental", side) for side in "AB"]
                lines = WriterLines(writer, keys)
                lines.set(
                    keys[0],
                    {"received_packets": 7, "last_packet_ns": time.monotonic_ns() - 2 * 10**9},
                )
                lines.set(keys[1], {"lost_packets": 5})
                return await asyncio.to_thread(get, supervisor)

    text = asyncio.run(scenario())
    labels = 'channel="310",feed="cme",kind="incremental",line="%s"'
    a, b = labels % "A", labels % "B"
    assert f"mdfeedd_line_packet_received_total{{{a}}} 7.0\n" in text
    assert f"mdfeedd_line_packet_received_total{{{b}}} 0.0\n" in text
    assert f"mdfeedd_line_packet_lost_total{{{b}}} 5.0\n" in text
    silent = re.findall(r"mdfeedd_line_silent_seconds\{(.*)\} (.*)", text)
    assert [inside for inside, _ in silent] == [a], (
        "of a line that never was heard there is no time"
    )
    assert 2 <= float(silent[0][1]) < 100


def test_every_counter_of_the_header_has_a_metric():
    assert len(catalogue.LINE_SAMPLES) == len(LINE_VALUES)
    assert len(catalogue.FEED_SAMPLES) == len(FEED_COUNTERS)
    assert len(catalogue.CONSUMER_SAMPLES) == len(CONSUMER_COUNTERS)


def test_times_are_in_seconds_and_the_last_record_s_is_not_shown_before_there_was_one():
    samples = {sample.metric.name: sample for sample in catalogue.FEED_SAMPLES}
    latency = samples["mdfeedd_feed_packet_delay_seconds"]
    last = samples["mdfeedd_feed_last_record_timestamp_seconds"]
    assert (latency.metric.kind, last.metric.kind) == ("gauge", "gauge")
    none = dict.fromkeys((name for name, _ in FEED_COUNTERS), 0)
    assert (latency.value(none), last.value(none)) == (0, None)
    some = none | {"latency_ns": 1500, "last_record_ns": 1_795_932_928_500_000_000}
    assert latency.value(some) == pytest.approx(1.5e-6)
    assert last.value(some) == pytest.approx(1_795_932_928.5)


def test_names_follow_the_rules():
    names = [metric.name for metric in catalogue.metrics()]
    assert len(names) == len(set(names))
    for metric in catalogue.metrics():
        assert re.fullmatch(r"mdfeedd(_[a-z0-9]+)+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.help
        assert not re.search(r"_count_|(?:ticks|records|trades)(?:_|$)", metric.name), metric.name
        assert not {"symbol", "pid"} & set(metric.labels)


def test_states_are_those_of_the_supervisor():
    assert [state.value for state in State] == list(catalogue.STATES)


def test_disks_tell_what_is_left(shm_dir, tmp_path):
    journal = {
        "name": "journal",
        "type": "journal",
        "rings": ["f"],
        "options": {"path": str(tmp_path / "journal"), "segment_bytes": 1 << 20},
    }

    async def scenario():
        async with Supervisor(plan_of(shm_dir, [feed()], [journal])) as supervisor:
            return await scrape(supervisor)

    found = asyncio.run(scenario())
    place = ("consumer", "journal", str(tmp_path / "journal"))
    real = os.statvfs(tmp_path)
    key = next(key for key in found if key[0] == "mdfeedd_disk_size_bytes")
    assert set(key[1:]) == set(place)
    assert found[key] == real.f_blocks * real.f_frsize
    assert 0 < found["mdfeedd_disk_free_bytes", *key[1:]] <= found[key]
