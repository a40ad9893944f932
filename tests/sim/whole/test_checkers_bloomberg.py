"""The checks of Bloomberg's actor: each catches its own fault, planted in what really happened."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("greenlet", reason="the simulation's processes are greenlets")

from mdfeedd.feeds.bloomberg.codec import Decoder, Staging, Touch
from mdfeedd.sim.bloomberg.account import Said, Sent, SessionAccount
from mdfeedd.sim.bloomberg.content import datetime_of
from mdfeedd.sim.whole.play import FAMILIES, play
from mdfeedd.sim.whole.process import Life
from mdfeedd.sim.whole.tape import Tape
from mdfeedd.sim.whole.vendors.bloomberg_checks import check
from mdfeedd.tick import GAP, PRICE_UNDEF, QUOTE, TRADE, Flag, GapReason, Kind
from tests.sim.whole.evidence import found, kept_actor

CALM = frozenset(FAMILIES) | {"bloomberg"}
SEEDS = range(3, 400)


def kept(without, wanted):
    return kept_actor("bloomberg", SEEDS, without, wanted)


@pytest.fixture(scope="module")
def calm():
    """A world without faults, with quotes and trades of several topics."""
    return kept(
        CALM,
        lambda actor, tape: (
            actor.is_whole
            and len(actor.healthy) > 2
            and not actor.venue.oddities
            and len(tape.places(Kind.TRADE)) > 3
            and len(tape.places(Kind.QUOTE)) > 20
        ),
    )


def without_holes(tape):
    """Nothing is told of any hole."""
    for place in sorted([*tape.places(Kind.GAP), *tape.places(Kind.RECOVERED)], reverse=True):
        tape = tape.without(place)
    return tape


@pytest.fixture(scope="module")
def torn():
    """A world in which data of a topic that is live were lost, and an image came."""
    return kept(
        frozenset(FAMILIES),
        lambda actor, tape: (
            tape.places(Kind.RECOVERED) and "loss" in found(actor, without_holes(tape))
        ),
    )


def updates(tape, kind):
    """Places of rows that are of no image."""
    return [p for p in tape.places(kind) if not int(tape.rows["flags"][p]) & Flag.SNAPSHOT]


def test_nothing_is_found_where_nothing_is_wrong(calm, torn):
    for actor, tape in (calm, torn):
        assert not found(actor, tape)


@pytest.mark.parametrize("kind", [Kind.QUOTE, Kind.TRADE])
def test_message_that_is_dropped(calm, kind):
    actor, tape = calm
    for place in updates(tape, kind)[1:4]:
        assert "loss" in found(actor, tape.without(place))


def test_message_that_is_told_twice(calm):
    actor, tape = calm
    for place in updates(tape, Kind.TRADE)[1:3]:
        assert "duplicate" in found(actor, tape.doubled(place))


@pytest.mark.parametrize(
    ("kind", "field", "dtype"),
    [
        (Kind.TRADE, "price", TRADE),
        (Kind.TRADE, "size", TRADE),
        (Kind.TRADE, "trade_id", TRADE),
        (Kind.QUOTE, "bid_price", QUOTE),
        (Kind.QUOTE, "ask_size", QUOTE),
    ],
)
def test_message_that_never_was(calm, kind, field, dtype):
    actor, tape = calm
    place = updates(tape, kind)[2]
    value = tape.rows.view(dtype)[field][place] + 1
    assert {"loss"} < found(actor, tape.changed(place, field, value, dtype))


def test_messages_of_a_topic_out_of_order(calm):
    actor, tape = calm
    quotes, rows = updates(tape, Kind.QUOTE), tape.rows.view(QUOTE)
    one, other = next(
        (a, b)
        for a in quotes
        for b in quotes
        if a < b and rows["instrument_id"][a] == rows["instrument_id"][b] and rows["bid_size"][a] != rows["bid_size"][b]
    )  # fmt: skip
    assert {"order", "loss"} <= found(actor, tape.swapped(one, other))


def test_time_that_is_not_bloombergs(calm):
    actor, tape = calm
    place = updates(tape, Kind.QUOTE)[3]
    value = tape.rows["ts_event"][place] + 1000
    assert found(actor, tape.changed(place, "ts_event", value)) == {"time"}


def test_time_of_arrival_that_is_wrong(calm):
    actor, tape = calm
    place = updates(tape, Kind.TRADE)[0]
    value = tape.rows["ts_recv"][place] - 5_000_000
    assert found(actor, tape.changed(place, "ts_recv", value)) == {"arrival"}


def test_last_quote_that_is_dropped_leaves_a_wrong_book(calm):
    actor, tape = calm
    assert any("books" in found(actor, tape.without(p)) for p in updates(tape, Kind.QUOTE)[-6:])


@pytest.mark.parametrize("flag", [Flag.STALE, Flag.DELAYED])
def test_flag_that_is_wrong(calm, flag):
    actor, tape = calm
    place = updates(tape, Kind.QUOTE)[3]
    flags = int(tape.rows["flags"][place]) ^ flag
    assert found(actor, tape.changed(place, "flags", flags)) == {"flags"}


def test_gap_that_is_forgotten(torn):
    actor, tape = torn
    assert "counters" in found(actor, tape.without(tape.places(Kind.GAP)[0]))
    assert "loss" in found(actor, without_holes(tape))


def test_gap_that_is_never_closed(torn):
    actor, tape = torn
    for place in sorted(tape.places(Kind.RECOVERED), reverse=True):
        tape = tape.without(place)
    assert "gaps" in found(actor, tape)


def test_gap_with_a_wrong_begin(torn):
    actor, tape = torn
    for place in (*tape.places(Kind.GAP), *tape.places(Kind.RECOVERED)):
        last = int(tape.rows.view(GAP)["last_missing"][place])
        tape = tape.changed(place, "first_missing", last, GAP)
    assert "loss" in found(actor, tape)


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize(
    "name", ["gaps", "published_quotes", "published_trades", "received_records"]
)
def test_counter_that_is_off_by_one(calm, name, by):
    actor, tape = calm
    assert found(actor, tape.counting(**{name: tape.counters.get(name, 0) + by})) == {"counters"}


def test_same_seed_gives_the_same_world():
    for seed in (4, 11):
        once, again = (play(seed, vendors=("bloomberg",)) for _ in range(2))
        assert once.notes == again.notes
        assert once.digest == again.digest


# of images of which only pieces arrive: what the decoder makes of them, and what the checker expects

SECOND = 1_000_000_000
START_NS = 1_790_000_000 * SECOND
UNIT = 1_000_000_000


class Heard:
    """One topic, as the real decoder hears it and as the accounts of its sessions tell it."""

    def __init__(self):
        self.ns = START_NS
        self.cid = 0
        self.rows, self.at_ns, self.lives, self.began_ns, self.accounts = [], [], [], [], []
        self.process()

    def process(self):
        """A new one, with a session."""
        self.staging = Staging()
        self.decoder = Decoder(self.staging)
        self.touch = Touch(1)
        self.lives.append(Life(self.ns))
        self.session()

    def session(self):
        """A new one, after what was before it is lost."""
        self.tear()
        self.accounts.append(SessionAccount(len(self.accounts)))
        self.began_ns.append(self.ns)
        self.subscribe()

    def subscribe(self):
        """Anew; of the one before nothing comes any more."""
        self.ns += SECOND
        self.decoder.close(self.cid)
        self.touch.imaging = False
        self.cid += 1
        self.decoder.open(self.cid, self.touch, self.ns)

    def tear(self):
        self.ns += SECOND
        self.decoder.lost(self.touch, self.ns, GapReason.DISCONNECT)
        self._appear()

    def clear(self):
        """Not followed any more, and again at once."""
        self.ns += SECOND
        self.decoder.clear(self.touch, self.ns)
        self._appear()
        self.touch = Touch(1)
        self.subscribe()

    def dropped(self):
        """The SDK says that messages were."""
        account = self.accounts[-1]
        account.say(Said(9, "DataLoss", self.cid, {}, len(account.delivered)))
        self.tear()

    def message(self, kind, fragment=0, **fields):
        """It comes; fragment as the SDK numbers them, of an image only."""
        self.ns += SECOND
        recap = int(kind == "SUMMARY/INITPAINT")
        names = ("MKTDATA_EVENT_TYPE", "MKTDATA_EVENT_SUBTYPE")
        times = ("BID_UPDATE_STAMP_RT", "ASK_UPDATE_STAMP_RT", "EVT_TRADE_EXECUTION_TIME_RT")
        body = {**dict(zip(names, kind.split("/"), strict=True)), **fields}
        body |= dict.fromkeys(times, datetime_of(self.ns))
        account = self.accounts[-1]
        number = len(account.delivered) + 1
        account.put("delivered", Sent(self.cid, "ES", recap, fragment, body, number, self.ns))
        self.decoder.decode(self.cid, recap, fragment, body, self.ns)
        self._appear()

    def _appear(self):
        ticks = self.staging.ticks().copy()
        self.rows.append(ticks)
        self.at_ns += [self.ns] * len(ticks)
        self.staging.clear()

    def tape(self):
        rows, at_ns = np.concatenate(self.rows), np.array(self.at_ns)
        counters = {
            "gaps": int((rows["kind"] == Kind.GAP).sum()),
            "published_quotes": int((rows["kind"] == Kind.QUOTE).sum()),
            "published_trades": int((rows["kind"] == Kind.TRADE).sum()),
            "received_records": sum(len(account.delivered) for account in self.accounts),
        }
        symbols = {1: SimpleNamespace(symbol="ES")}
        zeros = np.zeros(len(rows), np.int64)
        return Tape("feed0", rows, at_ns, zeros, zeros, self.lives, symbols, counters)

    def found(self, tape):
        venue = SimpleNamespace(
            cores=[SimpleNamespace(account=account) for account in self.accounts],
            began_ns=self.began_ns, of={}, facts=[],
        )  # fmt: skip
        return list(check(SimpleNamespace(venue=venue, is_whole=False), tape))

    def quotes(self):
        """The touches that were published; nothing is wrong about them, and once more would be."""
        tape = self.tape()
        assert self.found(tape) == []
        assert any("was not to come" in text for text in self.found(tape.doubled(len(tape) - 1)))
        fields = ["bid_price", "ask_price", "bid_size", "ask_size"]
        return tape.of_kind(Kind.QUOTE, QUOTE)[fields].tolist()


@pytest.fixture
def heard():
    return Heard()


def test_pieces_of_an_image_whose_end_was_dropped_come_with_the_next_message(heard):
    heard.message("SUMMARY/INITPAINT", 1, BID=9.0, BID_SIZE=1, ASK=10.0, ASK_SIZE=8)
    heard.dropped()
    heard.message("TRADE/NEW", LAST_PRICE=10.0, SIZE_LAST_TRADE=3)
    heard.message("QUOTE/ASK", ASK=10.0, ASK_SIZE=5)
    heard.message("QUOTE/ASK", ASK=10.0, ASK_SIZE=5)  # as it was shown: no tick
    assert heard.quotes() == [(9 * UNIT, 10 * UNIT, 1, 8), (9 * UNIT, 10 * UNIT, 1, 5)]


def test_side_of_the_session_before_is_shown_where_all_of_an_image_was_dropped(heard):
    heard.message("SUMMARY/INITPAINT", BID=9.0, BID_SIZE=1, ASK=10.0, ASK_SIZE=8)
    heard.session()
    heard.dropped()
    heard.message("QUOTE/ASK", ASK=10.0, ASK_SIZE=8)  # as it was shown: no tick
    heard.message("QUOTE/ASK", ASK=10.0, ASK_SIZE=5)
    assert heard.quotes() == [(9 * UNIT, 10 * UNIT, 1, 8), (9 * UNIT, 10 * UNIT, 1, 5)]


@pytest.mark.parametrize("forgets", [Heard.process, Heard.clear])
def test_new_process_and_topic_followed_anew_show_no_side_of_before(heard, forgets):
    heard.message("SUMMARY/INITPAINT", BID=9.0, BID_SIZE=1, ASK=10.0, ASK_SIZE=8)
    forgets(heard)
    heard.dropped()
    heard.message("QUOTE/ASK", ASK=10.0, ASK_SIZE=8)
    assert heard.quotes()[1:] == [(PRICE_UNDEF, 10 * UNIT, 0, 8)]


@pytest.mark.parametrize("tears", [Heard.dropped, Heard.subscribe])
def test_end_of_an_image_makes_none_of_pieces_from_before_a_tear(heard, tears):
    heard.message("SUMMARY/INITPAINT", 1, BID=9.0, BID_SIZE=1)
    tears(heard)
    heard.message("SUMMARY/INITPAINT", 3, ASK=10.0, ASK_SIZE=8)
    heard.message("QUOTE/BID", BID=8.0, BID_SIZE=1)
    assert heard.quotes() == [(8 * UNIT, PRICE_UNDEF, 1, 0)]
