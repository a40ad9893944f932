"""Random scripts: every message is accounted for, and no hole stays untold."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from mdfeedd.sim.bloomberg import Script, VirtualClock, World
from mdfeedd.sim.bloomberg.events import Kind

from .conftest import MS, TOPICS, Desk, follow

FIRST = int(os.environ.get("MDFEEDD_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("MDFEEDD_SEEDS", "40")))
LISTS = ("delivered", "dropped", "lost", "discarded")


def play(desk, rng, seconds):
    """A client that comes and goes: unsubscribes, subscribes anew, and sometimes does not listen."""
    desk.core.start(desk.now)
    desk.run(0.05)
    if desk.core.state not in ("up", "down"):
        return
    desk.subscribe(*TOPICS)
    free = len(TOPICS)
    for _ in range(int(seconds)):
        desk.run(1.0, step_ms=rng.choice((1.0, 7.0, 40.0)), take=rng.random() < 0.85)
        if desk.core.state == "ended":
            return
        if rng.random() < 0.3 and desk.core.subscriptions:
            cid = rng.choice(list(desk.core.subscriptions))
            topic = desk.core.subscriptions[cid].topic
            desk.core.unsubscribe([cid], desk.now)
            desk.subscribe(topic, first=free)
            free += 1
        desk.drain()


def check_account(core, events):
    account = core.account
    numbers = Counter(s.number for where in LISTS for s in getattr(account, where))
    assert set(numbers.values()) <= {1}
    assert {where: len(getattr(account, where)) for where in LISTS} == {
        where: account.counts[where] for where in LISTS
    }
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    items = [item for kind, item in events if kind == Kind.SUBSCRIPTION_DATA]
    assert [item.sent for item in items] == account.delivered
    by_cid = {}
    for item in items:
        assert by_cid.get(item.cid, 0) < item.sent.number
        by_cid[item.cid] = item.sent.number


def check_told(core, events):
    """What was dropped or lost to DataLoss is told exactly, unless somebody unsubscribed in between."""
    told = Counter()
    for _, item in events:
        if item.kind == "DataLoss" and item.content["source"] == "Session":
            told[item.cid] += item.content["numMessagesDropped"]
    dropped = Counter(sent.cid for sent in core.account.dropped)
    for cid, sub in core.subscriptions.items():
        assert told[cid] == dropped[cid], (cid, sub.topic)
    assert not told - dropped


@pytest.mark.parametrize("seed", SEEDS)
def test_script_of_a_seed(seed):
    print(f"seed {seed}: MDFEEDD_SEED={seed} MDFEEDD_SEEDS=1 pytest {__file__}")
    rng = random.Random(seed)
    script = Script.random(seed, TOPICS, seconds=12, permanent=seed % 2 == 0)
    world = World(seed, TOPICS, rate=300, script=script, oddities=0.02, clock=VirtualClock())
    for _ in range(3):
        desk = Desk(
            world,
            auto_restart=rng.random() < 0.7,
            has_identity=rng.random() < 0.5,
            queue_limit=rng.choice((50, 400, 10_000)),
        )
        desk.now = max(desk.now, world.clock.now_ns())
        play(desk, rng, 14)
        desk.drain()
        check_account(desk.core, desk.events)
        if desk.core.state in ("up", "down"):
            check_told(desk.core, desk.events)
            known = follow(desk.events)
            assert known.keys() >= {s.cid for s in desk.core.subscriptions.values() if s.is_active}
            for cid, one in known.items():
                sub = desk.core.subscriptions.get(cid)
                if sub is not None and one.clean and not sub.losing:
                    assert one.agrees(world.touch(sub.topic)), (sub.topic, one.touch)
        desk.core.stop()
        world.clock.advance(max(desk.now - world.clock.now_ns(), 0) + 5 * MS)


def test_random_scripts_reach_every_list_and_stay_believable():
    counts = Counter()
    clean = 0
    for seed in range(25):
        script = Script.random(seed, TOPICS, seconds=8)
        world = World(seed, TOPICS, rate=300, script=script, clock=VirtualClock())
        desk = Desk(world, auto_restart=True, queue_limit=10_000 if seed % 2 else 100)
        play(desk, random.Random(seed), 8)
        desk.drain()
        counts += desk.core.account.counts
        clean += sum(one.clean for one in follow(desk.events).values())
    assert min(counts[where] for where in LISTS) > 50
    assert clean > 20
