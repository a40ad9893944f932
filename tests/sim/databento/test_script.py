"""Faults as text and as data, and scripts drawn from a seed."""

from __future__ import annotations

import pytest

from mdfeedd.sim.databento import KINDS, Fault, Script


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("fin", Fault("fin")),
        ("rst:after_records=100", Fault("rst", after_records=100)),
        ("error:code=6,session=all,at=described", Fault("error", None, "described", code=6)),
        (
            "silence:session=2:after_s=1.5:seconds=20",
            Fault("silence", 2, after_s=1.5, seconds=20.0),
        ),
        ("fin:part,after_replayed=7", Fault("fin", after_replayed=7, part=True)),
        ("rst:part=0", Fault("rst")),
        ("remap:text=ESZ9", Fault("remap", text="ESZ9")),
    ],
)
def test_fault_out_of_text(text, fault):
    assert Fault.parse(text) == fault


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("flood", "a fault is one of .*, not 'flood'"),
        ("fin:when=3", "fin: has session, .*, not 'when'"),
        ("fin:kind=rst", "fin: has session"),
        ("fin:after_records=soon", "fin: after_records: 'soon' is no int"),
        ("silence:seconds=x", "silence: seconds: 'x' is no float"),
        ("rst:part=maybe", "rst: part: 'maybe' is no bool"),
        ("fin:at=lunch", "fin: at: one of connected, .*, not 'lunch'"),
        ("fin:at=started,after_records=3", "happens at one point"),
        ("heartbeat:at=greeted", "heartbeat: needs a stream, there is none at 'greeted'"),
        ("version:code=5", "version: code: 1 to 4, not 5"),
        ("omit:count=0", "omit: count and size: 1 to"),
    ],
)
def test_fault_that_makes_no_sense(text, why):
    with pytest.raises(ValueError, match=why):
        Fault.parse(text)


def test_random_script_is_the_seeds_and_has_all_kinds():
    assert Script.random(3) == Script.random(3) != Script.random(4)
    lasting = [f for seed in range(400) for f in Script.random(seed, permanent=True).faults]
    assert {f.kind for f in lasting} == KINDS.keys() - {"other_replay"}
    assert {f.session for f in lasting} == {0, 1, 2}
    passing = [f for seed in range(400) for f in Script.random(seed, sessions=5).faults]
    assert {f.kind for f in passing} == KINDS.keys() - {"other_replay", "bad_key", "aged_out"}
    assert not [f for f in passing if f.kind == "error" and f.code in (1, 2, 5)]
    assert not [f for f in passing if f.kind == "version" and f.code == 4]


def test_faults_of_a_session():
    script = Script((Fault("fin", 1), Fault("rst", None), Fault("refuse", 2, count=2)))
    assert [f.kind for f in script.of(0)] == ["rst"]
    assert [f.kind for f in script.of(1)] == ["fin", "rst"]
    assert [script.refuses(n) for n in range(5)] == [False, False, True, True, False]
