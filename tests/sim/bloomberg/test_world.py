"""Worlds as data, and which one a process plays."""

from __future__ import annotations

import json

import pytest

from mdfeedd.sim.bloomberg import (
    VARIABLE,
    Fault,
    Script,
    World,
    current,
    install,
    playing,
    remove,
)
from mdfeedd.sim.bloomberg import installed as registry

from .conftest import ES, TOPICS


def test_world_survives_its_json():
    faults = Fault("disconnect", at_s=2.0), Fault("odd", None, text="mid", after_messages=5)
    world = World(
        7, TOPICS, rate=5.0, script=Script(faults), oddities=0.1, hosts_down=("a",), zone_s=3600,
        reply_ms=0.5, repaints=True, keep=False, ports=(1,),
    )  # fmt: skip
    again = World.from_json(world.to_json())
    assert again.to_json() == world.to_json()
    assert again.script == world.script
    assert again.topics == world.topics
    assert again.reply_ns == 500_000


def test_faults_as_text_in_json():
    world = World.from_json(json.dumps({"faults": ["data_loss:at_s=1,count=3"], "seed": 4}))
    assert world.script.faults == (Fault("data_loss", at_s=1.0, count=3),)
    assert (world.seed, world.rate) == (4, 1000.0)
    assert not world.keep


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "a world is an object"),
        ('{"sed": 1}', "a world is an object with some of seed, topics"),
        ('{"oddities": 2}', "oddities: must be 0 to 1"),
        ('{"rate": 0}', "rate: must be above 0"),
        ('{"topics": []}', "topics: must be 1"),
        ('{"faults": ["flood"]}', "a fault is one of"),
    ],
)
def test_json_that_is_no_world(text, why):
    with pytest.raises(ValueError, match=why):
        World.from_json(text)


def test_installed_worlds_nest():
    one, two = World(1), World(2)
    with playing(one):
        assert current() is one
        with playing(two):
            assert current() is two
        install(two)
        assert current() is two
        remove(two)
        assert current() is one


def test_environment_makes_the_world_once(monkeypatch):
    monkeypatch.setattr(registry, "_installed", [])
    monkeypatch.setenv(VARIABLE, '{"seed": 9}')
    assert current().seed == 9
    assert current() is current()


def test_default_world_keeps_no_messages(monkeypatch):
    monkeypatch.setattr(registry, "_installed", [])
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not current().keep


def test_truth_is_what_the_client_was_told(desk):
    desk.subscribe(ES)
    desk.run(2)
    quotes = [i.content for i in desk.data() if i.content["MKTDATA_EVENT_TYPE"] == "QUOTE"]
    bids = [c["BID"] for c in quotes if "BID" in c]
    bid, ask, bid_size, _ = desk.world.touch(ES)
    assert bids[-1] == bid / 1e9
    assert bid < ask
    assert bid_size > 0


def test_account_is_by_correlation_id(desk):
    desk.subscribe(*TOPICS)
    desk.run(1)
    account = desk.world.sessions[0]
    assert account.subscribed == dict(enumerate(TOPICS))
    for cid in range(4):
        assert [s.content for s in account.of(cid)] == [i.content for i in desk.data(cid)]
    assert sum(len(account.of(cid)) for cid in range(4)) == account.counts["delivered"]
    assert [s.cid for s in account.said("SubscriptionStarted")] == [0, 1, 2, 3]
