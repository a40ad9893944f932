"""After a restart: books that have emptied meanwhile are told to be void, then the GAP is closed."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd import strategy
from mdfeedd.feeds.cme.codec import Feed, Handler
from mdfeedd.feeds.cme.joins import ChannelLines
from mdfeedd.feeds.cme.returning import AT_ONCE, Returning
from mdfeedd.feeds.cme.rings import Rings
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring import Reader
from mdfeedd.sim.cme import Habits, Venue
from mdfeedd.tick import GAP, TICK, Flag, GapReason, Kind

CHANNEL = 310


class Channel:
    """A venue and a codec without a network between them."""

    def __init__(self, venue):
        self.venue = venue
        self.handler = Handler(max_instruments=64, recovery_entries=1024, max_orders=64)
        self.handler.add_channel(CHANNEL)
        self.lines = {feed: self.handler.add_line(CHANNEL, feed, 0) for feed in Feed}
        self.of = ChannelLines(CHANNEL, definition=[self.lines[Feed.DEFINITION]])

    def feed(self, sent):
        for packet in sent:
            line = self.lines[Feed(packet.feed)]
            self.handler.packet(line, packet.payload, packet.time_ns, packet.time_ns)


@pytest.fixture
def venue():
    made = Venue(3, instruments=3, orders=False, habits=Habits.none(quote=1.0))
    made.fill_books(2, 1)
    return made


@pytest.fixture
def plan(shm_dir):
    return RingPlan("cme", capacity=4096, instruments_capacity=8192, directory=shm_dir)


def live(plan, venue, before=lambda: None):
    """One life of a feed: the ring is opened, all is heard, and it is told; until there is nothing to tell."""
    channel = Channel(venue)
    with Rings("cme", plan, depth=False, orders=False, channels=(CHANNEL,)) as rings:
        channel.handler.attach(rings.ticks)
        returning = Returning(rings, channel.handler, [channel.of])
        returning.step()  # nobody is back yet
        before()
        channel.feed(venue.take() + venue.settle(2))
        for _ in range(rings.ticks.instruments_count // AT_ONCE + 2):
            returning.step()


def told(plan, start="oldest"):
    with Reader("cme", start, directory=plan.directory) as reader:
        return reader.read(4096, timeout=0).records.copy()


def test_first_start_has_nothing_to_take_back(plan, venue):
    live(plan, venue)
    kinds = told(plan)["kind"].tolist()
    assert Kind.QUOTE in kinds
    assert Kind.CLEAR not in kinds
    assert Kind.GAP not in kinds


def test_book_that_emptied_during_a_restart_is_told_void(plan, venue):
    live(plan, venue)
    first_life = len(told(plan))
    emptied, kept = venue.ids[0], venue.ids[1:]
    for order_id in list(venue.instruments[emptied].book.orders):
        venue.cancel(emptied, order_id)
    venue.take()  # nobody was there to hear of it
    live(plan, venue)
    ticks = told(plan)[first_life:]
    with Reader("cme", directory=plan.directory) as reader:
        ids = {one.vendor_id: one.instrument_id for one in reader.instruments}
    clears = ticks[ticks["kind"] == Kind.CLEAR]
    assert clears["instrument_id"].tolist() == [ids[emptied]]
    assert clears["flags"].tolist() == [Flag.BAD_TS], (
        "its time is ours: no clock of bars may follow it"
    )
    quoted = ticks[ticks["kind"] == Kind.QUOTE]["instrument_id"].tolist()
    assert {ids[sid] for sid in kept} <= set(quoted)


def test_instrument_that_is_no_more_is_told_void(plan, venue):
    live(plan, venue)
    first_life = len(told(plan))
    with Reader("cme", directory=plan.directory) as reader:
        ids = {one.vendor_id: one.instrument_id for one in reader.instruments}
    gone = venue.ids[0]
    venue.delete_instrument(gone)
    venue.take()
    live(plan, venue)
    ticks = told(plan)[first_life:]
    assert ids[gone] in ticks[ticks["kind"] == Kind.CLEAR]["instrument_id"].tolist()


def test_gap_is_closed_last_and_only_when_all_is_right(plan, venue):
    live(plan, venue)
    first_life = len(told(plan))
    seen = []
    live(plan, venue, before=lambda: seen.append(told(plan)[first_life:]["kind"].tolist()))
    assert seen == [[Kind.GAP]], "nothing is right before anything was heard"
    ticks = told(plan)[first_life:]
    assert ticks["kind"][-1] == Kind.RECOVERED
    closed, opened = ticks[-1:].view(GAP)[0], ticks[:1].view(GAP)[0]
    assert closed["reason"] == opened["reason"] == GapReason.RESTART
    assert closed["first_missing"] == opened["first_missing"]
    assert (closed["instrument_id"], closed["line"], opened["line"]) == (0, CHANNEL, CHANNEL)


def test_large_table_is_looked_through_a_piece_at_a_time(plan, venue):
    with Rings("cme", plan, depth=False, orders=False, channels=(CHANNEL,)) as rings:
        for number in range(AT_ONCE + 5):
            rings.ticks.instruments.add(f"OLD{number}", vendor_id=1_000_000 + number)
    channel = Channel(venue)
    with Rings("cme", plan, depth=False, orders=False, channels=(CHANNEL,)) as rings:
        channel.handler.attach(rings.ticks)
        returning = Returning(rings, channel.handler, [channel.of])
        channel.feed(venue.take() + venue.settle(2))
        returning.step()
        assert (told(plan)["kind"] == Kind.CLEAR).sum() == AT_ONCE
        assert rings.is_away
        returning.step()
        assert (told(plan)["kind"] == Kind.CLEAR).sum() == AT_ONCE + 5
        assert not rings.is_away
        returning.step()
        assert (told(plan)["kind"] == Kind.RECOVERED).sum() == 1


def test_hole_that_a_life_left_open_ends_with_that_of_the_restart(plan, venue):
    """A strategy that was told of it by the process before has to hear of its end."""
    channel = Channel(venue)
    with Rings("cme", plan, depth=False, orders=False, channels=(CHANNEL,)) as rings:
        channel.handler.attach(rings.ticks)
        channel.feed(venue.take() + venue.settle(2))
        for sid in venue.ids:
            venue.quote(
                sid,
                0,
                venue.instruments[sid].fair - 9 * venue.instruments[sid].listing.tick_size,
                1,
            )
        venue.take()  # lost
        venue.heartbeat()
        channel.feed(venue.take())
        channel.handler.timer(1 << 62)
    with strategy.Reader("cme", "oldest", directory=plan.directory) as reader:
        reader.read(4096, timeout=0)
        names = [one.symbol for one in reader.instruments]
        assert all(reader.last[name].is_gapped for name in names)
        live(plan, venue)
        reader.read(4096, timeout=0)
        assert not any(reader.last[name].is_gapped for name in names)


def leave_open(plan, *told):
    """A life that tells these holes and is killed: (line, instrument, reason, first_missing)."""
    rows = np.zeros(len(told), GAP)
    rows["kind"] = Kind.GAP
    for name, values in zip(
        ("line", "instrument_id", "reason", "first_missing"), zip(*told, strict=True), strict=True
    ):
        rows[name] = values
    with Rings("cme", plan, depth=False, orders=False, channels=(CHANNEL,)) as rings:
        rings.ticks.publish(rows.view(TICK))


def test_holes_of_a_channel_that_is_ours_no_more_end_too(plan, venue):
    live(plan, venue)
    with strategy.Reader("cme", "oldest", directory=plan.directory) as reader:
        names = [one.symbol for one in reader.instruments]
        first = next(one.instrument_id for one in reader.instruments)
        leave_open(
            plan,
            (CHANNEL + 10, 0, GapReason.PACKET_LOSS, 5),
            (0, first, GapReason.DISCONNECT, 5),
        )
        reader.read(4096, timeout=0)
        assert all(reader.last[name].is_gapped for name in names)
        live(plan, venue)
        reader.read(4096, timeout=0)
        assert not any(reader.last[name].is_gapped for name in names)
    ended = [row for row in told(plan).view(GAP) if row["kind"] == Kind.RECOVERED]
    assert {(int(row["line"]), int(row["instrument_id"])) for row in ended} >= {
        (CHANNEL, 0),
        (CHANNEL + 10, 0),
        (0, first),
    }


def test_restart_that_did_not_return_is_part_of_the_next(plan, venue):
    """Else the time between the first two processes would be in no GAP that ends."""
    live(plan, venue)
    with Rings("cme", plan, depth=False, orders=False, channels=(CHANNEL,)):
        pass  # killed before anything was right
    before = len(told(plan))
    live(plan, venue)
    gaps = [row for row in told(plan).view(GAP) if row["kind"] == Kind.GAP]
    assert len(gaps) == 2
    assert gaps[1]["first_missing"] == gaps[0]["first_missing"]
    ended = [row for row in told(plan)[before:].view(GAP) if row["kind"] == Kind.RECOVERED]
    wide = [row for row in ended if not row["instrument_id"]]
    assert [int(row["first_missing"]) for row in wide] == [int(gaps[0]["first_missing"])]
