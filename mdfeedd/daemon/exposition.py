"""Metric families as bytes: Prometheus' text format 0.0.4 and OpenMetrics 1.0.

prometheus_client writes the same, several times as slowly: 10 feeds with 20 readers make more than 4,000 lines, and a
scrape must not cost a processor 50 ms. Tests hold this to what prometheus_client writes of the same families, to its
parsers, and to Prometheus.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample as Point

from mdfeedd.ring.latency import BOUNDS_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mdfeedd.ring.latency import Latency

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})
_BOUNDS: Final = (*(f"{bound:.4g}" for bound in BOUNDS_S), "+Inf")


class LatencyFamily(Family):
    """A histogram whose samples are kept as `Latency`, because one makes 33 lines."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text, "histogram")
        self.latencies: list[tuple[dict[str, str], Latency]] = []

    def expanded(self) -> Family:
        """The same as prometheus_client knows it."""
        family = Family(self.name, self.documentation, self.type)
        for labels, latency in self.latencies:
            below = itertools.accumulate(latency.buckets)
            family.samples += [
                Point(f"{self.name}_bucket", {**labels, "le": bound}, n)
                for bound, n in zip(_BOUNDS, below, strict=True)
            ]
            family.samples.append(Point(f"{self.name}_sum", labels, latency.sum_ns * 1e-9))
            family.samples.append(Point(f"{self.name}_count", labels, latency.samples))
        return family

    def lines(self) -> Iterator[str]:
        """All lines of its samples."""
        for labels, latency in self.latencies:
            inside = _inside(labels)
            head = f"{self.name}_bucket{{le="
            for bound, n in zip(_BOUNDS, itertools.accumulate(latency.buckets), strict=True):
                yield f'{head}"{bound}",{inside}}} {n}.0'
            yield f"{self.name}_sum{{{inside}}} {latency.sum_ns * 1e-9!r}"
            yield f"{self.name}_count{{{inside}}} {latency.samples}.0"


def content_type(accept: str) -> str:
    """What to answer to this ``Accept``: OpenMetrics if it is named."""
    return OPENMETRICS if "application/openmetrics-text" in accept else TEXT


def render(families: Iterable[Family], kind: str) -> bytes:
    """Every sample of every family, in the format of a content type. No timestamps, no exemplars."""
    openmetrics = kind == OPENMETRICS
    lines: list[str] = []
    for family in families:
        name = family.name
        if family.type == "counter" and not openmetrics:
            name += "_total"
        escapes = _ESCAPES if openmetrics else _HELP_ESCAPES
        lines.append(f"# HELP {name} {family.documentation.translate(escapes)}")
        lines.append(f"# TYPE {name} {family.type}")
        if isinstance(family, LatencyFamily):
            lines += family.lines()
        else:
            lines += [
                f"{name}{{{_inside(labels)}}} {_number(value)}"
                if labels
                else f"{name} {_number(value)}"
                for name, labels, value, *_ in family.samples
            ]
    if openmetrics:
        lines.append("# EOF")
    lines.append("")
    return "\n".join(lines).encode()


def _inside(labels: dict[str, str]) -> str:
    """What stands between the braces; in the order of the names, as prometheus_client has it."""
    return ",".join([f'{key}="{_escaped(labels[key])}"' for key in sorted(labels)])


def _escaped(text: str) -> str:
    """Most names need it never, so it is looked at before it is done."""
    return text if text.isalnum() else text.translate(_ESCAPES)


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
