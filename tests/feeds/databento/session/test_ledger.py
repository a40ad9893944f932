"""The ledger itself: whatever is falsified in the rings, it must say so."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd.sim.databento.core import GatewayCore
from mdfeedd.sim.databento.market import Market
from mdfeedd.sim.databento.script import Fault, Script
from mdfeedd.tick import GAP, Flag, Kind


@pytest.fixture
def told(rig, ledger):
    """A feed with a hole that is not filled, and one that is; and its ledger."""

    def run(recovery):
        market = Market(5, schemas=("mbp-1", "status"), rate=40.0)
        core = GatewayCore(market, Script((Fault("rst", after_records=200),)))
        one = rig(core, rig.options("mbp-1", "status", recovery=recovery))
        one.run(15)
        ledger(one).check()
        one.rows = [one.ticks()]
        return one

    return run


def at(one, *kinds, k=0):
    return int(np.flatnonzero(np.isin(one.rows[0]["kind"], kinds))[k])


def drop(one):
    one.rows[0] = np.delete(one.rows[0], at(one, Kind.QUOTE, k=150))


def twice(one):
    place = at(one, Kind.QUOTE, k=150)
    one.rows[0] = np.insert(one.rows[0], place, one.rows[0][place])


def swap(one):
    a, b = at(one, Kind.QUOTE, k=150), at(one, Kind.TRADE, k=20)
    one.rows[0][[a, b]] = one.rows[0][[b, a]]


def invent(one):
    place = at(one, Kind.QUOTE, k=150)
    one.rows[0]["venue_seq"][place] += 1


def flag(one):
    one.rows[0]["flags"][at(one, Kind.QUOTE, k=150)] ^= Flag.REPLAYED


def no_gap(one):
    one.rows[0] = np.delete(one.rows[0], at(one, Kind.GAP))


def late_gap(one):
    place = at(one, Kind.GAP)
    gap, one.rows[0] = one.rows[0][place], np.delete(one.rows[0], place)
    one.rows[0] = np.insert(one.rows[0], place + 12, gap)


def short_gap(one):
    rows = one.rows[0].view(GAP)
    rows["last_missing"][at(one, Kind.GAP)] = rows["first_missing"][at(one, Kind.GAP)]


def more_gap(one):
    place = at(one, Kind.GAP)
    one.rows[0] = np.insert(one.rows[0], place, one.rows[0][place])


def recovered(one):
    gap = one.rows[0][at(one, Kind.GAP)].copy()
    gap["kind"] = Kind.RECOVERED
    one.rows[0] = np.append(one.rows[0], gap)


def not_recovered(one):
    one.rows[0] = np.delete(one.rows[0], at(one, Kind.RECOVERED))


COMMON = [drop, twice, swap, invent, no_gap, late_gap, more_gap]


@pytest.mark.parametrize(
    ("recovery", "falsify"),
    [("natural", f) for f in [*COMMON, short_gap, recovered]]
    + [("replay", f) for f in [*COMMON, flag, not_recovered]],
)
def test_falsified_ring_is_noticed(told, ledger, recovery, falsify):
    one = told(recovery)
    falsify(one)
    with pytest.raises(AssertionError):
        ledger(one).check()


@pytest.mark.parametrize(
    "name", ["gaps", "sessions", "published_quotes", "known_records", "replayed_records"]
)
def test_falsified_counter_is_noticed(told, ledger, name):
    one = told("replay")
    one.writer.counters.add(name)
    with pytest.raises(AssertionError):
        ledger(one).check()
