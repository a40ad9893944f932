"""``mdfeedd journal``: what journals hold, whether they are whole, and their records."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import functools
import math
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble, unreadable
from mdfeedd.daemon.plan import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import numpy.typing as npt

    from mdfeedd.journal import JournalBatch
    from mdfeedd.journal.survey import Segment, Survey

BATCH: Final = 4096
EXPORT_ROWS: Final = 65_536

_EPILOG: Final = """\
PATH is the folder of a journal consumer, or that of one ring in it. Nothing here changes a journal, and
none of it needs the journal's process: what is being written may be looked at as well.

exit status:
  0 done, and all is whole   1 there is no journal, or it cannot be written where it was asked for
  65 damage or retention has taken records   130 Ctrl-C

examples:
  mdfeedd journal ls /var/lib/mdfeedd/journal
  mdfeedd journal verify /var/lib/mdfeedd/journal
  mdfeedd journal cat /var/lib/mdfeedd/journal/cme --symbol ESZ6 --from 2026-11-25T14:30 --to 2026-11-25T14:31
  mdfeedd journal cat /var/lib/mdfeedd/journal/cme --from 1000000 -n 10 --json
  mdfeedd journal export /var/lib/mdfeedd/journal/cme --out day.parquet
  mdfeedd replay /var/lib/mdfeedd/journal/cme --speed 1
"""
_PART_EPILOG: Final = "'mdfeedd journal --help' has the exit status and examples."
_CAT_EPILOG: Final = """\
--from and --to, both included, are sequence numbers, or times in UTC such as 2026-11-25 or
2026-11-25T14:30:00.5: of arrival (ts_recv), of bars the begin (ts_open). What damage or retention has taken is
told where it is missing, and makes the exit status 65.

"""


def add(commands: Any) -> None:
    """Tell argparse of the command and its parts."""
    parser = commands.add_parser(
        "journal",
        help="list, check, show and export journals",
        description="What journals hold, whether they are whole, and their records.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    ls = _part(parts, "ls", "rings, segments, ranges, and how far each sink is", _ls)
    ls.add_argument("-l", dest="long", action="store_true", help="a line for every segment")
    _part(parts, "verify", "every checksum and the whole chain", _verify)
    cat = _part(parts, "cat", "records, as text or JSON lines", _cat, _CAT_EPILOG)
    cat.add_argument("--json", action="store_true", help="one JSON object a line")
    cat.add_argument("-n", type=units.whole(1, 2**62), metavar="N", help="stop after N records")
    cat.add_argument(
        "--symbol", action="append", metavar="S", help="only this symbol (may be given again)"
    )
    export = _part(parts, "export", "ticks or bars as Parquet or CSV", _export, _CAT_EPILOG)
    export.add_argument("--out", required=True, metavar="FILE", help=".parquet or .csv")
    for one in (cat, export):
        one.add_argument("--from", dest="start", type=_place, metavar="SEQ|TIME", help="begin")
        one.add_argument("--to", dest="end", type=_place, metavar="SEQ|TIME", help="end")


def _part(parts: Any, name: str, text: str, run: Any, epilog: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parts.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=epilog + _PART_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", metavar="PATH", help="folder of a journal, or of one ring in it")
    parser.set_defaults(run=functools.partial(_plainly, run))
    return parser


def _plainly(run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a part; a file that cannot be read is one sentence."""
    try:
        return run(arguments)
    except PermissionError as error:
        raise unreadable(error, arguments.path) from None


class _Place(NamedTuple):
    """An end of a range: a sequence number or a time."""

    seq: int | None
    ns: int | None


def _place(text: str) -> _Place:
    """The argparse type of ``--from`` and ``--to``."""
    if re.fullmatch(r"\d{1,20}", text):
        return _Place(int(text), None)
    whole, _, fraction = text.rstrip("Z").partition(".")
    try:
        moment = dt.datetime.fromisoformat(whole)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None or not re.fullmatch(r"\d{0,9}", fraction):
        raise argparse.ArgumentTypeError(
            f"must be a sequence number or a time in UTC such as 2026-11-25T14:30, not {text!r}"
        )
    since = moment.replace(tzinfo=dt.UTC) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    seconds = since.days * 86_400 + since.seconds
    return _Place(None, seconds * 10**9 + int(fraction.ljust(9, "0") or 0))


# ------------------------------------------------------------------------------------------------ ls


def _folders(path: str) -> list[Path]:
    from mdfeedd.journal import list_journals

    try:
        found = list_journals(Path(path))
    except OSError as error:
        raise unreadable(error, path) from None
    if not found:
        what = "there is no folder" if not os.path.isdir(path) else "there is no journal in"
        raise Trouble(f"{what} {path}")
    return found


def _folder(path: str) -> Path:
    found = _folders(path)
    if len(found) > 1:
        names = ", ".join(str(one) for one in found)
        raise Trouble(f"{path} holds the journals of several rings: say which of {names}")
    return found[0]


def _ls(arguments: argparse.Namespace) -> int:
    from mdfeedd.journal import JournalError
    from mdfeedd.journal.survey import survey

    status = 0
    for folder in _folders(arguments.path):
        try:
            found = survey(folder)
        except (JournalError, OSError) as error:
            print(f"mdfeedd journal: {error}", file=sys.stderr)
            status = Exit.DAMAGED
            continue
        for line in _told(found, long=arguments.long):
            print(line)
        if found.damage or any(segment.header is None for segment in found.segments):
            status = Exit.DAMAGED
    return status


def _told(found: Survey, *, long: bool) -> Iterator[str]:
    headers = [segment.header for segment in found.segments if segment.header is not None]
    size = sum(segment.size_bytes for segment in found.segments)
    state = "being written" if found.writer_alive else "not being written"
    feed = headers[-1].feed if headers else "?"
    kind = headers[-1].layout.partition(":")[0] if headers else "?"
    yield (
        f"{found.folder.name}: feed {feed}, {kind} records, "
        f"{units.of(len(found.segments), 'segment')}, {units.size(size)}, {state}"
    )
    for ring_id, segments in _spaces(found):
        first, last = segments[0], segments[-1]
        begin = first.header.first_seq if first.header else 0
        since = units.iso_time(first.header.created_ns)[:19] if first.header else "?"
        yield (
            f"  ring {ring_id}  {_range(begin, last.last_seq)}, from {since}Z, "
            f"{units.of(len(segments), 'segment')}"
        )
    if found.marks is not None:
        written, durable = found.marks.written, found.marks.durable
        until = units.iso_time(found.until_ns)[:19] + "Z" if found.until_ns else "-"
        synced = units.count(durable.seq) if durable.segment else "not told"
        yield f"  written {units.count(written.seq)} at {until}, durable {synced}"
    for sentence in found.damage:
        yield f"  DAMAGED {sentence}"
    for sink, position in found.sinks.items():
        yield f"  sink {sink}: {_sink(found, position)}"
    for segment in found.segments if long else ():
        header = segment.header
        words = "DAMAGED HEADER"
        if header is not None:
            words = (
                f"{_range(header.first_seq, segment.last_seq)}, epoch {header.epoch}, "
                f"from {units.iso_time(header.created_ns)[:23]}Z"
            )
        yield f"    {segment.name.path.name}  {units.size(segment.size_bytes):>8}  {words}"


def _range(first: int, last: int | None) -> str:
    if last is not None and last < first:
        return "no records"
    return f"{units.count(first)} to {'?' if last is None else units.count(last)}"


def _spaces(found: Survey) -> list[tuple[str, list[Segment]]]:
    spaces: list[tuple[str, list[Segment]]] = []
    for segment in found.segments:
        if segment.header is None:
            continue
        if not spaces or spaces[-1][0] != segment.header.ring_id:
            spaces.append((segment.header.ring_id, []))
        spaces[-1][1].append(segment)
    return spaces


def _sink(found: Survey, position: Any) -> str:
    from mdfeedd.journal import JournalError, JournalReader

    if position is None:
        return "has read nothing yet"
    try:
        with JournalReader(found.folder, position) as reader:
            behind = reader.behind
    except JournalError:
        return f"at {units.count(position.seq)}"
    return f"at {units.count(position.seq)}, {units.of(behind, 'record')} behind"


# -------------------------------------------------------------------------------------------- verify


def _verify(arguments: argparse.Namespace) -> int:
    from mdfeedd.journal.survey import verify

    bad = 0
    for folder in _folders(arguments.path):
        found = verify(folder)
        for sentence in found.faults:
            print(sentence)
        bad += len(found.faults)
        word = units.of(len(found.faults), "fault") if found.faults else "whole"
        print(
            f"{folder.name}: {word}; {units.of(found.segments, 'segment')}, "
            f"{units.of(found.blocks, 'block')}, {units.of(found.records, 'record')}, "
            f"{units.size(found.bytes)}"
        )
    return Exit.DAMAGED if bad else 0


# ----------------------------------------------------------------------------------- cat and export


class _Range:
    """What of a journal is asked for, batch by batch."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._ends: tuple[_Place | None, _Place | None] = (arguments.start, arguments.end)
        self.lost = 0

    def batches(self, folder: Path, most: int) -> Iterator[JournalBatch]:
        """Those with something in them. Raises `Trouble`."""
        from mdfeedd.journal import JournalError, JournalReader

        try:
            with JournalReader(folder) as reader:
                while len(batch := reader.read(most)) or batch.lost:
                    chosen = dataclasses.replace(batch, records=self._chosen(batch.records))
                    self.lost += batch.lost
                    if len(chosen) or batch.lost:
                        yield chosen
        except JournalError as error:
            raise Trouble(str(error), Exit.DAMAGED) from None

    def _chosen(self, records: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        import numpy as np

        names = records.dtype.names or ()
        time = next((name for name in ("ts_recv", "ts_open") if name in names), "")
        keep = np.ones(len(records), np.bool_)
        for place, compare in zip(self._ends, (np.greater_equal, np.less_equal), strict=True):
            if place is None:
                continue
            if place.ns is not None and not time:
                raise Trouble("these records have no time: say --from and --to as numbers")
            at: Any = place.seq if place.ns is None else place.ns
            keep &= compare(records["seq" if place.ns is None else time], at)
        return records if keep.all() else records[keep]


def _cat(arguments: argparse.Namespace) -> int:
    from mdfeedd.cli import tail

    lines = tail.lines_of(as_json=arguments.json)
    wanted = set(arguments.symbol or ())
    chosen = _Range(arguments)
    left = math.inf if arguments.n is None else arguments.n
    folder = _folder(arguments.path)
    for batch in chosen.batches(folder, BATCH):
        tail.check_layout(folder.name, batch.records.dtype)
        if batch.lost:
            print(f"mdfeedd journal: {batch.why}", file=sys.stderr)
            print(lines.lost(batch.lost))
        text = []
        for line in lines.of(batch, wanted):
            text.append(line)
            left -= 1
            if left <= 0:
                break
        if text:
            sys.stdout.write("\n".join(text) + "\n")
        if left <= 0:
            break
    return Exit.DAMAGED if chosen.lost else 0


def _export(arguments: argparse.Namespace) -> int:
    from mdfeedd.ring import arrow
    from mdfeedd.tick import BAR, TICK

    try:
        pa = arrow.require_pyarrow()
    except ImportError as error:
        raise Trouble(str(error)) from None
    chosen = _Range(arguments)
    folder = _folder(arguments.path)
    out: str = arguments.out
    if not out.endswith((".parquet", ".csv")):
        raise Trouble(f"--out must end in .parquet or .csv: {out}")
    writer: Any = None
    rows = 0
    try:
        for batch in chosen.batches(folder, EXPORT_ROWS):
            if batch.lost:
                print(
                    f"mdfeedd journal: {units.of(batch.lost, 'record')} missing: {batch.why}",
                    file=sys.stderr,
                )
            if batch.records.dtype == TICK:
                table = arrow.ticks_to_arrow(batch.records, batch.instruments)
            elif batch.records.dtype == BAR:
                table = arrow.bars_to_arrow(batch.records, batch.instruments)
            else:
                raise Trouble(f"{folder} holds neither ticks nor bars: there is no table for it")
            if writer is None:
                writer = _table_writer(pa, out, table.schema)
            writer.write_table(table)
            rows += table.num_rows
    except OSError as error:
        raise Trouble(f"{out} cannot be written: {error}") from None
    finally:
        if writer is not None:
            writer.close()
    print(f"{units.of(rows, 'row')} in {out}" if writer is not None else "nothing to export")
    return Exit.DAMAGED if chosen.lost else 0


def _table_writer(pa: Any, out: str, schema: Any) -> Any:
    if out.endswith(".csv"):
        import pyarrow.csv

        return pyarrow.csv.CSVWriter(out, schema)
    import pyarrow.parquet

    return pa.parquet.ParquetWriter(out, schema, compression="zstd")
