"""The reference of all metrics, written from the catalogue: `python -m mdfeedd.daemon.metrics_page > mdfeedd/docs/metrics.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from mdfeedd.daemon import catalogue
from mdfeedd.ring.latency import LATENCY_EVERY

if TYPE_CHECKING:
    from mdfeedd.daemon.catalogue import Metric

_HEAD: Final = """# Metrics

Written from `mdfeedd/daemon/catalogue.py` by `python -m mdfeedd.daemon.metrics_page`; a test compares the two.

`/metrics` of the daemon gives them in Prometheus' text format, or as OpenMetrics to who asks for it. Everything is
read from shared memory (of disks, from the system) when it is asked for; nothing is kept in between. Names are
`mdfeedd_<subsystem>_<noun>_<verb>_<unit>[_total]`, units are seconds and bytes, and no label has a value for each
symbol. Counters and histograms of a ring and its feed go on when its writer is restarted; those of a reader begin
anew when it attaches again.

- `feed`: name of the feed; `channel`, `kind` and `line`: one of its lines, as channel 310, incremental, A; `ring`: name of the ring, which is the feed's, with a suffix for its other rings;
  `reader`: name of the consumer, of this daemon or of another program; `child`: name of the process;
  `path`: a folder that the configuration names.
- A latency's buckets end at powers of two of nanoseconds from {low} to {high} s. One burst of a writer and one read
  of a reader in {every} are timed, by their oldest record, so that the hot path does not pay for it.
"""
_TITLES: Final = {
    "ring": "Rings",
    "reader": "Readers of rings",
    "feed": "Feeds",
    "line": "Lines of feeds",
    "channel": "Channels of feeds",
    "consumer": "Consumers",
    "child": "Processes",
    "disk": "Disks",
}


def page() -> str:
    """The whole page, Markdown."""
    low, high = catalogue.LATENCY_BOUNDS_S[0], catalogue.LATENCY_BOUNDS_S[-1]
    parts = [_HEAD.format(low=f"{low:.3g}", high=f"{high:.4g}", every=LATENCY_EVERY)]
    sections: dict[str, list[Metric]] = {}
    for metric in catalogue.metrics():
        title = _TITLES.get(metric.name.split("_")[1], "The daemon")
        sections.setdefault(title, []).append(metric)
    for title in (*_TITLES.values(), "The daemon"):
        table = "| metric | kind | labels | what it is |\n|---|---|---|---|\n"
        parts.append(f"## {title}\n\n{table}" + "".join(map(_row, sections[title])))
    return "\n".join(parts)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
