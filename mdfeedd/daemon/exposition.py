"""Tables of samples as bytes: Prometheus' text format 0.0.4 and OpenMetrics 1.0.

prometheus_client writes the same, several times as slowly: 10 feeds with 20 readers make more than 4,000 lines, and a
scrape must not cost a processor 50 ms. Tests hold this to what prometheus_client writes of the same families, to its
parsers, and to Prometheus.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample as Point

from mdfeedd.ring.latency import BOUNDS_S, Latency

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mdfeedd.daemon.catalogue import Metric

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})
_BOUNDS: Final = (*(f"{bound:.4g}" for bound in BOUNDS_S), "+Inf")
MAX_HEADS: Final = 1 << 15
"""Lines whose text but for the number is remembered."""
_PLAIN: Final = 10**15
"""Integers below it are written without an exponent."""

Labels = tuple[str, ...]
"""The values of a metric's labels, in its order."""


@dataclass(slots=True)
class Table:
    """One metric and its samples."""

    metric: Metric
    samples: list[tuple[Labels, float | Latency]] = field(default_factory=list)

    def expanded(self) -> Family:
        """The same as prometheus_client knows it, with a sample for each bucket of a histogram."""
        metric = self.metric
        family = Family(metric.name.removesuffix("_total"), metric.help, metric.kind)
        for values, value in self.samples:
            labels = dict(zip(metric.labels, values, strict=True))
            if not isinstance(value, Latency):
                family.samples.append(Point(metric.name, labels, value))
                continue
            below = itertools.accumulate(value.buckets)
            family.samples += [
                Point(f"{metric.name}_bucket", {**labels, "le": bound}, n)
                for bound, n in zip(_BOUNDS, below, strict=True)
            ]
            family.samples.append(Point(f"{metric.name}_sum", labels, value.sum_ns * 1e-9))
            family.samples.append(Point(f"{metric.name}_count", labels, value.samples))
        return family


def content_type(accept: str) -> str:
    """What to answer to this ``Accept``: OpenMetrics if it is named."""
    return OPENMETRICS if "application/openmetrics-text" in accept else TEXT


def render(tables: Iterable[Table], kind: str) -> bytes:
    """Every sample of every table, in the format of a content type. No timestamps, no exemplars."""
    openmetrics = kind == OPENMETRICS
    escapes = _ESCAPES if openmetrics else _HELP_ESCAPES
    lines: list[str] = []
    for table in tables:
        metric = table.metric
        name = metric.name.removesuffix("_total") if openmetrics else metric.name
        lines.append(f"# HELP {name} {metric.help.translate(escapes)}")
        lines.append(f"# TYPE {name} {metric.kind}")
        for values, value in table.samples:
            if isinstance(value, Latency):
                lines += _latency_lines(metric, values, value)
            else:
                lines.append(_head(metric.name, metric.labels, values) + _number(value))
    if openmetrics:
        lines.append("# EOF")
    lines.append("")
    return "\n".join(lines).encode()


def _latency_lines(metric: Metric, values: Labels, latency: Latency) -> Iterator[str]:
    heads = _latency_heads(metric.name, metric.labels, values)
    below = list(itertools.accumulate(latency.buckets))
    yield from [f"{head}{n}.0" for head, n in zip(heads, below, strict=True)]
    yield f"{_head(f'{metric.name}_sum', metric.labels, values)}{latency.sum_ns * 1e-9!r}"
    yield f"{_head(f'{metric.name}_count', metric.labels, values)}{below[-1]}.0"


@functools.lru_cache(MAX_HEADS)
def _head(name: str, labels: Labels, values: Labels) -> str:
    """A line up to its number, labels in the order of their names, as prometheus_client has it; the same each time."""
    inside = ",".join([
        f'{label}="{value.translate(_ESCAPES)}"'
        for label, value in sorted(zip(labels, values, strict=True))
    ])  # fmt: skip
    return f"{name}{{{inside}}} " if inside else f"{name} "


@functools.lru_cache(MAX_HEADS // 32)
def _latency_heads(name: str, labels: Labels, values: Labels) -> tuple[str, ...]:
    """Those of the buckets of a histogram."""
    named, bounded = f"{name}_bucket", (*labels, "le")
    return tuple(_head.__wrapped__(named, bounded, (*values, bound)) for bound in _BOUNDS)


def _number(value: float) -> str:
    if type(value) is int and -_PLAIN < value < _PLAIN:
        return f"{value}.0"
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
