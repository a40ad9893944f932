"""A `View` as a screen of so many columns and lines, by rich. Names and sentences are others': shown as plain text."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import units
from mdfeedd.cli.units import printable
from mdfeedd.daemon.troubles import LINE_MUTE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from mdfeedd.cli.top_view import FeedRow, LineRow, ProcessRow, ReaderRow, View

WIDE: Final = 144
"""Columns from which on everything is shown."""
_TROUBLES: Final = 4
_BARS: Final = "▁▂▃▄▅▆▇█"
_NARROW_TREND: Final = 10
_WIDE_TREND: Final = 40
_LEAST_ROWS: Final = 2
_NAME: Final = 18


def draw(view: View, width: int, height: int) -> RenderableType:
    """The screen. What does not fit is cut from the longest table, and said."""
    from rich.console import Group
    from rich.text import Text

    wide = width >= WIDE
    clock = units.clock(int(view.time_s * 1e9))[:8]
    parts: list[RenderableType] = [
        Text.assemble(("mdfeedd top", "bold"), f"  {clock} UTC  ", (printable(view.source), "dim"))
    ]
    told = [Text(printable(text), "bold red", no_wrap=True) for text in view.troubles[:_TROUBLES]]
    if len(view.troubles) > _TROUBLES:
        told[-1:] = [
            Text(f"... and {len(view.troubles) - _TROUBLES + 1} more troubles", "bold red")
        ]
    parts += told or [Text("all is well", "green")]
    if view.bottleneck:
        parts.append(
            Text.assemble(("bottleneck: ", "bold"), printable(view.bottleneck), no_wrap=True)
        )
    lines = [row for row in view.lines if row.shown]
    trend = min(_WIDE_TREND, max(_NARROW_TREND, width - WIDE)) if wide else _NARROW_TREND
    tables: list[tuple[Sequence[Any], Callable[..., Table]]] = [
        (view.feeds, functools.partial(_feeds, trend=trend)),
        *([(lines, _lines)] if lines else []),
        (view.readers, _readers),
        (view.processes, _processes),
    ]
    rooms = shares([len(rows) for rows, _ in tables], height - len(parts) - 1 - 2 * len(tables))
    for (rows, make), room in zip(tables, rooms, strict=True):
        parts += ["", make(rows[:room], len(rows), wide=wide)]
    return Group(*parts)


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """So many lines of each table that they fit into the room, the longest cut first; some of each at least."""
    given = list(wanted)
    while sum(given) > room and max(given) > _LEAST_ROWS:
        given[given.index(max(given))] -= 1
    return given


def spark(trend: Sequence[float], cells: int) -> str:
    """The last rates as bars, relative to the largest of them; spaces where there are none yet."""
    shown = trend[-cells:]
    top = max(shown, default=0.0)
    steps = len(_BARS) - 1
    bars = "".join(_BARS[round(max(0.0, rate) / top * steps) if top else 0] for rate in shown)
    return bars.rjust(cells)


def _table(*columns: str) -> Table:
    """Columns with their headings; those that begin with > are numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for i, column in enumerate(columns):
        number = column.startswith(">")
        table.add_column(
            column.lstrip(">"),
            justify="right" if number else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=_NAME // 2 if i == 0 else None,
        )
    return table


def _headed(name: str, shown: int, of: int) -> str:
    return name if shown == of else f"{name} ({shown} of {of})"


def _name(text: str, *, alive: bool) -> Text:
    from rich.text import Text

    return Text(printable(text), "bold" if alive else "bold red")


def _feeds(rows: Sequence[FeedRow], of: int, *, wide: bool, trend: int) -> Table:
    head = _headed("feed", len(rows), of)
    if wide:
        table = _table(
            head, "vendor", "state", "> ticks/s", "trend", "> ticks", "> gaps", "> doubtful",
            "> packets/s", "> twice", "> late", "> lost", "> dropped", "> venue", "> p50", "> p99",
        )  # fmt: skip
    else:
        table = _table(head, "state", "> ticks/s", "trend", "> gaps", "> lost", "> twice", "> p99")
    for row in rows:
        name = _name(row.name, alive=row.alive)
        gaps, lost = _bad(row.gaps), _bad(row.lost_packets)
        twice = "" if row.duplicate_share is None else f"{row.duplicate_share:.0%}"
        p50, p99 = (_seconds(row.latency.get(key)) for key in ("p50", "p99"))
        sparkline = spark(row.trend, trend)
        if not wide:
            table.add_row(name, row.state, _rate(row.rate), sparkline, gaps, lost, twice, p99)
            continue
        table.add_row(
            name, printable(row.vendor), row.state, _rate(row.rate), sparkline,
            units.compact(row.published), gaps, _bad(row.open_books), _rate(row.packets_rate), twice,
            units.compact(row.late_packets), lost, _bad(row.dropped_packets),
            _seconds(row.latency_s), p50, p99,
        )  # fmt: skip
    return table


def _lines(rows: Sequence[LineRow], of: int, *, wide: bool) -> Table:
    columns = [
        _headed("line", len(rows), of),
        "feed",
        "> packets/s",
        "> first",
        "> lost now",
        "> lost",
    ]
    columns += (
        ["> late", "> dropped", "> malformed", "> silent"] if wide else ["> dropped", "> silent"]
    )
    table = _table(*columns)
    for row in rows:
        mute = row.silent_s is not None and row.silent_s >= LINE_MUTE_S
        cells: list[RenderableType] = [
            _name(row.line, alive=not mute), printable(row.feed), _rate(row.rate),
            "" if row.first_share is None else f"{row.first_share:.0%}",
            "" if row.lost_share is None else f"{row.lost_share:.2%}",
            _bad(row.lost),
        ]  # fmt: skip
        dropped, silent = _bad(row.dropped), _seconds(row.silent_s)
        if wide:
            cells += [units.compact(row.late), dropped, _bad(row.malformed), silent]
        else:
            cells += [dropped, silent]
        table.add_row(*cells)
    return table


def _readers(rows: Sequence[ReaderRow], of: int, *, wide: bool) -> Table:
    head = _headed("reader", len(rows), of)
    if wide:
        table = _table(
            head, "ring", "type", "> read/s", "> lag", "> of ring", "> lost", "> unsafe", "> pending",
            "> refused", "> p50", "> p99",
        )  # fmt: skip
    else:
        table = _table(
            head, "ring", "> read/s", "> lag", "> lost", "> unsafe", "> refused", "> p99"
        )
    for row in rows:
        name, ring = _name(row.name, alive=row.alive), printable(row.ring)
        lag = "parked" if row.parked else units.compact(row.lag)
        lost, refused = _bad(row.lost), _bad(row.refused)
        unsafe = units.compact(row.unsafe)
        p50, p99 = (_seconds(row.latency.get(key)) for key in ("p50", "p99"))
        rate = _rate(row.rate)
        if not wide:
            table.add_row(name, ring, rate, lag, lost, unsafe, refused, p99)
            continue
        share = "" if row.parked else f"{row.lag_share:.1%}"
        table.add_row(
            name, ring, printable(row.type), rate, lag, share, lost, unsafe,
            units.compact(row.pending), refused, p50, p99,
        )  # fmt: skip
    return table


def _processes(rows: Sequence[ProcessRow], of: int, *, wide: bool) -> Table:
    head = _headed("process", len(rows), of)
    columns = [head, "kind", "state", "> pid", "> CPU", "> memory", "> restarts"]
    table = _table(*columns, *(("> up", "last failure") if wide else ()))
    for row in rows:
        cells: list[RenderableType] = [
            _name(row.name, alive=row.state not in ("failed", "backoff")),
            row.kind,
            row.state,
            str(row.pid or "-"),
            "-" if row.cpu_share is None else f"{row.cpu_share:.0%}",
            "-" if row.rss_bytes is None else units.size(row.rss_bytes),
            "-" if row.restarts is None else _bad(row.restarts),
        ]
        if wide:
            cells += [_uptime(row.uptime_s), printable(row.last_failure)]
        table.add_row(*cells)
    return table


def _rate(rate: float | None) -> str:
    return "-" if rate is None else units.compact(round(rate))


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else units.duration(seconds * 1e9)


def _uptime(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, _ = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}h{minutes:02d}m" if hours else f"{int(seconds)}s" if not minutes else f"{minutes}m"
    )


def _bad(count: int) -> Text:
    """A number that should be 0."""
    from rich.text import Text

    return Text(units.compact(count), "bold red" if count else "")
