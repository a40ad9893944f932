"""What a running feed does while nothing comes, and while there is no session."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from mdfeedd.feeds.databento.feed import DatabentoFeed
from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.feeds.shard import Shard
from mdfeedd.sim.databento import KEY, Fault, Gateway, GatewayCore, Market, Script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE_S = 30.0


@pytest.fixture
def run(shm_dir: str, tmp_path: Path) -> Iterator[Any]:
    """Begin a feed with these options."""
    stop = threading.Event()
    threads = []

    def begin(
        port: int, *subscriptions: Subscription, shard: Shard | None = None, **options: Any
    ) -> DatabentoFeed:
        key = tmp_path / "key"
        key.write_text(KEY)
        values = {"gateway": f"127.0.0.1:{port}", "key_file": str(key)} | options
        made = DatabentoOptions("GLBX.MDP3", subscriptions, **values)
        feed = DatabentoFeed("db", made, RingPlan("db", 1024, 1, 64, shm_dir, shard))
        threads.append(threading.Thread(target=feed.run, args=(stop,)))
        threads[-1].start()
        return feed

    yield begin
    stop.set()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def until(condition: Any) -> Any:
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("not in time")


def core(*faults: Fault) -> GatewayCore:
    market = Market(1, schemas=("trades",), rate=200.0, start_ns=time.time_ns())
    return GatewayCore(market, Script(faults), keys=(KEY,))


def test_what_is_told_while_there_is_no_session_is_in_the_first(run: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        feed = run(port, Subscription("trades", ("ESZ6",)))
        told = (Subscription("trades", ("ESZ6", "NQZ6")),)
        feed.reconfigure(DatabentoOptions("GLBX.MDP3", told, gateway=f"127.0.0.1:{port}"))
    with Gateway(core(), port=port) as gateway:
        sessions = gateway.core.sessions
        requests = until(lambda: sessions and sessions[0].requests)
        assert [one.symbols for one in requests] == [("ESZ6", "NQZ6")]
        assert len(sessions) == 1


def test_a_shard_without_a_symbol_waits_for_some_and_says_so_once(run: Any, caplog: Any) -> None:
    names = ("ESZ6", "NQZ6", "ZNH7", "CLF7")
    shard = next(s for s in (Shard(1, 2), Shard(2, 2)) if s.has("ESZ6"))
    others = tuple(name for name in names if not shard.has(name))
    assert 0 < len(others) < len(names)
    with Gateway(core()) as gateway:
        feed = run(gateway.port, Subscription("trades", others), shard=shard)
        until(lambda: "is in the shard" in caplog.text)
        time.sleep(0.3)
        assert not gateway.core.sessions
        assert caplog.text.count("none of its symbols is in the shard") == 1
        told = (Subscription("trades", names),)
        feed.reconfigure(DatabentoOptions("GLBX.MDP3", told, gateway=f"127.0.0.1:{gateway.port}"))
        sessions = gateway.core.sessions
        (request,) = until(lambda: sessions and sessions[0].requests)
        assert request.symbols == tuple(filter(shard.has, names))
        more = (*told, Subscription("trades", ("ES.FUT",), "parent"))
        feed.reconfigure(DatabentoOptions("GLBX.MDP3", more, gateway=f"127.0.0.1:{gateway.port}"))
        requests = until(lambda: len(sessions) > 1 and len(sessions[1].requests) > 1 and sessions[1].requests)  # fmt: skip
        assert [one.symbols for one in requests] == [names, ("ES.FUT",)]


def test_a_recording_is_on_disk_though_nothing_more_comes(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    with Gateway(core(Fault("silence", after_records=40))) as gateway:
        run(gateway.port, Subscription("trades", ("ALL_SYMBOLS",)), record=str(folder))
        until(lambda: gateway.core.sessions and gateway.core.sessions[0].faults)
        last = gateway.core.sessions[0].sent[-1].raw
        until(lambda: inflated(folder).endswith(last))
        assert not gateway.core.sessions[0].ended


def inflated(folder: Path) -> bytes:
    (part,) = folder.glob("*.part")
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(part.read_bytes()))
    out = b""
    with contextlib.suppress(zstandard.ZstdError):
        while piece := reader.read(1 << 16):
            out += piece
    return out
