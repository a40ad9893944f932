"""Faults as text and as data, and scripts drawn from a seed."""

from __future__ import annotations

import pytest

from mdfeedd.sim.bloomberg import KINDS, MODES, ODDITIES, Fault, Script

TOPICS = ("ESZ6 Index", "SPY US Equity")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("refused", Fault("refused")),
        ("refused:session=all", Fault("refused", None)),
        ("disconnect:at_s=5,seconds=3", Fault("disconnect", at_s=5.0, seconds=3.0)),
        (
            "data_loss:session=1,topic=ESZ6 Index,after_messages=40,count=7",
            Fault("data_loss", 1, "ESZ6 Index", after_messages=40, count=7),
        ),
        ("odd:text=cancel", Fault("odd", text="cancel")),
        ("streams:recap=0", Fault("streams", recap=False)),
        ("refuse:category=LIMIT", Fault("refuse", category="LIMIT")),
    ],
)
def test_fault_out_of_text_and_as_data(text, fault):
    assert Fault.parse(text) == fault
    assert Fault(**fault.to_json()) == fault


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("flood", "a fault is one of .*, not 'flood'"),
        ("refused:when=3", "refused: has session, .*, not 'when'"),
        ("refused:kind=ended", "refused: has session"),
        ("disconnect:at_s=soon", "disconnect: at_s: 'soon' is no float"),
        ("data_loss:count=many", "data_loss: count: 'many' is no int"),
        ("streams:recap=maybe", "streams: recap: 'maybe' is no bool"),
        ("silence:at_s=1,after_messages=3", "at_s or after_messages, not both"),
        ("odd:text=ghost", "odd: text: one of null_bid, .*, not 'ghost'"),
        ("refuse:category=MOOD", "refuse: category: one of BAD_SEC"),
        ("data_loss:count=0", "data_loss: count: 1 to"),
        ("silence:seconds=-1", "silence: count: 1 to .*, seconds: 0 to 86400"),
        ("delayed:at_s=1", "delayed: holds from the beginning"),
        ("reject_field", "reject_field: text: names the field"),
    ],
)
def test_fault_that_makes_no_sense(text, why):
    with pytest.raises(ValueError, match=why):
        Fault.parse(text)


def test_random_script_is_the_seeds_and_has_all_kinds():
    assert Script.random(3, TOPICS) == Script.random(3, TOPICS) != Script.random(4, TOPICS)
    lasting = [f for s in range(600) for f in Script.random(s, TOPICS, permanent=True).faults]
    assert {f.kind for f in lasting} == KINDS.keys()
    assert {f.session for f in lasting} == {0, 1, 2}
    assert {f.text for f in lasting if f.kind == "odd"} == ODDITIES.keys()
    assert {f.topic for f in lasting} == {"", *TOPICS}
    passing = [f for s in range(600) for f in Script.random(s, TOPICS).faults]
    missing = {"auth_refused", "service_refused", "bad_topic", "no_image"}
    assert {f.kind for f in passing} == KINDS.keys() - missing
    assert not {f.category for f in passing} & {"BAD_SEC", "BAD_TOPIC", "BAD_FLD"}


def test_fault_hits_its_session_and_topic():
    fault = Fault("delayed", 1, "ESZ6 Index")
    assert [fault.hits(n) for n in range(3)] == [False, True, False]
    assert fault.hits(1, "ESZ6 Index")
    assert not fault.hits(1, "SPY US Equity")
    assert Fault("delayed", None).hits(7, "SPY US Equity")


def test_modes_and_events_are_apart():
    script = Script((Fault("delayed"), Fault("ended"), Fault("ended", 1)))
    assert [f.kind for f in script.modes("delayed", 0, "x")] == ["delayed"]
    assert [f.kind for f in script.events(0)] == ["ended"]
    assert {kind for kind in KINDS if Fault(kind, text="mid").is_mode} == MODES.keys()
