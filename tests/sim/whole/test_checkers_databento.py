"""The checks of Databento's actor: each catches its own fault, planted in what really happened."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("greenlet", reason="the simulation's processes are greenlets")

from mdfeedd.sim.whole.play import FAMILIES, play
from mdfeedd.tick import DEFINITION, GAP, QUOTE, TRADE, Flag, Kind
from tests.sim.whole.evidence import found, kept_actor

CALM = frozenset(FAMILIES) | {"gateway", "network"}
SEEDS = range(5, 400)


def kept(without, wanted, seeds=SEEDS):
    return kept_actor("databento", seeds, without, wanted)


@pytest.fixture(scope="module")
def calm():
    """A world without faults, with quotes and trades of several instruments, told by one schema."""
    return kept(
        CALM,
        lambda actor, tape: (
            {one.schema for one in actor.options.subscriptions} == {"mbp-1"}
            and actor.is_whole
            and len(tape.places(Kind.TRADE)) > 3
            and len(tape.places(Kind.QUOTE)) > 20
            and len({int(i) for i in tape.rows["instrument_id"]}) > 1
        ),
    )


@pytest.fixture(scope="module")
def replayed():
    """A world in which what a disconnect cost was replayed."""
    return kept(
        frozenset(FAMILIES) - {"cut"},
        lambda _, tape: (
            len(tape.places(Kind.RECOVERED)) > 0 and (tape.rows["flags"] & Flag.REPLAYED).any()
        ),
    )


def test_nothing_is_found_where_nothing_is_wrong(calm, replayed):
    for actor, tape in (calm, replayed):
        assert not found(actor, tape)


@pytest.mark.parametrize("kind", [Kind.QUOTE, Kind.TRADE])
def test_record_that_is_dropped(calm, kind):
    actor, tape = calm
    for place in tape.places(kind)[1:4]:
        assert "loss" in found(actor, tape.without(place))


def test_record_that_is_told_twice(calm):
    actor, tape = calm
    for place in tape.places(Kind.TRADE)[1:3]:
        assert found(actor, tape.doubled(place)) == {"duplicate"}


def test_record_at_the_end_that_is_told_twice(calm):
    actor, tape = calm
    assert "duplicate" in found(actor, tape.doubled(len(tape) - 1))


@pytest.mark.parametrize(
    ("kind", "field", "dtype"),
    [
        (Kind.TRADE, "price", TRADE),
        (Kind.TRADE, "size", TRADE),
        (Kind.TRADE, "side", TRADE),
        (Kind.QUOTE, "bid_size", QUOTE),
        (Kind.QUOTE, "ts_event", QUOTE),
        (Kind.QUOTE, "venue_seq", QUOTE),
    ],
)
def test_record_that_never_was(calm, kind, field, dtype):
    actor, tape = calm
    place = tape.places(kind)[2]
    value = tape.rows.view(dtype)[field][place] + 1
    assert {"loss", "invented"} <= found(actor, tape.changed(place, field, value, dtype))


def test_records_out_of_order(calm):
    actor, tape = calm
    quotes = tape.places(Kind.QUOTE)
    rows = tape.rows.view(QUOTE)
    one, other = next(
        (a, b) for a, b in itertools.pairwise(quotes) if rows[a] != rows[b] and b == a + 1
    )
    assert "order" in found(actor, tape.swapped(one, other))


def test_last_quote_that_is_dropped_leaves_a_wrong_book(calm):
    actor, tape = calm
    assert any("books" in found(actor, tape.without(p)) for p in tape.places(Kind.QUOTE)[-6:])


def test_record_under_the_name_of_another(calm):
    actor, tape = calm
    place = tape.places(Kind.QUOTE)[8]
    own = int(tape.rows["instrument_id"][place])
    other = next(int(i) for i in tape.rows["instrument_id"] if i not in (0, own))
    assert "mapping" in found(actor, tape.changed(place, "instrument_id", other))


def test_time_of_arrival_that_is_wrong(calm):
    actor, tape = calm
    place = tape.places(Kind.TRADE)[0]
    value = tape.rows["ts_recv"][place] - 5_000_000
    assert found(actor, tape.changed(place, "ts_recv", value)) == {"arrival"}


def test_flag_of_a_replay_that_is_wrong(calm, replayed):
    actor, tape = calm
    place = tape.places(Kind.QUOTE)[0]
    flags = int(tape.rows["flags"][place]) | Flag.REPLAYED
    assert found(actor, tape.changed(place, "flags", flags)) == {"flags"}
    actor, tape = replayed
    place = int((tape.rows["flags"] & Flag.REPLAYED).nonzero()[0][0])
    flags = int(tape.rows["flags"][place]) & ~Flag.REPLAYED
    assert found(actor, tape.changed(place, "flags", flags)) == {"flags"}


def test_gap_that_is_forgotten(replayed):
    actor, tape = replayed
    for place in tape.places(Kind.GAP):
        assert {"gaps", "counters"} <= found(actor, tape.without(place))


def test_gap_that_is_told_twice(replayed):
    actor, tape = replayed
    assert "gaps" in found(actor, tape.doubled(tape.places(Kind.GAP)[0]))


@pytest.mark.parametrize("field", ["first_missing", "last_missing", "line", "reason"])
def test_recovered_of_another_gap(replayed, field):
    actor, tape = replayed
    place = tape.places(Kind.RECOVERED)[0]
    value = tape.rows.view(GAP)[field][place] + 1
    assert "gaps" in found(actor, tape.changed(place, field, value, GAP))


def test_gap_that_is_never_closed(replayed):
    actor, tape = replayed
    assert "gaps" in found(actor, tape.without(tape.places(Kind.RECOVERED)[0]))


def test_record_of_a_replay_that_is_dropped(replayed):
    actor, tape = replayed
    place = int((tape.rows["flags"] & Flag.REPLAYED).nonzero()[0][0])
    assert "loss" in found(actor, tape.without(place))


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("name", ["gaps", "received_records", "received_bytes", "sessions"])
def test_counter_that_is_off_by_one(calm, name, by):
    actor, tape = calm
    assert found(actor, tape.counting(**{name: tape.counters.get(name, 0) + by})) == {"counters"}


def test_definition_that_comes_of_no_record(calm):
    actor, tape = calm
    place = tape.places(Kind.QUOTE)[3]
    wrong = tape.changed(place, "kind", Kind.DEFINITION)
    wrong = wrong.changed(place, "tick_size", 7, DEFINITION)
    assert {"loss", "invented"} <= found(actor, wrong)


def test_same_seed_gives_the_same_world():
    for seed in (4, 11):
        once, again = (play(seed, vendors=("databento",)) for _ in range(2))
        assert once.notes == again.notes
        assert once.digest == again.digest


def test_last_bytes_of_a_session_are_counted():
    """They come with its end: a reset, or the gateway's close."""
    actor, tape = kept(
        frozenset(FAMILIES),
        lambda actor, _: (
            actor.options.compression == "none"
            and sum(c.over and c.taken > c.shaken for c in actor.net.connections) > 1
        ),
    )
    taken = sum(c.taken - c.shaken for c in actor.net.connections)
    assert tape.counters["received_bytes"] == taken
