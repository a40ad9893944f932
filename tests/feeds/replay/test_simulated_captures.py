"""Whole channels of the simulator, as captures: definitions, snapshots, orders and losses among them."""

from __future__ import annotations

import struct
import threading
import time

import numpy as np
import pytest

from mdfeedd.feeds.capture import CaptureReader, CaptureWriter, RecordedLine
from mdfeedd.feeds.cme.infer import HEARTBEAT_BYTES, SAMPLES
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.feeds.replay.capture import lines_of, scan
from mdfeedd.feeds.replay.feed import ReplayFeed, ReplayOptions
from mdfeedd.feeds.shard import Shard
from mdfeedd.ring import Reader
from mdfeedd.sim.cme import Venue, Wire
from mdfeedd.sim.cme.instruments import Listing, definition
from mdfeedd.sim.cme.lines import multicast_lines, unicast_lines
from mdfeedd.sim.cme.network import Network
from mdfeedd.tick import DEPTH, ORDER, TICK, Flag, Kind

T0 = 1_790_000_000_000_000_000
NAMES = ("incremental", "definition", "snapshot", "orders")


def capture(path, channels, lines_for, *, events=400, loss=0.0, version=13):
    """Channels that play at the same time, written as the network delivered them."""
    lines = [(channel, line) for channel in channels for line in lines_for(channel)]
    numbers = {(channel, int(line.feed), line.side): i for i, (channel, line) in enumerate(lines)}
    delivered = []
    for channel in channels:
        venue = Venue(seed=channel, channel=channel, instruments=5, version=version)
        sent = venue.settle(2) + venue.run(events) + venue.settle(2)
        feeds = {(feed, side): loss for feed in range(4) for side in (0, 1)} if loss else {}
        network = Network(channel, loss=feeds)
        delivered += [
            (one.time_ns, numbers[channel, int(one.feed), one.side], one.payload)
            for one in network.deliver(sent)
        ]
    delivered.sort(key=lambda one: one[0])
    recorded = [RecordedLine(f"{c} {line}", line.address, line.port) for c, line in lines]
    with CaptureWriter(str(path), recorded) as writer:
        for ts_ns, number, payload in delivered:
            writer.packet(number, payload, ts_ns)
    return {(c, NAMES[line.feed], "AB"[line.side], line.address, line.port) for c, line in lines}


@pytest.fixture
def replay(shm_dir):
    def run(path, name="rec", shard=None, **options):
        plan = RingPlan(name, 65_536, 1, 4096, shm_dir, shard)
        ReplayFeed(name, ReplayOptions((str(path),), **options), plan).run(threading.Event())
        out = {}
        for suffix, dtype in (("", TICK), (".depth", DEPTH), (".orders", ORDER)):
            if suffix and not options.get(suffix[1:]):
                continue
            with Reader(
                name + suffix, "oldest", dtype=dtype, follow=False, directory=shm_dir
            ) as reader:
                parts = [batch.records.copy() for batch in reader] or [np.empty(0, dtype)]
                out[suffix] = np.concatenate(parts)
                out["symbols"] = {i.symbol for i in reader.instruments}
                out["counters" + suffix] = reader.header()["counters"]
        return out

    return run


@pytest.mark.parametrize("version", [9, 13, 99])
def test_lines_of_several_channels_are_told_by_content(version, tmp_path):
    def groups(channel):
        return multicast_lines(channel, f"239.192.{channel % 100}.0")

    expected = capture(tmp_path / "x", (310, 318), groups, version=version)
    found = lines_of(ReplayOptions((str(tmp_path / "x"),)), lambda: scan([str(tmp_path / "x")]))
    assert not found.left_out
    lines = {(one.channel, one.feed, one.side, one.address, one.port) for one in found.lines}
    assert lines == expected


def test_lines_on_one_host_are_told_by_their_copies(tmp_path):
    expected = capture(tmp_path / "x", (310,), lambda _: unicast_lines())
    found = lines_of(ReplayOptions((str(tmp_path / "x"),)), lambda: scan([str(tmp_path / "x")]))
    lines = {(one.feed, one.port) for one in found.lines}
    assert lines == {one[1::3] for one in expected}
    assert {one.channel for one in found.lines} == {1}


@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_replayed_channels_recover_and_are_proven_in_the_end(loss, replay, tmp_path):
    capture(
        tmp_path / "x", (310, 318), lambda c: multicast_lines(c, f"239.192.{c % 100}.0"), loss=loss
    )
    out = replay(tmp_path / "x", depth=True, orders=True)
    counters = out["counters"]
    assert counters["unproven_books"] == 0
    assert bool(counters["lost_packets"]) == bool(loss)
    assert counters["gaps"] == np.sum(out[""]["kind"] == Kind.GAP)
    assert len(out[".depth"]) > 500
    assert len(out[".orders"]) > 500
    assert len(out["symbols"]) >= 5
    assert not any(symbol.isdecimal() for symbol in out["symbols"]), "definitions gave the names"
    last = out[""][out[""]["kind"] == Kind.QUOTE][-1]
    assert not last["flags"] & Flag.STALE


def test_only_the_channels_and_instruments_that_are_wanted(replay, tmp_path):
    capture(tmp_path / "x", (310, 318), lambda c: multicast_lines(c, f"239.192.{c % 100}.0"))
    whole = replay(tmp_path / "x")
    one = replay(tmp_path / "x", "one", channels=(318,))
    assert one["counters"]["received_packets"] < whole["counters"]["received_packets"]
    assert one["symbols"] <= whole["symbols"]


def test_shards_have_instruments_of_their_own(replay, tmp_path):
    capture(tmp_path / "x", (310, 318), lambda c: multicast_lines(c, f"239.192.{c % 100}.0"))
    whole = replay(tmp_path / "x")["symbols"]
    parts = [replay(tmp_path / "x", f"s{i}", Shard(i, 2)) for i in (1, 2)]
    named = [{s for s in part["symbols"] if not s.isdecimal()} for part in parts]
    assert named[0] | named[1] == whole
    assert not named[0] & named[1]
    for part in parts:
        assert part["counters"]["skipped_records"] > 0
        assert part["counters"]["published_quotes"] > 0


def test_heartbeats_before_all_else_do_not_hide_what_a_line_carries(tmp_path):
    """A night of them on every line, then the channel: more than are looked at of a destination."""
    path = tmp_path / "night.pcapng"
    capture(tmp_path / "day.pcapng", [310], multicast_lines)
    seen = {(one.address, one.port) for one in scan([str(tmp_path / "day.pcapng")])}
    lines = [RecordedLine(address, address, port) for address, port in sorted(seen)]
    heartbeat = struct.pack("<IQHHHHH", 1, 1, 10, 0, 12, 1, 13)
    assert len(heartbeat) == HEARTBEAT_BYTES
    with CaptureReader(str(tmp_path / "day.pcapng")) as reader:
        day = list(reader.packets())
    with CaptureWriter(str(path), lines) as writer:
        for i in range(3 * SAMPLES):
            for number in range(len(lines)):
                writer.packet(number, heartbeat, day[0].ts_ns - (3 * SAMPLES - i) * 1_000_000)
        numbers = {(line.address, line.port): i for i, line in enumerate(lines)}
        for packet in day:
            number = numbers[packet.destination, packet.destination_port]
            writer.packet(number, packet.payload, packet.ts_ns)
    options = ReplayOptions((str(path),))
    as_of_day = ReplayOptions((str(tmp_path / "day.pcapng"),))
    found = lines_of(options, lambda: scan(options.paths))
    assert found.lines == lines_of(as_of_day, lambda: scan(as_of_day.paths)).lines
    assert not found.left_out


def test_packets_that_bring_more_ticks_than_a_slice_of_the_ring_lap_nobody(tmp_path, shm_dir):
    """A status of a group of 800, in a ring of 4,096, to a consumer that takes its time."""
    path, wire = tmp_path / "statuses.pcapng", Wire(13)
    listings = [Listing(i, f"ES{i}", 54, "ES", "ES", 250_000_000, 10**11) for i in range(1, 801)]
    lines = [RecordedLine("N", "224.0.31.43", 14310), RecordedLine("I", "224.0.31.1", 14310)]
    with CaptureWriter(str(path), lines) as writer:
        for i, one in enumerate(listings):
            message = definition(wire, one, total=len(listings))
            writer.packet(0, wire.packet(i + 1, message, sending_ns=T0 + i), T0 + i)
        for i in range(40):
            status = wire.status((17, 21)[i % 2], group="ES")
            later = T0 + 1_000_000 + i
            writer.packet(1, wire.packet(i + 1, status, sending_ns=later), later)
    plan, seen = RingPlan("rec", 4096, 1, 4096, shm_dir, None), []

    def consume():
        reader = Reader("rec", "oldest", consumer="slow", wait=30, follow=False, directory=shm_dir)
        with reader:
            for batch in reader:
                seen.append(batch.records["kind"].copy())
                time.sleep(0.002)
            assert reader.lost == 0
        seen.append(None)

    consumer = threading.Thread(target=consume)
    consumer.start()
    options = ReplayOptions((str(path),), min_consumers=1)
    ReplayFeed("rec", options, plan).run(threading.Event())
    consumer.join(30)
    assert seen.pop() is None, "the reader lost records"
    kinds = np.concatenate(seen)
    assert np.count_nonzero(kinds == Kind.STATUS) == 40 * 800
