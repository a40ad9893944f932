"""The whole feed against the simulated gateway over real sockets, and what its ring must hold in the end."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
import types
from typing import Any

import databento_dbn as db
import numpy as np
import pytest

from mdfeedd.feeds.databento.feed import DatabentoFeed
from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.databento.session import backoff, live
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.ring import Reader, RingError
from mdfeedd.sim.databento import KEY, Gateway, GatewayCore, Habits, Market
from mdfeedd.tick import GAP, TICK, Kind

DEADLINE_S = 30.0
SECOND = 1_000_000_000
CAPACITY = 1 << 16
TOLD_BY_US = (Kind.GAP, Kind.RECOVERED, Kind.DEFINITION)
PR_SET_DUMPABLE = 4


def until(condition: Any, what: str, limit_s: float = DEADLINE_S) -> Any:
    """The first true answer of `condition`."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if found := condition():
            return found
        time.sleep(0.002)
    raise AssertionError(f"not within {limit_s:g} s: {what}")


class Life:
    """A gateway and a feed in threads of this process. `options` are added to what they need of each other."""

    def __init__(
        self,
        directory: str,
        key_file: str,
        schemas: Any = ("mbp-1",),
        *,
        name: str = "db",
        script: Any = None,
        market: Any = None,
        habits: Any = None,
        recovery: str = "natural",
        subscriptions: Any = None,
        keys: Any = (KEY,),
        **options: Any,
    ) -> None:
        self.market = market or Market(1, schemas=schemas, rate=200.0, start_ns=time.time_ns())
        core = GatewayCore(self.market, script, keys=keys, habits=habits or Habits(heartbeat_s=0.3))
        self.core = core
        self.gateway = Gateway(core)
        self.gateway.start()
        made = subscriptions or tuple(
            Subscription(one, ("ALL_SYMBOLS",), recovery="auto" if one == "mbo" else recovery)
            for one in schemas
        )
        given = {"heartbeat_s": 5, "replay_reach_s": 5.0, "key_file": key_file, **options}
        self.options = DatabentoOptions(
            "GLBX.MDP3", made, gateway=f"127.0.0.1:{self.gateway.port}", **given
        )
        self.plan = RingPlan(name, CAPACITY, 1, 1024, directory)
        self.stop_event = threading.Event()
        self.error: BaseException | None = None
        self.feed = DatabentoFeed(name, self.options, self.plan)
        self._thread = threading.Thread(target=self._run, name="feed")
        self.seen = self.delivered = 0
        self._reader: Reader | None = None
        self._rows: list[Any] = []

    def start(self) -> Life:
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self.feed.run(self.stop_event)
        except BaseException as error:  # noqa: BLE001 - told by `end`
            self.error = error

    until = staticmethod(until)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    @property
    def sent(self) -> int:
        return sum(len(session.sent) for session in self.core.sessions)

    def reader(self) -> Reader:
        if self._reader is None:
            self._reader = until(self._attach, "a ring")
        return self._reader

    def _attach(self) -> Reader | None:
        try:
            return Reader(self.plan.name, start="oldest", directory=self.plan.directory)
        except RingError:
            return None

    def ticks(self) -> Any:
        """All that the ring has had so far."""
        reader = self.reader()
        while len(batch := reader.read(CAPACITY, timeout=0)):
            assert not batch.lost
            self._rows.append(batch.records.copy())
        return np.concatenate(self._rows) if self._rows else np.zeros(0, TICK)

    def count(self, *kinds: Kind) -> int:
        """Ticks of these kinds; of all that were made of records if none is given."""
        rows = self.ticks()
        if kinds:
            return int(np.isin(rows["kind"], kinds).sum())
        return int((~np.isin(rows["kind"], TOLD_BY_US)).sum())

    def holes(self, kind: Kind = Kind.GAP) -> list[tuple[int, int, int, int]]:
        """(line, reason, first, last) of each GAP, or RECOVERED."""
        rows = self.ticks()
        rows = rows[rows["kind"] == kind].view(GAP)
        return [
            (int(r["line"]), int(r["reason"]), int(r["first_missing"]), int(r["last_missing"]))
            for r in rows
        ]

    def stop(self) -> None:
        """The feed first."""
        self.stop_event.set()
        if self._thread.ident is not None:
            self._thread.join(DEADLINE_S)
        self.gateway.stop()

    def end(self, status: int | None = None) -> None:
        """Stop, and raise what the feed raised; only an exit with that status is right if one is given."""
        self.stop()
        assert not self._thread.is_alive(), "the feed does not stop"
        if status is not None:
            assert isinstance(self.error, SystemExit)
            assert self.error.code == status
        elif self.error is not None:
            raise self.error

    def close(self) -> None:
        self.stop()
        if self._reader is not None:
            self._reader.close()


class Truth:
    """Holds a ring to the market: each record once, in its place, or within a hole that was told."""

    def __init__(self, tools: Any, one: Life) -> None:
        self.tools = tools
        self.life = one
        rows = one.ticks()
        self.holes = [(line, first, last) for line, _, first, last in one.holes()]
        closed = [(line, first, last) for line, _, first, last in one.holes(Kind.RECOVERED)]
        self.open = [
            (line, first, last)
            for line, first, last in self.holes
            if not any(line == n and a <= first and last <= b for n, a, b in closed)
        ]
        #: A gateway that leaves out of a replay what nobody knows of is not found out.
        self.omitted = {o.raw for session in one.core.sessions for o in session.omitted}
        self.rows = self._told(rows[~np.isin(rows["kind"], TOLD_BY_US)])

    def _told(self, rows: Any) -> list[Any]:
        rows = rows.copy()
        rows["seq"] = 0

        table = types.SimpleNamespace(
            of={
                i.instrument_id: ("", i.vendor_id, i.publisher_id)
                for i in self.life.reader().instruments
            }
        )

        return [comparable(tick) for tick in self.tools.told(rows, table)]

    def _expected(self, schema: str) -> list[tuple[Any, Any]]:
        """What the oracle makes of the market's records: (record, tick)."""
        oracle = self.tools.Oracle(3)
        oracle.schema = schema
        decoder = db.DBNDecoder(
            has_metadata=False,
            input_version=3,
            upgrade_policy=db.VersionUpgradePolicy.UPGRADE_TO_V3,
        )
        timeline = self.life.market.timeline(schema)
        out = []
        for position in range(timeline.first, len(timeline)):
            record = timeline[position]
            before = len(oracle.ticks)
            for decoded in decoder.write_and_decode(record.raw):
                oracle.record(decoded)
            out += [(record, comparable(tick)) for tick in oracle.ticks[before:]]
        return out

    def check(self) -> None:
        """Every schema by itself; the order between schemas is the gateway's."""
        schemas = [one.schema for one in self.life.options.subscriptions]
        left = self.rows
        for line, schema in enumerate(schemas, 1):
            expected = self._expected(schema)
            mine = {tick for _, tick in expected}
            rows = [row for row in left if row in mine]
            left = [row for row in left if row not in mine]
            self._check(line, schema, rows, expected)
        assert not left, f"the ring has what no record makes: {left[:3]}"

    def _check(self, line: int, schema: str, rows: list[Any], expected: Any) -> None:
        holes = [(a, b) for n, a, b in self.open if n in (0, line)]
        at = next((i for i, (_, tick) in enumerate(expected) if rows and tick == rows[0]), 0)
        for number, row in enumerate(rows):
            begin = at
            while at < len(expected) and expected[at][1] != row:
                at += 1
            assert at < len(expected), f"{schema}: tick {number} is told twice, or out of order"
            for lost, tick in expected[begin:at]:
                told = lost.raw in self.omitted or any(a <= lost.index_ns <= b for a, b in holes)
                assert told, f"{schema}: lost without a GAP, before tick {number}: {tick}"
            at += 1


def comparable(tick: dict[str, Any]) -> Any:
    """A tick without what depends on when and where it was received."""
    rest = {k: v for k, v in tick.items() if k not in ("symbol", "ts_recv", "flags")}
    return (*sorted(rest.items()), tick["flags"] & ~512)


@pytest.fixture
def truth(tools):
    return lambda one: Truth(tools, one)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "databento.key"
    path.write_text(KEY + "\n")
    return str(path)


@pytest.fixture
def fast(monkeypatch):
    """Pauses and patience of a fraction of what they are; gateways beat every 0.3 s."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.05)
    monkeypatch.setattr(backoff, "MOST_S", 0.2)
    monkeypatch.setattr(live, "SILENCE_GRACE_S", -4)
    monkeypatch.setattr(live, "HANDSHAKE_S", 1)
    monkeypatch.setattr(live, "METADATA_S", 1)


@pytest.fixture
def dumpable():
    """A feed makes its process one that leaves no core file; this one is the tests'."""
    yield
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, ctypes.c_ulong(1), 0, 0, 0)


@pytest.fixture
def life(shm_dir, key_file, dumpable):
    """Make a `Life`; it is ended after the test."""
    made: list[Life] = []

    def build(schemas: Any = ("mbp-1",), **more: Any) -> Life:
        name = more.pop("name", f"db{len(made)}")
        made.append(Life(shm_dir, more.pop("key_file", key_file), schemas, name=name, **more))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def feed_log(caplog):
    caplog.set_level(logging.DEBUG, "mdfeedd")
    return caplog
