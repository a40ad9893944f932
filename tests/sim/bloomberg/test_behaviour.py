"""The table of facts: the stand-in shows all of them, and so must the real package where it is installed."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import pytest

from mdfeedd.sim.bloomberg import Fault, Script, SystemClock, VirtualClock, World, behaviour
from mdfeedd.sim.bloomberg.behaviour import FACTS, run


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_fact(blpapi, play, fact):
    play(World(clock=VirtualClock()))
    (outcome,) = run(blpapi, [fact])
    assert outcome.holds, outcome.got


def test_facts_hold_in_real_time(blpapi, play):
    play(World(clock=SystemClock()))
    assert [o for o in run(blpapi) if not o.holds] == []


def test_table_notices_what_is_otherwise(blpapi, play):
    play(World(clock=VirtualClock()))
    wrong = [
        replace(fact, gives="something else", raises="" if fact.raises else "KeyError", code=None)
        for fact in FACTS
    ]
    assert [o.fact.name for o in run(blpapi, wrong) if o.holds] == []


def test_table_notices_another_code(blpapi, play):
    play(World(clock=VirtualClock()))
    wrong = [replace(fact, code=fact.code + 1) for fact in FACTS if fact.code]
    assert len(wrong) == 7
    assert [o.fact.name for o in run(blpapi, wrong) if o.holds] == []


def test_table_notices_another_world(blpapi, play):
    play(
        World(clock=VirtualClock(), script=Script((Fault("closed", None),)), ports=range(1, 65536))
    )
    broken = {o.fact.name for o in run(blpapi) if not o.holds}
    assert broken == {"a refused port says so", "a number of a message"}


def test_facts_have_names_of_their_own():
    assert len({fact.name for fact in FACTS}) == len(FACTS) >= 40


def test_host_that_refuses_no_connection_cannot_try_what_needs_it(blpapi, play, monkeypatch):
    play(World(clock=VirtualClock()))
    monkeypatch.setattr(behaviour, "_refusal", lambda port: f"{port} is filtered")
    untried = [o for o in run(blpapi) if not o.tried]
    assert [o.fact for o in untried] == [fact for fact in FACTS if fact.needs_refusal]
    assert len(untried) == 11
    assert all(o.got.endswith("is filtered") and not o.holds for o in untried)


def test_refusal_is_that_of_the_host():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert behaviour._refusal(port) == f"127.0.0.1 port {port}: Success"
    assert behaviour._refusal(behaviour.closed_port()) == ""


def test_what_leads_up_to_a_fact_may_fail(blpapi, play):
    play(World(clock=VirtualClock()))
    fact = replace(FACTS[0], given=(("x", "blpapi.Nothing()"),))
    (outcome,) = run(blpapi, [fact])
    assert (outcome.holds, outcome.tried) == (False, False)
    assert outcome.got.startswith("blpapi.Nothing() raises AttributeError: ")


REAL = """
import json, blpapi
from mdfeedd.sim.bloomberg.behaviour import run
facts = [o for o in run(blpapi) if not o.holds and o.fact.seen != "D"]
print(json.dumps([[o.fact.name, o.got] for o in facts]))
"""


def test_real_package_shows_the_facts(with_real_package):
    assert json.loads(with_real_package(REAL)) == []
