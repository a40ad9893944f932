"""A file as pieces of plain bytes: mapped where it can be, decompressed where it must be."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.inflate import MAX_HEAD_BYTES, InflateError, inflater_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

__all__ = ["READ_BYTES", "CaptureError", "CaptureFile", "is_capture"]

#: Looked at (or, from a pipe, read) at a time.
READ_BYTES: Final = 1 << 20
_MAGICS: Final = (
    b"\x0a\x0d\x0d\x0a",
    b"\xa1\xb2\xc3\xd4",
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x4d\x3c\xb2\xa1",
    b"\xa1\xb2\xcd\x34",
    b"\x34\xcd\xb2\xa1",
)


class CaptureError(OSError):
    """A capture cannot be read (on). One sentence with the file and the place in it."""


class CaptureFile:
    """An open file. `read_bytes` counts bytes of the file itself, of `size_bytes` (0: a pipe).

    Raises `CaptureError` where it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.read_bytes: int = 0
        self._file = _open(path)
        state = os.fstat(self._file.fileno())
        self.size_bytes: int = state.st_size if stat.S_ISREG(state.st_mode) else 0
        self._mapped: memoryview | None = None
        if self.size_bytes:
            mapped = mmap.mmap(self._file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
            self._mapped = memoryview(mapped)

    def close(self) -> None:
        """Close the file. The mapping goes with its last piece."""
        self._mapped = None
        self._file.close()

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The plain bytes, once, cut anywhere. Raises `CaptureError` after what could be read."""
        piece = self._read()
        try:
            inflater = inflater_for(bytes(piece[:MAX_HEAD_BYTES]))
            while piece:
                if inflater is None:
                    yield piece
                else:
                    yield from inflater.feed(piece)
                piece = self._read()
            if inflater is not None:
                inflater.finish()
        except InflateError as error:
            raise CaptureError(f"{self.path} {error}") from None

    def _read(self) -> memoryview | bytes:
        try:
            piece = self._map_piece() or self._file.read(READ_BYTES)
        except OSError as error:
            if isinstance(error, CaptureError):
                raise
            raise CaptureError(
                f"{self.path} cannot be read on at byte {self.read_bytes}: {error.strerror}"
            ) from error
        self.read_bytes += len(piece)
        return piece

    def _map_piece(self) -> memoryview | None:
        """The next piece of what the file held when it was opened; what was appended since is read."""
        if self._mapped is None:
            return None
        end = min(self.read_bytes + READ_BYTES, len(self._mapped))
        if self.read_bytes == end:
            self._mapped = None
            self._file.seek(end)
            return None
        if os.fstat(self._file.fileno()).st_size < end:  # touching what is gone would kill us
            raise CaptureError(
                f"{self.path} was cut while it was read, after byte {self.read_bytes}"
            )
        return self._mapped[self.read_bytes : end]


def is_capture(path: str) -> bool:
    """Whether a file begins like pcap or pcapng, compressed or not; False where it cannot be told."""
    if not Path(path).is_file():  # a pipe can be read but once
        return False
    try:
        file = CaptureFile(path)
    except CaptureError:
        return False
    try:
        return bytes(next(file.pieces(), b"")[:4]) in _MAGICS
    except CaptureError:
        return False
    finally:
        file.close()


def _open(path: str) -> FileIO:
    try:
        return Path(path).open("rb", buffering=0)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise CaptureError(f"there is no file {path}") from None
        if error.errno == errno.EISDIR:
            raise CaptureError(f"{path} is a directory: name the files in it") from None
        raise CaptureError(f"{path} cannot be opened: {os.strerror(error.errno or 0)}") from None
