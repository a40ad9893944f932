"""The page of measured numbers, from the results of the benchmarks: command, date, machine and figures of each.

    results ─► ratios, first
            └► a section each: command, date, machine, plots, tables

A result that `SECTIONS` does not know is shown whole, so a new benchmark is on the page without a word here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.docs import plots
from mdfeedd.docs.markdown import cell, table
from mdfeedd.docs.ratios import ratios
from mdfeedd.docs.results import at, machine_of, medians

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mdfeedd.docs.results import Results

__all__ = ["page"]

_HEAD: Final = """# Measured numbers

Written from `bench/results` by `python -m mdfeedd.docs`; a test compares them. Each section says by which command, when
and where it was measured; [`bench/README.md`](../../bench/README.md) tells how. A figure is the median of its rounds. The
machines are shared and virtual, so believe ratios within one run before rates, and CPU time before wall time.

To measure yours: `pip install -e '.[bench]'`, then `python bench/all.py --save`, which writes this page anew, or the
command of a section. What needs a server or a package that is not there is left as it was.
"""
_META: Final = frozenset(
    {
        "machine", "cpu", "cpus", "virtual", "kernel", "libc", "compiler", "python", "versions", "load_average",
        "load_average_after", "date", "when", "command", "stolen_s", "busy", "load", "load_before",
    }
)  # fmt: skip
"""What is told of the machine and not as a figure."""
_LEFT_OUT: Final = frozenset({"rounds", "histogram", "lost", "kernel_drops", "got", "clock_ns"})
"""Single rounds, whose medians stand beside them, and what only says that a run counts."""
_UNITS: Final = {"us": "µs", "mps": "M/s", "mib": "MiB"}


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a section: the values at `path` ("a.b"), a row for each entry, or all in one column."""

    path: str
    caption: str
    rows: bool = True
    optional: bool = False  # left out where the result does not have it


@dataclass(frozen=True, slots=True)
class Section:
    """What a result is of."""

    title: str
    what: str
    tables: tuple[Table, ...]


SECTIONS: Final = {
    "ring": Section(
        "The ring",
        "The transport alone, in C and in Python, beside its limits and its peers. M/s: million records a second.",
        (
            Table("targets", "what is aimed at"),
            Table("figures.native", "in C, medians", rows=False),
            Table("figures.python", "from Python, and its peers: M/s, latency in µs"),
            Table("figures.aeron", "Aeron's C driver", rows=False, optional=True),
            Table("figures.disruptor", "the Disruptor, two threads of one JVM", rows=False, optional=True),
            Table("figures.native_readers", "what readers cost the writer, in C"),
            Table("figures.python_readers", "what readers cost the writer, in Python"),
            Table("figures.memory", "memory of a reading process", rows=False),
        ),
    ),
    "dbn": Section(
        "DBN files",
        "Databento's files into a ring, beside a bare loop and Databento's own decoder.",
        (Table("million_records_per_s", "million records a second", rows=False),),
    ),
    "databento": Section(
        "Databento, live",
        "The feed's process beside a C loop and `databento.Live`, against one gateway over loopback.",
        (
            Table("lines", "ratios, and what is aimed at"),
            Table("figures.flood", "as fast as it goes: CPU time a record, M records/s by the wall"),
            Table("figures.paced.10 M/s", "10 M records/s offered"),
            Table("figures.paced.20 M/s", "20 M records/s offered"),
            Table("figures.paced.30 M/s", "30 M records/s offered"),
            Table("figures.latency", "from the gateway's send to the program"),
            Table("figures.footprint", "start and memory"),
        ),
    ),
    "bloomberg": Section(
        "Bloomberg",
        "The feed beside the calls of the SDK that it cannot do without; the SDK is a stand-in, so take the ratios.",
        (
            Table("lines", "ratios, and what is aimed at"),
            Table("figures.python", "CPU time a message, through Python"),
            Table("figures.native", "CPU time a message, through the C interface"),
            Table("figures.latency", "from nextEvent to the ring", rows=False),
        ),
    ),
    "cme": Section(
        "CME, decoding",
        "Packets in memory to ticks in a ring, ns a packet, beside a bare walk over the bytes, the least that a handler does, and sbedecoder.",
        (Table("rounds", "ns a packet", rows=False),),
    ),
    "cme_wire": Section(
        "CME, receiving",
        "Datagrams from sockets and the packet ring, beside a program that only calls recvmmsg.",
        (
            Table("cost.backlog", "from a full socket"),
            Table("cost.50000", "50,000 datagrams a second"),
            Table("cost.100000", "100,000 datagrams a second"),
            Table("cost.0", "as fast as the sender can"),
        ),
    ),
    "cme_latency": Section(
        "CME, latency",
        "From the kernel's stamp of a packet to a reader in another process.",
        (Table("rows", "by packets a second"),),
    ),
    "bars": Section(
        "Bars",
        "One-minute bars of ticks in memory, beside programs made for tables; all agree on every bar.",
        (
            Table("mdfeedd_m_ticks_per_s", "million ticks a second", rows=False),
            Table("peers", "peers, in turn with it"),
        ),
    ),
    "journal": Section(
        "Journal",
        "Million records a second of 64 bytes, beside the system calls alone.",
        (Table("figures", "figures", rows=False), Table("ratios", "ratios", rows=False)),
    ),
    "sinks_postgres": Section(
        "PostgreSQL",
        "Rows into a server on the same machine, each once, beside psql and asyncpg.",
        (Table("ways", "ways"), Table("ratios", "ratios", rows=False)),
    ),
    "sinks_redis": Section(
        "Redis",
        "Ticks into a server on the same machine, beside redis-py with texts that are ready.",
        (Table("rows", "ways"),),
    ),
    "sinks_kafka": Section(
        "Kafka",
        "Ticks into a broker on the same machine, each once, beside what the client library can do at all.",
        (
            Table("apache.million_ticks_per_s", "Apache Kafka, million ticks a second", rows=False),
            Table("apache.ratios", "ratios", rows=False),
            Table("mock.million_ticks_per_s", "librdkafka's mock, million ticks a second", rows=False),
        ),
    ),
    "stalled_sink": Section(
        "A store that stands still",
        "Its server stopped for minutes while the feed goes on, then going on: how fast it catches up with the journal.",
        (Table("stores", "by store"),),
    ),
    "live": Section(
        "WebSocket",
        "Records a second to each of so many clients that only read, beside a server that sends one ready message.",
        (Table("rows", "by format and clients"),),
    ),
    "end_to_end": Section(
        "End to end",
        "From the wire to where ticks are used: all processes as `mdfeedd run` starts them.",
        (Table("ratios", "ratios", rows=False), Table("rows", "figures")),
    ),
    "growth": Section(
        "How cost grows",
        "With instruments, readers, feeds, and the size of a record. Two processors for all of them: what is by the clock "
        "has the scheduler in it as soon as more processes than that have something to do.",
        (
            Table("symbols", "instruments, each as likely as the other", optional=True),
            Table("readers", "readers, and what they cost the writer", optional=True),
            Table("feeds", "feeds of 5,000 ticks/s each", optional=True),
            Table("record_size", "size of a record, batches of 64 from Python", optional=True),
        ),
    ),
    "manager": Section(
        "The library",
        "`FeedManager` beside an asyncio queue of dataclass ticks.",
        (),
    ),
    "strategy": Section(
        "Strategies",
        "Last values and merged reading beside plain reading: CPU time a record, and times that of `Reader.read` alone.",
        tuple(Table(f"rows.batches of {n}", f"batches of {n}") for n in (1, 16, 256, 4096)),
    ),
}  # fmt: skip
"""In the order of the page."""


def page(results: Results) -> str:
    """The whole page, Markdown. Raises `ValueError` for a result that has not what its section shows."""
    names = [*(n for n in SECTIONS if n in results), *(n for n in results if n not in SECTIONS)]
    parts = [_HEAD]
    found = [
        [what, beside, times, better, _link(name)]
        for what, beside, times, better, name in ratios(results)
    ]
    if found:
        parts += ["## Ratios\n", "Ours beside a limit or a peer of the same run.\n"]
        parts.append(table(["what", "beside", "times", "better", "measured"], found))
    for name in names:
        parts += _section(name, results[name], plots.of_section(name, results))
    return "\n".join(parts)


def _link(name: str) -> str:
    title = SECTIONS[name].title if name in SECTIONS else name
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    return f"[{title}](#{anchor})"


def _section(name: str, result: Results, pictures: Iterable[tuple[str, str]]) -> Iterator[str]:
    section = SECTIONS.get(name, Section(name, "", ()))
    yield f"## {section.title}\n\n{section.what}\n"
    yield f"{_origin(result)}\n"
    for plot, title in pictures:
        yield f"![{title}](plots/{plot}.svg)\n"
    if not section.tables:
        yield from _whole(result)
    for shown in section.tables:
        try:
            value = at(result, shown.path)
        except (LookupError, TypeError):
            value = None
        if not value and not shown.optional:
            raise ValueError(f"{name}.json has nothing at {shown.path!r}")
        if not value:
            continue
        yield f"{shown.caption[0].upper()}{shown.caption[1:]}:\n"
        if shown.path == "lines":
            yield table(["what", "figure", "aimed at", "met"], map(_aim, value))
        else:
            yield _rows(value) if shown.rows else _pairs(value)


def _aim(line: Mapping[str, Any]) -> list[Any]:
    """A figure, and its limit if it has one."""
    value, limit, is_least = line["value"], line["limit"], line["is_least"]
    if not limit:
        return [line["what"], value, "", ""]
    met = value >= limit if is_least else value <= limit
    return [line["what"], value, f"{'>=' if is_least else '<='} {cell(limit)}", met]


def _whole(result: Results) -> Iterator[str]:
    """Every figure of a result whose layout is not known here."""
    plain = {key: value for key, value in result.items() if key not in _META}
    for key, value in plain.items():
        if isinstance(value, list | dict):
            yield f"{key[0].upper()}{key[1:]}:\n"
            as_rows = isinstance(value, list) or all(isinstance(v, dict) for v in value.values())
            yield _rows(value) if as_rows else _pairs(value)
    single = {key: value for key, value in plain.items() if not isinstance(value, list | dict)}
    if single:
        yield _pairs(single)


# -------------------------------------------------------------------------------- where it is from


def _origin(result: Results) -> str:
    found = machine_of(result)
    command = found.get("command", result.get("command", "not recorded"))
    date = str(found.get("date") or result.get("when") or "date not recorded").partition("T")[0]
    machine = found.get("machine")
    if isinstance(machine, str):  # which tells all in one text
        told = [machine]
    else:
        kind = "virtual CPUs" if found.get("virtual") else "CPUs"
        told = [f"{found['cpu']}, {found['cpus']} {kind}", str(found["kernel"])]
    if "python" in found:
        told.append(f"Python {found['python']}")
    load = found.get("load_average", [found["load"]] if "load" in found else None)
    if load:
        told.append(f"load {load[0]}")
    versions = found.get("versions", {})
    told += [f"{name} {version}" for name, version in versions.items() if version != "absent"]
    return f"`{command}`, {date}, on {'; '.join(told)}."


# ------------------------------------------------------------------------------------------ tables


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """All single values below one, by their keys with spaces between."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = medians(value)
    if isinstance(value, list):
        return {prefix: ", ".join(map(cell, value))}
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if key not in _LEFT_OUT:
            found |= _flat(inner, f"{prefix} {key}".strip())
    return found


def _pairs(value: Any) -> str:
    rows = ([_words(key), single] for key, single in _flat(value).items())
    return table(["what", "figure"], rows)


def _rows(value: Mapping[str, Any] | list[Any]) -> str:
    """A row for each entry, with a column for each key that any has."""
    named = isinstance(value, dict)
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    flat = {key: _flat(entry) for key, entry in entries if key not in _LEFT_OUT}
    heads = list(dict.fromkeys(key for row in flat.values() for key in row))
    rows = (
        [*([str(key)] if named else []), *(row.get(head, "") for head in heads)]
        for key, row in flat.items()
    )
    words = [_words(head) or "figure" for head in heads]
    return table([*([""] if named else []), *words], rows)


def _words(key: str) -> str:
    """A key as people write it: `k_rows_per_s` is k rows/s. What is the name of something stays."""
    if not re.fullmatch(r"[A-Za-z0-9_ ]*", key):
        return key
    words = re.sub(r"\b(us|mps|mib)\b", lambda unit: _UNITS[unit[0]], key.replace("_", " "))
    words = re.sub(r"(?<=\w)( per)? s$", "/s", words)
    return re.sub(r"\bm(?= ticks|/s)", "M", words)
