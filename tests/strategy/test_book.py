"""`Book`: floats that compare as people expect, exact decimals, and several books as one."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from mdfeedd import Book, to_fixed
from mdfeedd.strategy.book import consolidated


def book(feed, bid, ask, **more):
    return Book(
        "X",
        None if bid is None else to_fixed(bid),
        None if ask is None else to_fixed(ask),
        more.pop("bid_size", 1),
        more.pop("ask_size", 1),
        seq=more.pop("seq", 1),
        ts_event_ns=1,
        ts_recv_ns=more.pop("recv", 1),
        bid_feed=feed,
        ask_feed=feed,
        **more,
    )


@pytest.mark.parametrize("text", ["0.1", "4500.25", "-37.63", "0.000000001", "9007198.254740991"])
def test_float_is_the_one_that_the_text_means(text):
    assert book("f", text, None).bid == float(text)
    assert book("f", text, None).decimal("bid") == Decimal(text)


def test_middle_and_spread():
    seen = book("f", "0.000000001", "0.000000004")
    assert seen.mid == 2.5e-9
    assert seen.spread == 3e-9
    assert seen.decimal("mid") == Decimal("0.0000000025")
    assert seen.decimal("spread") == Decimal("0.000000003")
    with pytest.raises(ValueError, match="must be bid, ask, mid, spread or trade, not 'middle'"):
        seen.decimal("middle")


def test_nothing_compares_with_a_price_that_is_not_there():
    seen = Book("X")
    for value in (seen.bid, seen.ask, seen.mid, seen.spread, seen.trade):
        assert math.isnan(value)
        assert not value < 1e9
        assert not value > -1e9
    assert seen.decimal("bid") is seen.decimal("mid") is seen.decimal("trade") is None


def test_one_book_stays_itself_under_its_new_name():
    seen = consolidated("Y", [book("f", 1, 2)])
    assert (seen.symbol, seen.bid, seen.sources) == ("Y", 1.0, ())


def test_best_of_several_feeds():
    books = [book("a", 10, 13), book("b", 11, 14), book("c", None, 12)]
    seen = consolidated("X", books)
    assert (seen.bid, seen.bid_feed, seen.ask, seen.ask_feed) == (11.0, "b", 12.0, "c")
    assert seen.sources == tuple(books)


def test_of_equal_prices_the_larger_then_the_first():
    books = [book("a", 10, 11), book("b", 10, 11, bid_size=5), book("c", 10, 11)]
    seen = consolidated("X", books)
    assert (seen.bid_feed, seen.bid_size, seen.ask_feed) == ("b", 5, "a")


def test_what_is_not_right_does_not_count_while_something_is():
    right = book("a", 10, 13)
    for wrong in (book("b", 11, 12, is_stale=True), book("b", 11, 12, is_gapped=True)):
        seen = consolidated("X", [right, wrong])
        assert (seen.bid, seen.ask) == (10.0, 13.0)
        assert (seen.is_stale, seen.is_gapped) == (False, False)
    seen = consolidated("X", [book("a", 10, 13, is_stale=True), book("b", 11, 12, is_stale=True)])
    assert (seen.bid, seen.ask, seen.is_stale) == (11.0, 12.0, True)


def test_feed_that_has_not_said_anything_is_no_feed():
    silent = Book("X")
    seen = consolidated("X", [silent, book("b", 11, 12, is_stale=True)])
    assert seen.is_stale
    assert consolidated("X", [silent, silent]).bid_price is None


def test_newest_trade_and_newest_word():
    old = book("a", 10, 13, trade_price=5, trade_ts_ns=50, trade_feed="a", recv=9, is_trading=False)
    new = book("b", 10, 13, trade_price=6, trade_ts_ns=60, trade_feed="b", recv=8)
    seen = consolidated("X", [old, new])
    assert (seen.trade_price, seen.trade_feed) == (6, "b")
    assert (seen.ts_recv_ns, seen.is_trading) == (9, False)
