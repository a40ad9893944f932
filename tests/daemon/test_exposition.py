"""Our lines against prometheus_client's: what it writes of the same families, and what its parsers read."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as text_of
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_of
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from mdfeedd.daemon.exposition import OPENMETRICS, TEXT, LatencyFamily, content_type, render
from mdfeedd.ring.latency import BOUNDS_S, Latency

HOSTILE = 'a"b\\c\nd{e="f"} ü€'


def families():
    counter = Metric("mdfeedd_test_thing_seen", 'says "so" \\ and\nso', "counter")
    counter.samples = [
        Sample("mdfeedd_test_thing_seen_total", {"ring": "r-1", "reader": HOSTILE}, 2**53),
        Sample("mdfeedd_test_thing_seen_total", {"ring": "r-1", "reader": ""}, True),
    ]
    gauge = Metric("mdfeedd_test_age_seconds", "an age", "gauge")
    values = (0, -1.5, 1e-9, 1e22, math.inf, -math.inf)
    gauge.samples = [
        Sample("mdfeedd_test_age_seconds", {"feed": f"f{i}"}, value)
        for i, value in enumerate(values)
    ]
    alone = Metric("mdfeedd_test_alone", "no label", "gauge")
    alone.samples = [Sample("mdfeedd_test_alone", {}, 3)]
    latency = LatencyFamily("mdfeedd_test_latency_seconds", "times")
    buckets = tuple(range(len(BOUNDS_S) + 1))
    latency.latencies = [
        ({"ring": "r", "reader": HOSTILE}, Latency(buckets, 123_456_789)),
        ({"ring": "q", "reader": "x"}, Latency((0,) * len(buckets), 0)),
    ]
    return [counter, gauge, alone, latency]


class Given(Collector):
    def collect(self):
        return [f.expanded() if isinstance(f, LatencyFamily) else f for f in families()]


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
    ours, expected = render(families(), kind).decode(), theirs(registry).decode()
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
        for family in parse(render(families(), kind).decode())
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
    gauge = Metric("mdfeedd_test_odd", "odd", "gauge")
    gauge.samples = [Sample("mdfeedd_test_odd", {}, math.nan)]
    assert b"mdfeedd_test_odd NaN\n" in render([gauge], TEXT)


def test_openmetrics_is_for_who_names_it():
    prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2,*/*;q=0.1"
    assert content_type(prometheus) == OPENMETRICS
    assert content_type("text/html,*/*") == content_type("") == TEXT
