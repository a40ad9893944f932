"""Shards of live sessions: what is asked for, and that they are together what one feed publishes."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd.feeds.databento.codec import DbnDecoder, Positions, Symbology
from mdfeedd.feeds.databento.codec.symbology import LocalInstruments, MappingMessage
from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.databento.resume import HEAD_BYTES, POSITION_BYTES
from mdfeedd.feeds.shard import Shard
from mdfeedd.ring import Writer
from mdfeedd.ring.instruments import Instrument
from mdfeedd.sim.databento.core import GatewayCore, Habits
from mdfeedd.sim.databento.layouts import pack
from mdfeedd.sim.databento.market import Market
from mdfeedd.sim.databento.script import Fault, Script
from mdfeedd.tick import Flag

OF = 3
T0 = 1_795_000_000_000_000_000
TRADES = 0x00
CUT = Fault("fin", after_records=8)
SCHEMAS = ("mbp-1", "trades", "mbo", "bbo-1s")


def market_of(schemas):
    return Market(3, schemas=schemas, rate=40.0)


def asked(kind, market):
    """The symbols of a subscription, by its stype."""
    if kind == "names":
        return "raw_symbol", names_of(market)
    if kind == "instrument_id":
        return kind, tuple(str(item.instrument_id) for item in market.instruments)
    return "raw_symbol", ("ALL_SYMBOLS",)


def names_of(market):
    return tuple(sorted({item.raw_symbol for item in market.instruments}))


def told(one):
    """What was published of instruments: everything that says nothing of when it came here."""
    table = {}
    for place in range(one.writer.instruments_count):
        entry = Instrument(*one.writer.instrument_get(place))
        table[entry.instrument_id] = entry.symbol
    ticks = one.ticks()
    ticks = ticks[ticks["instrument_id"] != 0]
    ticks["flags"] &= ~np.uint16(Flag.REPLAYED)
    names = ("kind", "side", "flags", "ts_event", "venue_seq", "count", "payload")
    return [
        (table[int(tick["instrument_id"])], *(tick[name].tobytes() for name in names))
        for tick in ticks
    ]


@pytest.fixture
def life(rig):
    """A feed of a shard, or of all, against the same venue."""

    def run(schemas, kind, shard=None, faults=(), recovery="natural", **options):
        market = market_of(schemas)
        stype, symbols = asked(kind, market)
        subscriptions = tuple(
            Subscription(s, symbols, stype, "snapshot" if s == "mbo" else recovery) for s in schemas
        )
        core = GatewayCore(market, Script(faults), habits=Habits(heartbeat_s=1.0))
        one = rig(core, DatabentoOptions("GLBX.MDP3", subscriptions, **options), shard=shard)
        one.run(20.0)
        return one

    return run


@pytest.mark.parametrize("kind", ["names", "instrument_id", "ALL_SYMBOLS"])
@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("encoding", ["dbn", "json"])
def test_shards_are_together_the_whole(life, schema, kind, encoding):
    whole = told(life((schema,), kind, encoding=encoding))
    assert len(whole) > 20
    parts = 0
    for index in range(1, OF + 1):
        shard = Shard(index, OF)
        one = life((schema,), kind, shard, encoding=encoding)
        ours = told(one)
        assert ours == [tick for tick in whole if shard.has(tick[0])]
        parts += bool(ours)
        by_name = kind == "names"
        requests = [s for account in one.core.sessions for s in account.requests]
        symbols = {symbol for request in requests for symbol in request.symbols}
        every = asked(kind, one.core.market)[1]
        assert symbols == {s for s in every if not by_name or shard.has(s)}
        assert by_name or one.counter("skipped_records") > 0
    assert parts > 1


@pytest.mark.parametrize("kind", ["names", "ALL_SYMBOLS"])
def test_replays_after_a_disconnect_are_together_the_whole(life, kind):
    schemas = ("trades", "bbo-1s")
    whole = sorted(told(life(schemas, kind, faults=(CUT,), recovery="replay")))
    shards = [Shard(index, OF) for index in range(1, OF + 1)]
    if kind == "names":  # one that asks for nothing is sent nothing, and not cut
        names = names_of(market_of(schemas))
        shards = [shard for shard in shards if any(map(shard.has, names))]
    assert len(shards) > 1
    for shard in shards:
        one = life(schemas, kind, shard, faults=(CUT,), recovery="replay")
        assert len(one.core.sessions) == 2
        gaps, recovered = one.holes()
        assert [gap["line"] for gap in gaps] == [hole["line"] for hole in recovered] != []
        assert sorted(told(one)) == [tick for tick in whole if shard.has(tick[0])]


def test_a_subscription_of_which_no_symbol_is_ours_keeps_its_line_and_is_not_made(rig):
    market = market_of(("trades", "mbp-1"))
    names = names_of(market)
    shard = next(s for s in (Shard(i, 7) for i in range(1, 8)) if 0 < sum(map(s.has, names)) < len(names))  # fmt: skip
    ours = tuple(filter(shard.has, names))
    others = tuple(name for name in names if not shard.has(name))
    options = DatabentoOptions(
        "GLBX.MDP3", (Subscription("mbp-1", others), Subscription("trades", ours))
    )
    core = GatewayCore(market, Script((CUT,)), habits=Habits(heartbeat_s=1.0))
    one = rig(core, options, shard=shard)
    one.run(20.0)
    assert len(core.sessions) == 2
    assert {s.schema for account in core.sessions for s in account.requests} == {"trades"}
    assert [gap["line"] for gap in one.holes()[0]] == [2]


def trade(at, instrument):
    return pack(
        TRADES,
        {
            "publisher_id": 1, "instrument_id": instrument, "ts_event": T0 + at, "price": 10**9,
            "size": 1, "action": b"T", "side": b"A", "ts_recv": T0 + at, "sequence": at,
        },
    )  # fmt: skip


def test_the_position_of_a_number_that_is_no_longer_ours_goes_on(shm_dir):
    """Its records come again in a replay: that is known, and no new positions are made for others."""
    shard = Shard(1, 2)
    mine = next(f"A{i}" for i in range(99) if shard.has(f"A{i}"))
    other = next(f"A{i}" for i in range(99) if not shard.has(f"A{i}"))
    memory = bytearray(HEAD_BYTES + 16 * POSITION_BYTES)
    positions = Positions(memoryview(memory), "X.Y")
    positions.begin(TRADES, T0)
    symbology = Symbology(LocalInstruments(), shard)
    with Writer("p", capacity=256, directory=shm_dir) as writer:

        def play(*records):
            decoder = DbnDecoder(symbology, version=3, positions=positions)
            decoder.decode_into(writer, b"".join(records), ts_recv_ns=T0)

        symbology.mapping(MappingMessage(7, mine, mine))
        symbology.mapping(MappingMessage(8, other, other))
        play(trade(1, 7), trade(2, 8))
        symbology.mapping(MappingMessage(7, other, other))
        play(trade(3, 7), trade(4, 8))
        assert writer.next_seq == 2
        assert positions.earliest_ns([TRADES], T0) == T0 + 3
        positions.begin_replay([TRADES], T0, 2**63 - 1)
        play(trade(1, 7), trade(2, 8), trade(3, 7), trade(4, 8), trade(5, 7))
        assert positions.end_replay(TRADES) == []
        assert positions.disagreed == 0
        assert writer.next_seq == 2
        assert positions.earliest_ns([TRADES], T0) == T0 + 5


def test_a_record_of_another_shard_ends_a_replay_too():
    shard = Shard(1, 2)
    other = next(f"A{i}" for i in range(99) if not shard.has(f"A{i}"))
    positions = Positions(memoryview(bytearray(HEAD_BYTES + 16 * POSITION_BYTES)), "X.Y")
    positions.begin(TRADES, T0)
    symbology = Symbology(LocalInstruments(), shard)
    symbology.mapping(MappingMessage(8, other, other))
    decoder = DbnDecoder(symbology, version=3, positions=positions)
    positions.begin_replay([TRADES], T0, T0 + 10)
    decoder.decode(trade(5, 8) + trade(10, 8) + trade(11, 8), T0)
    assert [event.rtype for event in decoder.take_events()] == [TRADES]
    assert decoder.counts["skipped"] == decoder.counts["records"] == 3
