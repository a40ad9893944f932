"""Messages and what must come of them, as a table: every event type and subtype, and every oddity of values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from mdfeedd.feeds.bloomberg.codec import ValueUnreadable
from mdfeedd.feeds.bloomberg.codec.fields import STATISTICS
from mdfeedd.tick import PRICE_UNDEF, Flag, Kind

UNIT = 1_000_000_000
START = dt.datetime(2026, 3, 2, 15, 0, tzinfo=dt.UTC)
START_NS = int(START.timestamp()) * UNIT
U32 = 2**32 - 1
NEW_YORK = dt.timezone(dt.timedelta(hours=-5))
STAMP = START - dt.timedelta(milliseconds=3)
STAMP_NS = START_NS - 3_000_000
END, BAD_TS, SNAPSHOT = int(Flag.EVENT_END), int(Flag.BAD_TS), int(Flag.SNAPSHOT)
SATURATED, DELAYED, STALE = int(Flag.SIZE_SATURATED), int(Flag.DELAYED), int(Flag.STALE)


class Case(NamedTuple):
    name: str
    messages: list[dict[str, Any]]  # after an image of 100 (5) to 101 (7)
    ticks: list[tuple[Any, ...]]  # (kind, flags, values that the kind has)
    skipped: int = 0
    unknown: int = 0


def quote(subtype: str = "BID", **fields: Any) -> dict[str, Any]:
    return {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": subtype} | fields


def trade(subtype: Any = "NEW", **fields: Any) -> dict[str, Any]:
    return {"MKTDATA_EVENT_TYPE": "TRADE", "MKTDATA_EVENT_SUBTYPE": subtype} | fields


def summary(subtype: str, **fields: Any) -> dict[str, Any]:
    return {"MKTDATA_EVENT_TYPE": "SUMMARY", "MKTDATA_EVENT_SUBTYPE": subtype} | fields


def touched(bid: int, ask: int, bid_size: int, ask_size: int, flags: int = END | BAD_TS) -> Any:
    return (Kind.QUOTE, flags, bid, ask, bid_size, ask_size)


def traded(
    price: int, size: int, number: int = 0, flags: int = END | BAD_TS, kind: Any = None
) -> Any:
    return (kind or Kind.TRADE, flags, price, size, number)


BID, ASK = 100 * UNIT, 101 * UNIT
CASES = [
    Case("a bid", [quote(BID=100.25)], [touched(100_250_000_000, ASK, 5, 7)]),
    Case("an ask", [quote("ASK", ASK=100.75)], [touched(BID, 100_750_000_000, 5, 7)]),
    Case("both sides", [quote("PAIRED", BID=99.0, ASK=102.0)], [touched(99 * UNIT, 102 * UNIT, 5, 7)]),
    Case("a middle", [quote("MID", MID=100.5)], [], skipped=1),
    Case("a size alone", [quote(BID_SIZE=9)], [touched(BID, ASK, 9, 7)]),
    Case("an unknown subtype of a quote", [quote("DREAM", BID=99.5)], [touched(99_500_000_000, ASK, 5, 7)], unknown=1),
    Case("no subtype of a quote", [{"MKTDATA_EVENT_TYPE": "QUOTE", "BID": 99.0}], [touched(99 * UNIT, ASK, 5, 7)], unknown=1),
    Case("nothing changed", [quote(BID=100.0, BID_SIZE=5)], [], skipped=1),
    Case("there and back", [quote(BID=99.0), quote(BID=100.0)], [touched(99 * UNIT, ASK, 5, 7), touched(BID, ASK, 5, 7)]),
    Case("a null bid", [quote(BID=None, BID_SIZE=None)], [touched(PRICE_UNDEF, ASK, 0, 7)]),
    Case("a null bid with its size left", [quote(BID=None)], [touched(PRICE_UNDEF, ASK, 0, 7)]),
    Case("a null ask", [quote("ASK", ASK=None, ASK_SIZE=None)], [touched(BID, PRICE_UNDEF, 5, 0)]),
    Case("a bid cleared twice", [quote(BID=None), quote(BID=None)], [touched(PRICE_UNDEF, ASK, 0, 7)], skipped=1),
    Case("a size for a bid that is not there", [quote(BID=None), quote(BID_SIZE=3)], [touched(PRICE_UNDEF, ASK, 0, 7)], skipped=1),
    Case("a null size", [quote(BID=99.0, BID_SIZE=None)], [touched(99 * UNIT, ASK, 0, 7)]),
    Case("zero with a null size", [quote(BID=0.0, BID_SIZE=None)], [touched(PRICE_UNDEF, ASK, 0, 7)]),
    Case("zero with no size", [quote(BID=0.0, BID_SIZE=0)], [touched(PRICE_UNDEF, ASK, 0, 7)]),
    Case("zero with a size, as spreads have it", [quote(BID=0.0, BID_SIZE=4)], [touched(0, ASK, 4, 7)]),
    Case("zero with the size before", [quote(BID=0.0)], [touched(0, ASK, 5, 7)]),
    Case("a zero that gets its size later", [quote(BID=0.0, BID_SIZE=0), quote(BID_SIZE=2)], [touched(PRICE_UNDEF, ASK, 0, 7), touched(0, ASK, 2, 7)]),
    Case("a negative price", [quote(BID=-37.63)], [touched(-37_630_000_000, ASK, 5, 7)]),
    Case("a huge size", [quote(BID_SIZE=5_000_000_000)], [touched(BID, ASK, U32, 7, END | BAD_TS | SATURATED)]),
    Case("the largest size that fits", [quote(BID_SIZE=U32)], [touched(BID, ASK, U32, 7)]),
    Case("a huge size that grows", [quote(BID_SIZE=U32 + 1), quote(BID_SIZE=U32 + 2)], [touched(BID, ASK, U32, 7, END | BAD_TS | SATURATED)] * 2),
    Case("a size as a float", [quote(BID_SIZE=12.0)], [touched(BID, ASK, 12, 7)]),
    Case("binary noise", [quote(BID=4502.25)], [touched(4_502_250_000_000, ASK, 5, 7)]),
    Case("a tenth and two tenths", [quote(BID=0.1 + 0.2)], [touched(300_000_000, ASK, 5, 7)]),
    Case("nine decimals", [quote(BID=1.123456789)], [touched(1_123_456_789, ASK, 5, 7)]),
    Case("nine decimals of millions", [quote(BID=3999999.123456789)], [touched(3_999_999_123_456_789, ASK, 5, 7)]),
    Case("more than four millions", [quote(BID=7654321.1)], [touched(7_654_321_100_000_000, ASK, 5, 7)]),
    Case("a whole number", [quote(BID=99)], [touched(99 * UNIT, ASK, 5, 7)]),
    Case("a decimal", [quote(BID=Decimal("99.000000001"))], [touched(99_000_000_001, ASK, 5, 7)]),
    Case("no number", [quote(BID=float("nan"))], [touched(PRICE_UNDEF, ASK, 0, 7)]),
    Case("an infinite price", [quote(BID=float("inf"))], [touched(PRICE_UNDEF, ASK, 0, 7)]),
    Case("the stamp of a bid", [quote(BID=99.0, BID_UPDATE_STAMP_RT=STAMP)], [(*touched(99 * UNIT, ASK, 5, 7, END), STAMP_NS)]),
    Case("the stamp of the event before that of the state", [quote(BID=99.0, EVT_QUOTE_BID_TIME_RT=STAMP, BID_UPDATE_STAMP_RT=START)], [(*touched(99 * UNIT, ASK, 5, 7, END), STAMP_NS)]),
    Case("the later of two stamps", [quote("PAIRED", BID=99.0, ASK=98.0, BID_UPDATE_STAMP_RT=STAMP, ASK_UPDATE_STAMP_RT=START)], [(*touched(99 * UNIT, 98 * UNIT, 5, 7, END), START_NS)]),
    Case("the stamp of the other side", [quote(BID=99.0, BID_UPDATE_STAMP_RT=STAMP, ASK_UPDATE_STAMP_RT=START)], [(*touched(99 * UNIT, ASK, 5, 7, END), STAMP_NS)]),
    Case("the stamp of a size", [quote(ASK_SIZE=9, BID_UPDATE_STAMP_RT=START, ASK_UPDATE_STAMP_RT=STAMP)], [(*touched(BID, ASK, 5, 9, END), STAMP_NS)]),
    Case("a null stamp", [quote(BID=99.0, BID_UPDATE_STAMP_RT=None)], [(*touched(99 * UNIT, ASK, 5, 7), START_NS)]),
    Case("a trade of the event", [trade(EVT_TRADE_PRICE_RT=100.5, EVT_TRADE_SIZE_RT=3, LAST_PRICE=1.0, SIZE_LAST_TRADE=1)], [traded(100_500_000_000, 3)]),
    Case("a trade of the state", [trade(LAST_PRICE=100.5, SIZE_LAST_TRADE=3)], [traded(100_500_000_000, 3)]),
    Case("a trade with a number", [trade(LAST_PRICE=1.0, EVT_TRADE_IDENTIFIER_RT="12345")], [traded(UNIT, 0, 12_345)]),
    Case("a trade with the largest number", [trade(LAST_PRICE=1.0, EVT_TRADE_IDENTIFIER_RT=str(2**64 - 1))], [traded(UNIT, 0, 2**64 - 1)]),
    Case("a number that does not fit", [trade(LAST_PRICE=1.0, EVT_TRADE_IDENTIFIER_RT=str(2**64))], [traded(UNIT, 0)]),
    Case("a number that is none", [trade(LAST_PRICE=1.0, EVT_TRADE_IDENTIFIER_RT="T-12")], [traded(UNIT, 0)]),
    Case("a number in other digits", [trade(LAST_PRICE=1.0, EVT_TRADE_IDENTIFIER_RT="\u0661\u0662")], [traded(UNIT, 0)]),
    Case("a trade of unknown size", [trade(LAST_PRICE=1.0, SIZE_LAST_TRADE=None)], [traded(UNIT, 0)]),
    Case("a trade at a negative price", [trade(EVT_TRADE_PRICE_RT=-37.63, EVT_TRADE_SIZE_RT=1)], [traded(-37_630_000_000, 1)]),
    Case("a trade at zero", [trade(EVT_TRADE_PRICE_RT=0.0, EVT_TRADE_SIZE_RT=1)], [traded(0, 1)]),
    Case("a trade of a huge size", [trade(LAST_PRICE=1.0, SIZE_LAST_TRADE=2**40)], [traded(UNIT, U32, flags=END | BAD_TS | SATURATED)]),
    Case("a trade without a price", [trade(SIZE_LAST_TRADE=3)], [], skipped=1),
    Case("a trade at null", [trade(EVT_TRADE_PRICE_RT=None, LAST_PRICE=None)], [], skipped=1),
    Case("a cancel", [trade("CANCEL", EVT_TRADE_PRICE_RT=1.0, EVT_TRADE_SIZE_RT=2, EVT_TRADE_IDENTIFIER_RT="7")], [traded(UNIT, 2, 7, kind=Kind.TRADE_CANCEL)]),
    Case("a cancel that only names the trade", [trade("CANCEL", EVT_TRADE_IDENTIFIER_RT="7")], [traded(PRICE_UNDEF, 0, 7, kind=Kind.TRADE_CANCEL)]),
    Case("a cancel of nothing", [trade("CANCEL")], [], skipped=1),
    Case("a correction", [trade("CORRECT", EVT_TRADE_PRICE_RT=1.5, EVT_TRADE_SIZE_RT=2, EVT_TRADE_IDENTIFIER_RT="7")], [traded(1_500_000_000, 2, 7, kind=Kind.TRADE_CORRECTION)]),
    Case("a correction without a price", [trade("CORRECT", EVT_TRADE_IDENTIFIER_RT="7")], [], skipped=1),
    Case("an unknown subtype of a trade", [trade("RUMOUR", LAST_PRICE=1.0)], [], unknown=1),
    Case("no subtype of a trade", [trade(None, LAST_PRICE=1.0)], [], unknown=1),
    Case("a trade that moves the bid", [trade(LAST_PRICE=1.0, BID=99.0)], [traded(UNIT, 0, flags=BAD_TS), touched(99 * UNIT, ASK, 5, 7)]),
    Case("the execution before the report", [trade(LAST_PRICE=1.0, EVT_TRADE_EXECUTION_TIME_RT=STAMP, EVT_TRADE_TIME_RT=START)], [(*traded(UNIT, 0, flags=END), STAMP_NS)]),
    Case("a report without execution", [trade(LAST_PRICE=1.0, EVT_TRADE_EXECUTION_TIME_RT=None, EVT_TRADE_TIME_RT=STAMP)], [(*traded(UNIT, 0, flags=END), STAMP_NS)]),
    Case("a time of day only", [trade(LAST_PRICE=1.0, TIME=dt.time(14, 59, 59))], [(*traded(UNIT, 0, flags=END), START_NS - UNIT)]),
    Case("a time of day of New York", [trade(LAST_PRICE=1.0, LAST_TRADE_PRICE_TIME_TODAY_RT=dt.time(9, 59, 59, tzinfo=NEW_YORK))], [(*traded(UNIT, 0, flags=END), START_NS - UNIT)]),
    Case("a new day", [summary("NEWDAY", BID=None, ASK=None, OPEN=1.0)], [touched(PRICE_UNDEF, PRICE_UNDEF, 0, 0)]),
    Case("a summary of the day", [summary("INTRADAY", HIGH=102.0)], [], skipped=1),
    Case("an unknown summary", [summary("EPILOGUE", BID=99.0)], [touched(99 * UNIT, ASK, 5, 7)], unknown=1),
    Case("an unknown type", [{"MKTDATA_EVENT_TYPE": "PROPHECY", "MKTDATA_EVENT_SUBTYPE": "NEW", "LAST_PRICE": 1.0, "BID": 1.0}], [], unknown=1),
    Case("no type", [{"BID": 1.0}], [], unknown=1),
    Case("a delayed stream", [quote(BID=99.0, IS_DELAYED_STREAM=True), quote(BID=98.0), trade(LAST_PRICE=1.0)], [touched(99 * UNIT, ASK, 5, 7, END | BAD_TS | DELAYED), touched(98 * UNIT, ASK, 5, 7, END | BAD_TS | DELAYED), traded(UNIT, 0, flags=END | BAD_TS | DELAYED)]),
    Case("a stream that is not delayed any more", [quote(IS_DELAYED_STREAM=True, BID=99.0), quote(IS_DELAYED_STREAM=False, BID=98.0)], [touched(99 * UNIT, ASK, 5, 7, END | BAD_TS | DELAYED), touched(98 * UNIT, ASK, 5, 7)]),
    Case("a null sequence and an enumeration", [quote(BID=99.0, TRADE_DETAILS_RT={}, RT_EXCH_MARKET_STATUS="OPEN", LIST=[1])], [touched(99 * UNIT, ASK, 5, 7)]),
]  # fmt: skip


def told(row: dict[str, Any], width: int) -> tuple[Any, ...]:
    if row["kind"] is Kind.QUOTE:
        values = tuple(row[name] for name in ("bid_price", "ask_price", "bid_size", "ask_size"))
    else:
        values = tuple(row[name] for name in ("price", "size", "trade_id"))
    found = (row["kind"], row["flags"], *values)
    return found if len(found) == width else (*found, row["ts_event"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_message_becomes(case, desk):
    (cid,) = desk.live()
    before = desk.decoder.skipped, desk.decoder.unknown
    for message in case.messages:
        desk.decode(cid, message)
    found = desk.take()
    assert len(found) == len(case.ticks), found
    for row, wanted in zip(found, case.ticks, strict=True):
        assert told(row, len(wanted)) == wanted
        assert row["instrument_id"] == 1
        assert row["ts_recv"] == START_NS
        assert (row["side"], row["venue_seq"], row["count"], row["seq"]) == (0, 0, 0, 0)
        if row["flags"] & Flag.BAD_TS:
            assert row["ts_event"] == row["ts_recv"]
    assert (desk.decoder.skipped - before[0], desk.decoder.unknown - before[1]) == (
        case.skipped,
        case.unknown,
    )


def test_image_is_a_snapshot_and_its_last_price_no_trade(desk, make_image):
    (cid,) = desk.open()
    desk.decode(cid, make_image(BID_UPDATE_STAMP_RT=STAMP), 1)
    (row,) = desk.take()
    assert told(row, 6) == touched(BID, ASK, 5, 7, END | SNAPSHOT)
    assert row["ts_event"] == STAMP_NS


def test_image_without_stamps_is_dated_by_its_arrival(desk, make_image):
    (cid,) = desk.open()
    desk.decode(cid, make_image(), 1)
    (row,) = desk.take()
    assert told(row, 6) == touched(BID, ASK, 5, 7, END | SNAPSHOT | BAD_TS)


def test_image_of_an_old_runtime_that_knows_no_recaps(desk, make_image):
    (cid,) = desk.open()
    desk.decode(cid, make_image(), 0)
    assert desk.take()[0]["flags"] & SNAPSHOT


def test_image_of_an_index_has_no_touch(desk):
    (cid,) = desk.open()
    desk.decode(cid, summary("INITPAINT", LAST_PRICE=6000.0), 1)
    (row,) = desk.take()
    assert told(row, 6)[2:] == (PRICE_UNDEF, PRICE_UNDEF, 0, 0)


def test_image_nobody_asked_for_is_told_though_nothing_changed(desk, make_image):
    (cid,) = desk.live()
    desk.decode(cid, make_image(), 2)
    assert [told(row, 6) for row in desk.take()] == [touched(BID, ASK, 5, 7, END | SNAPSHOT | BAD_TS)]  # fmt: skip


def test_updates_before_the_image_are_stale(desk, make_image):
    (cid,) = desk.open()
    desk.decode(cid, quote(BID=99.0))
    desk.decode(cid, trade(LAST_PRICE=98.0))
    assert [row["flags"] for row in desk.take()] == [STALE | END | BAD_TS] * 2
    desk.decode(cid, make_image(), 1)
    assert not desk.take()[0]["flags"] & STALE


def test_image_in_pieces_is_one_image(desk):
    (cid,) = desk.open()
    desk.decode(cid, summary("INITPAINT", BID=100.0, BID_UPDATE_STAMP_RT=STAMP), 1, 1)
    desk.decode(cid, summary("INITPAINT", ASK=101.0), 1, 2)
    assert desk.take() == []
    desk.decode(cid, summary("INITPAINT", BID_SIZE=5, ASK_SIZE=7), 1, 3)
    (row,) = desk.take()
    assert told(row, 6) == touched(BID, ASK, 5, 7, END | SNAPSHOT)
    assert row["ts_event"] == STAMP_NS


def test_update_between_the_pieces_of_an_image(desk):
    (cid,) = desk.live()
    desk.decode(cid, summary("INITPAINT", BID=90.0), 2, 1)
    desk.decode(cid, quote("ASK", ASK=91.0))
    desk.decode(cid, summary("INITPAINT", ASK_SIZE=1), 2, 3)
    told_asks = [row["ask_price"] for row in desk.take()]
    assert told_asks == [91 * UNIT, 91 * UNIT]


def test_piece_of_an_image_that_never_ends_is_told_with_the_next_update(desk):
    (cid,) = desk.live()
    desk.decode(cid, summary("INITPAINT", BID=90.0), 2, 1)
    desk.decode(cid, quote(BID_SIZE=5))
    assert [row["bid_price"] for row in desk.take()] == [90 * UNIT]


def test_end_of_an_image_without_its_beginning_is_no_image(desk):
    (cid,) = desk.open()
    desk.decode(cid, summary("INITPAINT", BID=100.0), 1, 3)
    assert desk.take() == []
    assert desk.decoder.skipped == 1
    assert desk.entry().touch.stale


def test_image_after_a_loss_forgets_the_side_that_it_does_not_name(desk):
    (cid,) = desk.live()
    desk.decode(cid, summary("DATALOSS"))
    desk.take()
    desk.decode(cid, summary("INITPAINT", ASK=105.0, ASK_SIZE=1), 2)
    row = desk.take()[0]
    assert (row["bid_price"], row["ask_price"]) == (PRICE_UNDEF, 105 * UNIT)


def test_summary_dataloss_is_a_gap_of_the_instrument(desk):
    (cid,) = desk.live()
    desk.after(2)
    desk.decode(cid, summary("DATALOSS"))
    (row,) = desk.take()
    assert row["kind"] is Kind.GAP
    assert (row["instrument_id"], row["reason"]) == (1, 3)
    assert (row["first_missing"], row["last_missing"]) == (START_NS, START_NS + 2 * UNIT)
    desk.decode(cid, quote(BID=99.0))
    assert desk.take()[0]["flags"] & STALE


@pytest.mark.parametrize(
    "fields",
    [{"BID": "100"}, {"BID": True}, {"ASK": 1e10}, {"ASK_SIZE": -1}, {"BID": 1.0, "ASK": []}],
)
def test_message_that_cannot_be_read_changes_nothing(desk, fields):
    (cid,) = desk.live()
    with pytest.raises(ValueUnreadable):
        desk.decode(cid, quote("PAIRED", **fields))
    assert desk.take() == []
    assert desk.entry().touch.show() == (BID, ASK, 5, 7)


def test_message_of_no_subscription_is_counted(desk, make_image):
    desk.live()
    desk.decode(99, make_image(), 1)
    assert desk.take() == []
    assert desk.decoder.unmapped == 1


def test_statistics_where_they_are_wanted(desks):
    desk = desks(statistics=True)
    (cid,) = desk.live()
    desk.decode(cid, summary("INTRADAY", HIGH=102.5, LOW=None, VOLUME=12_345, VWAP=101.25))
    found = {row["type"]: (row["price"], row["quantity"]) for row in desk.take()}
    assert found == {
        STATISTICS["HIGH"][0]: (102_500_000_000, PRICE_UNDEF),
        STATISTICS["VOLUME"][0]: (PRICE_UNDEF, 12_345),
        STATISTICS["VWAP"][0]: (101_250_000_000, PRICE_UNDEF),
    }


def test_statistics_of_an_image_are_of_a_snapshot(desks, make_image):
    desk = desks(statistics=True)
    (cid,) = desk.open()
    desk.decode(cid, make_image(OPEN=99.5), 1)
    (statistic,) = [row for row in desk.take() if row["kind"] is Kind.STATISTIC]
    assert (statistic["type"], statistic["price"]) == (STATISTICS["OPEN"][0], 99_500_000_000)
    assert statistic["flags"] & SNAPSHOT


def test_delayed_flag_that_is_no_truth_value(desk):
    (cid,) = desk.live()
    for _ in range(3):
        desk.decode(cid, quote(IS_DELAYED_STREAM="Y", BID_SIZE=None))
        assert desk.entry().touch.flags & DELAYED


def test_delayed_stream_that_is_refused_makes_no_tick(desks, make_image):
    desk = desks(refuse_delayed=True)
    (cid,) = desk.open()
    desk.decode(cid, make_image(IS_DELAYED_STREAM=True), 1)
    assert desk.kinds() == [Kind.STATUS]
    assert desk.ask().unsubscribe == [cid]
    assert desk.entry().failure.category == "NOT_ENTITLED"


def test_more_ticks_than_there_was_room_for(desk):
    (cid,) = desk.live()
    for n in range(1000):
        desk.decode(cid, quote(BID=float(n)))
    assert [row["bid_price"] for row in desk.take()] == [n * UNIT for n in range(1000)]


def test_latency_is_that_of_the_last_message(desk):
    (cid,) = desk.live()
    assert desk.decoder.latency_ns is None
    desk.decode(cid, quote(BID=99.0, BLOOMBERG_SEND_TIME_RT=STAMP))
    assert desk.decoder.latency_ns == 3_000_000
