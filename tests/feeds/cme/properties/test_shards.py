"""Shards of a channel: books of others are not built, and together they say what one handler says."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from mdfeedd.feeds.cme.definitions import Definition
from mdfeedd.feeds.shard import Shard
from mdfeedd.sim.cme import Feed, Habits, Venue
from mdfeedd.sim.cme.network import Network, lossy
from mdfeedd.tick import TICK, Flag, Kind

FEED_WIDE = (Kind.GAP, Kind.RECOVERED)
NAMES = ("kind", "side", "flags", "ts_event", "ts_recv", "venue_seq", "count", "payload")


def venue_of(seed):
    venue = Venue(seed, instruments=12, orders=True, rate=2_000, habits=Habits(add=0.0))
    venue.fill_books(5, 1)
    return venue


def said(game):
    """All ticks of instruments, by name; EVENT_END apart, which is the last tick's of those that are published."""
    symbols = {
        game.handler.book(game.one.channel, sid).instrument_id: sid
        for sid in game.handler.security_ids(game.one.channel)
    }
    ticks = game.ticks()
    ticks = ticks[ticks["instrument_id"] != 0]
    ticks["flags"] &= ~np.uint16(Flag.EVENT_END)
    return [
        (symbols[int(tick["instrument_id"])], *(tick[name].tobytes() for name in NAMES))
        for tick in ticks
    ]


def names_of(venue):
    return {sid: one.listing.symbol for sid, one in venue.instruments.items()}


def define_all(venue, handlers):
    for handler in handlers:
        for sid, symbol in names_of(venue).items():
            handler.define(venue.channel_id, Definition(venue.channel_id, sid, symbol, depth=10))


@pytest.mark.parametrize("of", [2, 3, 7])
def test_shards_are_together_the_whole(play, of):
    venue = venue_of(5)
    names = names_of(venue)
    sent = venue.settle(3) + venue.run(300)
    shards = [None, *(Shard(i, of) for i in range(1, of + 1))]
    games = {shard: play(venue, orders=True, depth=True, shard=shard) for shard in shards}
    define_all(venue, [game.handler for game in games.values()])
    for game in games.values():
        game.run(sent, Network(7), looks=3)
    whole = said(games[None])
    everything = games[None].handler
    assert len(whole) > 400
    seen = set()
    for shard in shards[1:]:
        handler = games[shard].handler
        ours = {sid for sid, symbol in names.items() if shard.has(symbol)}
        assert said(games[shard]) == [tick for tick in whole if tick[0] in ours]
        assert set(handler.security_ids(venue.channel_id)) == ours
        for sid in ours:
            assert (
                handler.book(venue.channel_id, sid)[:6]
                == everything.book(venue.channel_id, sid)[:6]
            )
            assert handler.order_book(venue.channel_id, sid) == everything.order_book(
                venue.channel_id, sid
            )
        for sid in set(names) - ours:
            assert handler.book(venue.channel_id, sid).bids == []
        assert handler.counts["passed_over"] > 0
        assert handler.counts["entries"] < everything.counts["entries"]
        seen |= ours
    assert seen == set(names)
    total = sum(games[shard].handler.counts["entries"] for shard in shards[1:])
    assert total == everything.counts["entries"]


def test_shards_recover_what_is_theirs_after_losses(play):
    """Gaps are told in each shard; what an instrument says is right, whoever has it."""
    for seed in range(6):
        venue = venue_of(seed)
        for shard in (Shard(1, 2), Shard(2, 2)):
            game = play(venue, orders=True, shard=shard, max_wait_ns=200_000_000)
            define_all(venue, [game.handler])
            network = Network(seed, loss=lossy(0.05))
            game.run(venue.settle(1) + venue.run(60), network)
            game.recover(network)
            game.check_books(proven=True)
            game.check_gaps(network)
            assert game.check_quotes() > 0


@pytest.mark.parametrize("seed", [2, 9])
def test_an_instrument_goes_over_to_the_shard_that_has_its_name(play, seed):
    """Until it is defined its number is its name: who has that gives it up with a CLEAR, the other begins anew.

    In both weeks a snapshot is cut inside the last packet that was passed over.
    """
    of = 2
    venue = venue_of(seed)
    channel, names = venue.channel_id, names_of(venue)
    live = [d for d in Network(7).deliver(venue.run(100)) if d[1] == Feed.INCREMENTAL]
    games = {i: play(venue, orders=True, depth=True, shard=Shard(i, of)) for i in range(1, of + 1)}
    handed_over = 0
    for index, game in games.items():
        game.feed(live)
        shard = Shard(index, of)
        before = set(game.handler.security_ids(channel))
        assert before == {sid for sid in names if shard.has(str(sid))}
        lost = {sid for sid in before if not shard.has(names[sid])}
        voided = {
            game.handler.book(channel, sid).instrument_id
            for sid in lost
            if game.handler.book(channel, sid).bids
        }
        define_all(venue, [game.handler])
        ticks = game.handler.take_ticks()
        clears = ticks[ticks["kind"] == Kind.CLEAR]["instrument_id"].tolist()
        assert sorted(clears) == sorted(voided)
        assert set(game.handler.security_ids(channel)) == {
            sid for sid, symbol in names.items() if shard.has(symbol)
        }
        handed_over += len(voided)
        game.recover(Network(7))
        game.check_books(proven=True)
    assert handed_over > 1


def test_who_had_a_number_says_that_its_book_is_void(play):
    number, shard = 4_711, Shard(zlib.crc32(b"4711") % 2 + 1, 2)
    other = next(name for name in ("AAA", "BBB", "CCC", "DDD") if not shard.has(name))
    venue = venue_of(9)
    game = play(venue, shard=shard)
    handler = game.handler
    assert handler.security_ids(venue.channel_id) == []
    handler.define(venue.channel_id, Definition(venue.channel_id, number, other, depth=10))
    assert handler.security_ids(venue.channel_id) == []
    assert len(handler.take_ticks()) == 0
    mine = next(name for name in ("AAA", "BBB", "CCC", "DDD") if shard.has(name))
    handler.define(venue.channel_id, Definition(venue.channel_id, number, mine, depth=10))
    assert handler.security_ids(venue.channel_id) == [number]
    ticks = handler.take_ticks()
    assert ticks.dtype == TICK
    assert ticks["kind"].tolist() == [Kind.DEFINITION]
    handler.define(venue.channel_id, Definition(venue.channel_id, number, other, depth=10))
    assert handler.security_ids(venue.channel_id) == []
