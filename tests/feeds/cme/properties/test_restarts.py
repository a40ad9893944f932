"""A venue that stops and begins its sequence again within the hour, through lines that lose and overtake: it is
found out each time, by a handful of packets, and in the end all is right.
"""

from __future__ import annotations

import random

from mdfeedd.feeds.cme.codec import EventCode
from mdfeedd.sim.cme import Feed, Habits, Venue
from mdfeedd.sim.cme.network import Network, lossy
from mdfeedd.tick import GAP, Kind

MS = 1_000_000
SECOND_NS = 1_000 * MS
LOOPS = (Feed.DEFINITION, Feed.SNAPSHOT, Feed.ORDERS)
PATIENT = {"max_wait_ns": 200 * MS, "reorder_packets": 4096}
DECIDES = 8  # packets whose numbers rise


def venue_of(seed, rng):
    habits = Habits(delete=rng.choice((0, 0.5)), channel_reset=rng.choice((0, 0, 0.3)), pause=0)
    venue = Venue(
        seed,
        instruments=rng.randrange(1, 6),
        orders=rng.random() < 0.5,
        rate=rng.choice((200, 2_000)),
        habits=habits,
    )
    if rng.random() < 0.5:
        venue.fill_books(rng.choice((3, 10)), 1)
    return venue


def network_of(seed, rng):
    lines = rng.choice(((0,), (1,), (0, 1)))
    share = rng.choice((0, 0.02, 0.2))
    return Network(
        seed,
        loss=lossy(share, feeds=(Feed.INCREMENTAL,), sides=lines) | lossy(0.02, feeds=LOOPS),
        duplicate=rng.choice((0, 0.1)),
        skew_ns=rng.choice(((200, 50 * MS), (200, 5_000))),
    )


def given_up(game, network):
    """By epoch, the numbers told lost that some line delivered."""
    found = {}
    for epoch, ticks in game.epochs(Kind.GAP, game.one):
        for row in ticks.view(GAP):
            told = range(int(row["first_missing"]), int(row["last_missing"]) + 1)
            found.setdefault(epoch, set()).update(set(told) - network.lost_both(epoch))
    return {epoch: numbers for epoch, numbers in found.items() if numbers}


def test_a_venue_that_starts_again_within_the_hour(seeds, play):
    def check(seed):
        rng = random.Random(f"again {seed}")
        venue, network = venue_of(seed, rng), network_of(seed, rng)
        game = play(venue, orders=venue.orders, natural_refresh=seed % 2 == 0, **PATIENT)
        game.run(venue.run(rng.randrange(5, 120)), network)
        times = rng.randrange(1, 4)
        for _ in range(times):
            venue.start_again(down_ns=rng.randrange(2 * SECOND_NS, 600 * SECOND_NS))
            game.run(venue.take() + venue.run(rng.randrange(40, 120)), network)
            if rng.random() < 0.5:
                game.recover(network)
        game.recover(network)
        game.check_books(proven=True)
        game.check(network, exact=False)
        assert [event.code for event in game.events].count(EventCode.EPOCH) == times
        assert game.handler.counts["epochs"] == times
        for epoch, numbers in given_up(game, network).items():
            assert epoch > 0, numbers
            assert len(numbers) < 3 * DECIDES, numbers

    seeds(200, check)


def test_restarts_at_once_are_found_within_a_second(seeds, play):
    """While the new times are not clearly later its packets are passed over: all of them are told as a hole."""

    def check(seed):
        rng = random.Random(f"at once {seed}")
        venue = Venue(seed, instruments=3, orders=False, rate=200, habits=Habits(pause=0))
        network = Network(seed, skew_ns=(200, 5_000))
        game = play(venue, **PATIENT)
        game.run(venue.run(1_000), network)
        venue.start_again(down_ns=rng.randrange(50 * MS, 900 * MS))
        began_ns = venue.now_ns
        game.run(venue.run(until_ns=began_ns + 3 * SECOND_NS), network)
        game.recover(network)
        game.check_books(proven=True)
        game.check(network, exact=False)
        assert game.handler.counts["epochs"] == 1
        (numbers,) = given_up(game, network).values()
        assert numbers == set(range(1, max(numbers) + 1))
        shown = game.one.venue.truth
        first_ns = min(event.transact_ns for event in shown.events if event.epoch == 1)
        last_ns = max(
            event.transact_ns
            for event in shown.events
            if event.epoch == 1 and event.seq <= max(numbers)
        )
        assert last_ns - first_ns < 2 * SECOND_NS

    seeds(30, check)


def test_restarts_that_reach_the_old_number_within_a_second(seeds, play):
    """The old sequence was short, and what begins the new one may be lost on both lines: what is told lost is lost
    or had passed, and nothing of the new one is applied to the books of the old.
    """

    def check(seed):
        rng = random.Random(f"short {seed}")
        venue = Venue(seed, instruments=rng.randrange(1, 4), orders=False, rate=2_000)
        share = rng.choice((0, 0.05, 0.2))
        loss = lossy(share, feeds=(Feed.INCREMENTAL,)) | lossy(0.02, feeds=LOOPS)
        skew = rng.choice(((200, 5_000), (200, 5 * MS)))
        network = Network(seed, loss=loss, skew_ns=skew)
        game = play(venue, natural_refresh=seed % 2 == 0, **PATIENT)
        game.run(venue.run(rng.randrange(10, 60)), network)
        if rng.random() < 0.5:
            venue.start_again(down_ns=rng.randrange(10 * MS, 400 * MS))
        else:
            venue.advance(10 * MS)
            venue.channel_reset(restart_seq=True)
        game.run(venue.take() + venue.run(80), network)
        game.recover(network)
        game.check_books(proven=True)
        game.check(network, exact=False)
        assert game.handler.counts["epochs"] == 1
        assert game.handler.counts["rpt_faults"] == 0

    seeds(80, check)
