"""The feed as it runs: real sockets on 127.0.0.1, real rings, a simulated venue that loses what it is told to."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.feeds.cme import feed as feed_module
from mdfeedd.feeds.cme import joins
from mdfeedd.feeds.cme.feed import CmeFeed
from mdfeedd.feeds.cme.lines import FEEDS, Line
from mdfeedd.feeds.cme.options import CmeOptions
from mdfeedd.feeds.multicast import ReceiverError
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring import Reader
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.lines import LineKey
from mdfeedd.sim.cme import Feed, Venue
from mdfeedd.sim.cme.child import VenueProcess
from mdfeedd.sim.cme.publisher import PublisherOptions
from mdfeedd.tick import DEPTH, GAP, PRICE_UNDEF, QUOTE, TICK, Flag, GapReason, Kind

DEADLINE_S = 20.0
MAX_SIZE = 2**32 - 1  # of a tick; some instruments trade more
LOOPS = (Feed.DEFINITION, Feed.SNAPSHOT, Feed.ORDERS)


def until(condition, what: str):
    """The first true answer of `condition`."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        if found := condition():
            return found
        time.sleep(0.002)
    raise AssertionError(f"not within {DEADLINE_S:g} s: {what}")


def is_open(port: int) -> bool:
    """Whether a UDP socket of this host has the port on 127.0.0.1."""
    return f" 0100007F:{port:04X} " in Path("/proc/net/udp").read_text()


class Network:
    """Eight lines to ports of this host, and who sends to them."""

    def __init__(self) -> None:
        taken = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in taken]
        for one in taken:
            one.close()
        self.lines = tuple(
            Line(310, feed, "127.0.0.1", ports[2 * i + j], side, ("127.0.0.1",))
            for i, feed in enumerate(FEEDS)
            for j, side in enumerate("AB")
        )
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sent: Counter[tuple[Feed, int]] = Counter()

    def port(self, feed: Feed, side: int = 0) -> int:
        return self.lines[2 * feed + side].port

    def send(self, sent, sides=(0, 1)) -> None:
        for packet in sent:
            for side in sides:
                if is_open(self.port(Feed(packet.feed), side)):
                    place = ("127.0.0.1", self.port(Feed(packet.feed), side))
                    self._socket.sendto(packet.payload, place)
                    self.sent[Feed(packet.feed), side] += 1

    def close(self) -> None:
        self._socket.close()


class Running:
    """A feed in a thread of its own."""

    def __init__(self, options: CmeOptions, shm_dir: str, name: str = "cme") -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.feed = CmeFeed(name, options, RingPlan(name, 1 << 14, 3, 1024, shm_dir))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.feed.run(self.stop)
        except BaseException as error:  # noqa: BLE001 - told by `end`
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


@pytest.fixture
def network():
    made = Network()
    yield made
    made.close()


@pytest.fixture
def start(network, shm_dir, monkeypatch, tmp_path):
    monkeypatch.setattr(joins, "LINGER_S", 0.3)
    running = []

    def begin(**changed):
        given = {
            "lines": network.lines,
            "cache_dir": str(tmp_path),
            "receive_buffer_bytes": 1 << 20,
        }
        one = Running(CmeOptions(**(given | changed)), shm_dir)
        running.append(one)
        until(lambda: one.error or is_open(network.port(Feed.INCREMENTAL, 1)), "the lines are open")
        return one

    yield begin
    for one in running:
        one.stop.set()
        one._thread.join(DEADLINE_S)


class Ticks:
    """All ticks of the ring from its beginning."""

    def __init__(self, shm_dir: str) -> None:
        self.reader = Reader("cme", start="oldest", directory=shm_dir)
        self._seen = [np.empty(0, TICK)]

    def of(self, kind: Kind):
        while len(batch := self.reader.read(timeout=0.01)):
            self._seen.append(batch.records)
        seen = np.concatenate(self._seen)
        return seen[seen["kind"] == kind]

    def gaps(self):
        return self.of(Kind.GAP).view(GAP)

    def touch(self, symbol: str) -> tuple[int, int, int, int, bool] | None:
        """The last quote of the real book, and whether it is in doubt."""
        quotes = self.of(Kind.QUOTE).view(QUOTE)
        wanted = [one.instrument_id for one in self.reader.instruments if one.symbol == symbol]
        quotes = quotes[np.isin(quotes["instrument_id"], wanted)]
        quotes = quotes[quotes["flags"] & Flag.IMPLIED == 0]
        if not len(quotes):
            return None
        last = quotes[-1]
        names = ("bid_price", "ask_price", "bid_size", "ask_size")
        return (*(int(last[name]) for name in names), bool(last["flags"] & Flag.STALE))


@pytest.fixture
def ticks(shm_dir):
    made = []

    def attach():
        made.append(Ticks(shm_dir))
        return made[-1]

    yield attach
    for one in made:
        one.reader.close()


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "mdfeedd")
    return lambda: [record.getMessage() for record in caplog.records]


def true_touch(venue: Venue, security_id: int):
    bid, ask = (level or (PRICE_UNDEF, 0) for level in venue.truth.state(security_id).touch)
    return (bid[0], ask[0], min(bid[1], MAX_SIZE), min(ask[1], MAX_SIZE), False)


def symbol_of(venue: Venue, security_id: int) -> str:
    return venue.instruments[security_id].listing.symbol


def settle(network, venue, ticks) -> None:
    """Send the loops until the feed holds every touch for right and has it right."""

    def right() -> bool:
        network.send(venue.settle(1))
        return all(ticks.touch(symbol_of(venue, i)) == true_touch(venue, i) for i in venue.ids)

    until(right, "every touch is the venue's")


def opened(venue: Venue):
    venue.fill_books()
    return venue.take()


def test_late_joiner_gets_names_and_books_and_leaves_the_loops(network, start, ticks):
    venue = Venue(1, instruments=3)
    opened(venue)  # before we came
    feed = start()
    seen = ticks()
    until(lambda: is_open(network.port(Feed.DEFINITION, 1)), "the definitions are joined")
    assert not is_open(network.port(Feed.ORDERS))
    settle(network, venue, seen)
    assert {one.symbol for one in seen.reader.instruments} >= {
        symbol_of(venue, i) for i in venue.ids
    }
    until(
        lambda: (
            network.send(venue.settle(1))
            or not any(is_open(network.port(loop, side)) for loop in LOOPS for side in (0, 1))
        ),
        "the loops are left",
    )
    assert is_open(network.port(Feed.INCREMENTAL, 0))
    feed.end()


@pytest.mark.parametrize("mode", ["busy", "packet_ring"])
def test_other_modes_bring_the_same(network, start, ticks, mode):
    if mode == "packet_ring":
        try:
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
        except PermissionError:
            pytest.skip("packet_ring needs CAP_NET_RAW")
    venue = Venue(9, instruments=2)
    feed = start(mode=mode)
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)
    feed.end()


def test_two_channels_in_one_ring(network, start, ticks):
    other = Network()
    lines = tuple(dataclasses.replace(line, channel=311) for line in other.lines)
    first, second = Venue(10, instruments=2), Venue(11, channel=311, instruments=2)
    feed = start(lines=(*network.lines, *lines))
    until(lambda: is_open(other.port(Feed.INCREMENTAL, 1)), "the lines of the other channel")
    seen = ticks()
    network.send(opened(first))
    other.send(opened(second))
    settle(network, first, seen)
    settle(other, second, seen)
    lost = [packet for packet in second.run(20) if packet.feed == Feed.INCREMENTAL]
    other.send(lost[:4] + lost[5:])
    (gap,) = until(lambda: list(seen.gaps()), "the gap")
    assert gap["line"] == 311
    settle(other, second, seen)
    feed.end()
    other.close()
    published = {one.symbol: one.publisher_id for one in seen.reader.instruments}
    assert published[symbol_of(second, second.ids[0])] == 311


def test_loss_on_one_line_is_nobody_s_business_but_counted(network, start, ticks, shm_dir):
    venue = Venue(2, instruments=2)
    feed = start()
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)
    live = [packet for packet in venue.run(60) if packet.feed == Feed.INCREMENTAL]
    for i, packet in enumerate(live):
        network.send([packet], sides=(i % 2,))
    settle(network, venue, seen)
    assert len(seen.gaps()) == 0
    feed.end()
    lines = {line.key: line.values for line in inspect("cme", shm_dir).lines}
    assert len(lines) == len(network.lines)
    for side, name in enumerate("AB"):
        values = lines[LineKey(310, "incremental", name)]
        assert values["received_packets"] == network.sent[Feed.INCREMENTAL, side]
        assert values["lost_packets"] == len(live[1 - side :: 2]), (
            "what only the other side brought"
        )
        assert values["dropped_packets"] == values["malformed_packets"] == 0
        assert 0 < values["last_packet_ns"] <= time.monotonic_ns()
    both = [lines[LineKey(310, "incremental", name)]["duplicate_packets"] for name in "AB"]
    assert (
        sum(both) == min(network.sent[Feed.INCREMENTAL, side] for side in (0, 1)) - len(live) // 2
    )


def test_loss_on_both_lines_is_told_joined_for_and_recovered(network, start, ticks, said):
    venue = Venue(3, instruments=2)
    feed = start()
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)
    until(
        lambda: network.send(venue.settle(1)) or not is_open(network.port(Feed.SNAPSHOT)),
        "the snapshots are left",
    )
    live = [packet for packet in venue.run(40) if packet.feed == Feed.INCREMENTAL]
    lost = live[5:8]
    network.send([packet for packet in live if packet not in lost])
    (gap,) = until(lambda: list(seen.gaps()), "the gap")
    assert (gap["first_missing"], gap["last_missing"]) == (lost[0].seq, lost[-1].seq)
    assert (gap["reason"], gap["line"]) == (GapReason.PACKET_LOSS, 310)
    until(lambda: is_open(network.port(Feed.SNAPSHOT)), "the snapshots are joined again")
    settle(network, venue, seen)
    until(
        lambda: network.send(venue.settle(1)) or len(seen.of(Kind.RECOVERED)),
        "all books are proven right",
    )
    feed.end()
    told = [sentence for sentence in said() if "are lost on all lines" in sentence]
    assert len(told) == 1
    assert f"packets {lost[0].seq} to {lost[-1].seq} (3)" in told[0]
    assert any(f"recovered from the loss of packets {lost[0].seq} to" in one for one in said())


def test_gap_of_a_restart_is_closed_when_all_is_known_and_right(network, start, ticks):
    venue = Venue(4, instruments=2)
    feed = start()
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)
    feed.end()
    feed = start()
    (gap,) = until(lambda: list(seen.gaps()), "the gap")

    def closed():
        rows = seen.of(Kind.RECOVERED).view(GAP)
        return rows[(rows["instrument_id"] == 0) & (rows["reason"] == GapReason.RESTART)]

    assert not len(closed())
    (end,) = until(lambda: network.send(venue.settle(1)) or list(closed()), "the end of the gap")
    assert end["line"] == gap["line"]
    assert end["first_missing"] == gap["first_missing"]
    assert end["last_missing"] > gap["last_missing"]
    feed.end()


def test_feed_that_ends_before_it_knows_of_a_new_sequence_leaves_that_in_the_gap(
    network, start, ticks, shm_dir
):
    """The venue begins anew, and its few packets pass as late ones: the process after it tells that they are missing."""
    venue = Venue(4, instruments=2)
    feed = start()
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)

    def count(name):
        return inspect("cme", shm_dir).counters[name]

    venue.start_again()
    began_ns, late = time.time_ns(), count("late_packets")
    network.send([one for one in venue.run(2) if one.feed == Feed.INCREMENTAL])
    until(lambda: count("late_packets") > late, "packets that are too late")
    until(lambda: count("doubted_since_ns") >= began_ns, "the doubt")
    doubted_ns = count("doubted_since_ns")
    until(lambda: time.time_ns() > doubted_ns + 500_000_000, "beats that come after it")
    feed.end()
    start()
    (gap,) = until(lambda: list(seen.gaps()), "the gap")
    assert gap["reason"] == GapReason.RESTART
    assert began_ns <= gap["first_missing"] < doubted_ns + 100_000_000
    until(lambda: not count("doubted_since_ns"), "the end of the doubt")


def test_restart_begins_with_a_gap_and_knows_the_names(network, start, ticks, tmp_path):
    venue = Venue(4, instruments=2)
    feed = start()
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)
    feed.end()
    assert (tmp_path / "cme.definitions").stat().st_size > 0
    feed = start()
    (gap,) = until(lambda: list(seen.gaps()), "the gap")
    assert gap["reason"] == GapReason.RESTART
    assert 0 < gap["first_missing"] <= gap["last_missing"]
    without_definitions = [sent for sent in venue.settle(1) if sent.feed != Feed.DEFINITION]
    network.send(without_definitions)
    until(
        lambda: all(seen.touch(symbol_of(venue, i)) == true_touch(venue, i) for i in venue.ids),
        "the touches under their names",
    )
    feed.end()


def test_filter_by_asset_takes_only_that(network, start, ticks):
    venue = Venue(5, instruments=6)
    asset = venue.instruments[venue.ids[0]].listing.asset
    wanted = [i for i in venue.ids if venue.instruments[i].listing.asset == asset]
    feed = start(assets=(asset,))
    seen = ticks()
    network.send(opened(venue))

    def right():
        network.send(venue.settle(1))
        return all(seen.touch(symbol_of(venue, i)) == true_touch(venue, i) for i in wanted)

    until(right, "the chosen instruments")
    feed.end()
    names = {one.symbol for one in seen.reader.instruments}
    assert names == {symbol_of(venue, i) for i in wanted}


def test_depth_and_orders_have_rings_of_their_own(network, start, ticks, shm_dir):
    venue = Venue(6, instruments=2)
    feed = start(depth=True, orders=True)
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)
    with Reader("cme.depth", start="oldest", dtype=DEPTH, directory=shm_dir) as reader:
        depth = reader.read(timeout=DEADLINE_S).records
        told = set(depth["instrument_id"].tolist())
        wanted = {symbol_of(venue, i) for i in venue.ids}
        until(lambda: {one.symbol for one in reader.instruments} == wanted, "the names")
        assert told <= {one.instrument_id for one in reader.instruments}
    assert depth["bids"].max() == 10
    assert Path(shm_dir, "mdfeedd.cme.orders").exists()
    feed.end()


def test_lines_that_fall_silent_are_told(network, start, ticks, said):
    venue = Venue(7, instruments=1)
    feed = start(silence_s=1.0)
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)
    until(lambda: any("all lines are silent" in one for one in said()), "the silence")
    venue.heartbeat()
    network.send(venue.take())
    until(lambda: any("packets arrive again" in one for one in said()), "its end")
    feed.end()


def test_line_that_is_mute_while_the_other_is_not_is_told_once(network, start, ticks, said):
    venue = Venue(7, instruments=1)
    feed = start(silence_s=1.0)
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)

    def mute() -> list[str]:
        network.send(venue.settle(1), sides=(0,))
        return [one for one in said() if "has brought nothing for" in one]

    (told,) = until(mute, "line B is told")
    assert told.startswith(f"line {network.lines[1]} has brought nothing for 1 s")
    network.send(venue.settle(1))
    feed.end()
    assert mute() == [told]
    assert not any("all lines are silent" in one for one in said())


@pytest.mark.parametrize("named", [True, False])
def test_first_start_is_in_doubt_until_names_are_known_if_something_is_asked_for_by_name(
    network, start, ticks, named
):
    """Of what comes before its definition nobody can say whether it was asked for."""
    venue = Venue(7, instruments=2)
    wanted = venue.instruments[venue.ids[0]].listing.symbol
    feed = start(**({"symbols": (wanted,)} if named else {}))
    ring = ticks()
    network.send([one for one in opened(venue) if one.feed == Feed.INCREMENTAL])
    if not named:
        until(lambda: len(ring.of(Kind.QUOTE)), "what is asked for by no name")
        assert not len(ring.gaps())
        feed.end()
        return
    (gap,) = until(lambda: list(ring.gaps()), "the gap of the start")
    assert (gap["reason"], gap["line"], gap["instrument_id"]) == (GapReason.RESTART, 310, 0)
    assert not len(ring.of(Kind.RECOVERED)), "no definition was sent"

    def ended():
        network.send(venue.settle(1))
        return [r for r in ring.of(Kind.RECOVERED).view(GAP) if not r["instrument_id"]]

    (end,) = until(ended, "the end of the gap")
    assert (end["reason"], end["line"]) == (GapReason.RESTART, 310)
    assert end["first_missing"] == gap["first_missing"] < end["last_missing"]
    assert not len(ring.of(Kind.CLEAR)), "nothing was told that could be void"
    feed.end()


def test_filter_that_chooses_nothing_is_told(network, start, said):
    venue = Venue(7, instruments=2)
    feed = start(symbols=("NONE OF THEM",))
    network.send(opened(venue))

    def told() -> list[str]:
        network.send(venue.settle(1))
        return [one for one in said() if "choose none of its" in one]

    assert until(told, "the filter") == [
        "channel 310: symbols, groups, assets and shard choose none of its 2 instruments: nothing comes of them"
    ]
    feed.end()


def test_lines_that_were_never_heard_are_told_once(start, said):
    feed = start(silence_s=1.0)
    until(lambda: any("all lines are silent for 1 s" in one for one in said()), "the silence")
    feed.end()
    assert sum("all lines are silent" in one for one in said()) == 1


def test_channel_without_some_lines_is_told_what_follows(network, shm_dir, said):
    stop = threading.Event()
    stop.set()
    for lines, orders in ((network.lines, True), (network.lines[1:2], False)):
        options = CmeOptions(lines=lines, orders=orders, cache_dir="")
        CmeFeed("cme", options, RingPlan("cme", 256, 1, 64, shm_dir)).run(stop)
    told = [sentence for sentence in said() if sentence.startswith("channel 310 has")]
    assert [sentence.split(":")[0] for sentence in told] == [
        "channel 310 has one incremental line only",
        "channel 310 has no definition line",
        "channel 310 has no snapshot line",
    ]


def test_counters_of_the_ring_add_up(network, start, ticks, shm_dir):
    venue = Venue(8, instruments=2)
    feed = start()
    seen = ticks()
    network.send(opened(venue))
    settle(network, venue, seen)
    live = [packet for packet in venue.run(40) if packet.feed == Feed.INCREMENTAL]
    network.send(live[:5] + live[8:])
    until(lambda: len(seen.gaps()), "the gap")
    settle(network, venue, seen)
    until(
        lambda: network.send(venue.settle(1)) or len(seen.of(Kind.RECOVERED)),
        "all books are proven right",
    )
    feed.end()
    counters = inspect("cme", shm_dir).counters
    assert counters["lost_packets"] == 3
    assert counters["gaps"] == len(seen.gaps()) == 1
    assert counters["duplicate_packets"] > 0
    assert counters["dropped_packets"] == counters["malformed_packets"] == 0
    assert counters["received_packets"] > counters["duplicate_packets"]
    assert counters["published_quotes"] == len(seen.of(Kind.QUOTE))
    assert counters["published_trades"] == len(seen.of(Kind.TRADE))
    assert counters["unproven_books"] == 0


def test_address_is_not_of_this_host(network, shm_dir):
    elsewhere = dataclasses.replace(network.lines[0], address="192.0.2.1")
    options = CmeOptions(lines=(elsewhere,), cache_dir="")
    with pytest.raises(ReceiverError, match=r"192\.0\.2\.1"):
        CmeFeed("x", options, RingPlan("x", 256, 1, 64, shm_dir)).run(threading.Event())


def eight_free_ports() -> int:
    """The first of eight ports in a row that nobody has."""
    for first in range(20_000 + os.getpid() % 1000 * 10, 60_000, 10):
        if not any(is_open(first + i) for i in range(8)):
            return first
    raise AssertionError("no free ports")


def test_venue_of_another_process_by_its_config_xml(shm_dir, tmp_path, ticks):
    path = tmp_path / "config.xml"
    port = eight_free_ports()
    with VenueProcess(PublisherOptions(config=str(path), port=port, rate=200.0, instruments=4)):
        options = CmeOptions(config_xml=str(path), channels=(310,), cache_dir="", orders=True)
        feed = Running(options, shm_dir)
        until(lambda: feed.error or is_open(port), "the lines are open")
        seen = ticks()
        until(lambda: len(seen.of(Kind.TRADE)) > 10, "trades")
        until(lambda: not inspect("cme", shm_dir).counters["unproven_books"], "all is proven")
        feed.end()
    counters = inspect("cme", shm_dir).counters
    assert counters["duplicate_packets"] > 0
    assert counters["lost_packets"] == counters["malformed_packets"] == 0
    names = {one.symbol for one in seen.reader.instruments}
    assert names
    assert not any(name.isdigit() for name in names)


def test_stop_is_seen_at_once(start, monkeypatch):
    feed = start()
    begun_s = time.monotonic()
    feed.end()
    assert time.monotonic() - begun_s < DEADLINE_S / 4
    assert feed_module.RUN_NS <= 100_000_000
