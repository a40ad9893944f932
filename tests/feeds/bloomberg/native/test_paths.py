"""The same messages by all three paths: every byte of every tick, every count, every touch."""

# ruff: noqa: DTZ001 - what names no zone is what is tested
from __future__ import annotations

import datetime as dt
import os
import random
from decimal import Decimal
from typing import Any

import pytest

from mdfeedd.sim.bloomberg.content import FixedOffset, Special, datetime_of
from mdfeedd.sim.bloomberg.messages import Instrument, Style, image, odd, pieces, quote, trade
from mdfeedd.sim.bloomberg.script import ODDITIES
from mdfeedd.sim.bloomberg.topics import DEFAULT_TOPICS, topics

SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))
ROUNDS = int(os.environ.get("MDFEEDD_FUZZ_ROUNDS", "12"))
EVENTS = 60
UNIT = 1_000_000_000
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))
STAMP = dt.datetime(2026, 3, 2, 15, 0, tzinfo=dt.UTC)
PRICES = [
    0.0, -0.0, 100.25, 4502.25, 0.1 + 0.2, -37.63, 1e-9, 5e-10, 1.5e-9, 2.5e-9, 3_999_999.999999999, 4e6,
    7_654_321.123456789, 1e18, float("nan"), float("inf"), 3, -2, 2**40, True, None, "12.5", Decimal("1.5"), [],
    123.456789012, 0.000000001, 99.99,
]  # fmt: skip
SIZES = [
    0, 1, 5, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, -1, 1.5, 0.0, -0.0, 1e17, 1e19, 1e300, float("nan"),
    float("inf"), -3.5, None, False, "7", Decimal(2), [], 10.0,
]  # fmt: skip
NUMBERS = [
    "1", "007", "18446744073709551615", "18446744073709551616", "123456789012345678901", "", "12a", "-5", "é",
    "١٢٣", " 7", 5, -5, 2**40, 0, True, None, 1.5, "T12", "9" * 20,
]  # fmt: skip
TIMES = [
    STAMP, STAMP.replace(microsecond=123_456), STAMP.astimezone(EAST), STAMP.replace(tzinfo=None),
    STAMP.replace(tzinfo=FixedOffset(-300)), STAMP.replace(tzinfo=FixedOffset(0)), dt.date(2026, 3, 2),
    dt.time(15, 0, 1), dt.time(23, 59, 59, 999_999), dt.time(0, 0), dt.time(10, 0, tzinfo=FixedOffset(-300)),
    STAMP.replace(year=1969), STAMP.replace(year=1970, month=1, day=1, hour=0), STAMP.replace(year=2200),
    STAMP.replace(year=9999), STAMP.replace(year=1), dt.datetime(2024, 2, 29, 23, 59, 59),
    STAMP + dt.timedelta(hours=11, minutes=59), STAMP + dt.timedelta(hours=13), Special.NO_PARTS, None, "15:00",
    150_000, dt.datetime(1970, 1, 1), dt.time(3, 0, tzinfo=EAST),
]  # fmt: skip
TIME_FIELDS = (
    "EVT_QUOTE_BID_TIME_RT", "BID_UPDATE_STAMP_RT", "EVT_QUOTE_ASK_TIME_RT", "ASK_UPDATE_STAMP_RT",
    "EVT_TRADE_EXECUTION_TIME_RT", "EVT_TRADE_TIME_RT", "TRADE_UPDATE_STAMP_RT",
    "LAST_TRADE_PRICE_TIME_TODAY_RT", "TIME", "BLOOMBERG_SEND_TIME_RT",
)  # fmt: skip
FIELDS = {
    "BID": PRICES, "ASK": PRICES, "EVT_TRADE_PRICE_RT": PRICES, "LAST_PRICE": PRICES, "BID_SIZE": SIZES,
    "ASK_SIZE": SIZES, "EVT_TRADE_SIZE_RT": SIZES, "SIZE_LAST_TRADE": SIZES, "EVT_TRADE_IDENTIFIER_RT": NUMBERS,
    "OPEN": PRICES, "VOLUME": SIZES, "THEO_PRICE": [*PRICES[:8], Decimal("1.5")],
} | dict.fromkeys(TIME_FIELDS, TIMES)  # fmt: skip
TYPES = ["QUOTE"] * 5 + ["TRADE"] * 4 + ["SUMMARY", "PROPHECY", None, "QUOT", "QUOTES", ""]
SUBTYPES = {
    "QUOTE": ["BID", "ASK", "PAIRED", "MID", "DOOM", None, "INITPAINT", "BI", "BIDS"],
    "TRADE": ["NEW", "NEW", "CANCEL", "CORRECT", "DOOM", None, "INITPAINT"],
    "SUMMARY": ["INITPAINT", "INTRADAY", "NEWDAY", "DATALOSS", "DOOM"],
}


def wild(rng: random.Random) -> dict[str, Any]:
    """Any fields with any values, mostly ordinary ones."""
    kind = rng.choice(TYPES)
    content: dict[str, Any] = {"MKTDATA_EVENT_TYPE": kind}
    content["MKTDATA_EVENT_SUBTYPE"] = rng.choice(SUBTYPES.get(kind or "", ["BID"]))
    for name in rng.sample(sorted(FIELDS), rng.randrange(1, 10)):
        values = FIELDS[name]
        content[name] = rng.choice(values if rng.random() < 0.2 else values[1:8])
    if rng.random() < 0.1:
        content["IS_DELAYED_STREAM"] = rng.choice([True, False, False, None, "yes", 1])
    return content


class Market:
    """Messages as the simulation makes them."""

    def __init__(self, rng: random.Random, cids: int) -> None:
        self.rng = rng
        self.instruments = [Instrument(topic) for topic in topics(DEFAULT_TOPICS[:cids])]

    def tame(self, cid: int, ns: int) -> tuple[dict[str, Any], int, int]:
        item, rng, style = self.instruments[cid - 1], self.rng, Style()
        what = rng.choice(["BID"] * 4 + ["ASK"] * 4 + ["TRADE"] * 4 + ["image", "odd", "odd"])
        if what == "TRADE":
            item.traded(
                rng.randrange(-5, 10**4) * 10**7, rng.randrange(1000), rng.randrange(10**6), ns
            )
            return trade(item, ns, style), 0, 0
        if what == "image":
            return image(item, ns, style, stamps=rng.random() < 0.5), rng.choice([0, 1, 2]), 0
        if what == "odd":
            return odd(rng.choice(list(ODDITIES)), item, ns, style) or wild(rng), 0, 0
        if what == "BID":
            item.bid, item.bid_size = rng.randrange(1, 10**4) * 10**7, rng.randrange(3)
        else:
            item.ask, item.ask_size = rng.randrange(1, 10**4) * 10**7, rng.randrange(3)
        return quote(item, what, ns, style), 0, 0


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize(
    "options",
    [{}, {"statistics": True}, {"refuse_delayed": True}, {"proofs": 100}],
    ids=["plain", "statistics", "refuse", "proofs"],
)
def test_random_messages_by_all_paths(make_ways, make_item, number, options):
    seed = f"{SEED}.{number}"
    rng = random.Random(seed)
    ways = make_ways(**options)
    market = Market(rng, 4)
    for _ in range(EVENTS):
        items = []
        for _ in range(rng.choice([1, 1, 2, 5, 30])):
            cid = rng.choice([1, 2, 3, 4, 4, 99])
            ns = ways.now.wall_ns - rng.randrange(10**7)
            if cid == 99 or rng.random() < 0.4:
                items.append(make_item(wild(rng), cid))
                continue
            content, recap, fragment = market.tame(cid, ns)
            if recap and rng.random() < 0.3:
                parts = pieces(content, 3)
                items += [make_item(p, cid, recap, i + 1) for i, p in enumerate(parts)]
            else:
                items.append(make_item(content, cid, recap, fragment))
        ways.use(items, after_ns=rng.randrange(10**9))
    assert ways.agree(seed) > EVENTS
    assert ways.native.by_planes[1] == 0
    assert ways.native.decoder.kernel.quick > EVENTS


def test_ordinary_messages_need_no_python(ways, make_item):
    rng = random.Random(SEED)
    market = Market(rng, 4)
    item = market.instruments[0]
    items = []
    for i in range(500):
        ns = ways.now.wall_ns - i
        item.bid, item.bid_size, item.ask, item.ask_size = i * UNIT, i, (i + 1) * UNIT, i
        item.traded(i * UNIT, i, i, ns)
        made = [
            quote(item, "BID", ns, Style()),
            quote(item, "ASK", ns, Style()),
            trade(item, ns, Style()),
        ]
        items += [make_item(content) for content in made]

    def refuse(*_: Any) -> None:
        raise AssertionError("an ordinary message went to Python")

    ways.native.python.take = ways.kernel.python.decode = refuse
    ways.use(items)
    assert (
        ways.agree() == 1499
    )  # the first bid and ask are of no size and no price: one changes nothing
    assert ways.native.decoder.kernel.quick == ways.kernel.decoder.kernel.quick == 1500


@pytest.mark.parametrize(
    "trouble", [1, 2, 4, 8, 16], ids=["null", "array", "null value", "fails", "no text"]
)
def test_library_returns_what_it_should_not(ways, make_item, trouble):
    """What the package makes of it counts; a null value is told as the others tell it."""
    item = Market(random.Random(SEED), 1).instruments[0]
    item.bid, item.bid_size = 100 * UNIT, 3
    item.traded(100 * UNIT, 2, 77, ways.now.wall_ns)
    contents = [
        quote(item, "BID", ways.now.wall_ns, Style()),
        trade(item, ways.now.wall_ns, Style()),
    ]
    for content in contents:
        names = [name for name in content if name != "BLOOMBERG_SEND_TIME_RT"]  # of a gauge alone
        for name in names:
            item.bid += UNIT
            changed = content | {"BID": float(item.bid // UNIT)}
            if trouble == 4:
                changed |= {name: None}
            items = [make_item(contents[0]), make_item(changed)]
            ways.use(items, troubles={(1, name): trouble})
        assert ways.agree() > len(content) // 2


def test_field_is_asked_so_often_whether_it_is_an_array(make_ways, make_item):
    """Its schema says that for all messages; one that says otherwise meanwhile is not believed."""
    ways = make_ways(doubts=2)
    content = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID_SIZE": 1}

    take, taken = ways.native.python.take, []
    ways.native.python.take = lambda *what: (taken.append(what), take(*what))

    def goes_to_python(number: int, trouble: int) -> bool:
        taken.clear()
        ways.use([make_item(content | {"BID": float(number)})], troubles={(0, "BID"): trouble})
        return bool(taken)

    array, usual = 2, 0
    assert all(goes_to_python(i, array) for i in range(1, 4))
    assert not any(goes_to_python(i, usual) for i in range(4, 6))
    assert not goes_to_python(6, array)
    assert ways.agree() == 6


@pytest.mark.parametrize("trouble", [1, 2], ids=["no message", "no elements"])
def test_library_returns_null_for_a_message(ways, make_item, trouble):
    content = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID_SIZE": 1}
    items = [make_item(content | {"BID": float(i)}) for i in range(1, 5)]
    ways.use(items, message_troubles={1: trouble, 3: trouble})
    assert ways.agree() == 4
    assert ways.native.decoder.kernel.quick == 4


def test_decimal_where_a_price_is_looked_for(ways, make_item):
    content = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID": Decimal("7.5")}
    ways.use([make_item(content | {"BID": 7.0}), make_item(content)])
    assert ways.agree() == 2  # a quote, and what the package makes of the other


def test_prices_of_ints_and_the_last_send_time(ways, make_item):
    sent = datetime_of(ways.now.wall_ns - 5_000_000)
    content = {
        "MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID": 7, "BID_SIZE": 1,
        "BLOOMBERG_SEND_TIME_RT": sent,
    }  # fmt: skip
    ways.use([make_item(content)])
    assert [way.decoder.latency_ns for way in ways.all] == [6_000_000] * 3
    ways.use([make_item(content | {"BLOOMBERG_SEND_TIME_RT": None})])
    assert [way.decoder.latency_ns for way in ways.all] == [None] * 3
    assert ways.agree() == 1


def test_cid_that_was_closed_means_nothing_any_more(ways, make_item):
    content = {
        "MKTDATA_EVENT_TYPE": "QUOTE",
        "MKTDATA_EVENT_SUBTYPE": "BID",
        "BID": 7.0,
        "BID_SIZE": 1,
    }
    for way in ways.all:
        assert way.decoder.close(2) is way.touches[1]
        assert way.decoder.close(2) is None
    ways.use([make_item(content, 2), make_item(content, 1)])
    for way in ways.all:
        way.decoder.open(7, way.touches[1])
    ways.use([make_item(content, 7)])
    assert ways.agree() == 2
    assert ways.model.decoder.unmapped == 1


def test_event_of_more_ticks_than_a_batch(ways, make_item):
    content = {
        "MKTDATA_EVENT_TYPE": "TRADE",
        "MKTDATA_EVENT_SUBTYPE": "NEW",
        "EVT_TRADE_PRICE_RT": 7.0,
    }
    ways.use([make_item(content | {"EVT_TRADE_SIZE_RT": i}) for i in range(4000)])
    assert ways.agree() == 4000
