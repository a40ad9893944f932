"""For the tests of what a strategy reads with: ticks by the dozen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mdfeedd.tick import GAP, PRICE_UNDEF, QUOTE, STATUS, TICK, TRADE, Kind, Side, to_fixed


def _record(dtype, kind, instrument, *, ts=0, recv=None, flags=0, seq=0, **fields):
    record = np.zeros(1, dtype)
    record["kind"], record["instrument_id"], record["flags"] = kind, instrument, flags
    record["ts_event"], record["ts_recv"], record["seq"] = ts, ts if recv is None else recv, seq
    for name, value in fields.items():
        record[name] = value
    return record.view(TICK)


def _price(value):
    return PRICE_UNDEF if value is None else to_fixed(value)


def quote(instrument, bid, ask, bid_size=1, ask_size=1, **common):
    return _record(
        QUOTE, Kind.QUOTE, instrument, bid_price=_price(bid), ask_price=_price(ask),
        bid_size=bid_size, ask_size=ask_size, **common,
    )  # fmt: skip


def trade(instrument, price, size=1, trade_id=0, kind=Kind.TRADE, side=Side.BUY, **common):
    return _record(
        TRADE, kind, instrument, price=_price(price), size=size, trade_id=trade_id, side=side,
        **common,
    )  # fmt: skip


def gap(instrument=0, line=0, kind=Kind.GAP, **common):
    return _record(GAP, kind, instrument, line=line, reason=1, **common)


def clear(instrument=0, **common):
    return _record(TICK, Kind.CLEAR, instrument, **common)


def status(instrument, is_trading, **common):
    return _record(STATUS, Kind.STATUS, instrument, is_trading=is_trading, **common)


def at_times(times, instrument=1, recv=None):
    """A quote at each venue time, received then unless told otherwise."""
    out = np.zeros(len(times), TICK)
    out["kind"], out["instrument_id"] = Kind.QUOTE, instrument
    out["ts_event"], out["ts_recv"] = times, times if recv is None else recv
    out["seq"] = np.arange(1, len(times) + 1)
    return out


@pytest.fixture
def make():
    """Records of one tick each, and many at given times."""
    return SimpleNamespace(
        quote=quote, trade=trade, gap=gap, clear=clear, status=status, at_times=at_times
    )
