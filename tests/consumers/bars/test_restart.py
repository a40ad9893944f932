"""A bar builder that was killed or stopped, and the one that goes on from its position."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mdfeedd.consumers.bars import BarBuilder
from mdfeedd.tick import TRADE, BarFlag, Kind

S = 1_000_000_000
BASE = 1_700_000_040 * S  # a multiple of a minute


def random_market(n, *, instruments=40, hours=3, seed=7):
    rng = np.random.default_rng(seed)
    ticks = np.zeros(n, TRADE)
    ticks["seq"] = np.arange(1, n + 1)
    ticks["kind"] = Kind.TRADE
    ticks["ts_event"] = BASE + np.sort(rng.integers(0, hours * 3600 * S, n))
    ticks["instrument_id"] = rng.integers(1, instruments + 1, n)
    ticks["price"] = rng.integers(4_000 * S, 5_000 * S, n)
    ticks["size"] = rng.integers(1, 2_000_000, n)
    return ticks


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


def restarted_at(builder, ticks, seq, published, **options):
    """What a new builder makes of the ticks from `builder.position`, knowing what was published."""
    position = builder.position
    again = BarBuilder(builder.intervals_s, **options)
    again.seed(published)
    bars = again.update(ticks[ticks["seq"] >= position])
    assert position <= seq + 1
    return again, bars


@settings(deadline=None, max_examples=100)
@given(
    killed_after=st.integers(1, 400),
    lateness=st.sampled_from([0, S // 2, 3 * S]),
    seed=st.integers(0, 1000),
)
def test_killed_and_restarted_at_its_position_gives_each_bar_once(killed_after, lateness, seed):
    ticks = random_market(400, instruments=3, hours=1, seed=seed)
    ticks["ts_event"] = BASE + (ticks["ts_event"] - BASE) // 60
    whole = BarBuilder((1, 5, 20), lateness_ns=lateness)
    want = np.concatenate([whole.update(ticks), whole.flush()])
    first = BarBuilder((1, 5, 20), lateness_ns=lateness)
    before = first.update(ticks[:killed_after])
    again, after = restarted_at(first, ticks, killed_after, before, lateness_ns=lateness)
    got = np.concatenate([before, after, again.flush()])
    assert got.tolist() == want.tolist()


def test_bar_cut_by_shutdown_comes_again_whole_with_a_higher_revision():
    ticks = trades((-1, 1, 1), (0, 1, 1), (1, 2, 1), (2, 3, 1), (60, 4, 1), (61, 4, 1))
    first = BarBuilder((60,))
    before = first.update(ticks[:3])
    position = first.position
    published = np.concatenate([before, first.flush()])
    assert first.position == position
    assert published["flags"].tolist() == [BarFlag.PARTIAL, BarFlag.PARTIAL]
    _, bars = restarted_at(first, ticks, 3, published)
    assert bars["ts_open"].tolist() == [BASE]
    assert (bars["revision"][0], bars["flags"][0], bars["count"][0]) == (1, 0, 3)
