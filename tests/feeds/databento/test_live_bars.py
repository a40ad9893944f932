"""Databento's bars, live: they come at the end of an interval, with nothing behind them for a while."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import databento_dbn as db
import pytest

from mdfeedd.feeds.databento.codec import DbnDecoder, Symbology
from mdfeedd.feeds.databento.feed import DatabentoFeed
from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.databento.session._pump import Pump
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring import Reader, Writer
from mdfeedd.sim.databento import KEY, Gateway, GatewayCore, Market
from mdfeedd.tick import BAR, TICK

if TYPE_CHECKING:
    from pathlib import Path

SECOND_NS = 1_000_000_000
RUN_NS = 20_000_000
METADATA = db.Metadata(
    dataset="GLBX.MDP3", start=0, stype_in=None, stype_out=db.SType.INSTRUMENT_ID, schema=None,
    symbols=[], version=3,
).encode()  # fmt: skip


def bar(second: int) -> bytes:
    start_ns, price = second * SECOND_NS, 5_000 * SECOND_NS
    return bytes(db.OHLCVMsg(db.RType.OHLCV_1S, 1, 7, start_ns, price, price, price, price, 1))


def test_a_bar_does_not_wait_for_what_comes_behind_it(shm_dir: str) -> None:
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        Writer("t", 256, TICK, directory=shm_dir) as ticks,
        Writer("t.bars", 256, BAR, directory=shm_dir) as bars,
    ):
        ours.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(8) + (5000).to_bytes(8, "little")
        )
        pump = Pump(DbnDecoder(Symbology(ticks.instruments)), ticks, lambda: bars)
        theirs.sendall(METADATA)
        pump.run(ours.fileno(), RUN_NS)
        for number in range(1, 4):
            theirs.sendall(bar(number))
            pump.run(ours.fileno(), RUN_NS)
            assert bars.next_seq - 1 == number


@pytest.fixture
def market() -> Market:
    now_ns = time.time_ns()
    return Market(1, schemas=("ohlcv-1s", "definition"), rate=50.0, start_ns=now_ns - 5 * SECOND_NS)


def test_the_bars_have_the_names_of_their_instruments(
    shm_dir: str, tmp_path: Path, market: Market
) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    asked = tuple(
        Subscription(one, ("ALL_SYMBOLS",), start="0") for one in ("ohlcv-1s", "definition")
    )
    stop = threading.Event()
    with Gateway(GatewayCore(market, None, keys=(KEY,))) as gateway:
        options = DatabentoOptions(
            "GLBX.MDP3", asked, gateway=f"127.0.0.1:{gateway.port}", key_file=str(key)
        )
        feed = DatabentoFeed("db", options, RingPlan("db", 1024, 1, 64, shm_dir))
        thread = threading.Thread(target=feed.run, args=(stop,))
        thread.start()
        try:
            with (
                Reader("db.bars", "oldest", wait=20.0, directory=shm_dir) as bars,
                Reader("db", "oldest", wait=20.0, directory=shm_dir) as ticks,
            ):
                batch = bars.read(64, timeout=20.0)
                assert len(batch)
                for number in batch.records["instrument_id"].tolist():
                    assert bars.instruments[number].symbol == ticks.instruments[number].symbol
                    assert not bars.instruments[number].symbol.startswith("#")
        finally:
            stop.set()
            thread.join(30)
    assert not thread.is_alive()
