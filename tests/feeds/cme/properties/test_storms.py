"""Rarer troubles, each with seeds of its own: late joins, resets, ids that come back, channels side by side, tiny
limits. The rules are those of every play: all that is lost is told once, nothing wrong is shown as right, and in
the end all is right.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from mdfeedd.sim.cme import Feed, Habits, Venue
from mdfeedd.sim.cme.network import Cut, Network, lossy
from mdfeedd.tick import Flag, Kind

MS = 1_000_000
I_ONLY = (Feed.INCREMENTAL,)
LOOPS = (Feed.DEFINITION, Feed.SNAPSHOT, Feed.ORDERS)
PATIENT = {"max_wait_ns": 200 * MS, "reorder_packets": 4096}


def both(seed, **more):
    """A network that loses on both lines, now and then."""
    rng = random.Random(f"network {seed}")
    options = {
        "loss": lossy(rng.choice((0.01, 0.05, 0.2)), feeds=I_ONLY) | lossy(0.05, feeds=LOOPS),
        "duplicate": rng.choice((0, 0.1)),
        "skew_ns": rng.choice(((200, 50 * MS), (200, 5_000))),
    }
    return Network(seed, **(options | more))


def test_joined_at_any_point_of_the_week(seeds, play):
    def check(seed):
        rng = random.Random(f"join {seed}")
        orders = rng.random() < 0.6
        habits = Habits(cut=0.2, late=0.2, delete=rng.choice((0, 0.5)))
        venue = Venue(seed, instruments=rng.randrange(1, 6), orders=orders, habits=habits)
        if rng.random() < 0.5:
            venue.fill_books()
        venue.run(rng.randrange(1, 100))
        network = both(seed) if rng.random() < 0.5 else Network(seed)
        game = play(venue, orders=orders, natural_refresh=seed % 2 == 0, **PATIENT)
        sent = venue.run(rng.randrange(20, 80))
        game.run(sent[rng.randrange(len(sent)) :], network)
        game.recover(network)
        game.check_books(proven=True)
        game.check(network)

    seeds(150, check)


def test_updates_alone_rebuild_a_book(seeds, play):
    """Without any snapshot: what natural refresh shows as right is right."""
    shown = []

    def check(seed):
        rng = random.Random(f"natural {seed}")
        habits = Habits.none(quote=100, trade=10, implied=rng.choice((0, 10)), with_implied=0.2)
        venue = Venue(seed, instruments=1, orders=False, habits=habits)
        venue.fill_books(rng.choice((3, 12)), 1)
        venue.run(rng.randrange(1, 60))
        network = Network(seed, loss=lossy(rng.choice((0, 0.02)), feeds=I_ONLY))
        game = play(venue, natural_refresh=True, **PATIENT)
        sent = [packet for packet in venue.run(250) if packet.feed == Feed.INCREMENTAL]
        game.run(sent, network, looks=60)
        shown.append(game.check_quotes())
        game.check_counts()

    seeds(60, check)
    if len(shown) > 1:
        assert sum(map(bool, shown)) > len(shown) / 2


def test_channel_reset_that_begins_the_sequence_again(seeds, play):
    def check(seed):
        rng = random.Random(f"restart {seed}")
        orders = rng.random() < 0.5
        venue = Venue(seed, instruments=rng.randrange(1, 5), orders=orders)
        skew = rng.choice(((200, 5_000), (200, 20 * MS)))
        network = Network(seed, loss=lossy(rng.choice((0, 0.2)), sides=(seed % 2,)), skew_ns=skew)
        game = play(venue, orders=orders, **PATIENT)
        game.run(venue.run(rng.randrange(20, 60)), network)
        venue.advance(MS)
        venue.channel_reset(restart_seq=True, retell=rng.random() < 0.7)
        game.run(venue.take() + venue.run(rng.randrange(20, 60)), network)
        game.recover(network)
        game.check_books(proven=True)
        game.check(network)

    seeds(80, check)


def test_weeks_and_ids_that_come_back(seeds, play):
    def check(seed):
        rng = random.Random(f"weeks {seed}")
        orders = rng.random() < 0.5
        habits = Habits(delete=2, add=2)
        venue = Venue(seed, instruments=rng.randrange(2, 6), orders=orders, habits=habits)
        network = both(seed)
        game = play(venue, orders=orders, natural_refresh=seed % 2 == 0, **PATIENT)
        game.run(venue.run(40), network)
        for number in range(rng.randrange(1, 4)):
            if venue.retired and rng.random() < 0.7:
                venue.reuse_id(venue.retired[0].security_id, f"AGAIN{number}")
            if rng.random() < 0.3:
                venue.weekly_reset()
            game.run(venue.take() + venue.run(30), network)
        game.recover(network)
        game.check_books(proven=True)
        game.check(network)

    seeds(100, check)


def test_channels_side_by_side_do_not_touch_each_other(seeds, play):
    """The same security ids on several channels, their packets interleaved: as if each had a handler alone."""

    def check(seed):
        rng = random.Random(f"side by side {seed}")
        number = rng.randrange(2, 4)
        orders = rng.random() < 0.5
        venues = [
            Venue(
                seed,
                channel=300 + i,
                instruments=3,
                orders=orders,
                rate=2_000 + 500 * i,
                habits=Habits(pause=0),  # a timer that runs in one speaks for all
            )
            for i in range(number)
        ]
        alone = [play(venue, orders=orders, **PATIENT) for venue in venues]
        together = play(*venues, orders=orders, **PATIENT)
        arrived = []
        for i, venue in enumerate(venues):
            sent = venue.run(60)
            arrived += [(packet, i) for packet in both(seed + i).deliver(sent)]
        arrived.sort(key=lambda pair: pair[0].time_ns)
        for packet, i in arrived:
            together.feed([packet], together.sides[i])
            alone[i].feed([packet])
        for i in range(number):
            mine, other = alone[i].ticks(), together.ticks(side=together.sides[i])
            mine["instrument_id"] = other["instrument_id"] = 0  # counted through all channels
            assert mine.tobytes() == other.tobytes()
            together.check_books(together.sides[i])
        together.check_counts()

    seeds(40, check)


TINY = (
    {"reorder_packets": 4},
    {"recovery_entries": 16},
    {"max_orders": 16},
    {"reorder_packets": 2, "recovery_entries": 16, "max_orders": 64},
)


@pytest.mark.parametrize("limits", TINY, ids=",".join)
def test_limits_that_are_reached_are_told_and_mended(seeds, play, limits):
    """Too small a buffer gives up packets that were still to come; nothing else goes wrong."""

    def check(seed):
        rng = random.Random(f"tiny {seed}")
        orders = "max_orders" in limits
        habits = Habits(cut=0.2, late=0.2, long_event=5)
        venue = Venue(seed, instruments=rng.randrange(1, 6), orders=orders, habits=habits)
        network = both(seed)
        game = play(
            venue, orders=orders, natural_refresh=seed % 2 == 0, max_wait_ns=200 * MS, **limits
        )
        game.run(venue.run(80), network)
        buffered = game.handler.state(venue.channel_id).buffered
        assert buffered < limits.get("reorder_packets", 1024)
        game.orders = False  # more of them than fit are never right, and so never said to be
        game.recover(network)
        game.check_books(proven=True)
        game.orders = orders
        game.check_books()
        game.check(network, exact="reorder_packets" not in limits)

    seeds(40, check)


def test_kernel_drops_in_bursts_and_lines_that_die(seeds, play):
    def check(seed):
        rng = random.Random(f"bursts {seed}")
        orders = rng.random() < 0.5
        venue = Venue(seed, instruments=rng.randrange(1, 6), orders=orders)
        begin = venue.now_ns + rng.randrange(1, 20) * MS
        cuts = [
            Cut(side, begin + rng.randrange(10) * MS, begin + rng.randrange(10, 40) * MS, feed)
            for side, feed in ((0, None), (1, rng.choice((None, 0, 2, 3))))
        ]
        network = Network(seed, burst=0.05, cuts=cuts, skew_ns=(200, 5 * MS))
        game = play(venue, orders=orders, natural_refresh=seed % 2 == 0, **PATIENT)
        game.run(venue.run(100), network)
        game.recover(network)
        game.check_books(proven=True)
        game.check(network)

    seeds(80, check)


def test_counts_are_what_happened(seeds, play):
    """Without reordering and in quiet times, each count of a line is exactly what the network did."""

    def check(seed):
        venue = Venue(seed, instruments=3, orders=False, rate=200)
        sent = [packet for packet in venue.run(100) if packet.feed == Feed.INCREMENTAL]
        network = Network(
            seed, loss=lossy(0.1), duplicate=0.2, skew_ns=(200, 5_000), delay_ns=(5_000, 5_000)
        )
        game = play(venue, **PATIENT)
        game.run(sent, network)
        counts = game.handler.counts
        seen = {}
        for side in (0, 1):
            line = game.handler.line_counts(game.one.lines[0, side])
            lost = network.lost[0, side]
            arrived = {packet.seq for packet in sent} - lost
            seen[side] = arrived
            inside = {seq for seq in lost if min(arrived) < seq < max(arrived)}
            assert line["lost"] == len(inside)
            assert line["malformed"] == line["late"] == 0
        missing = game.one.missing(network)[0]
        assert counts["lost"] == len(missing)
        begin = game.one.firsts[0]
        twice = (
            sum(len([seq for seq in seen[side] if seq >= begin]) for side in (0, 1))
            + network.doubled
        )
        processed = game.one.lasts[0] - begin + 1 - len(missing)
        waiting = game.handler.state(venue.channel_id).buffered
        assert counts["duplicates"] + counts["late"] + processed + waiting == twice
        game.check_counts()

    seeds(60, check)


def test_the_same_seed_gives_the_same_ticks(seeds, play):
    def once(seed):
        venue = Venue(seed, habits=Habits(cut=0.2, late=0.2, channel_reset=1, weekly_reset=1))
        network = both(seed, reorder=0.05)
        game = play(venue, orders=True, depth=True, **PATIENT)
        game.run(venue.run(100), network)
        game.recover(network)
        handler = game.handler
        return (
            game.ticks().tobytes(),
            handler.take_depth().tobytes(),
            handler.take_orders().tobytes(),
        )

    def check(seed):
        assert once(seed) == once(seed)

    seeds(6, check)


def test_ticks_flagged_stale_are_followed_by_a_recovery(seeds, play):
    """Whoever was told that an instrument is in doubt is told, once, that it is no more."""

    def check(seed):
        venue = Venue(seed, instruments=4, orders=False)
        network = both(seed)
        game = play(venue, natural_refresh=seed % 2 == 0, **PATIENT)
        game.run(venue.run(80), network)
        game.recover(network)
        ticks = game.ticks()
        for instrument in np.unique(ticks["instrument_id"][ticks["instrument_id"] != 0]):
            own = ticks[ticks["instrument_id"] == instrument]
            stale = False
            for tick in own:
                if tick["kind"] == Kind.RECOVERED:
                    assert stale, "recovered, and nobody was told of a doubt"
                    stale = False
                else:
                    stale |= bool(tick["flags"] & Flag.STALE)
            assert not stale, f"{instrument} stays in doubt"

    seeds(60, check)
