"""Sessions in one process and on virtual time: our sans-IO session against the simulator's sans-IO gateway."""

from __future__ import annotations

import importlib.util
import logging
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.databento.resume import open_positions
from mdfeedd.feeds.databento.session.backoff import Backoff
from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd
from mdfeedd.feeds.databento.session.key import Key
from mdfeedd.feeds.databento.session.live import LiveSession, Now, Stage
from mdfeedd.feeds.databento.session.recovery import Recovery
from mdfeedd.feeds.protocol import BARS_SUFFIX, RingPlan
from mdfeedd.ring import Reader, Writer
from mdfeedd.sim.databento.core import KEY, GatewayCore
from mdfeedd.sim.databento.stream import Close, HalfClose, Reset, Send, Stall
from mdfeedd.tick import BAR, GAP, TICK, GapReason, Kind

if TYPE_CHECKING:
    from mdfeedd.feeds.shard import Shard

SECOND = 1_000_000_000
CAPACITY = 1 << 16
MAX_ROUNDS = 1_000_000
logger = logging.getLogger("test.databento")


class Killed(Exception):
    """The process is gone, as by kill -9."""


class Begun(NamedTuple):
    """A session that began to deliver: its number, when it was asked for and when it began, its GAPs' reason."""

    number: int
    asked_ns: int
    at_ns: int
    reason: GapReason


def has_opened(account: Any, number: int, subscription: Subscription) -> bool:
    """The client can know that a subscription has begun: by an acknowledgement, a record or the end of its replay."""
    schema = subscription.schema
    words = (
        f"Subscription request {number} for {schema} data succeeded",
        f"Finished {schema} replay",
    )
    told = any(c.kind == "system" and c.text in words for c in account.readable_controls)
    return told or any(sent.schema == schema for sent in account.readable)


class Rig:
    """A feed without sockets: sessions, pauses and restarts on the gateway's time.

    `ends` are the endings so far, `status` the exit status once there is one. `opened`: when subscriptions have
    begun as far as the client can know, by session and number of the subscription.
    """

    def __init__(
        self,
        core: GatewayCore,
        options: DatabentoOptions,
        directory: Any,
        seed: int = 1,
        shard: Shard | None = None,
    ) -> None:
        self.core = core
        self.options = options
        self.plan = RingPlan("r", CAPACITY, 1, 1024, str(directory), shard)
        self.now_ns = core.market.start_ns
        self.ends: list[SessionEnd] = []
        self.status = 0
        self.rng = random.Random(seed)
        self.live: LiveSession | None = None
        self.due_ns = self.now_ns
        self.writer: Writer | None = None
        self.bars: Writer | None = None
        self.start()
        self.reader = Reader("r", start="oldest", directory=str(directory))
        self.bar_reader: Reader | None = None
        self.rows: list[np.ndarray] = []
        self.bar_rows: list[np.ndarray] = []
        self.begun: list[Begun] = []
        self.opened: dict[tuple[int, int], int] = {}
        self.cause = GapReason.RESTART
        self.asked_ns = 0

    def start(self) -> None:
        """A new process."""
        self.writer = self.plan.writer("r", TICK)
        self.bars = None
        replays = any(one.policy == "replay" for one in self.options.subscriptions)
        self.positions = open_positions(
            self.plan, self.options.dataset, streams=replays, fresh=self.writer.epoch == 1
        )
        has_bars = replays and any(s.schema.startswith("ohlcv") for s in self.options.subscriptions)
        self.positions.settle(self.writer.next_seq, self._bars().next_seq if has_bars else 0)
        self.recovery = Recovery(
            self.positions, self.writer, logger,
            reach_ns=round(self.options.replay_reach_s * SECOND),
            limit_ns=round(self.options.replay_limit_s * SECOND), shard=self.plan.shard,
        )  # fmt: skip
        self.replays = replays
        self.backoff = Backoff(self.rng.random)
        self.due_ns = self.now_ns

    def _bars(self) -> Writer:
        if self.bars is None:
            self.bars = self.plan.writer("r", BAR, BARS_SUFFIX)
        return self.bars

    def kill(self) -> None:
        """The process is gone without a word; its connection, too."""
        if self.live is not None:
            self._note_begun()
            self.gateway.lost("killed")
        self.live = None
        self.cause = GapReason.RESTART
        assert self.writer is not None
        self.writer.abandon()
        if self.bars is not None:
            self.bars.abandon()

    def now(self) -> Now:
        return Now(self.now_ns, self.now_ns)

    def run_until_replayed(self, session: int, records: int) -> None:
        """Until a session has brought so many records; let the gateway send one at a time."""
        for _ in range(MAX_ROUNDS):
            accounts = self.core.sessions
            if len(accounts) > session and len(accounts[session].sent) >= records:
                self.collect()
                return
            try:
                self._turn(self.now_ns + SECOND)
            except SessionEnd as end:
                self._ended(end)
        raise AssertionError("it never came so far")

    def _turn(self, until_ns: int) -> None:
        if self.live is None:
            self._connect(until_ns)
        else:
            self._step(until_ns)

    def run(self, seconds: float) -> None:
        """Let so much time go by, or until the process ends by itself."""
        until_ns = self.now_ns + round(seconds * SECOND)
        for _ in range(MAX_ROUNDS):
            if self.status or self.now_ns >= until_ns:
                self.collect()
                return
            try:
                self._turn(until_ns)
            except SessionEnd as end:
                self._ended(end)
        raise AssertionError("no end in sight")

    def _connect(self, until_ns: int) -> None:
        if self.now_ns < self.due_ns:
            self.now_ns = min(self.due_ns, until_ns)
            return
        self.live = LiveSession(
            self.options, Key(KEY, "test"), self.recovery, self.writer,
            bars=self._bars, positions=self.positions if self.replays else None, logger=logger,
            now=self.now(), shard=self.plan.shard,
        )  # fmt: skip
        gateway = self.core.connect(self.now_ns)
        if gateway is None:
            raise SessionEnd(Ending.CLOSED, "closed at once")
        self.gateway = gateway

    def _step(self, until_ns: int) -> None:
        live = self.live
        assert live is not None
        if live.outgoing:
            data, live.outgoing = bytes(live.outgoing), bytearray()
            self.gateway.receive(data, self.now_ns)
        for action in self.gateway.advance(self.now_ns):
            self.act(live, action)
        self._note_begun()
        live.note(self.now_ns)
        live.check(self.now())
        if live.outgoing:
            return
        times = [until_ns, live._deadline_ns]
        if (next_ns := self.gateway.next_ns) is not None:
            times.append(next_ns)
        self.now_ns = max(self.now_ns, min(times))
        if len(self.rows) * 4096 < self.writer.next_seq:
            self.collect()

    def act(self, live: LiveSession, action: Any) -> None:
        if isinstance(action, Send):
            if live.stage is Stage.HANDSHAKE:
                self.asked_ns = self.now_ns
            live.receive(action.data, self.now())
        elif isinstance(action, Close | HalfClose):
            raise SessionEnd(Ending.CLOSED, "closed by the gateway")
        elif isinstance(action, Reset):
            raise SessionEnd(Ending.RESET, "reset")
        else:
            assert isinstance(action, Stall)

    def _ended(self, end: SessionEnd) -> None:
        self.ends.append(end)
        delivered_s = 0.0
        if self.live is not None:
            self._note_begun()
            self.live.note(self.now_ns)
            if self.live.stage is Stage.DELIVERING:
                delivered_s = (self.now_ns - self.live.delivering_since_ns) / SECOND
            if not self.core.sessions[-1].ended:
                self.gateway.lost("the client went")
        if end.ending in {Ending.BROKEN, Ending.VERSION}:
            self.cause = GapReason.CORRUPT
        self.live = None
        self.status = end.ending.then.status
        self.due_ns = self.now_ns + round(
            self.backoff.pause_s(end.ending.then, delivered_s) * SECOND
        )

    def _note_begun(self) -> None:
        live, number = self.live, len(self.core.sessions) - 1
        if live is None or live.stage is not Stage.DELIVERING:
            return
        if not self.begun or self.begun[-1].number != number:
            self.begun.append(Begun(number, self.asked_ns, self.now_ns, self.cause))
            if len(self.begun) == 1:  # there is nothing to tell
                self.cause = GapReason.DISCONNECT
        if not self.gateway.wire.waiting:  # else it may be in the compressor yet
            self._note_opened(number)

    def _note_opened(self, session: int) -> None:
        account = self.core.sessions[session]
        for number, one in enumerate(self.options.subscriptions):
            if (session, number) not in self.opened and has_opened(account, number, one):
                self.opened[session, number] = self.now_ns
                self.cause = GapReason.DISCONNECT

    def collect(self) -> None:
        """Take what the rings have."""
        while len(batch := self.reader.read(CAPACITY, timeout=0)):
            assert not batch.lost
            self.rows.append(batch.records.copy())
        if self.bars is not None and self.bar_reader is None:
            folder = self.plan.directory
            self.bar_reader = Reader("r" + BARS_SUFFIX, start="oldest", directory=folder)
        while self.bar_reader is not None and len(batch := self.bar_reader.read(4096, timeout=0)):
            assert not batch.lost
            self.bar_rows.append(batch.records.copy())

    def ticks(self) -> np.ndarray:
        self.collect()
        return np.concatenate(self.rows) if self.rows else np.zeros(0, TICK)

    def vendor_bars(self) -> np.ndarray:
        self.collect()
        return np.concatenate(self.bar_rows) if self.bar_rows else np.zeros(0, BAR)

    def counter(self, name: str) -> int:
        """A counter of the ring."""
        assert self.writer is not None
        return self.writer.counters.get(name)

    def holes(self) -> tuple[list[Any], list[Any]]:
        """GAPs and RECOVEREDs, as dicts with the place in the ring."""
        rows = self.ticks()
        out: tuple[list[Any], list[Any]] = ([], [])
        for i, row in enumerate(rows):
            if row["kind"] not in (Kind.GAP, Kind.RECOVERED):
                continue
            gap = rows[i : i + 1].view(GAP)[0]
            out[int(row["kind"] == Kind.RECOVERED)].append(
                {
                    "at": i,
                    "first": int(gap["first_missing"]),
                    "last": int(gap["last_missing"]),
                    "reason": GapReason(int(gap["reason"])),
                    "line": int(gap["line"]),
                    "instrument": int(gap["instrument_id"]),
                }
            )
        return out

    def close(self) -> None:
        self.reader.close()
        if self.bar_reader is not None:
            self.bar_reader.close()
        if self.writer is not None and not self.writer.closed:
            self.writer.close()
        if self.bars is not None and not self.bars.closed:
            self.bars.close()


def options(
    *schemas: str, symbols: Any = ("ALL_SYMBOLS",), recovery: str = "auto", **rest: Any
) -> DatabentoOptions:
    subscriptions = tuple(
        Subscription(schema, tuple(symbols), recovery="snapshot" if schema == "mbo" else recovery)
        for schema in schemas
    )
    return DatabentoOptions("GLBX.MDP3", subscriptions, **rest)


@pytest.fixture
def rig(shm_dir):
    """Make a `Rig`; the one before is closed then, the last at the end."""
    made = []

    def build(
        core: GatewayCore, opts: DatabentoOptions, seed: int = 1, shard: Shard | None = None
    ) -> Rig:
        close()
        folder = tempfile.mkdtemp(dir=shm_dir)
        made.append(Rig(core, opts, folder, seed, shard))
        return made[-1]

    def close() -> None:
        if made:
            made[-1].close()
            shutil.rmtree(made[-1].plan.directory)

    build.options = options
    yield build
    close()


@pytest.fixture(scope="session")
def ledger(tools):
    """Hold a rig's rings against what its gateway sent."""
    spec = importlib.util.spec_from_file_location("ledger", Path(__file__).with_name("ledger.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda rig: module.Ledger(rig, tools)
