"""Plots of the measured numbers, as SVG: bars beside one another, and lines over what grows.

    bench/results ─► PLOTS ─► plots() ─► plots/*.svg ─► the page of measured numbers

Text made from the results alone, so that the same results give the same file. It has no background, and its colours
are seen on a light and on a dark page. A plot whose result nobody has kept, or whose result has none of its figures
yet, is not made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.docs.markdown import number
from mdfeedd.docs.results import at, medians

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mdfeedd.docs.results import Results

__all__ = ["PLOTS", "Bars", "Lines", "of_section", "plots"]

WIDTH: Final = 760
LABEL_WIDTH: Final = 250
ROW: Final = 24
BAR: Final = 15
HEAD: Final = 44
HEIGHT: Final = 300  # of lines, without their head
LEFT: Final = 70
RIGHT: Final = 230  # where lines are named
COLOURS: Final = ("#2f81f7", "#d29922", "#3fb950", "#db61a2", "#a371f7", "#f85149")
_STYLE: Final = (
    "<style>text{font:12px sans-serif;fill:#57606a}.t{font-size:14px;font-weight:600}"
    ".g{stroke:#8b949e;stroke-opacity:.3}.o{fill:#2f81f7}.p{fill:#8b949e}"
    "@media(prefers-color-scheme:dark){text{fill:#9ea7b3}}</style>"
)
_MIN_POINTS: Final = 2


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar for each entry of the mapping at `path`, or of its value at `key`; the longest first.

    ours: entries whose name begins so are ours. Names that begin with one of `without` are left out.
    """

    name: str
    result: str
    title: str
    path: str
    key: str = ""
    ours: tuple[str, ...] = ("mdfeedd",)
    without: tuple[str, ...] = ()
    is_log: bool = True


@dataclass(frozen=True, slots=True)
class Lines:
    """A line for each of `lines` (key: what it is called) over `x`, of the list of rows at `path`. x is logarithmic."""

    name: str
    result: str
    title: str
    path: str
    x: str
    x_title: str
    lines: tuple[tuple[str, str], ...]
    is_log: bool = False


PLOTS: Final[tuple[Bars | Lines, ...]] = (
    Bars("ring_single", "ring", "From Python to Python, one by one: M records/s (logarithmic)", "figures.python", "single"),
    Bars("ring_batch", "ring", "From Python to Python, batches of 64: M records/s (logarithmic)", "figures.python", "batch"),
    Bars("ring_spin", "ring", "One record, both spinning, p50: µs (logarithmic)", "figures.python", "spin.p50_us"),
    Bars("ring_blocking", "ring", "One record to a reader that sleeps, p50: µs (logarithmic)", "figures.python", "blocking.p50_us"),
    Bars("dbn", "dbn", "DBN files: M records/s (logarithmic)", "million_records_per_s", ours=("bytes", "file", "C decoder")),
    Bars("databento", "databento", "Databento live: CPU time a record, ns (logarithmic)", "figures.flood", "cpu_ns", ours=("feed",)),
    Bars("cme", "cme", "CME: a packet, ns (logarithmic)", "rounds", ours=("handler",)),
    Bars("bloomberg", "bloomberg", "Bloomberg: CPU time a message through Python, µs", "figures.python", "us", ours=("feed", "the data"), is_log=False),
    Bars("bars_peers", "bars", "Bars: how many times as fast as these", "peers", "ratio", ours=(), is_log=False),
    Bars("postgres", "sinks_postgres", "PostgreSQL: k rows/s", "ways", "k_rows_per_s", ours=("sink",), without=("encode",), is_log=False),
    Bars("redis", "sinks_redis", "Redis: M ticks/s", "rows", "m_ticks_s", ours=("sink",), is_log=False),
    Bars("kafka", "sinks_kafka", "Kafka: M ticks/s", "apache.million_ticks_per_s", ours=("sink", "feed"), is_log=False),
    Bars("manager", "manager", "Callbacks: M ticks/s (logarithmic)", "rows", "M_ticks_s", ours=("manager",)),
    Lines("growth_symbols", "growth", "Instruments, each as likely as the other: CPU time a record, ns", "symbols", "instruments", "instruments", (
        ("databento_ns", "DBN to ring"), ("cme_ns", "MDP 3.0 to ring, an entry"), ("last_ns", "last values"), ("bars_ns", "bars"))),
    Lines("growth_table", "growth", "The first look at the table of instruments: ms (logarithmic)", "symbols", "instruments", "instruments", (
        ("attach_ms", "attach"), ("first_look_up_ms", "the first look-up by symbol")), is_log=True),
    Lines("growth_readers", "growth", "Readers: what a record costs the writer in batches of 64, times a ring without any", "readers", "readers", "readers", (
        ("sleeping_batch_times_alone", "readers that follow"), ("stopped_batch_times_alone", "stopped"))),
    Lines("growth_feeds", "growth", "Feeds of 5,000 ticks/s each: stamp to a reader of all, µs (logarithmic)", "feeds", "feeds", "feeds", (
        ("p50_us", "p50"), ("p99_us", "p99")), is_log=True),
    Lines("growth_feeds_cpu", "growth", "Feeds of 5,000 ticks/s each: CPU time a tick, µs", "feeds", "feeds", "feeds", (
        ("feed_cpu_us_per_tick", "feed"), ("reader_cpu_us_per_tick", "one reader of all"))),
    Lines("growth_record_size", "growth", "Size of a record: GB/s, batches of 64 from Python", "record_size", "bytes", "bytes a record", (
        ("write_gb_per_s", "written"), ("read_gb_per_s", "read"), ("numpy_copy_gb_per_s", "copied by numpy"))),
)  # fmt: skip
"""In the order of their sections."""


def plots(results: Results) -> Iterator[tuple[str, str]]:
    """Name and text of each plot that can be made of these results."""
    for plot in PLOTS:
        text = _svg(plot, results)
        if text is not None:
            yield plot.name, text


def of_section(result: str, results: Results) -> Iterator[tuple[str, str]]:
    """Name and title of each plot of one result."""
    for plot in PLOTS:
        if plot.result == result and _svg(plot, results) is not None:
            yield plot.name, plot.title


def _svg(plot: Bars | Lines, results: Results) -> str | None:
    try:
        found = at(results[plot.result], plot.path)
    except (LookupError, TypeError):
        return None
    if isinstance(plot, Bars):
        values = _bar_values(plot, found)
        return _bars(plot, values) if values else None
    rows = [row for row in found if row.get(plot.x)]
    return _lines(plot, rows) if len(rows) >= _MIN_POINTS else None


def _document(title: str, height: int, parts: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    name = f'role="img" aria-label="{escape(title)}"'
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {name}>',
        _STYLE,
        f'<text class="t" x="8" y="22">{escape(title)}</text>',
        *parts,
        "</svg>\n",
    ])  # fmt: skip


# -------------------------------------------------------------------------------------------- bars


def _bar_values(plot: Bars, found: Any) -> list[tuple[str, float]]:
    entries = medians(found) if isinstance(found, list) else found
    values = []
    for name, entry in entries.items():
        try:
            value = at(entry, plot.key) if plot.key else entry
        except (LookupError, TypeError):
            continue
        wanted = not any(name.startswith(left) for left in ("rounds", *plot.without))
        if wanted and isinstance(value, int | float) and value > 0:
            values.append((name, float(value)))
    return sorted(values, key=lambda pair: -pair[1])


def _bars(plot: Bars, values: Sequence[tuple[str, float]]) -> str:
    most, least = values[0][1], values[-1][1]
    room = WIDTH - LABEL_WIDTH - 80
    low = 10 ** math.floor(math.log10(least) - 0.3)
    parts = []
    for row, (name, value) in enumerate(values):
        share = math.log(value / low) / math.log(most / low) if plot.is_log else value / most
        y = HEAD + row * ROW
        kind = "o" if any(name.startswith(own) for own in plot.ours) else "p"
        parts += [
            f'<text x="{LABEL_WIDTH - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{y}" width="{max(1.0, share * room):.1f}" height="{BAR}"/>',
            f'<text x="{LABEL_WIDTH + share * room + 6:.1f}" y="{y + 12}">{number(value)}</text>',
        ]
    return _document(plot.title, HEAD + len(values) * ROW + 4, parts)


# ------------------------------------------------------------------------------------------- lines


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to places."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    def place(self, value: float) -> float:
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.is_log:
            first, last = round(math.log10(self.low)), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**n for n in range(first, last + 1)]
        rough = (self.high - self.low) / 4
        unit = 10 ** math.floor(math.log10(rough))
        step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough)
        return [step * n for n in range(int(self.high / step + 1e-9) + 1)]


def _lines(plot: Lines, rows: Sequence[dict[str, Any]]) -> str:
    xs = [float(row[plot.x]) for row in rows]
    drawn = []
    for key, name in plot.lines:
        try:
            points = [(x, float(row[key])) for x, row in zip(xs, rows, strict=True)]
        except KeyError:
            raise ValueError(
                f"{plot.result}.json has no {key!r} in each row of {plot.path!r}"
            ) from None
        drawn.append((name, points))
    values = [value for _, points in drawn for _, value in points]
    low = 10.0 ** math.floor(math.log10(max(min(values), 1e-3))) if plot.is_log else 0.0
    x_axis = _Axis(xs[0], xs[-1], LEFT, WIDTH - RIGHT, is_log=True)
    y_axis = _Axis(low, max(values) * 1.05, HEAD + HEIGHT - 40, HEAD + 4, plot.is_log)
    parts = list(_grid(plot, x_axis, y_axis, xs))
    names = sorted((y_axis.place(points[-1][1]), i) for i, (_, points) in enumerate(drawn))
    beside = _apart([y for y, _ in names])
    for y, (_, i) in zip(beside, names, strict=True):
        name, points = drawn[i]
        colour = COLOURS[i]
        places = " ".join(f"{x_axis.place(x):.1f},{y_axis.place(v):.1f}" for x, v in points)
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{places}"/>'
        )
        parts += [
            f'<circle fill="{colour}" cx="{x_axis.place(x):.1f}" cy="{y_axis.place(v):.1f}" r="3"/>'
            for x, v in points
        ]
        last = f"{escape(name)}: {number(points[-1][1])}"
        parts.append(
            f'<text x="{WIDTH - RIGHT + 10}" y="{y + 4:.1f}" style="fill:{colour}">{last}</text>'
        )
    return _document(plot.title, HEAD + HEIGHT, parts)


def _grid(plot: Lines, x_axis: _Axis, y_axis: _Axis, xs: Sequence[float]) -> Iterator[str]:
    bottom = y_axis.start
    for value in y_axis.ticks():
        y = y_axis.place(value)
        yield f'<line class="g" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>'
    for value in xs:
        x = x_axis.place(value)
        yield f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{number(int(value))}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle:.1f}" y="{bottom + 35:.1f}" text-anchor="middle">{escape(plot.x_title)}</text>'


def _apart(places: Sequence[float], least: float = 16.0) -> list[float]:
    """Ascending places with room for a line of text between."""
    out: list[float] = []
    for place in places:
        out.append(max(place, out[-1] + least) if out else place)
    return out
