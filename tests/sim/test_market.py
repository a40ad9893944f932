"""The synthetic market keeps the rules of a market, whatever its seed, size and pace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdfeedd.sim.listings import CATALOGUE, MARKETS, MAX_INSTRUMENTS, listings
from mdfeedd.sim.market import MAX_SPREAD, Market
from mdfeedd.tick import QUOTE, TRADE, Flag, Kind, Side

START_NS = 1_790_000_000_000_000_000

markets = st.builds(
    Market,
    st.builds(listings, st.sampled_from(MARKETS), st.integers(1, 40)),
    rate=st.floats(1.0, 5e6),
    seed=st.integers(0, 2**63 - 1),
    start_ns=st.just(START_NS),
    burstiness=st.floats(0.0, 1.0),
)


def everything(market: Market, n: int) -> np.ndarray:
    return np.concatenate([market.opening(), market.ticks(n)])


@given(markets)
@settings(max_examples=40, deadline=None)
def test_every_quote_is_on_the_grid_and_never_crossed(market: Market) -> None:
    ticks = everything(market, 20_000)
    quotes = ticks[ticks["kind"] == Kind.QUOTE].view(QUOTE)
    tick_size = np.array([item.tick_size for item in market.listings])[quotes["instrument_id"] - 1]
    assert (quotes["bid_price"] > 0).all()
    assert (quotes["bid_price"] % tick_size == 0).all()
    spread = quotes["ask_price"] - quotes["bid_price"]
    assert (spread % tick_size == 0).all()
    assert ((spread >= tick_size) & (spread <= MAX_SPREAD * tick_size)).all()
    lot = np.array([item.lot for item in market.listings])[quotes["instrument_id"] - 1]
    for size in (quotes["bid_size"], quotes["ask_size"]):
        assert (size >= lot).all()
        assert (size % lot == 0).all()
    assert (quotes["count"] >= 2).all()
    assert (quotes["flags"] & Flag.EVENT_END != 0).all()


@given(markets)
@settings(max_examples=20, deadline=None)
def test_every_trade_is_at_the_touch_and_takes_no_more_than_is_shown(market: Market) -> None:
    ticks = everything(market, 20_000)
    for instrument_id in range(1, len(market.listings) + 1):
        own = ticks[ticks["instrument_id"] == instrument_id]
        at = np.flatnonzero(own["kind"] == Kind.TRADE)
        at = at[at + 1 < len(own)]
        assert (own["kind"][at - 1] == Kind.QUOTE).all(), "a quote before every trade"
        assert (own["kind"][at + 1] == Kind.QUOTE).all(), "and one after it"
        before, after = own[at - 1].view(QUOTE), own[at + 1].view(QUOTE)
        trades = own[at].view(TRADE)
        buy = trades["side"] == Side.BUY
        assert (buy | (trades["side"] == Side.SELL)).all()
        touch = np.where(buy, before["ask_price"], before["bid_price"])
        shown = np.where(buy, before["ask_size"], before["bid_size"])
        assert (trades["price"] == touch).all()
        assert ((trades["size"] > 0) & (trades["size"] <= shown)).all()
        then = np.where(buy, after["ask_price"], after["bid_price"])
        moved = then != touch
        assert (trades["size"][moved] == shown[moved]).all(), "only an exhausted touch gives way"
        away = np.where(buy, 1, -1) * market.listings[instrument_id - 1].tick_size
        assert (then[moved] == (touch + away)[moved]).all(), "in the aggressor's direction"
        assert (trades["flags"] & Flag.EVENT_END == 0).all(), "the quote after it ends the event"
        assert (after["ts_event"] == trades["ts_event"]).all()
        assert (trades["count"] >= 1).all()


@given(markets)
@settings(max_examples=40, deadline=None)
def test_time_and_numbers_never_go_back(market: Market) -> None:
    ticks = everything(market, 20_000)
    assert ticks["ts_event"][0] == START_NS
    assert (np.diff(ticks["ts_event"]) >= 0).all()
    assert (np.diff(ticks["venue_seq"].astype(np.int64)) == 1).all()
    trades = ticks[ticks["kind"] == Kind.TRADE].view(TRADE)
    assert (trades["trade_id"] == np.arange(1, len(trades) + 1)).all()
    assert np.isin(ticks["kind"], (Kind.QUOTE, Kind.TRADE)).all()
    assert 6 <= len(ticks) / len(trades) <= 10


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.integers(0, 30_000), min_size=1, max_size=8),
    st.integers(1, 30),
)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_ticks_however_they_are_asked_for(
    seed: int, portions: list[int], step_ms: int
) -> None:
    def market() -> Market:
        made = Market(listings("futures", 5), 100_000, seed, start_ns=START_NS)
        made.opening()
        return made

    whole = market().ticks(sum(portions))
    other = market()
    parts = np.concatenate([other.ticks(n) for n in portions])
    assert parts.tobytes() == whole.tobytes()

    by_time, t_ns, taken = market(), START_NS, [whole[:0]]
    while sum(map(len, taken)) < len(whole):
        t_ns += step_ms * 1_000_000
        taken.append(by_time.until(t_ns, limit=997))
        assert not len(taken[-1]) or taken[-1]["ts_event"][-1] <= t_ns
    assert np.concatenate(taken)[: len(whole)].tobytes() == whole.tobytes()


def test_another_seed_gives_another_market() -> None:
    one, two = (Market(listings("fx", 3), 1000, seed).ticks(1000) for seed in (1, 2))
    assert one.tobytes() != two.tobytes()


@pytest.mark.parametrize("burstiness", [0.0, 0.5, 1.0])
def test_the_mean_rate_is_the_one_asked_for(burstiness: float) -> None:
    ticks = Market(listings("equities", 10), 50_000, 7, burstiness=burstiness).ticks(2_000_000)
    seconds = (ticks["ts_event"][-1] - ticks["ts_event"][0]) / 1e9
    assert len(ticks) / seconds == pytest.approx(50_000, rel=0.1)


def test_bursts_make_the_gaps_uneven() -> None:
    def unevenness(burstiness: float) -> float:
        ticks = Market(listings("equities", 10), 50_000, 7, burstiness=burstiness).ticks(200_000)
        gaps = np.diff(np.unique(ticks["ts_event"])).astype(float)
        return float(gaps.std() / gaps.mean())

    assert unevenness(0.0) == pytest.approx(1.0, abs=0.02), "a Poisson process"
    assert unevenness(1.0) > 1.2


def test_until_gives_what_is_due_and_nothing_twice() -> None:
    market = Market(listings("futures", 2), 1000, 3, start_ns=START_NS)
    due_ns = market.next_ns()
    assert len(market.until(due_ns - 1)) == 0
    first = market.until(due_ns)
    assert len(first) >= 1
    assert market.next_ns() > due_ns
    assert len(market.until(due_ns)) == 0


def test_until_over_hours_is_limited_by_its_limit() -> None:
    market = Market(listings("futures", 2), 1_000_000, 3, start_ns=START_NS)
    assert len(market.until(START_NS + 3600 * 10**9, limit=5000)) == 5000


def test_prices_stay_near_where_they_began_for_as_long_as_it_runs() -> None:
    market = Market(listings("equities", ["F"]), 1e6, 11)
    for _ in range(10):
        ticks = market.ticks(200_000)
        quotes = ticks[ticks["kind"] == Kind.QUOTE].view(QUOTE)
        assert quotes["bid_price"].min() > 0.5 * market.listings[0].price
        assert quotes["ask_price"].max() < 1.5 * market.listings[0].price


def test_a_price_of_a_few_ticks_does_not_fall_to_zero() -> None:
    penny = listings("equities", ["PENNY"])[0]
    cheap = type(penny)("PENNY", "XNAS", "USD", 20_000_000, 10_000_000, 0, 5, 100, 1)
    ticks = Market([cheap], 1e6, 5).ticks(500_000)
    quotes = ticks[ticks["kind"] == Kind.QUOTE].view(QUOTE)
    assert quotes["bid_price"].min() >= cheap.tick_size
    assert (quotes["ask_price"] > quotes["bid_price"]).all()


def test_more_instruments_than_the_catalogue_and_than_a_block() -> None:
    listed = listings("equities", 20_000)
    assert len({item.symbol for item in listed}) == 20_000
    market = Market(listed, 1e6, 1)
    assert len(market.opening()) == 20_000
    ticks = market.ticks(100_000)
    assert ticks["instrument_id"].max() <= 20_000
    assert ticks["instrument_id"].min() >= 1


def test_instrument_ids_are_those_given() -> None:
    market = Market(listings("fx", 2), 1000, 1, ids=[0x05000001, 0x05000007])
    assert set(everything(market, 500)["instrument_id"].tolist()) == {0x05000001, 0x05000007}


def test_the_venue_sequence_wraps_without_ever_being_zero() -> None:
    market = Market(listings("fx", 2), 1000, 1)
    market._venue_seq = 2**32 - 6
    numbers = market.ticks(20_000)["venue_seq"]
    assert numbers.min() == 1
    assert 2**32 - 1 in numbers.tolist()


def test_an_opening_that_is_history_is_refused() -> None:
    market = Market(listings("fx", 2), 1000, 1)
    market.ticks(1)
    with pytest.raises(ValueError, match="opened already"):
        market.opening()


def test_catalogue_prices_lie_on_their_grids() -> None:
    for listed in CATALOGUE.values():
        assert len({item.symbol for item in listed}) == len(listed)
        assert all(item.price % item.tick_size == 0 for item in listed)


@pytest.mark.parametrize(
    ("market", "instruments", "sentence"),
    [
        ("bonds", 3, "market: must be one of futures, equities, fx"),
        ("fx", 0, f"instruments: must be 1 to {MAX_INSTRUMENTS}"),
        ("fx", MAX_INSTRUMENTS + 1, "instruments: must be 1 to"),
        ("fx", [], "instruments: must be 1 to"),
        ("fx", ["A", "A"], "instruments: 'A' is named twice"),
        ("fx", ["A", ""], "instruments: a symbol must not be empty"),
    ],
)
def test_listings_that_cannot_be_are_refused(
    market: str, instruments: int | list[str], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        listings(market, instruments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"rate": 0}, "rate:"),
        ({"rate": float("nan")}, "rate:"),
        ({"rate": 1e12}, "rate:"),
        ({"burstiness": 1.5}, "burstiness:"),
        ({"burstiness": float("nan")}, "burstiness:"),
        ({"ids": [1]}, "ids:"),
    ],
)
def test_a_market_that_cannot_be_is_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Market(listings("fx", 2), **arguments)  # type: ignore[arg-type]


def test_no_instruments_no_market() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Market([])
