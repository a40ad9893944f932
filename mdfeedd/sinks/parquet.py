"""The Parquet sink: hive-partitioned files that are whole or not there.

    OUT/trades/feed=NAME/date=YYYY-MM-DD/EPOCH-FIRST-LAST-RINGID.parquet      kind TRADE
    OUT/corrections/...   cancelled and corrected trades, kept apart: columns of trades and `kind`
    OUT/quotes/...        kind QUOTE
    OUT/bars/...          of bar rings; NAME is the feed whose trades made the bar

The date is that of `ts_event` in UTC (of `ts_recv` where the venue's time is bad or absent,
1970-01-01 where both are). Ticks of other kinds (STATUS, STATISTIC, GAP ...) are not stored; they
are counted as skipped. `side` is text (none, buy, sell), `flags` are the bits of
`mdfeedd.tick.Flag` or `BarFlag`. The symbol of an instrument that the instruments table does not
have is "#ID".

Life of a file
    rows ─► memory ─(row group full)─► .NAME.parquet.tmp ─(size, time, flush)─► NAME.parquet
A Parquet file cannot be read before its footer is written, so nothing is safe before the last step:
footer, fsync, rename, fsync of the folder. `SinkProgress.safe_seq` counts from there. Encoded bytes
that the disk did not take stay in memory (at most a row group) and are written at their offset by
the next call: a full disk loses nothing and damages no file.

Nothing twice: the name says which records of which sequence space a file covers. After a crash the
reader starts again after the last safe position, and what files of that sequence space hold already
is left out. So a folder takes a ring from one sink only: another waits until that is gone
(`folder_lock`). Temporaries are locked by their process; those without a living owner are removed at
start.
"""

from __future__ import annotations

import errno
import fcntl
import io
import logging
import os
import re
import time
import urllib.parse
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import numpy as np

from mdfeedd.options import refuse, values
from mdfeedd.ring import arrow
from mdfeedd.sinks.folder_lock import FolderLock
from mdfeedd.sinks.protocol import SinkBatch, SinkError, SinkProgress, refuse_other_records
from mdfeedd.tick import BAR, QUOTE, TIME_UNDEF, TRADE, Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from mdfeedd.ring import Position

    Records = npt.NDArray[np.void]
    Integers = npt.NDArray[np.int64]

__all__ = ["ParquetOptions", "ParquetSink"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.parquet")

MAX_BUFFERED_ROWS: Final = 1 << 20  # over all files; 64 MiB of ticks
_DAY_NS: Final = 86_400 * 1_000_000_000
_TEMPORARY: Final = ".parquet.tmp"
_NAME: Final = re.compile(r"(\d+)-(\d+)-(\d+)-([0-9a-f]*)\.parquet")
_LOCK_ATTEMPTS: Final = 8  # a new temporary may be taken for a leftover this often
#: What may pass by itself. A failed fsync is not among them: the kernel may have dropped the pages,
#: and a second fsync would succeed without them.
_RETRIABLE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
)
_KINDS: Final = {
    "quotes": (Kind.QUOTE,),
    "trades": (Kind.TRADE,),
    "corrections": (Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION),
}
_DTYPES: Final = {"quotes": QUOTE, "trades": TRADE, "corrections": TRADE, "bars": BAR}
_CONVERT: Final = {
    "quotes": arrow.quotes_to_table,
    "trades": arrow.trades_to_table,
    "corrections": arrow.corrections_to_table,
    "bars": arrow.bars_to_table,
}
#: Measured, for size and speed: a dictionary for what has few values, deltas for what runs on, and
#: for prices neither (zstd shortens the equal high bytes; every reader knows the encoding).
_DICTIONARY: Final = {"symbol", "side", "kind", "flags", "count", "interval_s"}
_DELTA: Final = {
    *("seq", "ts_event", "ts_recv", "ts_open", "venue_seq", "trade_id", "volume"),
    *("size", "bid_size", "ask_size"),
}
_STATISTICS: Final = {"seq", "ts_event", "ts_recv", "ts_open", "symbol", "trade_id"}


_MOST: Final = {"roll_bytes": 1 << 40, "row_group_rows": MAX_BUFFERED_ROWS, "max_open_files": 1024}


@dataclass(frozen=True, slots=True)
class ParquetOptions:
    """Where the files go and how large they grow."""

    path: str = field(metadata={"help": "folder for trades/, quotes/, bars/ and corrections/"})
    roll_s: float = field(
        default=60.0, metadata={"help": "a file is finished at this age, in seconds"}
    )
    roll_bytes: int = field(
        default=128 << 20, metadata={"help": "a file is finished at about this size, in bytes"}
    )
    row_group_rows: int = field(
        default=1 << 16, metadata={"help": "rows encoded at a time, held in memory until then"}
    )
    max_open_files: int = field(
        default=32,
        metadata={"help": "files being written; beyond, the least recently written is finished"},
    )

    def __post_init__(self) -> None:
        refuse(self._check_ranges(), self._check_time(), self._check_path())

    def _check_ranges(self) -> Iterator[str]:
        for key, value in values(self, _MOST):
            if not isinstance(value, int) or not 1 <= value <= _MOST[key]:
                yield f"{key}: must be a whole number from 1 to {_MOST[key]}, not {value!r}"

    def _check_time(self) -> Iterator[str]:
        if not self.roll_s > 0:
            yield f"roll_s: must be greater than 0, not {self.roll_s!r}"

    def _check_path(self) -> Iterator[str]:
        if not isinstance(self.path, str) or not self.path or "\0" in self.path:
            yield f"path: must name a folder, not {self.path!r}"


class _Key(NamedTuple):
    """What one file holds: one table of one feed on one day (since 1970), of one life of a ring."""

    ring_id: str
    epoch: int
    table: str
    feed: str
    day: int

    def folder(self, out: Path) -> Path:
        date = np.datetime64(self.day, "D").astype(str)
        feed = urllib.parse.quote(self.feed, safe=" +@")
        return out / self.table / f"feed={feed}" / f"date={date}"


@dataclass(slots=True)
class _Names:
    """Symbols and feeds by instrument id, taken when a batch comes: its ring may be gone later."""

    symbols: dict[int, str] = field(default_factory=lambda: {0: ""})
    feeds: dict[int, str] = field(default_factory=dict)

    def learn(self, ids: Iterator[int], batch: SinkBatch) -> None:
        for instrument_id in ids:
            if instrument_id not in self.symbols:
                found = batch.instruments.get(instrument_id)
                if found is not None:
                    self.symbols[instrument_id] = found.symbol
                    self.feeds[instrument_id] = found.feed

    def symbol(self, instrument_id: int) -> str:
        return self.symbols.get(instrument_id, f"#{instrument_id}")


@dataclass(slots=True)
class _Ring:
    """What is known of one sequence space. `ranges` are what earlier files cover."""

    epoch: int
    names: _Names
    last_seq: int = 0
    repeated: int = 0
    skipped: int = 0
    stored: int = 0
    stored_bytes: int = 0
    ranges: dict[Path, list[tuple[int, int]]] = field(default_factory=dict)


class _Spool(io.RawIOBase):
    """What the Parquet writer writes to: keeps bytes until the disk has them, so it never fails."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        chunk = bytes(data)
        self.chunks.append(chunk)
        self.size += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        return self.size


class _File:
    """One file that is being written. Methods that touch the disk raise `OSError` and may be called
    again: they go on where they stopped.
    """

    def __init__(self, key: _Key, out: Path, names: _Names, now: float) -> None:
        self.key = key
        self.folder = key.folder(out)
        self.opened = now
        self.rows = 0
        self.buffered = 0
        self.first_seq = 0
        self.last_seq = 0
        self._names = names
        self._buffer: list[Records] = []
        self._spool = _Spool()
        self._writer: Any = None
        self.sealed = False  # the footer is encoded: takes no more rows, waits for the disk
        self._fd = -1
        self._written = 0  # bytes of the spool that the disk has
        self._temporary = Path()

    @property
    def undrained(self) -> bool:
        """Encoded bytes wait for the disk."""
        return bool(self._spool.chunks)

    @property
    def size(self) -> int:
        """Bytes encoded so far."""
        return self._spool.size

    def append(self, rows: Records) -> None:
        """Take rows, in order of seq; `rows` is kept."""
        if not self.rows:
            self.first_seq = int(rows["seq"][0])
        self.last_seq = int(rows["seq"][-1])
        self.rows += len(rows)
        self.buffered += len(rows)
        self._buffer.append(rows)

    def encode(self) -> None:
        """Make a row group of what is buffered, in memory."""
        if self._writer is None:
            self._writer = _parquet_writer(self._spool, self.key.table)
        if self._buffer:
            rows = np.concatenate([_opaque(rows) for rows in self._buffer])
            rows = rows.view(_DTYPES[self.key.table])
            table = _CONVERT[self.key.table](rows, self._names.symbol)
            self._writer.write_table(table, row_group_size=len(rows))
            self._buffer.clear()
            self.buffered = 0

    def drain(self) -> None:
        """Bring what is encoded to the disk."""
        if self._fd < 0:
            self._create()
        while self._spool.chunks:
            chunk = memoryview(self._spool.chunks[0])
            start = self._spool.size - sum(map(len, self._spool.chunks))
            while self._written < start + len(chunk):
                done = os.pwrite(self._fd, chunk[self._written - start :], self._written)
                self._written += done
            del self._spool.chunks[0]

    def publish(self) -> None:
        """Finish the file and give it its name; safe when this returns."""
        if not self.sealed:
            self.encode()
            self._writer.close()
            self.sealed = True
        self.drain()
        _sync(self._fd, self._temporary)
        key = self.key
        name = f"{key.epoch:06d}-{self.first_seq:020d}-{self.last_seq:020d}-{key.ring_id}.parquet"
        self._temporary.rename(self.folder / name)
        self._temporary = Path()
        _sync_folder(self.folder)
        self.discard()

    def discard(self) -> None:
        """Let go of the temporary, removing it if it still has that name."""
        if self._fd >= 0:
            if self._temporary.name:
                self._temporary.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def _create(self) -> None:
        _make_folder(self.folder)
        name = f".{self.key.epoch:06d}-{self.first_seq:020d}-{self.key.ring_id}{_TEMPORARY}"
        path = self.folder / name
        for _ in range(_LOCK_ATTEMPTS):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            # Until it is locked another sink, at its start, may take the file for a leftover.
            if _lock(fd) and os.fstat(fd).st_nlink:
                self._fd, self._temporary = fd, path
                return
            os.close(fd)
        raise OSError(errno.EBUSY, "other processes keep removing it", str(path))


def _parquet_writer(spool: _Spool, table: str) -> Any:
    from pyarrow import parquet  # noqa: PLC0415  optional, and slow to import

    writer_class: Any = parquet.ParquetWriter  # its stubs know neither our file nor these options
    schema = arrow.schema_of(table)
    columns = set(schema.names)
    return writer_class(
        spool,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=sorted(columns & _DICTIONARY),
        column_encoding=dict.fromkeys(sorted(columns & _DELTA), "DELTA_BINARY_PACKED"),
        write_statistics=sorted(columns & _STATISTICS),
    )


# -------------------------------------------------------------------------------------- file system


class _SyncError(OSError):
    """fsync failed: what it was about may be gone, whatever a second call says."""


def _sync(fd: int, path: Path) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise _SyncError(error.errno, error.strerror, str(path)) from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(fd, folder)
    finally:
        os.close(fd)


def _make_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, each entry safe."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _partitions(out: Path) -> Iterator[Path]:
    for table in _DTYPES:
        yield from out.joinpath(table).glob("feed=*/date=*")


def _remove_leftovers(out: Path) -> int:
    """Remove temporaries whose process is gone; returns how many."""
    removed = 0
    for folder in _partitions(out):
        for path in folder.glob(f".*{_TEMPORARY}"):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if _lock(fd):
                    path.unlink(missing_ok=True)
                    removed += 1
            finally:
                os.close(fd)
    return removed


def _stored_ranges(out: Path, ring_id: str, first_seq: int) -> dict[Path, list[tuple[int, int]]]:
    """By folder, the ranges of sequence numbers from `first_seq` on that finished files cover."""
    found: dict[Path, list[tuple[int, int]]] = defaultdict(list)
    for folder in _partitions(out):
        for name in os.listdir(folder):
            match = _NAME.fullmatch(name)
            if match and match[4] == ring_id and int(match[3]) >= first_seq:
                found[folder].append((int(match[2]), int(match[3])))
    return dict(found)


# ------------------------------------------------------------------------------------------ batches


def _days(rows: Records) -> Integers:
    """The days (since 1970-01-01) that rows belong to."""
    if rows.dtype == BAR:
        when = rows["ts_open"]
    else:
        event = rows["ts_event"]
        bad = (event == TIME_UNDEF) | ((rows["flags"] & Flag.BAD_TS) != 0)
        when = np.where(bad, rows["ts_recv"], event)
    return np.where(when == TIME_UNDEF, 0, when // _DAY_NS)


def _opaque(rows: Records) -> Records:
    """The same rows without field names: numpy copies these whole, the others field by field."""
    return rows.view(f"V{rows.dtype.itemsize}")


def _by_table(records: Records) -> Iterator[tuple[str, Records]]:
    """The rows of each table, as copies."""
    if records.dtype == BAR:
        yield "bars", _opaque(records).copy().view(BAR)
        return
    kinds = records["kind"]
    for table, wanted in _KINDS.items():
        mask = np.isin(kinds, wanted) if len(wanted) > 1 else kinds == wanted[0]
        if mask.any():
            yield table, _opaque(records)[mask].view(_DTYPES[table])


class ParquetSink:
    """A sink of the batch consumer; see the module for what it writes.

    Raises `SinkError`: at construction if the folder cannot be made or written or pyarrow is
    missing, later retriable for a full disk or quota, not retriable for anything else.
    """

    Options: ClassVar[type[Any]] = ParquetOptions
    keeps_positions: ClassVar[bool] = False  # the files' names say what is stored, record by record

    def __init__(
        self,
        options: ParquetOptions,
        name: str = "",  # noqa: ARG002 - a folder knows no consumers
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._clock = clock
        self._out = Path(options.path).absolute()
        self._rings: dict[str, _Ring] = {}
        self._files: dict[_Key, _File] = {}  # least recently written first
        self._lock = FolderLock(self._out)
        self._closed = False
        try:
            arrow.require_pyarrow()
        except ImportError as error:
            raise SinkError(str(error), retriable=False) from error
        try:
            self._check_folder()
            removed = _remove_leftovers(self._out)
        except OSError as error:
            raise SinkError(
                f"cannot write to the folder {self._out}: {error.strerror}", retriable=False
            ) from error
        if removed:
            log.info("%s: removed %d unfinished files of an earlier run", self._out, removed)

    def _check_folder(self) -> None:
        _make_folder(self._out)
        probe = self._out / f".probe-{os.getpid()}{_TEMPORARY}"
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        probe.unlink(missing_ok=True)

    # --------------------------------------------------------------------------------- the protocol

    def position(self, ring: str) -> Position | None:  # noqa: ARG002
        """None: see `keeps_positions`."""
        return None

    def write(self, batch: SinkBatch) -> None:
        """Take a batch. What is due comes first, so a `SinkError` means that it was not taken."""
        refuse_other_records(batch, "they have no table")
        if self._closed:
            raise SinkError("the sink is closed", retriable=False)
        self.housekeep()
        if len(batch.records):
            self._take(batch, self._ring(batch))

    def housekeep(self) -> None:
        """Encode full row groups, finish files that are old or large or too many."""
        options = self._options
        now = self._clock()
        for file in list(self._files.values()):
            if file.buffered >= options.row_group_rows:
                file.encode()
            if (
                file.sealed
                or file.size >= options.roll_bytes
                or now - file.opened >= options.roll_s
            ):
                self._publish(file)
            elif file.undrained:
                self._attempt(file.drain, file)
        while len(self._files) > options.max_open_files:
            self._publish(next(iter(self._files.values())))
        while sum(file.buffered for file in self._files.values()) > MAX_BUFFERED_ROWS:
            largest = max(self._files.values(), key=lambda file: file.buffered)
            largest.encode()
            self._attempt(largest.drain, largest)

    def flush(self) -> None:
        """Finish all files."""
        for file in list(self._files.values()):
            self._publish(file)

    def progress(self, ring_id: str) -> SinkProgress:
        """How far the records of one ring are."""
        ring = self._rings.get(ring_id)
        if ring is None:
            return SinkProgress()
        waiting = [file for key, file in self._files.items() if key.ring_id == ring_id]
        return SinkProgress(
            safe_seq=min((file.first_seq - 1 for file in waiting), default=ring.last_seq),
            stored_records=ring.stored + ring.repeated,
            repeated_records=ring.repeated,
            skipped_records=ring.skipped,
            pending_records=sum(file.rows for file in waiting),
            stored_bytes=ring.stored_bytes,
        )

    def close(self) -> None:
        """Finish all files; one that cannot be finished is removed, its rows stay pending."""
        if self._closed:
            return
        try:
            self.flush()
        finally:
            self._closed = True
            for file in self._files.values():
                file.discard()
            self._lock.close()

    # --------------------------------------------------------------------------------------- inside

    def _ring(self, batch: SinkBatch) -> _Ring:
        ring = self._rings.get(batch.ring_id)
        if ring is None:
            self._claim(batch)
            first = int(batch.records["seq"][0])
            ring = _Ring(batch.epoch, _Names(), first - 1)
            ring.ranges = _stored_ranges(self._out, batch.ring_id, first)
            self._rings[batch.ring_id] = ring
        elif ring.epoch != batch.epoch:  # another writer may number its instruments otherwise
            ring.epoch, ring.names = batch.epoch, _Names()
        return ring

    def _claim(self, batch: SinkBatch) -> None:
        """Be the only one who stores this sequence space here."""
        try:
            alone = self._lock.take(batch.ring_id)
        except OSError as error:
            text = f"cannot lock {self._lock.path}: {error.strerror}"
            raise SinkError(text, retriable=error.errno in _RETRIABLE) from error
        if not alone:
            raise SinkError(
                f"another process stores ring '{batch.ring}' in {self._out}, which takes a ring "
                f"from one consumer only",
                retriable=True,
            )

    def _take(self, batch: SinkBatch, ring: _Ring) -> None:
        stored_kinds = 0
        for table, rows in _by_table(batch.records):
            stored_kinds += len(rows)
            unique, places = arrow.distinct_ids(rows["instrument_id"])
            ring.names.learn(iter(unique.tolist()), batch)
            feed = batch.feed or batch.ring
            feeds = [feed] * len(unique)
            if table == "bars":  # a ring of bars may hold those of several feeds
                feeds = [ring.names.feeds.get(i) or feed for i in unique.tolist()]
            for name, day, part in _split(rows, feeds, places):
                self._append(_Key(batch.ring_id, batch.epoch, table, name, day), part, ring)
        ring.skipped += len(batch.records) - stored_kinds
        ring.last_seq = int(batch.records["seq"][-1])
        if ring.ranges:
            _forget_passed(ring.ranges, ring.last_seq)

    def _append(self, key: _Key, rows: Records, ring: _Ring) -> None:
        if ring.ranges:
            fresh = _without(rows, ring.ranges.get(key.folder(self._out), ()))
            ring.repeated += len(rows) - len(fresh)
            rows = fresh
            if not len(rows):
                return
        file = self._files.pop(key, None)
        if file is None:
            file = _File(key, self._out, ring.names, self._clock())
        self._files[key] = file
        file.append(rows)

    def _publish(self, file: _File) -> None:
        self._attempt(file.publish, file)
        del self._files[file.key]
        ring = self._rings[file.key.ring_id]
        ring.stored += file.rows
        ring.stored_bytes += file.size

    def _attempt(self, step: Callable[[], None], file: _File) -> None:
        try:
            step()
        except OSError as error:
            retriable = error.errno in _RETRIABLE and not isinstance(error, _SyncError)
            raise SinkError(
                f"cannot write {error.filename or file.folder}: {error.strerror}",
                retriable=retriable,
            ) from error


def _split(
    rows: Records, feeds: list[str], places: npt.NDArray[np.intp]
) -> Iterator[tuple[str, int, Records]]:
    """Rows by feed and day. `feeds` are those of the distinct instruments, `places` says which."""
    days = _days(rows)
    names = sorted(set(feeds))
    if len(names) == 1 and (days == days[0]).all():
        yield names[0], int(days[0]), rows
        return
    codes = np.array([names.index(feed) for feed in feeds])[places]
    combined = days * len(names) + codes
    for value in np.unique(combined).tolist():
        part = _opaque(rows)[combined == value].view(rows.dtype)
        yield names[value % len(names)], value // len(names), part


def _without(rows: Records, ranges: list[tuple[int, int]] | tuple[()]) -> Records:
    keep = np.ones(len(rows), np.bool_)
    seq = rows["seq"]
    for first, last in ranges:
        keep &= (seq < first) | (seq > last)
    return _opaque(rows)[keep].view(rows.dtype)


def _forget_passed(ranges: dict[Path, list[tuple[int, int]]], last_seq: int) -> None:
    for folder in list(ranges):
        ranges[folder] = [r for r in ranges[folder] if r[1] > last_seq]
        if not ranges[folder]:
            del ranges[folder]
