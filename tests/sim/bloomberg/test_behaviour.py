"""The table of facts: the stand-in shows all of them, and so must the real package where it is installed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mdfeedd.sim.bloomberg import Fault, Script, SystemClock, VirtualClock, World
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


REAL = """
import json, blpapi
from mdfeedd.sim.bloomberg.behaviour import run
facts = [o for o in run(blpapi) if not o.holds and o.fact.seen != "D"]
print(json.dumps([[o.fact.name, o.got] for o in facts]))
"""


def test_real_package_shows_the_facts(with_real_package):
    assert json.loads(with_real_package(REAL)) == []
