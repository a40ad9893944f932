"""Databento in a simulated world: a gateway, the way to it, and a feed that is reloaded, killed and started again.

    GatewayCore(Market, Script) ─► Net ─► socket ─► the real feed ─► ring
         └── accounts, bytes taken ──────────► databento_checks ◄── tape

Everything of the feed is real but the connect, the sleep of the pump and where its key comes from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import mdfeedd.feeds.databento.feed as feed_module
from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.databento.session import _pump
from mdfeedd.feeds.databento.session.key import Key
from mdfeedd.feeds.protocol import BARS_SUFFIX
from mdfeedd.sim.databento.core import KEY, GatewayCore, Habits
from mdfeedd.sim.databento.market import Market
from mdfeedd.sim.databento.script import Fault as Misdeed
from mdfeedd.sim.databento.script import Script
from mdfeedd.sim.whole.actor import Fault, Size
from mdfeedd.sim.whole.vendors.databento_checks import check
from mdfeedd.sim.whole.vendors.databento_net import Net, stand_ins
from mdfeedd.tick import BAR, GAP, Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.sim.whole.tape import Tape
    from mdfeedd.sim.whole.world import World

__all__ = ["DatabentoActor"]

NS: Final = 1_000_000_000
USUAL: Final = Size(events=150, storm_s=15.0, recovery_s=240.0)
"""Backing off takes up to 75 s, and a gateway that is mute is found out after heartbeat_s and 5 s more."""
SESSIONS: Final = 4  # the first ones, in which the gateway does something wrong
TRADING: Final = ("mbp-1", "mbp-1", "trades", "tbbo", "mbp-10", "cmbp-1", "tcbbo", "mbo")
OTHERS: Final = ("bbo-1s", "cbbo-1s", "definition", "statistics", "status", "imbalance", "ohlcv-1s")


class _Market(Market):
    """Stands still once it is told to."""

    stops_ns: int | None = None

    def run_until(self, now_ns: int) -> None:
        """Make what falls due up to then, or until it stood still."""
        super().run_until(now_ns if self.stops_ns is None else min(now_ns, self.stops_ns))

    @property
    def next_ns(self) -> int | None:  # type: ignore[override]
        """When the next event is; None: never."""
        next_ns = super().next_ns
        return None if self.stops_ns is not None and next_ns > self.stops_ns else next_ns


class DatabentoActor:
    """See `Actor`."""

    vendor: str = "databento"
    usual: Size = USUAL

    def __init__(self, world: World, name: str, size: Size) -> None:
        self.name = name
        self.world = world
        self.size = size
        self._rng = rng = world.rng(f"{name} databento")
        subscriptions, self._listed = self._drawn(rng)
        self.options: DatabentoOptions = self._options(rng, subscriptions)
        self.market: _Market = _Market(
            rng.getrandbits(30),
            instruments=self._listed,
            schemas=sorted({one.schema for one in subscriptions} | {"trades"}),
            rate=max(1.0, size.events / size.storm_s / 2),
            start_ns=world.now_ns,
            publishers=rng.choice((1, 1, 2)),
            backward=rng.random() < 0.5,
        )
        habits = Habits(
            flush_s=rng.choice((0.0, 0.5)), flush_records=20, chunk_records=rng.choice((50, 1000)),
            start_is_now=rng.random() < 0.5, replay_s=rng.choice((86_400.0, 86_400.0, 86_400.0, 8.0)),
        )  # fmt: skip
        self.core: GatewayCore = GatewayCore(self.market, habits=habits, seed=rng.getrandbits(30))
        packed = self.options.compression != "none"
        self.net: Net = Net(world, self.core, rng, name, packed=packed)
        self.is_whole: bool = False
        self._bars: npt.NDArray[np.void] | None = None

    # what is asked for

    def _drawn(self, rng: random.Random) -> tuple[tuple[Subscription, ...], int]:
        """One schema that tells trades, and some others; of instruments that are listed, some or all."""
        listed = rng.randint(2, 4)
        policy = rng.choice(("natural", "replay", "replay", "mixed"))
        schemas = [rng.choice(TRADING), *rng.sample(OTHERS, rng.choice((0, 0, 1, 2)))]
        rng.shuffle(schemas)
        names = self._names(listed)
        chosen = ("ALL_SYMBOLS",) if rng.random() < 0.4 else tuple(names[: rng.randint(1, listed)])
        subscriptions = []
        for schema in schemas:
            recovery = rng.choice(("natural", "replay")) if policy == "mixed" else policy
            if schema == "mbo":
                recovery = rng.choice(("natural", "snapshot"))
            subscriptions.append(Subscription(schema, chosen, recovery=recovery))  # type: ignore[arg-type]
        return tuple(subscriptions), listed

    @staticmethod
    def _names(listed: int) -> list[str]:
        return [item.raw_symbol for item in Market(1, instruments=listed).instruments]

    def _options(
        self, rng: random.Random, subscriptions: tuple[Subscription, ...]
    ) -> DatabentoOptions:
        rate = self.size.events / self.size.storm_s
        return DatabentoOptions(
            "GLBX.MDP3",
            subscriptions,
            compression=rng.choice(("none", "none", "zstd")),
            ts_out=rng.random() < 0.3,
            heartbeat_s=rng.choice((5, 10)),
            slow_reader=rng.choice(("auto", "auto", "warn", "skip")),
            replay_reach_s=rng.choice((40 / rate, 60.0)),
        )

    def make(self, plan: RingPlan) -> Any:
        """A new feed with the options as they are now."""
        return feed_module.DatabentoFeed(self.name, self.options, plan)

    def reload(self) -> tuple[Any, Any] | None:
        """One symbol more or less; where all were asked for, these two."""
        old, rng = self.options, self._rng
        names = self._names(self._listed)
        had = old.subscriptions[0].symbols
        if had == ("ALL_SYMBOLS",):
            had = tuple(names)
        rest = [name for name in names if name not in had]
        if rest and rng.random() < 0.6:
            symbols = (*had, rng.choice(rest))
        elif len(had) > 1:
            gone = rng.choice(had)
            symbols = tuple(name for name in had if name != gone)
        else:
            return None
        subscriptions = tuple(replace(one, symbols=symbols) for one in old.subscriptions)
        self.options = replace(old, subscriptions=subscriptions)
        self.world.note(self.name, f"reload: symbols {', '.join(symbols)}")
        return old, self.options

    # the run

    def patches(self) -> Iterable[tuple[Any, str, Any]]:
        """The connect, the wait of the pump, the key; and what would be done to this process."""
        attempt, pump = stand_ins(self.net)
        return [
            (feed_module, "Attempt", attempt),
            (_pump, "Pump", pump),
            (feed_module, "read_key", lambda *_, **__: Key(KEY, "simulated")),
            (feed_module, "forbid_core_file", lambda *_: None),
            (feed_module, "WAIT_S", 1.0),
            (feed_module, "last_beat_ns", self.world.last_beat_ns),
        ]

    def begin(self) -> None:
        """The market goes by the world's time already."""

    def started(self, feed: Any) -> None:
        """Nothing to do."""

    def killed(self) -> None:
        """Its connections are closed."""
        self.net.die()

    def faults(self) -> Sequence[Fault]:
        """Of the gateway, session by session, from the beginning on; and of the network, when it comes to it."""
        rng, world = self._rng, self.world
        found = [
            Fault(world.now_ns, f"gateway: {misdeed}", self._adding(misdeed))
            for misdeed in self._misdeeds(rng)
        ]
        span_ns = max(1, world.until_ns - world.now_ns)
        for _ in range(rng.choice((0, 0, 1, 2))):
            at_ns = world.now_ns + rng.randrange(span_ns)
            found.append(self._trouble(rng, at_ns))
        return found

    @staticmethod
    def _misdeeds(rng: random.Random) -> list[Misdeed]:
        """As scripts are drawn; versions before 2 tell no codes, and each new name is one that nothing had."""
        drawn = list(Script.random(rng.getrandbits(30), sessions=SESSIONS).faults)
        for session in range(1, SESSIONS):
            mute = [
                Misdeed(
                    "silence", session=session, at="described", seconds=rng.choice((0.5, 3.0, 9.0))
                ),
                Misdeed("late_open", session=session, seconds=rng.choice((0.1, 1.0))),
            ]
            drawn += rng.choice(([], [], mute[:1], mute[1:], mute))
            drawn += [Misdeed("no_ack", session=session)] * (rng.random() < 0.3)
        calm = rng.choice((0.3, 1.0))  # of some worlds most of the gateway's sessions are in order
        kept = []
        for k, fault in enumerate(drawn):
            if rng.random() > calm:
                continue
            if fault.kind == "version":
                kept.append(replace(fault, code=max(fault.code, 2)))
            elif fault.kind == "remap":
                kept.append(replace(fault, text=f"SIM{k}Z9"))
            else:
                kept.append(fault)
        return kept

    def _adding(self, misdeed: Misdeed) -> Any:
        def add() -> None:
            self.core.script = Script((*self.core.script.faults, misdeed))

        return add

    def _trouble(self, rng: random.Random, at_ns: int) -> Fault:
        what = rng.choice(("cut", "cut", "hold", "down"))
        seconds = rng.choice((0.3, 2.0, 12.0))
        net = self.net

        def cut() -> None:
            if net.connection is not None:
                net.connection.cut_off()

        def hold() -> None:
            if net.connection is not None:
                net.connection.hold(seconds)

        def down() -> None:
            net.down_until_ns = self.world.now_ns + round(seconds * NS)
            cut()

        call = {"cut": cut, "hold": hold, "down": down}[what]
        return Fault(
            at_ns, f"network: {what} for {seconds} s" if what != "cut" else "network: cut", call
        )

    def heal(self) -> None:
        """The gateway and the network do nothing wrong any more."""
        self.core.script = Script()
        self.core._down_until_ns = 0  # noqa: SLF001 - the restart is over
        self.net.heal()
        for connection in self.net.connections:
            session = connection.session
            if session is not None and not session.is_ended:
                session.pending.clear()
                session.skip_left = session.omit_left = 0
                session._quiet_until_ns = min(session._quiet_until_ns, self.world.now_ns)  # noqa: SLF001
                connection.turn()

    def right(self) -> bool:
        """It has a session in which all subscriptions are on, all replays are over and all was taken."""
        connection = self.net.connection
        if connection is None or connection.over or connection.session is None:
            return False
        session = connection.session
        if not session.is_streaming or session.is_stopped or not connection.is_quiet:
            return False
        flows = session.flows
        requests = session.account.requests
        if len(requests) < len(self.options.subscriptions) or {r.schema for r in requests} != set(
            flows
        ):
            return False
        asked = {(r.schema, symbol) for r in requests for symbol in r.symbols}
        wanted = {(s.schema, symbol) for s in self.options.subscriptions for symbol in s.symbols}
        if asked != wanted or session.wire.waiting:
            return False
        if any(f.snapshot or (f.has_replay and not f.is_complete) for f in flows.values()):
            return False
        if self.market.stops_ns is None:  # from now on nothing changes any more
            self.market.stops_ns = self.market.now_ns
            self.is_whole = True
        return all(f.position == len(f.timeline) for f in flows.values())

    def bars(self) -> npt.NDArray[np.void]:
        """All that the ring of the vendor's bars got."""
        ring = self.name + BARS_SUFFIX
        if self._bars is None and ring in self.world.taps.rings:
            self._bars = self.world.taps.tape(ring).rows
        return np.zeros(0, BAR) if self._bars is None else self._bars

    @staticmethod
    def leaves_open(tape: Tape) -> bool:
        """A GAP is open at the end: of what recovers naturally, or came again otherwise than it was."""
        is_open: dict[tuple[int, int], bool] = {}
        for row in tape.rows.view(GAP):
            if row["kind"] in (Kind.GAP, Kind.RECOVERED):
                is_open[int(row["line"]), int(row["instrument_id"])] = bool(row["kind"] == Kind.GAP)
        return any(is_open.values())

    def check(self, tape: Tape) -> Iterable[str]:
        """See `databento_checks`."""
        return check(self, tape)
