"""The checks themselves: they accept the truth, and they say where something differs."""

from __future__ import annotations

from mdfeedd.sim.cme import Habits, Shape, Venue, listings
from mdfeedd.sim.cme.checks import (
    book_difference,
    expected_quotes,
    expected_trades,
    fits_somewhere,
    order_book_difference,
    quotes_by_instrument,
)
from mdfeedd.tick import PRICE_UNDEF

E9 = 10**9


def one_future() -> tuple[Venue, int]:
    venue = Venue(4, instruments=[i for i in listings(6, 13) if i.template == 54][:1])
    return venue, venue.ids[0]


def test_quote_for_each_event_that_changed_the_touch_and_no_other() -> None:
    venue, sid = one_future()
    venue.quote(sid, 0, 100 * E9, 5)
    venue.quote(sid, 0, 99 * E9, 5)
    venue.quote(sid, 1, 101 * E9, 7)
    venue.quote(sid, 1, 101 * E9, 1)
    quotes = expected_quotes(venue.truth)
    assert [(q.seq, q.touch, q.bid_orders, q.ask_orders) for q in quotes] == [
        (1, (100 * E9, 5, PRICE_UNDEF, 0), 1, 0),
        (3, (100 * E9, 5, 101 * E9, 7), 1, 1),
        (4, (100 * E9, 5, 101 * E9, 8), 1, 2),
    ]
    assert all(fits_somewhere(q.touch, sid, venue.truth) for q in quotes)
    assert not fits_somewhere((100 * E9, 6, 101 * E9, 8), sid, venue.truth)


def test_change_and_back_within_one_event_gives_no_quote() -> None:
    venue, sid = one_future()
    venue.quote(sid, 0, 100 * E9, 5)
    with venue.event() as event:
        order = event.add(sid, 0, 101 * E9, 1)
        event.cancel(sid, order)
    assert len(expected_quotes(venue.truth)) == 1


def test_quote_comes_at_the_events_end_in_another_packet() -> None:
    venue, sid = one_future()
    with venue.event(Shape(entries_per_message=1, messages_per_packet=1)) as event:
        event.add(sid, 0, 100 * E9, 5)
        event.add(sid, 1, 101 * E9, 5)
    (quote,) = expected_quotes(venue.truth)
    assert quote.seq == 2


def test_implied_touch_is_told_apart() -> None:
    venue, sid = one_future()
    with venue.event() as event:
        event.add(sid, 0, 100 * E9, 5)
        event.implied(sid, bids=[(102 * E9, 1)])
    by = quotes_by_instrument(expected_quotes(venue.truth))
    assert [q.touch[:2] for q in by[sid, False]] == [(100 * E9, 5)]
    assert [q.touch[:2] for q in by[sid, True]] == [(102 * E9, 1)]
    assert len(expected_quotes(venue.truth, implied=False)) == 1


def test_resets_empty_the_touch_without_a_quote() -> None:
    for reset in ("book", "channel", "week"):
        venue, sid = one_future()
        venue.quote(sid, 0, 100 * E9, 5)
        if reset == "book":
            venue.reset_book(sid)
        elif reset == "channel":
            venue.channel_reset(retell=False)
        else:
            venue.weekly_reset()
        assert len(expected_quotes(venue.truth)) == 1
        venue.quote(sid, 0, 100 * E9, 5)
        assert len(expected_quotes(venue.truth)) == 2, reset


def test_trades_in_the_order_of_the_wire() -> None:
    venue, sid = one_future()
    for price in (100, 101):
        venue.quote(sid, 1, price * E9, 2)
    venue.trade(sid, 1, 3)
    first, second = expected_trades(venue.truth)
    assert (first.price, first.size, first.orders, first.aggressor) == (100 * E9, 2, 2, 1)
    assert (second.price, second.size, second.orders) == (101 * E9, 1, 2)
    assert first.trade_id != second.trade_id


def test_book_that_differs_is_told_with_its_place() -> None:
    venue = Venue(5, instruments=2, habits=Habits(reset_book=0))
    venue.run(200)
    state = venue.truth.state(venue.ids[0])
    assert state is not None
    assert book_difference(state, state) == ""
    price, size, orders = state.bids[1]
    wrong = state._replace(bids=(state.bids[0], (price, size + 1, orders), *state.bids[2:]))
    assert book_difference(wrong, state).startswith("bids: at place 2 (")
    assert "missing" in book_difference(state._replace(asks=state.asks[:-1]), state)
    assert "too much" in book_difference(state, None)
    bids, asks = state.order_book()
    assert order_book_difference((bids, asks), state) == ""
    assert order_book_difference((bids[::-1], asks), state).startswith("orders of bids: at place 1")
