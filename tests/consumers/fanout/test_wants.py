"""Messages of clients, and which records fit a subscription."""

from __future__ import annotations

import fnmatch
import json
import time

import numpy as np
import pytest
from hypothesis import given as given_by_hypothesis
from hypothesis import strategies as st

from mdfeedd.consumers.fanout.wants import (
    ALL_KINDS,
    DEFAULT,
    KINDS,
    BadMessage,
    Filter,
    parse,
    parse_query,
)
from mdfeedd.tick import Kind


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"{}", "not binary"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "a message is an object"),
        ("7", "a message is an object"),
        ("{}", "op must be one of"),
        ('{"op": ["subscribe"]}', "op must be one of"),
        ('{"op": "steal"}', 'not "steal"'),
        ('{"op": "' + "x" * 10_000 + '"}', r"xxx\.\.\."),
        ('{"op": "ping", "symbol": "ES"}', 'unknown key "symbol"'),
        ('{"op": "ping", "id": {}}', "id must be"),
        ('{"op": "subscribe"}', "symbols must be a list"),
        ('{"op": "subscribe", "symbols": []}', "symbols must be a list"),
        ('{"op": "subscribe", "symbols": "ES*"}', "symbols must be a list of texts"),
        ('{"op": "subscribe", "symbols": ["ES", 7]}', "symbols must be a list of texts"),
        ('{"op": "subscribe", "symbols": [""]}', "1 to 200 characters"),
        ('{"op": "subscribe", "symbols": ["' + "x" * 201 + '"]}', "1 to 200 characters"),
        ('{"op": "subscribe", "symbols": ["*"], "kinds": ["all"]}', 'unknown kind "all"'),
        ('{"op": "subscribe", "symbols": ["*"], "rings": [1]}', "rings must be a list"),
    ],
)
def test_message_that_cannot_be_understood(text, sentence):
    with pytest.raises(BadMessage, match=sentence) as caught:
        parse(text)
    assert len(str(caught.value)) < 300


def _may_be_a_message():
    words = st.sampled_from(
        ["op", "symbols", "kinds", "rings", "id", "subscribe", "ping", "*", "trade"]
    )
    texts = st.one_of(words, st.text(max_size=5))
    values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=4)
        ),
        max_leaves=8,
    )
    return st.one_of(st.text(), st.binary(), values.map(json.dumps))


@given_by_hypothesis(_may_be_a_message())
def test_any_message_is_a_command_or_is_answered(message):
    try:
        command = parse(message)
    except BadMessage as error:
        assert 0 < len(str(error)) < 500  # noqa: PT017 - either outcome is right
        return
    assert command.op in {"subscribe", "unsubscribe", "ping"}
    json.dumps(command.id)


def test_message_that_can():
    told = {"op": "subscribe", "symbols": ["ES*", "原油"], "kinds": ["trade", "bar"], "id": 7}
    command = parse(json.dumps(told))
    assert (command.op, command.symbols, command.id) == ("subscribe", ("ES*", "原油"), 7)
    assert command.kinds == KINDS["trade"] | KINDS["bar"]
    assert command.places == [("*", "ES*"), ("*", "原油")]
    assert parse('{"op": "subscribe", "symbols": ["A"]}').kinds == DEFAULT
    assert parse('{"op": "ping", "id": "x"}').id == "x"


def test_query_string():
    assert parse_query({}) is None
    assert parse_query({"token": ["x"]}) is None
    command = parse_query({"symbols": ["ES*,NQ", "CL"], "kinds": ["trade,quote"]})
    assert command.symbols == ("ES*", "NQ", "CL")
    assert command.kinds == KINDS["trade"] | KINDS["quote"]
    assert parse_query({"kinds": ["bar"]}).symbols == ("*",)
    with pytest.raises(BadMessage, match="unknown kind"):
        parse_query({"kinds": ["x"]})
    with pytest.raises(BadMessage, match="characters"):
        parse_query({"symbols": ["x" * 1000]})


def test_every_kind_has_a_word():
    assert {kind for kind in Kind if ALL_KINDS >> kind & 1} == set(Kind)


NAMES = {1: "ESZ6", 2: "ESH7", 3: "NQZ6", 4: "a[b]c", 5: "原油", 6: "ES", 7: "line\nend"}
PATTERNS = [
    "ES*",
    "*Z6",
    "??Z6",
    "E*",
    "*",
    "a[b]c",
    "a[*",
    "原?",
    "ES",
    "NQZ6",
    "*\n*",
    "nothing",
    "**6",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_fit_as_in_a_shell_without_classes(given, pattern):
    table = given.Instruments(NAMES)
    records = given.quotes(range(1, 8), list(NAMES))
    picked = Filter({("*", pattern): DEFAULT}).pick("cme", records, table)
    expected = [
        i for i, name in NAMES.items() if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))
    ]
    assert ([] if picked is None else picked["instrument_id"].tolist()) == expected


def test_filter_agrees_with_one_by_one(rng, given):
    """Random subscriptions over random records."""
    table = given.Instruments(NAMES)
    words = list(KINDS)
    for _ in range(50):
        wanted = {}
        for _ in range(rng.integers(1, 4)):
            kinds = 0
            for word in rng.choice(words, rng.integers(1, 4)):
                kinds |= KINDS[str(word)]
            ring = str(rng.choice(["*", "cme", "c*", "other"]))
            wanted[ring, str(rng.choice(PATTERNS))] = kinds
        records = given.others(range(1, 101), rng.integers(0, 9, 100), rng.integers(1, 16, 100))
        picked = Filter(wanted).pick("cme", records, table)
        expected = [
            int(row["seq"])
            for row in records
            if any(
                kinds >> int(row["kind"]) & 1
                and fnmatch.fnmatchcase("cme", ring)
                and (
                    not row["instrument_id"]
                    or fnmatch.fnmatchcase(
                        table.symbol(int(row["instrument_id"])), pattern.replace("[", "[[]")
                    )
                )
                for (ring, pattern), kinds in wanted.items()
            )
        ]
        assert ([] if picked is None else picked["seq"].tolist()) == expected, wanted


def test_what_all_want_is_not_copied(given):
    records = given.quotes([1, 2], [1, 2])
    assert Filter({("*", "*"): ALL_KINDS}).pick("cme", records, given.Instruments(NAMES)) is records


def test_renamed_instrument_is_matched_by_its_new_name(given):
    subscription = Filter({("*", "ES*"): DEFAULT})
    records = given.quotes([1], [3])
    assert subscription.pick("cme", records, given.Instruments(NAMES)) is None
    renamed = given.Instruments(NAMES | {3: "ESM7"})
    assert subscription.pick("cme", records, renamed) is not None


def test_gap_of_the_whole_feed_comes_with_any_symbol(given):
    records = given.others([1, 2], [0, 3], Kind.GAP)
    picked = Filter({("*", "ESZ6"): DEFAULT}).pick("cme", records, given.Instruments(NAMES))
    assert picked["seq"].tolist() == [1]
    only_trades = Filter({("*", "ESZ6"): KINDS["trade"]})
    assert only_trades.pick("cme", records, given.Instruments(NAMES)) is None


def test_bars_have_a_kind_of_their_own(given):
    records = given.bars([1, 2], [1, 3])
    table = given.Instruments(NAMES)
    assert Filter({("*", "ES*"): KINDS["bar"]}).pick("b", records, table)["seq"].tolist() == [1]
    assert Filter({("*", "ES*"): KINDS["quote"]}).pick("b", records, table) is None


def test_pattern_made_to_be_slow_is_not(given):
    """Backtracking would take longer than the test may."""
    pattern = "*a" * 90 + "*b"
    table = given.Instruments({1: "a" * 62})
    before = time.process_time()
    assert Filter({("*", pattern): DEFAULT}).pick("cme", given.quotes([1], [1]), table) is None
    assert time.process_time() - before < 30
    assert np.isfinite(before)
