"""Figures within pages that are written by hand: each names where it comes from, and is filled in from there.

    <!--=ring.batches-->302 M records/s<!--/-->     in a page, where the marks are not seen
         │                    ▲
         └─► FIGURES ─► bench/results ─► the text between

So a figure in prose is always one of the page of measured numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mdfeedd.docs.results import at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mdfeedd.docs.results import Results

__all__ = ["FIGURES", "MARK", "figures", "filled"]

MARK: Final = re.compile(r"(<!--=([\w.]+)-->)(.*?)(<!--/-->)", re.DOTALL)

NOT_MEASURED: Final = "(not measured yet)"
"""In place of a figure of a benchmark whose result nobody has kept so far."""

Figure = tuple[str, str, float, str]
"""Name of the result, path in it, what it is multiplied by, how it is written."""

FIGURES: Final[dict[str, Figure]] = {
    "ring.batches": ("ring", "figures.native.batch.mps", 1, "{:.0f} M records/s"),
    "ring.single": ("ring", "figures.native.single.mps", 1, "{:.0f} M records/s"),
    "ring.publish": ("ring", "figures.native.publish.single_ns", 1, "{:.0f} ns"),
    "ring.spin": ("ring", "figures.native.latency_one.p50_ns", 1, "{:.0f} ns"),
    "ring.line": ("ring", "figures.native.latency_one.line_ns", 1, "{:.0f} ns"),
    "ring.python_batches": ("ring", "figures.python.mdfeedd.batch", 1, "{:.0f} M records/s"),
    "ring.python_single": ("ring", "figures.python.mdfeedd.single", 1, "{:.1f} M records/s"),
    "ring.python_spin": ("ring", "figures.python.mdfeedd.spin.p50_us", 1, "{:.1f} µs"),
    "ring.python_blocking": ("ring", "figures.python.mdfeedd.blocking.p50_us", 1, "{:.0f} µs"),
    "ring.queue_single": ("ring", r"figures.python.multiprocessing\.Queue.single", 1, "{:.1f} M records/s"),
    "ring.queue_batches": ("ring", r"figures.python.multiprocessing\.Queue.batch", 1, "{:.0f} M records/s"),
    "ring.queue_blocking": ("ring", r"figures.python.multiprocessing\.Queue.blocking.p50_us", 1e-3, "{:.1f} ms"),
    "ring.reader_memory": ("ring", "figures.memory.over_numpy_mib.rss", 1, "{:.1f} MiB"),
    "ring.import": ("ring", "figures.memory.import_over_numpy_ms", 1, "{:.0f} ms"),
    "ring.kept": ("ring", "figures.memory.python_bytes_kept.100000", 1, "{:.0f} bytes"),
    "databento.cpu": ("databento", "figures.flood.feed.cpu_ns", 1, "{:.0f} ns"),
    "databento.rate": ("databento", "figures.flood.feed.wall_m_per_s", 1, "{:.0f} M records/s"),
    "databento.live_cpu": ("databento", r"figures.flood.databento\.Live.cpu_ns", 1, "{:,.0f} ns"),
    "databento.spinning": ("databento", "figures.latency.feed and reader spinning.p50_us", 1, "{:.0f} µs"),
    "databento.sleeping": ("databento", "figures.latency.feed, blocking reader.p50_us", 1, "{:.0f} µs"),
    "databento.memory": ("databento", "figures.footprint.feed.peak_mib", 1, "{:.0f} MiB"),
    "cme.packet": ("cme", "rounds.handler", 1, "{:.0f} ns"),
    "cme.latency": ("cme_latency", "rows.0.p50_us", 1, "{:.0f} µs"),
    "cme.blocking": ("cme_wire", "cost.backlog.blocking.of_recvmmsg", 1, "{:.1f} times"),
    "cme.packet_ring": ("cme_wire", "cost.backlog.packet_ring.of_recvmmsg", 1, "{:.2f} times"),
    "bars.rate": ("bars", "mdfeedd_m_ticks_per_s.batches of 4096 from memory", 1, "{:.0f} M ticks/s"),
    "journal.append": ("journal", "figures.append 8192", 1, "{:.0f} M records/s"),
    "journal.interval": ("journal", "figures.interval: durable p50 ms", 1, "{:.0f} ms"),
    "journal.batch": ("journal", "figures.batch: durable p50 ms", 1, "{:.1f} ms"),
    "journal.reader": ("journal", "figures.reader", 1, "{:.0f} M records/s"),
    "postgres.rate": ("sinks_postgres", "ways.sink 65536.k_rows_per_s", 1e-3, "{:.1f} M rows/s"),
    "postgres.two": ("sinks_postgres", "ways.sink 2 x 65536.k_rows_per_s", 1e-3, "{:.1f} M rows/s"),
    "redis.stream": ("sinks_redis", "rows.sink, stream.m_ticks_s", 1, "{:.1f} M ticks/s"),
    "kafka.rate": ("sinks_kafka", "apache.million_ticks_per_s.sink", 1, "{:.1f} M ticks/s"),
    "kafka.feed": ("sinks_kafka", "apache.million_ticks_per_s.feed", 1, "{:.1f} M ticks/s"),
    "manager.per_batch": ("manager", "ratios.per batch", 1, "{:.0f}"),
    "manager.per_tick": ("manager", "ratios.per tick", 1, "{:.1f}"),
    "manager.batches": ("manager", "rows.manager, batch.M_ticks_s", 1, "{:.0f} M ticks/s"),
    "manager.ticks": ("manager", "rows.manager, tick.M_ticks_s", 1, "{:.1f} M ticks/s"),
    "manager.latency": ("manager", "rows.manager, latency.p50_us", 1, "{:.0f} µs"),
    "manager.latency_p99": ("manager", "rows.manager, latency.p99_us", 1, "{:.0f} µs"),
    "manager.queued": ("manager", "rows.bytes per tick.queue", 1, "{:.0f} bytes"),
}  # fmt: skip
"""By the name that a page uses."""


def figures(results: Results) -> Mapping[str, Callable[[], str]]:
    """How each figure is written now. Calling one raises `ValueError` where the result does not have it."""
    return {name: _maker(results, figure) for name, figure in FIGURES.items()}


def _maker(results: Results, figure: Figure) -> Callable[[], str]:
    result, path, factor, written = figure

    if result not in results:
        return lambda: NOT_MEASURED

    def made() -> str:
        try:
            return written.format(at(results[result], path) * factor)
        except (LookupError, TypeError, ValueError):
            raise ValueError(f"{result}.json has no number at {path!r}") from None

    return made


def filled(text: str, known: Mapping[str, Callable[[], str]], page: str) -> str:
    """The page with each figure as it is now. Raises `ValueError` for one that nobody knows or has."""

    def fill(found: re.Match[str]) -> str:
        opening, name, _, closing = found.groups()
        if name not in known:
            raise ValueError(f"{page}: no figure {name} (see mdfeedd/docs/figures.py)")
        return f"{opening}{known[name]()}{closing}"

    return MARK.sub(fill, text)
