"""How far a journal, or a reader of it, is: small files that one process writes and any may read.

A file holds the same record twice, each copy with a counter and a checksum; the writer overwrites the
older copy, a reader takes the newest that is whole. So no order of stores and no kill makes a reader
take a half-written one, and the file needs no lock.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdfeedd.journal.format import checksum
from mdfeedd.ring.position import Position

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Mark", "Marks", "MarksFile", "SinkPositions"]

SINKS: Final = "sinks"
_COPY_BYTES: Final = 128
_FILE_BYTES: Final = 2 * _COPY_BYTES
_COUNTER: Final = struct.Struct("<Q")
_SUM_AT: Final = _COPY_BYTES - 8
_MODE: Final = 0o640
_ATTEMPTS: Final = 64
_MARKS: Final = struct.Struct("<QQQqQQQII16s16s")
_POSITION: Final = struct.Struct("<16sQIB")
_ENDED: Final = 1


class _Twice:
    """The two copies, over a mapping of the file."""

    def __init__(self, path: Path, *, write: bool) -> None:
        flags = (os.O_RDWR | os.O_CREAT) if write else os.O_RDONLY
        fd = os.open(path, flags | os.O_CLOEXEC, _MODE)
        try:
            if write and os.fstat(fd).st_size < _FILE_BYTES:
                os.posix_fallocate(fd, 0, _FILE_BYTES)  # a full disk fails here, not in a store
            if os.fstat(fd).st_size < _FILE_BYTES:
                raise FileNotFoundError(path)
            access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            self._map = mmap.mmap(fd, _FILE_BYTES, access=access)
            self._inode = _inode(os.fstat(fd))  # not used again for another file while it is mapped
        finally:
            os.close(fd)
        self._counter = self._newest()[0]

    def _newest(self) -> tuple[int, bytes]:
        """Counter and content of the newest whole copy; (0, b"") if there is none."""
        best: tuple[int, bytes] = (0, b"")
        for at in (0, _COPY_BYTES):
            copy = self._map[at : at + _COPY_BYTES]
            counter = _COUNTER.unpack_from(copy)[0]
            if counter > best[0] and _COUNTER.unpack_from(copy, _SUM_AT)[0] == checksum(
                copy[:_SUM_AT]
            ):
                best = (counter, copy[8:_SUM_AT])
        return best

    def there(self, path: Path) -> bool | None:
        """Whether the file of that name is this one; None: there is no such file any more."""
        try:
            return _inode(os.stat(path)) == self._inode
        except FileNotFoundError:
            return None

    def load(self) -> bytes:
        for _ in range(_ATTEMPTS):  # its writer may come by both copies while we look
            counter, content = self._newest()
            if counter or not any(self._map[:_FILE_BYTES]):
                return content
        return b""

    def store(self, content: bytes) -> None:
        self._counter += 1
        copy = _COUNTER.pack(self._counter) + content.ljust(_SUM_AT - 8, b"\0")
        at = self._counter % 2 * _COPY_BYTES
        self._map[at : at + _COPY_BYTES] = copy + _COUNTER.pack(checksum(copy))

    def close(self) -> None:
        self._map.close()


def _inode(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a journal: everything before `offset` of the segment, which ends with `seq`."""

    segment: int = 0
    offset: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Marks:
    """What a journal's writer tells. durable: outlives a power cut; wall_ns: when `written` was.

    this_boot: told since the machine was started; of an earlier one only `durable` is sure to be there.
    """

    ring_id: str
    written: Mark
    durable: Mark
    wall_ns: int
    pid: int
    ended: bool
    this_boot: bool = True


@functools.cache
def _boot_id() -> bytes:
    """What the kernel calls this run of the machine, 16 bytes; zeros where it does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return uuid.UUID(file.read().strip()).bytes
    except (OSError, ValueError):
        return bytes(16)


class MarksFile:
    """The marks of one journal, written by its writer only. Raises `FileNotFoundError` for readers."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self._path = path
        self._file = _Twice(path, write=write)

    @property
    def replaced(self) -> bool:
        """Another file has this one's name now: the journal was removed and made anew."""
        return self._file.there(self._path) is False

    @property
    def there(self) -> bool:
        """The name is still that of this file."""
        return self._file.there(self._path) is True

    def load(self) -> Marks | None:
        """The newest marks; None if there are none that are whole."""
        raw = self._file.load()
        if not raw:
            return None
        segment, offset, seq, wall_ns, *durable, flags, pid, ring_id, boot = _MARKS.unpack_from(raw)
        return Marks(
            ring_id=ring_id.hex(),
            written=Mark(segment, offset, seq),
            durable=Mark(*durable),
            wall_ns=wall_ns,
            pid=pid,
            ended=bool(flags & _ENDED),
            this_boot=boot == _boot_id(),
        )

    def store(self, marks: Marks) -> None:
        """Publish."""
        written, durable = marks.written, marks.durable
        self._file.store(
            _MARKS.pack(
                written.segment,
                written.offset,
                written.seq,
                marks.wall_ns,
                durable.segment,
                durable.offset,
                durable.seq,
                _ENDED if marks.ended else 0,
                marks.pid,
                bytes.fromhex(marks.ring_id),
                _boot_id(),
            )
        )

    def close(self) -> None:
        """Let go."""
        self._file.close()


class SinkPositions:
    """How far the consumers of one ring's journal are: the files FOLDER/sinks/CONSUMER.

    Retention keeps what the slowest of them has not read. Each file is written by its consumer only;
    whoever gives a consumer up removes its file, and one that goes on makes it again. After a power
    cut a position may be an older one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / SINKS
        self._open: dict[str, _Twice] = {}

    def save(self, consumer: str, position: Position | None) -> None:
        """Everything up to `position` may go; None: nothing is read yet, all must stay."""
        file = self._open.get(consumer)
        if file is not None and not file.there(self._path(consumer)):
            file.close()  # removed under us, maybe with all of the journal: retention must know us
            file = None
        if file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._open[consumer] = _Twice(self._path(consumer), write=True)
        ring_id, seq, epoch = ("00" * 16, 0, 0) if position is None else _fields(position)
        file.store(_POSITION.pack(bytes.fromhex(ring_id), seq, epoch, position is not None))

    def load(self, consumer: str) -> Position | None:
        """Where a consumer is; None if it has not said so."""
        return self._load(self._path(consumer))

    def all(self) -> dict[str, Position | None]:
        """The position of each consumer, by name."""
        return {name: self._load(self._folder / name) for name in self._names()}

    def _names(self) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError):
            yield from sorted(os.listdir(self._folder))

    def _path(self, consumer: str) -> Path:
        if not consumer or "/" in consumer or "\0" in consumer or consumer.startswith("."):
            raise ValueError(f"{consumer!r} cannot name a consumer's file")
        return self._folder / consumer

    @staticmethod
    def _load(path: Path) -> Position | None:
        try:
            file = _Twice(path, write=False)
        except FileNotFoundError:
            return None
        raw = file.load()
        file.close()
        if not raw:
            return None
        ring_id, seq, epoch, known = _POSITION.unpack_from(raw)
        return Position(ring_id.hex(), seq, epoch) if known else None

    def close(self) -> None:
        """Let go of the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()


def _fields(position: Position) -> tuple[str, int, int]:
    return position.ring_id, position.seq, position.epoch
