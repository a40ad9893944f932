"""Records, instruments tables, and a fan-out consumer over a ring of the test's own."""

from __future__ import annotations

import os
import random
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mdfeedd.ring import Instrument
from mdfeedd.tick import BAR, QUOTE, TICK, TRADE, Kind

DEADLINE_S = 60.0
SECOND = 10**9


@pytest.fixture
def rng():
    """A generator whose seed is printed when the test fails and taken from MDFEEDD_SEED."""
    seed = int(os.environ.get("MDFEEDD_SEED", random.randrange(2**32)))
    print(f"MDFEEDD_SEED={seed}")
    return np.random.default_rng(seed)


class Instruments:
    """An instruments table as a reader sees it."""

    feed = "cme"

    def __init__(self, names):
        self.entries = {
            i: Instrument(i, i, 1, 1, 0, 0, 0, "USD", "XCME", "cme", name, name)
            for i, name in names.items()
        }

    def get(self, instrument_id):
        return self.entries.get(instrument_id)

    def symbol(self, instrument_id):
        found = self.get(instrument_id)
        if found is not None:
            return found.symbol
        return f"#{instrument_id}" if instrument_id else ""


def quotes(seqs, ids, bid=5000):
    """Quotes with these sequence numbers and instruments."""
    out = np.zeros(len(seqs), QUOTE)
    out["seq"], out["instrument_id"] = seqs, ids
    out["kind"] = Kind.QUOTE
    out["bid_price"] = bid * SECOND
    return out.view(TICK)


def trades(seqs, ids):
    """Trades."""
    out = np.zeros(len(seqs), TRADE)
    out["seq"], out["instrument_id"], out["trade_id"] = seqs, ids, seqs
    out["kind"], out["size"], out["price"] = Kind.TRADE, 3, SECOND
    return out.view(TICK)


def others(seqs, ids, kind):
    """Ticks of another kind."""
    out = np.zeros(len(seqs), TICK)
    out["seq"], out["instrument_id"], out["kind"] = seqs, ids, kind
    return out


def bars(seqs, ids, interval_s=60):
    """Bars."""
    out = np.zeros(len(seqs), BAR)
    out["seq"], out["instrument_id"], out["interval_s"] = seqs, ids, interval_s
    return out


def wait_for(condition):
    """Wait until `condition()` is true, with a deadline that only a fault reaches; returns it."""
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return found


@pytest.fixture
def given():
    """What tests use."""
    return SimpleNamespace(
        Instruments=Instruments,
        quotes=quotes,
        trades=trades,
        others=others,
        bars=bars,
        wait_for=wait_for,
    )


@pytest.fixture
def fan_out(shm_dir):
    """Start a fan-out consumer of rings; returns it when it listens."""
    pytest.importorskip("websockets")
    from mdfeedd.consumers.fanout import FanoutConsumer, FanoutOptions

    running = []

    def start(*rings, **options):
        given = {"port": 0, "batch_size": 200} | options
        consumer = FanoutConsumer("fan", FanoutOptions(**given), rings, shm_dir)
        stop = threading.Event()
        consumer.failure = None

        def run():
            try:
                consumer.run(stop)
            except BaseException as error:  # noqa: BLE001 - shown by the test
                consumer.failure = error

        thread = threading.Thread(target=run)
        thread.start()
        consumer.stop = stop
        consumer.thread = thread
        running.append(consumer)
        wait_for(lambda: consumer.port or consumer.failure)
        assert consumer.failure is None, consumer.failure
        consumer.url = f"ws://127.0.0.1:{consumer.port}/"
        return consumer

    yield start
    for consumer in running:
        consumer.stop.set()
    for consumer in running:
        consumer.thread.join(DEADLINE_S)
        assert not consumer.thread.is_alive()
        assert consumer.failure is None
