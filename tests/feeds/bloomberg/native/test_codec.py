"""Touches, staging and the table in C, beside their models in Python, by what is done to them."""

from __future__ import annotations

import random
import threading

import pytest

from mdfeedd.feeds.bloomberg import codec
from mdfeedd.feeds.bloomberg.moment import Now
from mdfeedd.feeds.bloomberg.native._codec import Kernel, Staging, Touch, Touches
from mdfeedd.ring import Reader, Writer
from mdfeedd.tick import PRICE_UNDEF, Flag, Kind

SIZES = [0, 1, 2**32 - 1, 2**32, 2**40, 2**64 - 1]


def test_staging_as_its_model():
    rng = random.Random(3)
    ours, model = Staging(1), codec.Staging(1)
    for _ in range(500):
        what = rng.choice(
            ["quote", "trade", "hole", "statistic", "status", "bare", "clear", "look"]
        )
        at, number = rng.randrange(2**62), rng.randrange(2**31)
        price, size, flags = rng.randrange(-(2**60), 2**60), rng.choice(SIZES), rng.randrange(512)
        calls = {
            "quote": (at, at + 1, number, flags, (price, -price, size, rng.choice(SIZES))),
            "trade": (rng.choice([2, 3, 4]), at, at + 1, number, flags, price, size, 2**64 - 1 - number),
            "hole": (rng.choice([Kind.GAP, Kind.RECOVERED]), at, number, at - 5, at, rng.randrange(1, 6)),
            "statistic": (at, at + 1, number, flags, 6, PRICE_UNDEF, size % 2**62),
            "status": (at, number, rng.randrange(2**16)),
            "bare": (Kind.CLEAR, at, number),
            "clear": (),
            "look": (),
        }  # fmt: skip
        if what != "look":
            getattr(ours, what)(*calls[what])
            getattr(model, what)(*calls[what])
        assert len(ours) == len(model)
        assert ours.ticks().tobytes() == model.ticks().tobytes()
        for name in ("quotes", "trades", "others", "gaps"):
            assert getattr(ours, name) == getattr(model, name)


def test_staging_publishes_and_begins_anew(shm_dir):
    staging = Staging()
    with Writer("w", directory=shm_dir) as writer, Reader("w", directory=shm_dir) as reader:
        staging.publish(writer)
        assert writer.next_seq == 1
        for i in range(5000):
            staging.bare(Kind.CLEAR, i, i)
        staging.publish(writer)
        assert len(staging) == 0
        got = reader.read(8192, timeout=0)
        assert got.records["instrument_id"].tolist() == list(range(5000))
    staging.bare(Kind.CLEAR, 1, 1)
    with pytest.raises(ValueError):
        staging.publish(writer)
    assert len(staging) == 1


def test_value_that_does_not_fit_leaves_no_tick():
    staging = Staging()
    with pytest.raises(OverflowError):
        staging.trade(2, 1, 1, 1, 0, 2**63, 1, 1)
    with pytest.raises(OverflowError):
        staging.trade(2, 1, 1, 1, 0, 1, -1, 1)
    with pytest.raises(OverflowError):
        staging.statistic(1, 1, 1, 0, 6, PRICE_UNDEF, 2**63)
    assert len(staging) == staging.trades == staging.others == 0


def test_touch_as_its_model():
    rng = random.Random(4)
    ours, model = Touch(7), codec.Touch(7)
    names = [
        name for name in codec.Touch.__slots__ if name not in ("shown", "imaging", "instrument_id")
    ]
    for _ in range(2000):
        name = rng.choice([*names, "shown", "imaging", "forget"])
        if name == "forget":
            ours.forget()
            model.forget()
            continue
        value = rng.choice([0, 1, 2**31])
        if name in ("bid", "ask"):
            value = rng.choice([0, PRICE_UNDEF, -5, 10**18])
        if name == "flags":
            value = rng.choice([0, int(Flag.STALE), int(Flag.STALE | Flag.DELAYED)])
        if name == "shown":
            value = model.show()
        if name == "imaging":
            value = rng.choice([True, False])
        setattr(ours, name, value)
        setattr(model, name, value)
        for attribute in codec.Touch.__slots__:
            assert getattr(ours, attribute) == getattr(model, attribute), attribute
        assert ours.show() == model.show()
        assert ours.stale == model.stale


def test_size_beyond_64_bits_is_saturated():
    touch = Touch(1)
    touch.bid, touch.bid_size = 5, 10**300
    assert touch.bid_size == 2**64 - 1
    assert touch.show() == (5, PRICE_UNDEF, 2**64 - 1, 0)
    with pytest.raises(OverflowError):
        touch.bid_size = -1


def test_touches_of_python_are_for_python_alone():
    touches = Touches()
    kernel = Kernel(Staging(), touches)
    quote = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID": 1.0}
    touches[1] = codec.Touch(1)
    assert not kernel.take(1, 0, quote, 1)
    touches[1] = Touch(1)
    assert kernel.take(1, 0, quote, 1)
    for cid in (True, "1", None, -1, 2**64, 1.0, 2):
        assert not kernel.take(cid, 0, quote, 1)
    assert not kernel.take(1, 1, quote, 1)
    assert not kernel.take(1, 0, [], 1)
    assert not kernel.take(1, 0, {}, 1)
    del touches[1]
    assert not kernel.take(1, 0, quote, 1)
    assert kernel.messages == kernel.quick == 1


def test_touches_that_come_and_go_are_found_without_python(ways, make_item):
    rng = random.Random(5)
    quote = {"MKTDATA_EVENT_TYPE": "TRADE", "MKTDATA_EVENT_SUBTYPE": "NEW", "LAST_PRICE": 1.0}
    cids = [rng.randrange(1, 10**6) for _ in range(600)] + [2**63, 2**64 - 1, 0]
    for _ in range(20):
        for cid in rng.sample(cids, 200):
            for way in ways.all:
                if rng.random() < 0.5 and cid in way.decoder.touches:
                    continue
                way.decoder.open(cid, way.touches[cid % 4])
        for cid in rng.sample(cids, 60):
            for way in ways.all:
                way.decoder.close(cid)
        known = sorted(set.intersection(*({*way.decoder.touches} for way in ways.all)))
        before = ways.native.decoder.kernel.quick
        ways.use([make_item(quote, cid) for cid in known])
        assert ways.native.decoder.kernel.quick == before + len(known)
    assert ways.agree() > 1000


def test_other_ways_to_change_the_dictionary():
    touches = Touches()
    kernel = Kernel(Staging(), touches)
    quote = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID": 1.0}
    touches.update({1: Touch(1)})
    touches |= {2: Touch(2)}
    assert all(kernel.take(cid, 0, quote, 1) for cid in (1, 2))
    touches.clear()
    assert not touches
    assert not any(kernel.take(cid, 0, quote, 1) for cid in (1, 2))
    with pytest.raises(TypeError):
        touches.popitem()
    with pytest.raises(TypeError):
        touches.setdefault(1, Touch(1))


def test_other_threads_go_on_while_an_event_is_walked(
    ways, double, make_item, make_event, make_bytes
):
    """An event without an end: a million messages."""
    items = [make_item({"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID": 1.0})]
    address = double.event(make_bytes(items))
    turns, stop, begun = [0], [False], threading.Event()

    def count() -> None:
        begun.set()
        while not stop[0]:
            turns[0] += 1

    other = threading.Thread(target=count)
    other.start()
    begun.wait()
    double.set("double_endless", 1)
    try:
        before = turns[0]
        ways.native.use(make_event(items, address), Now(1, 10**18))
        after = turns[0]
    finally:
        double.set("double_endless", 0)
        stop[0] = True
        other.join()
        double.free(address)
    assert ways.native.decoder.kernel.quick == 1 << 20
    assert after - before > 1000
