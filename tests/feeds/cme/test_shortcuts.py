"""What the hot path of the handler spares itself must be seen by nobody: copies told apart by a fingerprint,
ticks written where they stay, instruments found at one look.
"""

from __future__ import annotations

import random
import struct

import pytest

from mdfeedd.feeds.cme.codec import Feed, Handler
from mdfeedd.ring import Reader, Writer
from mdfeedd.sim.cme import Venue
from mdfeedd.sim.cme.network import Network, lossy
from mdfeedd.tick import DEPTH, Flag, Kind

CHANNEL = 310
SMALLEST_RING = 256
START_NS = 1_790_000_000_000_000_000
END_OF_EVENT = 0x84
BEST = 100_000_000_000
MANY = 6000  # instruments of one channel
STAGE = 64  # ticks that a packet may make before some become visible


def entry(security_id, rpt, *, size=1, level=1, action=0, side=b"0"):
    return struct.pack("<qiiIiBBcib", BEST, size, security_id, rpt, 1, level, action, side, size, 0)


def book(seq, entries, indicator=END_OF_EVENT):
    """A packet of one Book message (46), version 13."""
    root = struct.pack("<QBxx", START_NS + seq, indicator)
    group = struct.pack("<HB", 32, len(entries)) + b"".join(entries)
    orders = struct.pack("<H5xB", 24, 0)
    size = 10 + len(root) + len(group) + len(orders)
    header = struct.pack("<HHHHH", size, len(root), 46, 1, 13)
    return struct.pack("<IQ", seq, START_NS + seq) + header + root + group + orders


def handler(**options):
    made = Handler(**options)
    made.add_channel(CHANNEL)
    for feed in Feed:
        for side in (0, 1):
            made.add_line(CHANNEL, feed, side)
    return made


def without_sequence(ticks):
    ticks = ticks.copy()
    ticks["seq"] = 0
    return ticks


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 40])
def test_copy_that_differs_in_one_byte_or_in_the_order_of_two_words_is_told(count):
    """Whatever its length is to the steps of the fingerprint."""
    seed = random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)
    sizes = rng.sample(range(1, 1_000_000), count)
    good = book(2, [entry(1000 + i, 1, size=size) for i, size in enumerate(sizes)])
    bad = []
    for at in range(12, len(good)):
        copy = bytearray(good)
        copy[at] ^= 1 << rng.randrange(8)
        bad.append(bytes(copy))
    entries = range(36, len(good) - 8, 32)
    for _ in range(50 if count > 1 else 0):
        first, second = sorted(rng.sample(entries, 2))
        copy = good[:first] + good[second : second + 32] + good[first + 32 : second]
        bad.append(copy + good[first : first + 32] + good[second + 32 :])
    feed = handler()
    feed.packet(0, book(1, []))
    feed.packet(0, good)
    for copy in bad:
        feed.packet(1, copy)
    counts = feed.counts
    assert counts["mismatches"] + counts["malformed"] == len(bad), f"seed {seed}"
    assert counts["malformed"] < 24
    assert counts["late"] == counts["epochs"] == 0


@pytest.mark.parametrize("ticks", [1, STAGE - 1, STAGE, STAGE + 1, 2 * STAGE, 255])
def test_event_of_many_ticks_in_one_packet_ends_once(shm_dir, ticks):
    """In the smallest ring, of which a quarter is what may be written ahead."""
    feed = handler()
    with (
        Writer("cme", SMALLEST_RING, directory=shm_dir) as ring,
        Reader("cme", start="oldest", directory=shm_dir) as reader,
    ):
        feed.attach(ring)
        feed.packet(0, book(1, [entry(1000 + i, 1) for i in range(ticks)]))
        told = reader.read(timeout=5).records
        assert len(told) == ticks
        assert list(told["seq"]) == list(range(1, ticks + 1))
        assert set(told["kind"]) == {Kind.QUOTE}
        assert len(set(told["instrument_id"])) == ticks
        ends = told["flags"] & Flag.EVENT_END != 0
        assert list(ends) == [False] * (ticks - 1) + [True]
        feed.packet(0, book(2, [entry(1000, 2, action=1, size=7)]))
        (last,) = reader.read(timeout=5).records
        assert (last["seq"], last["venue_seq"]) == (ticks + 1, 2)
        assert reader.lost == 0


def test_ring_of_other_records_is_refused(shm_dir):
    feed = handler()
    with (
        Writer("cme", SMALLEST_RING, directory=shm_dir) as ticks,
        Writer("cme.depth", SMALLEST_RING, DEPTH, directory=shm_dir) as depth,
    ):
        with pytest.raises(ValueError, match="ticks: the ring has records of"):
            feed.attach(depth)
        with pytest.raises(ValueError, match="depth: the ring has records of 64 bytes"):
            feed.attach(ticks, ticks)
        feed.attach(ticks, depth)
        feed.packet(0, book(1, [entry(1000, 1)]))
    assert feed.counts["quotes"] == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ring_holds_what_memory_holds(shm_dir, seed):
    """Packets with losses, recovered from: once into a ring that goes round, once kept."""
    venue = Venue(seed, instruments=6, version=13, orders=True)
    sent = venue.run(400) + venue.settle(1)
    loss = lossy(0.02) | lossy(0.01, feeds=(0,))
    delivered = Network(seed, loss=loss, duplicate=0.02, reorder=0.02).deliver(sent)
    kept, written = handler(orders=True), handler(orders=True)
    told = 0
    with (
        Writer("cme", SMALLEST_RING, directory=shm_dir) as ring,
        Reader("cme", start="oldest", directory=shm_dir) as reader,
    ):
        written.attach(ring)
        for time_ns, feed, side, payload in delivered:
            line = 2 * feed + side
            for one in (kept, written):
                one.packet(line, payload, ts_recv_ns=time_ns, now_ns=time_ns)
            ours = without_sequence(kept.take_ticks())
            theirs = without_sequence(reader.read(timeout=0).records)
            assert ours.tobytes() == theirs.tobytes(), f"seed {seed}, packet at {time_ns}"
            told += len(ours)
    assert told > SMALLEST_RING
    assert kept.counts == written.counts


def test_more_instruments_than_are_found_at_one_look():
    """Two that share a place in the first table push each other out of it, and are never mistaken."""
    feed = handler(max_instruments=MANY)
    ids = random.Random(7).sample(range(-(1 << 31), 1 << 31), MANY)
    seq = 0
    for rpt in (1, 2, 3):
        for first in range(0, MANY, 250):
            seq += 1
            some = ids[first : first + 250]
            entries = [
                entry(one, rpt, size=rpt * 1000 + (one & 511), action=min(rpt - 1, 1))
                for one in some
            ]
            feed.packet(0, book(seq, entries))
    assert feed.counts["rpt_faults"] == feed.counts["unmapped"] == 0
    assert feed.counts["entries"] == 3 * MANY
    for one in ids[:: MANY // 500]:
        found = feed.book(CHANNEL, one)
        assert found.bids == [(BEST, 3000 + (one & 511), 1)]
        assert found.rpt_seq == 3
