"""A record costs no more instructions than the table says; what costs more is caught, and is told by name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
_FOUND = importlib.util.spec_from_file_location("bench_gate", REPOSITORY / "bench" / "gate.py")
assert _FOUND is not None
assert _FOUND.loader is not None
gate = importlib.util.module_from_spec(_FOUND)
sys.modules[_FOUND.name] = gate
_FOUND.loader.exec_module(gate)

RENEW = "if it is meant: python bench/gate.py --renew"


@pytest.fixture(scope="module")
def allowed() -> dict[str, float]:
    if why := gate.missing():
        pytest.skip(why)
    column = gate.table().get(gate.compiler())
    if column is None:
        pytest.skip(f"the table has no column for {gate.compiler()}: python bench/gate.py --renew")
    return column


def test_record_costs_more_instructions_than_it_did(allowed, tmp_path) -> None:
    found = gate.count(gate.build(tmp_path), tmp_path)
    told = gate.judge(found, allowed)
    assert not told, "\n".join([*told, RENEW])
    assert set(found) == set(allowed), RENEW


PLANTED = {
    "mdfeedd/ring/mdfeedd.h": (
        "    uint64_t s = w->next++;\n",
        "    if (mdf_load32(&w->registry->waiters)) mdf_fence_full();\n",
    ),
    "mdfeedd/strategy/last.h": (  # of a length that the compiler cannot know
        "        r->seq = t->seq;\n        switch (t->kind) {\n",
        "        mdf_last_row copy;\n        memmove(&copy, r, sizeof copy - (t->kind == 99));\n",
    ),
}  # a line, and what a record costs more before it


def test_load_and_branch_and_copy_more_a_record_are_caught(allowed, tmp_path) -> None:
    for name, (line, more) in PLANTED.items():
        text = (REPOSITORY / name).read_text()
        assert text.count(line) == 1, f"{name} has changed: plant it elsewhere"
        (tmp_path / Path(name).name).write_text(text.replace(line, more + line))
    program = gate.build(tmp_path, tmp_path)
    found = gate.count(program, tmp_path, "ring.") | gate.count(program, tmp_path, "strategy.")
    told = gate.judge(found, allowed)
    grown = ["ring.publish", "ring.publish_flush", "strategy.last"]
    assert [line.partition(":")[0] for line in told] == grown
    assert f"% more than {allowed['ring.publish']:g}" in told[0]


def test_judge_tells_what_grew_and_what_the_table_does_not_know() -> None:
    allowed = {"a": 100.0, "b": 100.0}
    found = {"a": 105.0, "b": 106.0, "c": 1.0}
    assert gate.judge(found, allowed) == [
        "b: 106 instructions a record, 6 % more than 100",
        "c: 1 instructions a record, and none in the table",
    ]


def test_what_is_called_and_what_is_not_ours_are_not_counted() -> None:
    dump = """\
ob=/tmp/x/gate
fl=gate.c
fn=kernel
10 7
calls=1 20
11 1000
12 5
fn=blpapi_Name_create
13 100
ob=/lib/libc.so.6
fn=strlen
14 50
"""
    assert gate.instructions(dump, "gate") == 12
