"""The bar kernel under every trouble that a stream can have, one at a time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mdfeedd.consumers.bars import BarBuilder
from mdfeedd.tick import BAR, GAP, PRICE_UNDEF, TICK, TIME_UNDEF, TRADE, BarFlag, Flag, Kind

S = 1_000_000_000
BASE = 1_700_000_040 * S  # a multiple of a minute


def trades(*rows, start=BASE, first_seq=1, instrument_id=1):
    """Trades of (seconds after `start`, price, size)."""
    out = np.zeros(len(rows), TRADE)
    out["seq"] = np.arange(first_seq, first_seq + len(rows))
    out["kind"] = Kind.TRADE
    out["instrument_id"] = instrument_id
    for i, (seconds, price, size) in enumerate(rows):
        out[i]["ts_event"] = start + round(seconds * S)
        out[i]["price"] = price
        out[i]["size"] = size
    return out


def other(kind, seconds, *, instrument_id=0, flags=0, line=0, start=BASE):
    out = np.zeros(1, GAP)
    out["kind"], out["instrument_id"], out["flags"], out["line"] = kind, instrument_id, flags, line
    out["ts_event"] = TIME_UNDEF if seconds is None else start + round(seconds * S)
    return out.view(TRADE)


def play(builder, *parts):
    return np.concatenate([builder.update(part) for part in parts])


def test_sum_of_price_times_size_passes_64_bits():
    price, size = 5_000 * S, 1_800_000
    assert price * size > 2**62  # two of them pass 63 bits, four 64
    builder = BarBuilder((60,))
    rows = [(i / 1000, price + i % 2, size) for i in range(5_000)]
    builder.update(trades(*rows))
    bar = builder.flush()[0]
    assert bar["volume"] == 5_000 * size
    assert bar["vwap"] == round(Fraction(sum(p * s for _, p, s in rows), 5_000 * size))
    extreme = BarBuilder((60,))
    extreme.update(trades((0, -PRICE_UNDEF, 2**32 - 1), (1, -PRICE_UNDEF, 2**32 - 1)))
    assert extreme.flush()[0]["vwap"] == -PRICE_UNDEF


@pytest.mark.parametrize(
    ("rows", "vwap"),
    [
        ([(1, 1), (2, 1)], 2),  # 1.5 to even
        ([(2, 1), (3, 1)], 2),  # 2.5 to even
        ([(-1, 1), (-2, 1)], -2),
        ([(-2, 1), (-3, 1)], -2),
        ([(1, 2), (2, 1)], 1),
        ([(1, 1), (2, 2)], 2),
        ([(-1, 2), (-2, 1)], -1),
        ([(0, 1), (1, 1)], 0),
        ([(-1, 1), (0, 1)], 0),
    ],
)
def test_vwap_lies_half_way_between_two_prices(rows, vwap):
    builder = BarBuilder((60,))
    builder.update(trades(*((0, price, size) for price, size in rows)))
    assert builder.flush()[0]["vwap"] == vwap


def test_trades_of_size_zero_have_no_vwap():
    builder = BarBuilder((60,))
    builder.update(trades((0, 7, 0)))
    bar = builder.flush()[0]
    assert (bar["vwap"], bar["volume"], bar["count"], bar["close"]) == (PRICE_UNDEF, 0, 1, 7)


def test_late_trade_does_not_reopen_but_revises():
    builder = BarBuilder((60,))
    first = play(builder, trades((0, 10, 1), (30, 12, 1), (61, 11, 1), instrument_id=1))
    assert first["revision"].tolist() == [0]
    late = builder.update(trades((40, 20, 2), first_seq=4))
    assert late["revision"].tolist() == [1]
    assert late["flags"].tolist() == [BarFlag.LATE]
    assert (late["high"][0], late["close"][0], late["count"][0]) == (20, 20, 3)
    assert (late["first_seq"][0], late["last_seq"][0]) == (1, 4)
    earlier = builder.update(trades((20, 5, 1), first_seq=5))
    assert (earlier["revision"][0], earlier["open"][0], earlier["close"][0]) == (2, 10, 20)
    ancient = builder.update(trades((-70, 1, 1), first_seq=6))
    assert len(ancient) == 0
    assert builder.late_trades == 3
    bar = builder.flush()[0]
    assert (bar["late_count"], bar["count"], bar["revision"]) == (3, 1, 0)


def test_late_trade_of_an_interval_without_one_makes_its_bar():
    """Another instrument has closed the interval; what is older than that is only counted."""
    builder = BarBuilder((60,))
    play(builder, trades((-70, 8, 1), (5, 10, 1), instrument_id=1))
    play(builder, trades((61, 11, 1), instrument_id=2, first_seq=3))
    (made,) = builder.update(trades((50, 20, 2), first_seq=4, instrument_id=3))
    assert (made["ts_open"] % (60 * S), made["revision"], made["flags"]) == (0, 0, BarFlag.LATE)
    assert (made["instrument_id"], made["count"], made["open"], made["volume"]) == (3, 1, 20, 2)
    (again,) = builder.update(trades((40, 21, 1), first_seq=5, instrument_id=3))
    assert (again["ts_open"], again["revision"]) == (made["ts_open"], 1)
    assert (again["open"], again["close"], again["count"]) == (21, 20, 2)
    assert len(builder.update(trades((-10, 9, 1), first_seq=6, instrument_id=3))) == 0
    assert builder.late_trades == 3


def test_trade_within_the_lateness_is_not_late():
    builder = BarBuilder((1,), lateness_ns=2 * S)
    bars = play(builder, trades((0, 1, 1), (1.5, 2, 1), (2.9, 3, 1), (0.5, 9, 1), (3.0, 4, 1)))
    assert bars["ts_open"].tolist() == [BASE]
    assert (bars["high"][0], bars["close"][0], bars["revision"][0]) == (9, 9, 0)
    assert builder.late_trades == 0


def test_open_and_close_do_not_depend_on_the_order_of_arrival():
    builder = BarBuilder((60,))
    builder.update(trades((5, 50, 1), (9, 90, 1), (1, 10, 1), (7, 70, 1)))
    bar = builder.flush()[0]
    assert (bar["open"], bar["close"]) == (10, 90)
    assert (bar["ts_first"], bar["ts_last"]) == (BASE + S, BASE + 9 * S)
    assert (bar["first_seq"], bar["last_seq"]) == (1, 4)


def test_quiet_instrument_is_closed_by_the_time_of_others():
    builder = BarBuilder((1,))
    bars = play(
        builder,
        trades((0, 1, 1), instrument_id=1),
        trades((0.1, 1, 1), instrument_id=2),
        other(Kind.HEARTBEAT, 1),
    )
    assert bars["instrument_id"].tolist() == [1, 2]


def test_gap_of_the_feed_marks_bars_until_it_is_recovered():
    builder = BarBuilder((1,))
    bars = play(
        builder,
        trades((-1, 1, 1), (0, 1, 1), (1.1, 1, 1)),
        other(Kind.GAP, None),
        trades((2.5, 1, 1), (3.5, 1, 1)),
        other(Kind.RECOVERED, None),
        trades((4.5, 1, 1), (5, 1, 1), (6, 1, 1)),
    )
    gaps = {(b["ts_open"] - BASE) // S: bool(b["flags"] & BarFlag.GAP) for b in bars}
    assert gaps == {-1: False, 0: False, 1: True, 2: True, 3: True, 4: True, 5: False}


def test_gap_of_one_instrument_does_not_mark_the_others():
    builder = BarBuilder((1,))
    bars = play(
        builder,
        trades((0, 1, 1), instrument_id=1),
        trades((0, 1, 1), instrument_id=2),
        other(Kind.GAP, None, instrument_id=2),
        other(Kind.RECOVERED, None, instrument_id=2),
        trades((1, 1, 1), instrument_id=1),
        trades((1, 1, 1), instrument_id=2),
        other(Kind.HEARTBEAT, 2),
    )
    assert (bars["flags"] & BarFlag.GAP).tolist() == [0, BarFlag.GAP, 0, 0]


def test_two_lines_are_lost_and_one_is_recovered():
    builder = BarBuilder((1,))
    bars = play(
        builder,
        trades((0, 1, 1)),
        other(Kind.GAP, None, line=1),
        other(Kind.GAP, None, line=2),
        other(Kind.RECOVERED, None, line=1),
        trades((5, 1, 1), (6, 1, 1)),
        other(Kind.RECOVERED, None, line=2),
        trades((7, 1, 1), (8, 1, 1), (9, 1, 1)),
    )
    assert (bars["flags"] & BarFlag.GAP).tolist() == [1, 1, 1, 1, 0]


def test_reader_was_lapped_between_two_bars():
    builder = BarBuilder((1,))
    builder.update(trades((0, 1, 1), (1, 1, 1)))
    builder.mark_gap()
    bars = builder.update(trades((5.5, 1, 1), (6, 1, 1), (7, 1, 1)))
    # the bar open at the loss, and the one in which the stream was heard again, but not the next
    assert (bars["flags"] & BarFlag.GAP).tolist() == [1, 1, 0]


def test_stale_trade_marks_its_bar_only():
    builder = BarBuilder((1,))
    stale = trades((1, 1, 1))
    stale["flags"] = Flag.STALE
    bars = play(builder, trades((0, 1, 1)), stale, trades((2, 1, 1), (3, 1, 1)))
    assert (bars["flags"] & BarFlag.GAP).tolist() == [0, 1, 0]


def test_cancelled_trade_marks_the_open_bar():
    builder = BarBuilder((1, 60))
    bars = play(
        builder,
        trades((0, 1, 1), (1, 1, 1)),
        other(Kind.TRADE_CANCEL, 1.5, instrument_id=1),
        other(Kind.TRADE_CORRECTION, 1.6, instrument_id=9),
        trades((2, 1, 1), (60, 1, 1)),
    )
    assert (bars["flags"] & BarFlag.VOIDED).tolist() == [0, 32, 0, 32]
    assert builder.voided_trades == 2


def test_started_in_the_middle_of_a_bar():
    builder = BarBuilder((1, 60))
    bars = play(builder, trades((30.5, 1, 1), (31, 1, 1), (32, 1, 1), (60, 1, 1), (120, 1, 1)))
    partial = {(b["interval_s"], (b["ts_open"] - BASE) // S): int(b["flags"]) for b in bars}
    assert partial[1, 30] == BarFlag.PARTIAL
    assert partial[60, 0] == BarFlag.PARTIAL
    assert partial[1, 31] == partial[60, 60] == 0


@pytest.mark.parametrize(
    "old", [other(Kind.DEFINITION, -500), other(Kind.CLEAR, -500, flags=Flag.SNAPSHOT)]
)
def test_old_news_at_the_start_is_no_proof_that_the_market_was_heard(old):
    builder = BarBuilder((60,))
    bars = play(builder, old, trades((30, 1, 1), (60, 1, 1)))
    assert bars["flags"].tolist() == [BarFlag.PARTIAL]


def test_flat_bars_stop_at_their_limit_and_begin_again():
    builder = BarBuilder((1,), flat=True, flat_limit=3, out_size=8)
    bars = play(
        builder,
        trades((0, 5, 1), (0.5, 7, 2)),
        other(Kind.HEARTBEAT, 10_000_000),
        trades((10_000_001, 9, 1)),
    )
    assert (bars["ts_open"] - BASE).tolist() == [0, S, 2 * S, 3 * S]
    assert bars["flags"].tolist() == [0] + [BarFlag.FLAT] * 3
    assert bars["close"].tolist() == [7] * 4
    assert bars["vwap"].tolist()[1:] == [PRICE_UNDEF] * 3
    assert bars["ts_first"].tolist()[1:] == [TIME_UNDEF] * 3
    more = builder.update(other(Kind.HEARTBEAT, 10_000_003))
    assert (more["ts_open"] - BASE).tolist() == [10_000_001 * S, 10_000_002 * S]


def test_late_trade_in_a_flat_bar():
    builder = BarBuilder((1,), flat=True)
    builder.update(trades((0, 5, 1)))
    assert builder.update(other(Kind.HEARTBEAT, 2))["flags"].tolist() == [0, BarFlag.FLAT]
    bar = builder.update(trades((1.5, 3, 4), first_seq=9))[0]
    assert (bar["flags"], bar["revision"], bar["open"], bar["high"]) == (BarFlag.LATE, 1, 3, 3)
    assert (bar["volume"], bar["first_seq"]) == (4, 9)


def test_no_flat_bars_before_the_first_trade():
    builder = BarBuilder((1,), flat=True)
    assert len(play(builder, other(Kind.HEARTBEAT, 0), other(Kind.HEARTBEAT, 50))) == 0


def test_day_is_a_utc_day():
    builder = BarBuilder((86_400,))
    bars = builder.update(trades((0, 1, 1), (86_400, 1, 1)))
    assert bars["ts_open"].tolist() == [BASE // (86_400 * S) * 86_400 * S]


@pytest.mark.parametrize("ts", [TIME_UNDEF, -1, 2**62, 2**63 - 1])
def test_wild_time_neither_counts_nor_moves_the_clock(ts):
    builder = BarBuilder((1,))
    wild = trades((0, 99, 1))
    wild["ts_event"] = ts
    bars = play(builder, wild, trades((0, 1, 1)), wild, trades((0.5, 2, 1), (1, 1, 1)), wild)
    assert bars["high"].tolist() == [2]
    assert (builder.bad_time_trades, builder.late_trades) == (3, 0)


def test_venue_clock_runs_an_hour_ahead_of_the_host():
    builder = BarBuilder((1,))
    good = trades((0, 1, 1), (0.5, 1, 1), (1, 1, 1))
    good["ts_recv"] = good["ts_event"]
    ahead = trades((3600, 1, 1))
    ahead["ts_recv"] = BASE
    assert len(play(builder, good[:1], ahead, good[1:])) == 1
    assert (builder.bad_time_trades, builder.late_trades) == (1, 0)


def test_trade_of_a_snapshot_and_trade_without_price_are_left_out():
    builder = BarBuilder((1,))
    old, none = trades((0.2, 9, 9)), trades((0.3, PRICE_UNDEF, 9))
    old["flags"] = Flag.SNAPSHOT
    builder.update(np.concatenate([trades((0, 1, 1)), old, none, trades((0.4, 1, 1))]))
    assert builder.flush()[0]["count"] == 2
    assert (builder.snapshot_trades, builder.priceless_trades) == (1, 1)


def test_id_that_does_not_fit_the_table_is_counted():
    builder = BarBuilder((1,), instruments_limit=100)
    ids = [0, 99, 100, 0xFFFFFF, 0xFFFFFFFF, 1 << 24 | 99, 99]
    for seq, instrument_id in enumerate(ids, 1):
        builder.update(trades((0, 1, 1), instrument_id=instrument_id, first_seq=seq))
    bars = builder.flush()
    assert (bars["instrument_id"].tolist(), bars["count"].tolist()) == ([99], [2])
    assert builder.foreign_ticks == 5


def test_table_grows_while_bars_are_open():
    builder = BarBuilder((1, 60), instruments_limit=5_000, out_size=8)
    for instrument_id in (1, 4_999, 300, 2):
        builder.update(trades((0, 1, 1), instrument_id=instrument_id))
        builder.update(trades((0.5, 1, 1), instrument_id=1))
    bars = builder.flush()
    assert bars["instrument_id"].tolist() == [1, 2, 300, 4_999] * 2
    assert bars["count"].tolist() == [5, 1, 1, 1] * 2


def test_flush_of_a_finished_session_is_not_partial():
    builder = BarBuilder((60,))
    builder.update(trades((0, 1, 1), (30, 1, 1)))
    assert builder.flush(partial=False)["flags"].tolist() == [0]
    revised = builder.update(trades((31, 1, 1)))
    assert (revised["revision"].tolist(), revised["count"].tolist()) == ([1], [3])
    assert len(builder.flush()) == 0


def test_watermark_is_told_from_outside():
    builder = BarBuilder((60,))
    assert builder.watermark_ns is None
    builder.update(trades((0, 1, 1)))
    assert len(builder.advance(BASE + 59 * S)) == 0
    assert len(builder.advance(BASE + 60 * S)) == 1
    assert builder.watermark_ns == BASE + 60 * S
    assert len(builder.advance(BASE)) == 0
    assert builder.watermark_ns == BASE + 60 * S


def test_reset_forgets_times_and_seeds_but_not_counts():
    builder = BarBuilder((1,))
    first = builder.update(trades((0, 1, 1), (1, 1, 1), (-5, 1, 1)))
    builder.reset()
    assert builder.late_trades == 1
    assert builder.position == 0
    assert (
        builder.update(trades((0, 1, 1), (1, 1, 1)))["ts_open"].tolist()
        == first["ts_open"].tolist()
    )


def test_views_of_a_tick_are_the_same_ticks():
    ticks = trades((0, 1, 1), (1, 1, 1))
    assert len(BarBuilder((1,)).update(ticks.view(TICK))) == 1


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.zeros(4, BAR), TypeError),
        (np.zeros(64, np.uint8), TypeError),
        ([1, 2], TypeError),
        (np.zeros((2, 2), TICK), ValueError),
        (np.zeros(8, TICK)[::2], ValueError),
    ],
)
def test_array_that_is_no_ticks_is_refused(bad, error):
    with pytest.raises(error):
        BarBuilder((1,)).update(bad)


@pytest.mark.parametrize(
    ("intervals", "options"),
    [
        ((), {}),
        ((0,), {}),
        ((-1,), {}),
        ((604_801,), {}),
        ((60, 1), {}),
        ((1, 1), {}),
        (tuple(range(1, 10)), {}),
        ((1,), {"lateness_ns": -1}),
        ((1,), {"lateness_ns": 15 * S + 1}),
        ((1,), {"out_size": 7}),
        ((1,), {"instruments_limit": 1}),
        ((1,), {"instruments_limit": 1 << 24}),
        ((1,), {"flat": True, "flat_limit": 0}),
    ],
)
def test_setting_beyond_its_limit_is_refused(intervals, options):
    with pytest.raises(ValueError, match="must"):
        BarBuilder(intervals, **options)
