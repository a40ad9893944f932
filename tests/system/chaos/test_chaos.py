"""Chaos: the daemon as it is, everything around it hurt at random, and then the books are balanced.

Feeds of all vendors (CME by multicast, Databento by TCP, Bloomberg by its stand-in) and a synthetic market, bars, a
journal on a small disk, and a batch consumer into each of PostgreSQL, Redis, Kafka and Parquet. For half a minute
children, supervisor and servers are killed and stopped, the network is cut, the disk is full, memory is short. Then
it is quiet; everything published must be stored or told lost, per ring and store, each record exactly once. Last,
a record is taken out of each store, and one put in twice: then the books must not balance.

For hours, in episodes of a minute, each with a daemon, servers and a seed of its own:

    MDFEEDD_CHAOS_MINUTES=120 python -m pytest tests/system/chaos -s -p no:randomly

A failure tells its seed and every blow with its time; MDFEEDD_CHAOS_SEED begins with that seed again (which draws
the same blows; the machine's timing is its own).
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
import pytest

from mdfeedd.tick import BAR, TICK, Kind
from tests.system.chaos import network
from tests.system.chaos.books import (
    Balance,
    Holding,
    OutOfBalance,
    Witness,
    balance,
    told,
    whole_truth,
)
from tests.system.chaos.monkey import MemoryGroup, Monkey, SmallDisk, Struck
from tests.system.chaos.stores import STORES
from tests.system.chaos.world import (
    BARS,
    DISK_BYTES,
    FEEDS,
    Daemon,
    Venues,
    begins,
    configuration,
    settle,
    tails,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.chaos.stores import Store

MINUTES = float(os.environ.get("MDFEEDD_CHAOS_MINUTES", "0"))
SEED = int(os.environ.get("MDFEEDD_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
BLOWS_S = float(os.environ.get("MDFEEDD_CHAOS_EPISODE_S", "25"))
DTYPES = {**dict.fromkeys(FEEDS, TICK), BARS: BAR}


@dataclass(slots=True)
class Outcome:
    """Of one episode, or of several together."""

    seed: int
    struck: list[Struck] = field(default_factory=list)
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    absent: list[str] = field(default_factory=list)
    balances: list[Balance] = field(default_factory=list)
    started_s: float = 0.0
    settled_s: float = 0.0
    stopped_s: float = 0.0
    killed: set[str] = field(default_factory=set)
    forged: list[str] = field(default_factory=list)

    def table(self) -> str:
        """What was done how often; what was published, stored and told lost."""
        blows = [f"  {kind:<32}{n:>6}" for kind, n in sorted(self.counts.items())]
        missing = [f"  {why}" for why in self.absent]
        rows = [
            f"  {one.ring:<12}{one.store:<10}{one.published:>10}{one.stored:>10}{one.lost:>10}"
            for one in self.balances
        ]
        head = f"  {'ring':<12}{'store':<10}{'published':>10}{'stored':>10}{'told lost':>10}"
        times = (
            f"  ready after {self.started_s:.1f} s, quiet again after {self.settled_s:.1f} s, "
            f"stopped after {self.stopped_s:.1f} s"
        )
        forged = [f"  falsified: {one}" for one in self.forged]
        return "\n".join(
            [f"seed {self.seed}: blows", *blows, *missing, head, *rows, times, *forged]
        )

    def blows(self) -> str:
        """The list of blows, with times."""
        return "\n".join(f"  {one.at_s:7.2f} s  {one.kind}: {one.what}" for one in self.struck)


class Scene:
    """Everything that an episode needs, made by `with`, gone afterwards."""

    def __init__(self, folder: Path, shm_dir: str, seed: int) -> None:
        self.folder, self.shm_dir, self.seed = folder, shm_dir, seed
        self._stack = contextlib.ExitStack()
        self.outcome = Outcome(seed)
        self.truth: dict[str, tuple[np.ndarray, dict[int, tuple[int, int]]]] = {}

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _build(self) -> None:
        stack = self._stack
        self.folder.mkdir()
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        stack.callback(shutil.rmtree, self.shm_dir, ignore_errors=True)
        os.makedirs(self.shm_dir)
        self.cable = stack.enter_context(network.Cable())
        self.venues = Venues(self.cable, self.folder, self.seed)
        stack.callback(self.venues.close)
        self.disk = self._or_absent(lambda: SmallDisk(self.folder / "disk", DISK_BYTES))
        if self.disk is not None:
            stack.callback(self.disk.remove)
        self.group = self._or_absent(lambda: MemoryGroup(f"mdfeedd-chaos-{os.getpid()}"))
        if self.group is not None:
            stack.callback(self.group.remove)
        stack.enter_context(self.cable.at("daemon"))
        self.stores: list[Store] = []
        for name, (make, missing) in STORES.items():
            if why := missing():
                self.outcome.absent.append(f"{name}: {why}")
                continue
            self.stores.append(make(self.folder))
            stack.callback(self.stores[-1].remove)
        disk = self.folder / "disk"
        plan = configuration(self.folder, self.shm_dir, disk, self.stores)
        self.daemon = Daemon(self.folder, plan, None if self.group is None else self.group.procs)
        stack.callback(self.daemon.end)
        self.witness = Witness(DTYPES, self.shm_dir)
        stack.callback(self.witness.close)

    def _or_absent(self, make):
        try:
            return make()
        except OSError as error:
            self.outcome.absent.append(str(error))
            return None

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def play(self, blows_s: float) -> None:
        """Start, hurt, wait until it is well again, stop, and balance. Raises `AssertionError`."""
        self.daemon.start()
        self.outcome.started_s = settle(self.daemon, self.shm_dir, self.stores)
        self.begins = begins(self.folder / "disk")
        monkey = Monkey(self.seed, self.daemon, self.stores, self.cable, self.disk, self.group)
        self.outcome.struck, self.outcome.counts = monkey.struck, monkey.counts
        try:
            monkey.rampage(blows_s)
        finally:
            monkey.leave()
        self.outcome.settled_s = settle(self.daemon, self.shm_dir, self.stores)
        began = time.monotonic()
        code = self.daemon.stop()
        self.outcome.stopped_s = time.monotonic() - began
        self.outcome.killed = monkey.killed
        self.witness.close()
        assert code == 0, f"the daemon ended with {code}, not 0"
        self.balance()

    def balance(self) -> None:
        """The books of all rings and stores. Raises `OutOfBalance` with all that is wrong."""
        wrong = []
        for ring, tail in tails(self.shm_dir).items():
            held = {store: held for store in self.stores if (held := holding(store, ring))}
            truth = whole_truth(tail, self.witness.seen(ring), list(held.values()))
            lapped = next((told(one) for one in held.values() if one.tells), {})
            self.truth[ring] = truth, lapped
            for store, one in held.items():
                try:
                    self.outcome.balances.append(self.compare(ring, store, one))
                except OutOfBalance as error:
                    wrong.append(str(error))
            away = ring in FEEDS and not self.outcome.killed.isdisjoint({ring, "supervisor"})
            if away and Kind.GAP not in truth["kind"]:
                wrong.append(f"ring {ring}: its feed was away, and no gap tells of it")
        if wrong:
            raise OutOfBalance("\n".join(wrong))

    def compare(self, ring: str, store: Store, held: Holding) -> Balance:
        truth, lapped = self.truth[ring]
        return balance(ring, store.name, truth, held, lapped, self.begins[ring])

    def forge(self, ring: str = "synthetic") -> list[str]:
        """Falsify what each store holds of a ring; what its books say then."""
        said = []
        for store in self.stores:
            for how in store.forgeries(ring):
                how()
                with pytest.raises(OutOfBalance) as caught:
                    self.compare(ring, store, store.holding(ring))
                said.append(str(caught.value))
        return said


def holding(store: Store, ring: str) -> Holding | None:
    return store.bars(ring) if ring == BARS else store.holding(ring)


def episode(folder: Path, shm_dir: str, seed: int) -> Outcome:
    """One seed. What fails tells the seed, the blows and the daemon's last words."""
    with Scene(folder, shm_dir, seed) as scene:
        try:
            scene.play(BLOWS_S)
            scene.outcome.forged = scene.forge()
        except Exception as error:
            said = "\n".join(scene.daemon.said().splitlines()[-60:])
            raise AssertionError(
                f"{error}\n\nMDFEEDD_CHAOS_SEED={seed}, blows:\n{scene.outcome.blows()}\n\n{said}"
            ) from error
        return scene.outcome


@pytest.mark.timeout(max(600, int(MINUTES * 60) + 600))
def test_published_is_stored_or_told_lost_whatever_happens(shm_dir, tmp_path):
    if why := network.why_not():
        pytest.skip(why)
    end, seed = time.monotonic() + MINUTES * 60, SEED
    totals = Outcome(SEED)
    while True:
        outcome = episode(tmp_path / f"{seed}", f"{shm_dir}/{seed}", seed)
        print(outcome.table())
        assert "lacks" in " ".join(outcome.forged), "no store could be falsified"
        totals.counts += outcome.counts
        totals.balances += outcome.balances
        assert sum(outcome.counts.values()) >= BLOWS_S / 5, "hardly anything happened"
        assert all(one.published > 0 for one in outcome.balances if one.ring in FEEDS)
        seed += 1
        if time.monotonic() >= end:
            break
    rows = totals.balances
    print(
        f"{seed - SEED} episodes, {sum(totals.counts.values())} blows: "
        f"{sum(one.published for one in rows)} published, {sum(one.stored for one in rows)} stored, "
        f"{sum(one.lost for one in rows)} told lost, over all rings and stores"
    )


# ------------------------------------------------------------------------------ the check can fail


def published(n: int) -> np.ndarray:
    """Ticks 1 to n, quotes and statuses."""
    ticks = np.zeros(n, TICK)
    ticks["seq"] = np.arange(1, n + 1)
    ticks["kind"] = np.where(ticks["seq"] % 3, Kind.QUOTE, Kind.STATUS)
    ticks["ts_event"] = ticks["seq"] * 7
    return ticks


def with_loss(ticks: np.ndarray, first: int, last: int) -> np.ndarray:
    """As stored where the ring lapped the journal."""
    from mdfeedd.journal.format import lapped_record

    before, after = ticks[ticks["seq"] < first], ticks[ticks["seq"] > last]
    return np.concatenate([before, lapped_record(first, last, 1), after])


def check(stored: np.ndarray, truth: np.ndarray) -> Balance:
    held = Holding.of(stored)
    return balance("r", "s", truth, held, told(held))


def test_books_balance():
    truth = published(100)
    assert check(truth, truth) == Balance("r", "s", 100, 100, 0)
    assert check(truth[::-1], truth) == Balance("r", "s", 100, 100, 0)
    assert check(with_loss(truth, 41, 60), truth) == Balance("r", "s", 100, 80, 20)


def changed(ticks: np.ndarray) -> np.ndarray:
    out = ticks.copy()
    out["ts_event"][9] += 1
    return out


FORGERIES = {
    "one taken out": (lambda t: np.delete(t, 49), "lacks 1 records, from 50 to 50"),
    "the last taken out": (lambda t: t[:-1], "lacks 1 records, from 100"),
    "one twice": (lambda t: np.concatenate([t, t[30:31]]), "more than once 1 records, from 31"),
    "one changed": (changed, "other contents 1 records, such as 10"),
    "one invented": (
        lambda t: np.concatenate([t, published(101)[100:]]),
        "never published, such as 101",
    ),
    "lost and not told": (
        lambda t: with_loss(np.delete(t, np.s_[40:61]), 41, 60),
        "lacks 1 records, from 61",
    ),
    "told lost and there": (
        lambda t: np.concatenate([with_loss(t, 41, 60), t[44:45]]),
        "told lost, 1 records, from 45",
    ),
    "told lost twice": (
        lambda t: np.concatenate([with_loss(t, 41, 60), with_loss(t, 41, 60)[40:41]]),
        "more than once 1 records, from 60",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_books_do_not_balance(forgery):
    forge, finding = FORGERIES[forgery]
    truth = published(100)
    with pytest.raises(OutOfBalance, match=finding):
        check(forge(truth), truth)
