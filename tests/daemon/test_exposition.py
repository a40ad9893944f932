"""Our lines against prometheus_client's: what it writes of the same families, and what its parsers read."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as text_of
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_of
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from mdfeedd.daemon.catalogue import Metric
from mdfeedd.daemon.exposition import OPENMETRICS, TEXT, Table, content_type, render
from mdfeedd.ring.latency import BOUNDS_S, Latency

HOSTILE = 'a"b\\c\nd{e="f"} ü€'


def metric(name, kind, text, *labels):
    return Metric(f"mdfeedd_test_{name}", kind, text, labels)


def tables():
    counter = metric("thing_seen_total", "counter", 'says "so" \\ and\nso', "ring", "reader")
    age = metric("age_seconds", "gauge", "an age", "feed")
    ages = (0, -1.5, 1e-9, 1e22, math.inf, -math.inf, 10**15 - 1, 10**15, -(10**17), True)
    latency = metric("latency_seconds", "histogram", "times", "ring", "reader")
    buckets = tuple(range(len(BOUNDS_S) + 1))
    return [
        Table(counter, [(("r-1", HOSTILE), 2**53), (("r-1", ""), True)]),
        Table(age, [((f"f{i}",), value) for i, value in enumerate(ages)]),
        Table(metric("alone", "gauge", "no label"), [((), 3)]),
        Table(
            latency,
            [
                (("r", HOSTILE), Latency(buckets, 123_456_789)),
                (("q", "x"), Latency((0,) * len(buckets), 0)),
            ],
        ),
    ]


class Given(Collector):
    def collect(self):
        return [table.expanded() for table in tables()]


def numbers(lines):
    """Sample lines as (series, number): the two write the same number in different ways."""
    split = [line.rpartition(" ") for line in lines if line and not line.startswith("#")]
    return {(series, float(number)) for series, _, number in split}


@pytest.mark.parametrize(
    ("kind", "theirs"), [(TEXT, text_of), (OPENMETRICS, openmetrics_of)], ids=["text", "open"]
)
def test_the_same_lines_as_prometheus_client(kind, theirs):
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Given())
    ours, expected = render(tables(), kind).decode(), theirs(registry).decode()
    assert numbers(ours.split("\n")) == numbers(expected.split("\n"))
    comments = [line for line in ours.split("\n") if line.startswith("#")]
    assert comments == [line for line in expected.split("\n") if line.startswith("#")]
    assert ours.endswith("\n")


@pytest.mark.parametrize(
    ("kind", "parse"), [(TEXT, parse_text), (OPENMETRICS, parse_openmetrics)], ids=["text", "open"]
)
def test_parsers_read_back_what_was_written(kind, parse):
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(render(tables(), kind).decode())
        for sample in family.samples
    }
    expected = {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in Given().collect()
        for sample in family.samples
    }
    assert found == pytest.approx(expected)
    assert any(HOSTILE in dict(labels).values() for _, labels in found)


def test_nan_is_written_as_prometheus_reads_it():
    odd = Table(metric("odd", "gauge", "odd"), [((), math.nan)])
    assert b"mdfeedd_test_odd NaN\n" in render([odd], TEXT)


def test_openmetrics_is_for_who_names_it():
    prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2,*/*;q=0.1"
    assert content_type(prometheus) == OPENMETRICS
    assert content_type("text/html,*/*") == content_type("") == TEXT
