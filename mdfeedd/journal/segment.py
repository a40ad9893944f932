"""Segment files: their names, and reading their blocks.

Blocks are read through a window of memory of the reader's own, not through a mapping: a file that is
cut while it is read, or a disk that fails, is then an error or a short read, never a SIGBUS.
"""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from mdfeedd.journal.errors import JournalMismatch
from mdfeedd.journal.format import (
    BLOCK_BYTES,
    BLOCK_MAGIC,
    ENTRY_BYTES,
    HEADER_BYTES,
    MAX_BLOCK_RECORDS,
    VERSION,
    Block,
    SegmentHeader,
    checksum,
    decode_block,
    decode_header,
    fault_of,
    header_version,
    payload_bytes,
)
from mdfeedd.ring.segment import check_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = [
    "Fault",
    "SegmentFile",
    "SegmentName",
    "Window",
    "folder_of",
    "list_journals",
    "list_segments",
    "segment_file_name",
]

WINDOW_BYTES: Final = 4 << 20  # read at a time; more only for a block that is larger
SUFFIX: Final = ".mdj"
_NAME: Final = re.compile(r"(\d{10,20})-(\d{1,10})-(\d{1,20})\.mdj")


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """A segment by what its file's name says. The number alone gives the order."""

    number: int
    epoch: int
    first_seq: int
    path: Path


def segment_file_name(number: int, epoch: int, first_seq: int) -> str:
    """``0000000001-1-1.mdj``: sorts by number in any listing."""
    return f"{number:010d}-{epoch}-{first_seq}{SUFFIX}"


def folder_of(path: str | Path, ring: str) -> Path:
    """Where the journal of a ring lies. Raises `ValueError` for a name that no ring can have."""
    return Path(path) / check_name(ring)


def list_segments(folder: Path) -> list[SegmentName]:
    """The segments of one ring's folder, in order; none if there is no such folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [(_NAME.fullmatch(name), name) for name in names]
    return sorted(
        SegmentName(int(m[1]), int(m[2]), int(m[3]), folder / name) for m, name in found if m
    )


def list_journals(path: Path) -> list[Path]:
    """The folders of rings below `path`, or `path` itself if it is one; sorted."""
    if list_segments(path):
        return [path]
    try:
        return [path / name for name in sorted(os.listdir(path)) if list_segments(path / name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


@dataclass(frozen=True, slots=True)
class Fault:
    """There is no block at `offset`, or not the one that should be there."""

    offset: int
    reason: str


class Window:
    """Memory for a piece of a file, page-aligned, used for one segment after the other."""

    def __init__(self, size: int = WINDOW_BYTES) -> None:
        self._map = mmap.mmap(-1, size)
        self.view: memoryview[int] = memoryview(self._map)
        self.fd: int = -1
        self.start: int = 0  # the part of the file that it holds
        self.end: int = 0

    def hold(self, fd: int, offset: int, size: int, limit: int) -> None:
        """Have the bytes offset..offset+size (as far as the file and `limit` go)."""
        if fd == self.fd and self.start <= offset and min(offset + size, limit) <= self.end:
            return
        if size > len(self.view):
            self._map = mmap.mmap(-1, size)  # the one before lives as long as views of it do
            self.view = memoryview(self._map)
        self.fd, self.start, self.end = fd, offset, offset
        want = min(len(self.view), max(0, limit - offset))
        while self.end < offset + want:
            done = os.preadv(fd, [self.view[self.end - offset : want]], self.end)
            if not done:
                break
            self.end += done

    def forget(self) -> None:
        """What it holds may have changed."""
        self.fd = -1


class SegmentFile:
    """One segment, open for reading."""

    def __init__(self, name: SegmentName, window: Window | None = None) -> None:
        """Raises `OSError`, and `JournalMismatch` for a segment of a newer version."""
        self.name = name
        self._window = Window() if window is None else window
        self._fd = os.open(name.path, os.O_RDONLY | os.O_CLOEXEC)
        self._window.forget()  # the number of the descriptor may have been another file's
        try:
            header = _read_header(self._fd, name)
        except BaseException:
            os.close(self._fd)
            raise
        #: None: damaged, or not the header of this number
        self.header: SegmentHeader | None = (
            header if header is not None and header.number == name.number else None
        )

    @property
    def size(self) -> int:
        """Of the file now, in bytes."""
        return os.fstat(self._fd).st_size

    def block(self, offset: int, limit: int, record_bytes: int) -> Block | Fault:
        """The header of the block at `offset`; the block must end at `limit` or before."""
        window = self._window
        window.hold(self._fd, offset, BLOCK_BYTES, limit)
        data = window.view[: window.end - window.start]
        at = offset - window.start
        block = decode_block(data, at, self.name.number)
        if block is None:
            return Fault(offset, fault_of(data, at, self.name.number))
        if offset + BLOCK_BYTES + payload_bytes(block, record_bytes) > limit:
            return Fault(offset, "a block is longer than what is there")
        return block

    def payload(self, offset: int, block: Block, limit: int, record_bytes: int) -> memoryview:
        """The payload of the block at `offset`, valid until the next call; short if the file is."""
        size = payload_bytes(block, record_bytes)
        window = self._window
        window.hold(self._fd, offset, BLOCK_BYTES + size, limit)
        at = offset - window.start + BLOCK_BYTES
        return window.view[at : min(at + size, window.end - window.start)]

    def intact_payload(
        self, offset: int, block: Block, limit: int, record_bytes: int
    ) -> memoryview | Fault:
        """The same, with its checksum seen to be right."""
        payload = self.payload(offset, block, limit, record_bytes)
        if len(payload) != payload_bytes(block, record_bytes):
            return Fault(offset, "the segment ends in a block")
        if checksum(payload) != block.checksum:
            return Fault(offset, f"the checksum of a block of {block.n} is wrong")
        return payload

    def find(self, offset: int, limit: int, record_bytes: int) -> int | None:
        """The first offset from `offset` on where a whole, intact block lies."""
        window = self._window
        while offset + BLOCK_BYTES <= limit:
            window.hold(self._fd, offset, BLOCK_BYTES, limit)
            held = window.end
            if held < offset + BLOCK_BYTES:
                return None
            for at in _magics(window.view[offset - window.start : held - window.start]):
                candidate = offset + at
                block = self.block(candidate, limit, record_bytes)
                if isinstance(block, Block) and not isinstance(
                    self.intact_payload(candidate, block, limit, record_bytes), Fault
                ):
                    return candidate
                window.hold(self._fd, offset, BLOCK_BYTES, limit)
            offset = held - held % BLOCK_BYTES
        return None

    def last_used(self, offset: int) -> int:
        """The end of what is not zero from `offset` on; `offset` if all of it is."""
        last = offset
        size = self.size
        window = self._window
        while offset < size:
            window.hold(self._fd, offset, BLOCK_BYTES, size)
            data = bytes(window.view[offset - window.start : window.end - window.start])
            used = len(data.rstrip(b"\0"))
            if used:
                last = offset + used
            if not data:
                break
            offset += len(data)
        return last

    def forget(self) -> None:
        """What was read of it may have changed."""
        self._window.forget()

    def close(self) -> None:
        """Close the file."""
        self._window.forget()
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _read_header(fd: int, name: SegmentName) -> SegmentHeader | None:
    page = os.pread(fd, HEADER_BYTES, 0)
    header, version = decode_header(page), header_version(page)
    if version is not None and version > VERSION:
        raise JournalMismatch(
            f"{name.path} was written in version {version} of the format and this is version "
            f"{VERSION}: read it with the mdfeedd that wrote it"
        )
    return header


def _magics(data: memoryview) -> Iterator[int]:
    """Offsets in `data` (whose start is a block's possible begin) at which the magic stands."""
    raw = bytes(data)
    at = raw.find(BLOCK_MAGIC)
    while at >= 0:
        if at % BLOCK_BYTES == 0:
            yield at
        at = raw.find(BLOCK_MAGIC, at + 1)


assert WINDOW_BYTES >= BLOCK_BYTES
assert MAX_BLOCK_RECORDS * ENTRY_BYTES + BLOCK_BYTES < 1 << 31
