"""``mdfeedd query``: SQL over what is stored, by DuckDB."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli.trouble import Trouble, unreadable
from mdfeedd.daemon.plan import Exit

if TYPE_CHECKING:
    from mdfeedd.daemon.plan import Plan

TABLES: Final = ("trades", "quotes", "corrections", "bars")
DEFAULT_DATA: Final = Path("/var/lib/mdfeedd")
FORMATS: Final = ("table", "csv", "json", "parquet")
SHOWN_ROWS: Final = 40  # of a table, from both ends; the other formats have all
WIDE: Final = 160  # columns, where there is no terminal
BATCH: Final = 65_536  # records of a journal at a time
#: A bar comes again when late trades correct it, or when a restart falls into its time: the fullest is shown,
#: and of these the one written last. The vendor's own bar of the same time (`BarFlag.VENDOR`, 16) is another.
_PLACES: Final = "filename = true, file_row_number = true"
_LATEST: Final = (
    "QUALIFY row_number() OVER (PARTITION BY feed, symbol, interval_s, ts_open, flags & 16 "
    'ORDER BY "count" DESC, filename DESC, file_row_number DESC) = 1'
)
_EPILOG: Final = """\
tables: trades, quotes, corrections (cancelled and corrected trades) and bars, from the Parquet files; each
also has the columns feed and date of its folder. A bar that was made again is there once, as it was last.
With --journal there are journal.trades, journal.quotes ... as well, of what the journal holds, stored or
not. Prices are DECIMAL(19,9), times TIMESTAMP WITH TIME ZONE (microseconds; ts_event_ns, ts_recv_ns and
ts_open_ns are UNIX nanoseconds, exact).
Of several statements all are run, and what the last one gives is shown. JSON is one object a line, with null for
NaN and infinities, which JSON does not have.

exit status:
  0 done   1 the statement or the files are wrong, with the reason   78 DuckDB is missing, or configuration

examples:
  mdfeedd query "SELECT symbol, count(*), min(price), max(price) FROM trades GROUP BY symbol"
  mdfeedd query -c mdfeedd.yaml "FROM bars ORDER BY ts_open DESC LIMIT 10"
  mdfeedd query -d ticks --format csv "FROM quotes WHERE symbol = 'ESZ6'" > es.csv
  mdfeedd query --journal /var/lib/mdfeedd/journal "SELECT max(ts_event) FROM journal.trades"
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "query",
        help="SQL over the stored files and the journal",
        description="Run SQL over the Parquet files of the sink, and over the journal, by DuckDB.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sql", metavar="SQL", help="one statement, or several with ';' between: the last is shown"
    )
    parser.add_argument(
        "-d", "--data", type=Path, metavar="DIR", help=f"folder of the files ({DEFAULT_DATA})"
    )
    parser.add_argument(
        "--journal", type=Path, metavar="DIR", help="folder of the journal: read it, too"
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="take both folders from this configuration"
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="table is the default")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to the terminal")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the statements, show what the last one gives."""
    if arguments.format == "parquet" and arguments.output is None:
        raise Trouble("--format parquet needs --output FILE", 2)
    duckdb = _require_duckdb()
    try:
        data, journal = _folders(arguments)
    except OSError as error:
        raise unreadable(error) from None
    try:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(duckdb.connect())
            connection.execute("SET TimeZone = 'UTC'")
            _make_views(connection, data, "main")
            if journal is not None:
                made = tempfile.TemporaryDirectory(prefix="mdfeedd-query-")
                copy = Path(stack.enter_context(made))
                _unfold(journal, copy)
                connection.execute("CREATE SCHEMA journal")
                _make_views(connection, copy, "journal")
            _show(connection.sql(arguments.sql), arguments)
    except duckdb.Error as error:
        raise Trouble(str(error)) from None
    return 0


def _require_duckdb() -> Any:
    try:
        import duckdb

        from mdfeedd.ring import arrow

        arrow.require_pyarrow()
    except ImportError:
        raise Trouble("queries need DuckDB: pip install 'mdfeedd[query]'", Exit.CONFIG) from None
    return duckdb


def _folders(arguments: argparse.Namespace) -> tuple[Path, Path | None]:
    """Where the Parquet files are, and the journal if it is asked for. Raises `OSError` for what we may not read."""
    data, journal = arguments.data, arguments.journal
    if arguments.config is not None:
        from mdfeedd.daemon import config

        try:
            plan = config.load(Path(arguments.config))
        except config.ConfigError as error:
            raise Trouble(str(error), Exit.CONFIG) from None
        data = data or _configured(plan, "batch", "path")
        configured = _configured(plan, "journal", "path")
        if journal is None and configured is not None and configured.is_dir():  # else not made yet
            journal = configured
    if data is None and (journal is None or os.access(DEFAULT_DATA, os.R_OK | os.X_OK)):
        data = DEFAULT_DATA
    for folder, option in ((data, "--data"), (journal, "--journal")):
        if folder is not None and not folder.is_dir():
            raise Trouble(f"there is no folder {folder} ({option} names another one)")
    empty = data is not None and not _has_tables(data)
    if empty and arguments.data:
        told = (
            f"{data} has none of {', '.join(f'{table}/' for table in TABLES)}: all tables are empty"
        )
        print(f"mdfeedd query: {told} (--data names another folder)", file=sys.stderr)
    return data or Path("/nonexistent"), journal


def _has_tables(data: Path) -> bool:
    """Whether there is a table. Raises `OSError` for one that may not be read: it would be taken for empty."""
    found = [data / table for table in TABLES if (data / table).is_dir()]
    for folder in found:
        os.scandir(folder).close()
    return bool(found)


def _configured(plan: Plan, plugin: str, key: str) -> Path | None:
    """The first folder that a consumer of this kind writes."""
    for child in plan.consumers:
        options = child.options
        if child.plugin != plugin or options.get("sink_type", "parquet") != "parquet":
            continue
        path = options.get("sink_options", options).get(key)
        if path:
            return Path(path)
    return None


def _make_views(connection: Any, folder: Path, schema: str) -> None:
    """A view for each table; one without files is empty, with the right columns. One that cannot be read is told."""
    import duckdb

    from mdfeedd.ring import arrow

    for table in TABLES:
        name = f"{schema}.{table}"
        if next(folder.glob(f"{table}/feed=*/date=*/*.parquet"), None) is None:
            empty = f"empty_{schema}_{table}"
            connection.register(empty, arrow.schema_of(table).empty_table())
            source = f"(SELECT *, ''::VARCHAR AS feed, NULL::DATE AS date FROM {empty})"  # noqa: S608 - names of ours
        else:
            files = str(folder / table / "feed=*" / "date=*" / "*.parquet").replace("'", "''")
            options = (
                "hive_partitioning = true, union_by_name = true, "
                "hive_types = {'feed': VARCHAR, 'date': DATE}"
            )
            source = f"read_parquet('{files}', {options})"
            if table == "bars":
                every = f"read_parquet('{files}', {options}, {_PLACES})"
                source = f"(SELECT * EXCLUDE (filename, file_row_number) FROM {every} {_LATEST})"  # noqa: S608 - names of ours
        times = [n for n in arrow.schema_of(table).names if n.startswith("ts_")]
        exact = "".join(f", epoch_ns({time}) AS {time}_ns" for time in times)
        shown = ", ".join(f"{time}::TIMESTAMPTZ AS {time}" for time in times)
        what = f"SELECT * REPLACE ({shown}){exact} FROM {source}"  # noqa: S608 - names of ours
        try:
            connection.execute(f"CREATE VIEW {name} AS {what}")
        except duckdb.Error as error:  # the other tables are no worse for it
            sentence = str(error).partition("\n")[0]
            print(f"mdfeedd query: {name} cannot be read: {sentence}", file=sys.stderr)


def _unfold(journal: Path, out: Path) -> None:
    """The journal as Parquet files in a temporary folder, by the sink itself: DuckDB reads those."""
    from mdfeedd.journal import JournalError, JournalReader, list_journals
    from mdfeedd.sinks import SinkError
    from mdfeedd.sinks.parquet import ParquetOptions, ParquetSink

    try:
        rings = list_journals(journal)
    except OSError as error:
        raise unreadable(error, journal) from None
    if not rings:
        raise Trouble(f"{journal} holds no journal")
    sink = ParquetSink(ParquetOptions(str(out), roll_s=1e9))
    try:
        for ring in rings:
            reader = JournalReader(ring)
            try:
                _copy(reader, ring.name, sink)
            finally:
                reader.close()
        sink.close()
    except JournalError as error:
        raise Trouble(str(error)) from None
    except PermissionError as error:
        raise unreadable(error, journal) from None
    except SinkError as error:  # it is as large as the journal's Parquet files would be
        raise Trouble(f"{error} (TMPDIR names another place for what --journal needs)") from None


def _copy(reader: Any, ring: str, sink: Any) -> None:
    from mdfeedd.sinks import SinkBatch
    from mdfeedd.tick import BAR, TICK

    if reader.dtype not in (TICK, BAR):
        print(f"mdfeedd query: the ring '{ring}' has no table: left out", file=sys.stderr)
        return
    lost = 0
    while True:
        batch = reader.read(BATCH)
        lost += batch.lost
        if not len(batch):
            if batch.lost:
                continue
            break
        sink.write(
            SinkBatch(
                ring, batch.ring_id, batch.feed, batch.epoch, batch.records, batch.instruments
            )
        )
    if lost:
        print(f"mdfeedd query: the journal of '{ring}' lacks {lost} records", file=sys.stderr)


def _show(relation: Any, arguments: argparse.Namespace) -> None:
    """Nothing for a statement that gives nothing."""
    if relation is None:
        return
    if arguments.format == "table":
        if arguments.output is None:
            width = shutil.get_terminal_size((WIDE, 0)).columns
            relation.show(max_width=width, max_rows=SHOWN_ROWS)
        else:
            _write_table(relation, arguments.output)
    elif arguments.output is not None:
        _write(relation, arguments.format, arguments.output)
    else:
        _stream(relation, arguments.format)


def _write_table(relation: Any, path: str) -> None:
    try:
        Path(path).write_text(str(relation.limit(SHOWN_ROWS)), encoding="utf-8")
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}") from None


def _write(relation: Any, form: str, path: str) -> None:
    if form == "csv":
        relation.write_csv(path)
    elif form == "parquet":
        relation.write_parquet(path, compression="zstd")
    else:
        quoted = path.replace("'", "''")
        rows = _finite_rows(relation)
        relation.query("result", f"COPY ({rows}) TO '{quoted}' (FORMAT JSON, ARRAY false)")


def _finite_rows(relation: Any) -> str:
    """The relation, named result, with NULL for NaN and infinities: DuckDB would write what is no JSON."""
    if not any(name in str(kind) for kind in relation.types for name in ("FLOAT", "DOUBLE")):
        return "FROM result"
    columns = [f"c{i}" for i in range(len(relation.columns))]  # names may be there twice
    shown = ", ".join(
        f"{_finite(column, kind)} AS {_quoted(name)}"
        for column, kind, name in zip(columns, relation.types, relation.columns, strict=True)
    )
    return f"SELECT {shown} FROM result AS result({', '.join(columns)})"  # noqa: S608 - names of ours


def _finite(value: str, kind: Any, depth: int = 0) -> str:
    """An expression for `value`, with NULL where a number is not finite, also inside lists, structs and maps.

    Unions, and rows without names, are left as they are.
    """
    if kind.id in {"float", "double"}:
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    inner = f"e{depth}"
    if kind.id in {"list", "array"}:
        made = f"[{_finite(inner, kind.children[0][1], depth + 1)} FOR {inner} IN {value}]"
    elif kind.id == "struct" and all(name for name, _ in kind.children):
        parts = (
            f"{_quoted(name)} := {_finite(f'{value}.{_quoted(name)}', part, depth)}"
            for name, part in kind.children
        )
        made = f"struct_pack({', '.join(parts)})"
    elif kind.id == "map":
        each = _finite(inner, kind.children[1][1], depth + 1)
        made = f"map(map_keys({value}), [{each} FOR {inner} IN map_values({value})])"
    else:
        return value
    return f"CASE WHEN {value} IS NOT NULL THEN {made} END"


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _stream(relation: Any, form: str) -> None:
    """To standard output by a pipe: DuckDB would open the file behind it anew, and at its start."""
    read, write = os.pipe()
    failed: list[OSError] = []

    def copy() -> None:
        try:
            with os.fdopen(read, "rb") as source:
                shutil.copyfileobj(source, sys.stdout.buffer)
        except OSError as error:  # nobody reads any more, or a full disk
            failed.append(error)

    copier = threading.Thread(target=copy)
    copier.start()
    try:
        _write(relation, form, f"/dev/fd/{write}")
    finally:
        os.close(write)
        copier.join()
        if failed:
            raise failed[0]
