"""YAML's traps: what PyYAML's own rules would make of tickers, times and numbers."""

from __future__ import annotations

import math

import pytest

from mdfeedd.daemon import yaml12
from mdfeedd.daemon.problems import Mark


def read(text):
    node, problems = yaml12.parse(text if isinstance(text, bytes) else text.encode(), "f")
    return node, [(p.mark.line, p.mark.column, p.sentence) for p in problems.found]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ON", "ON"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("17:00", "17:00"),
        ("1:30:00", "1:30:00"),
        ("1e9", 1e9),
        ("-1.5E-3", -0.0015),
        (".5", 0.5),
        ("1.", 1.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("+12", 12),
        ("-x", "-x"),
        ("2026-03-02", "2026-03-02"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'123'", "123"),
        ('"true"', "true"),
        ("!!str 123", "123"),
        ("!!int '5'", 5),
        ("!!float 5", 5.0),
        ("<<", "<<"),
        ("=", "="),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    node, problems = read(f"key: {text}\n")
    assert problems == []
    found = node.plain()["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number():
    node, _ = read("key: .nan\n")
    assert math.isnan(node.plain()["key"])


def test_a_ticker_called_on_is_a_key_too():
    node, problems = read("{ON: 1, NO: 2, 1: 3, null: 4}\n")
    assert problems == []
    assert node.plain() == {"ON": 1, "NO": 2, "1": 3, "null": 4}


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key 'a' (first in line 1)"),
        ("a: {b: 1, b: 2}\n", 1, 11, "duplicate key 'b'"),
        (
            "a: !!python/object:os.system x\n",
            1,
            4,
            "the tag !!python/object:os.system is not allowed",
        ),
        ("a: !secret x\n", 1, 4, "the tag !secret is not allowed"),
        ("a: !!set {x: null}\n", 1, 4, "the tag !!set is not allowed"),
        ("a: !!int x\n", 1, 4, "'x' is not of the type !!int"),
        ("? [a, b]\n: 1\n", 1, 3, "a key must be a word"),
        ("'': 1\n", 1, 1, "a key must be a word"),
        ("a: [1, 2\nb: 3\n", 2, 2, "that begins in line 1"),
        ("a: 'never closed\n", 2, 1, "while scanning a quoted scalar"),
        ("a:\n\t- 1\n", 2, 1, "cannot start any token"),
        ("a: b: c\n", 1, 5, "mapping values are not allowed here"),
        ("a: *nobody\n", 1, 4, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, 1, "but found another document"),
        ("a: 1e999\n", 1, 4, "1e999 is out of range"),
        ("a: " + "9" * 500 + "\n", 1, 4, "more than 400 digits"),
        ("a: &x [*x]\n", 1, 4, "nested deeper than 32 levels"),
        ("a: " + "[" * 40 + "]" * 40 + "\n", 1, 36, "nested deeper than 32 levels"),
        ("a: " + "[" * 5000 + "]" * 5000 + "\n", 1, 1, "nested deeper than 32 levels"),
        ("a: b\x07c\n", 1, 5, "the control character U+0007 is not allowed"),
        (b"a: 1\nb: caf\xe9\n", 2, 7, "byte 0xe9 is not UTF-8 text"),
    ],
)
def test_what_is_refused_and_where(text, line, column, words):
    _, problems = read(text)
    assert len(problems) == 1
    assert problems[0][:2] == (line, column)
    assert words in problems[0][2]


def test_aliases_are_followed():
    node, problems = read("a: &x {n: 1}\nb: *x\n")
    assert problems == []
    assert node.plain() == {"a": {"n": 1}, "b": {"n": 1}}


def test_a_billion_laughs_end_early():
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10)]
    node, problems = read("\n".join(lines))
    assert node is None
    assert "more than 100000 values, with aliases followed" in problems[0][2]


def test_a_huge_file_is_not_read():
    node, problems = read(b"#" * (yaml12.MAX_BYTES + 1))
    assert node is None
    assert "larger than" in problems[0][2]


def test_marks_count_from_one_and_ignore_a_byte_order_mark():
    node, problems = read(b"\xef\xbb\xbfa:\n  - b: 5\n")
    assert problems == []
    assert node.at(("a", 0, "b")).mark == Mark(2, 8)
    assert node.value["a"].value[0].keys["b"] == Mark(2, 5)


def test_positions_follow_a_path_past_what_is_no_key():
    node, _ = read("a: [{b: 1}]\n")
    assert node.at(("a", 0, "some-union-member", "b")).value == 1
    assert node.at(("a", 7)).mark == node.at(("a",)).mark
