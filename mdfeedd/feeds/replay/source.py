"""One recording as a stream of DBN bytes, whatever it is wrapped in."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from mdfeedd.feeds.capture import is_capture
from mdfeedd.feeds.databento.codec import DbnError, JsonLines
from mdfeedd.feeds.databento.codec.json_lines import VERSION as JSON_VERSION
from mdfeedd.feeds.inflate import ZSTD_MAGIC, InflateError, ZstdInflater
from mdfeedd.feeds.protocol import Damaged
from mdfeedd.journal import list_journals
from mdfeedd.journal.segment import list_segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO

__all__ = [
    "READ_BYTES", "DamagedRecording", "Recording", "ReplayError", "Vendor", "total_bytes", "vendor_of",
]  # fmt: skip

#: Looked at (or, from a pipe, read) at a time.
READ_BYTES: Final = 1 << 20
_DBZ_MAGIC: Final = b"\x2a\x4d\x18"
_JSON_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")


class ReplayError(OSError):
    """A recording cannot be replayed (further). One sentence with the file and the place in it."""


class DamagedRecording(ReplayError, Damaged):
    """The same, after what was whole has been published: another attempt would publish that again."""


Vendor = Literal["databento", "cme", "journal"]


def total_bytes(paths: Sequence[str]) -> int:
    """Size of all files, and of what is in journals, for a progress bar; what is missing is empty."""
    files = [Path(path) for path in paths if Path(path).is_file()]
    for folder in (folder for path in paths for folder in list_journals(Path(path))):
        files += [name.path for name in list_segments(folder)]
    return sum(path.stat().st_size for path in files if path.exists())


def vendor_of(
    paths: Sequence[str], vendor: Literal["auto", "databento", "cme", "journal"] = "auto"
) -> Vendor:
    """Whose data it is, by content unless somebody says it. Raises `ReplayError` for some of each."""
    if vendor != "auto":
        return vendor
    journals = [path for path in paths if list_journals(Path(path))]
    if journals:
        other = next((path for path in paths if path not in journals), None)
        if other is not None:
            raise ReplayError(f"{journals[0]} is a journal and {other} is not: replay them apart")
        return "journal"
    captures = [path for path in paths if is_capture(path)]
    if captures and len(captures) < len(paths):
        other = next(path for path in paths if path not in captures)
        raise ReplayError(f"{captures[0]} is a capture and {other} is not: replay them apart")
    return "cme" if captures else "databento"


class Recording:
    """A file of DBN, open, its container known.

    `version` is that of records without metadata. `decoder_version` is what a `DbnDecoder` must be told,
    None where the stream says it itself. `read_bytes` counts bytes of the file.

    Raises `ReplayError` where there is no such file, or nothing in it that can be DBN.
    """

    damage: Final = ""
    """A file ends where it is damaged, by an error; a journal goes on behind it, and tells here."""

    def __init__(self, path: str, version: int | None = None) -> None:
        self.path = path
        self.read_bytes: int = 0
        self._file = _open(path)
        self._mapped = _map(self._file)
        self._buffer = memoryview(bytearray(0 if self._mapped else READ_BYTES))
        self._inflate = ZstdInflater()
        try:
            self._head = self._read()
            self.compressed: bool = bytes(self._head[:4]) == ZSTD_MAGIC
            self._pieces = self._plain()
            self._first = next(self._pieces, b"")
            self.decoder_version: int | None = self._kind(version)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. The mapping goes with its last piece."""
        self._mapped = None
        self._file.close()

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The stream as DBN bytes, cut anywhere; a piece is good until the next is asked for.

        Raises `ReplayError` after what can be read.
        """
        return self._json_records() if self._json else self._plain_pieces()

    def error(self, fault: DbnError) -> ReplayError:
        """The fault of a decoder that was given this recording."""
        unit = "decompressed byte" if self.compressed else "byte"
        at = "" if self._json else f", at {unit} {fault.offset}"
        return ReplayError(f"{self.path}: {fault.reason}{at}")

    def _plain_pieces(self) -> Iterator[bytes | memoryview]:
        yield self._first
        yield from self._pieces

    def _json_records(self) -> Iterator[bytes]:
        lines = JsonLines()
        try:
            for piece in self._plain_pieces():
                yield lines.feed(bytes(piece))
            yield lines.finish()
        except DbnError as fault:
            raise self.error(fault) from None

    def _kind(self, version: int | None) -> int | None:
        first, name = bytes(self._first), Path(self.path).name.removesuffix(".zst")
        self._json = False
        if not first:
            raise ReplayError(f"{self.path} is empty")
        if first[1:4] == _DBZ_MAGIC and first[0] >> 4 == 5:
            raise ReplayError(
                f"{self.path} is in the legacy DBZ container: convert it with Databento's dbn tool"
            )
        if first[:3] == b"DBN":
            return None
        if name.endswith(_JSON_SUFFIXES) or (version is None and first.lstrip()[:1] == b"{"):
            self._json = True
            return JSON_VERSION
        if version is None and ".frag" in name:
            raise ReplayError(
                f"{self.path} holds records without metadata: say their DBN version (option 'version')"
            )
        if version is None:
            if is_capture(self.path):
                raise ReplayError(f"{self.path} is not DBN, but a capture")
            raise ReplayError(
                f"{self.path} is not DBN: it begins with {first[:4]!r}, as no capture does either"
            )
        return version

    def _plain(self) -> Iterator[bytes | memoryview]:
        piece = self._head
        try:
            while piece:
                if self.compressed:
                    yield from self._inflate.feed(piece)
                else:
                    yield piece
                piece = self._read()
            if self.compressed:
                self._inflate.finish()
        except InflateError as error:
            raise ReplayError(f"{self.path} {error}") from None

    def _read(self) -> memoryview:
        try:
            piece = self._map_piece() or self._read_piece()
        except OSError as error:
            if isinstance(error, ReplayError):
                raise
            raise ReplayError(
                f"{self.path} cannot be read on at byte {self.read_bytes}: {error.strerror}"
            ) from error
        self.read_bytes += len(piece)
        return piece

    def _map_piece(self) -> memoryview | None:
        """The next piece of what the file held when it was opened: no copy, half the time of a read."""
        if self._mapped is None or self.read_bytes >= len(self._mapped):
            return None
        end = min(self.read_bytes + READ_BYTES, len(self._mapped))
        if os.fstat(self._file.fileno()).st_size < end:  # touching what is gone would kill us
            raise ReplayError(
                f"{self.path} was cut while it was replayed, after byte {self.read_bytes}"
            )
        return self._mapped[self.read_bytes : end]

    def _read_piece(self) -> memoryview:
        """The next piece of a pipe, or of what was appended since."""
        if self._mapped is not None:
            self._mapped = None
            self._buffer = memoryview(bytearray(READ_BYTES))
            self._file.seek(self.read_bytes)
        return self._buffer[: self._file.readinto(self._buffer)]


def _map(file: FileIO) -> memoryview | None:
    """A regular file's bytes; None where there is nothing to map."""
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode) or not state.st_size:
        return None
    return memoryview(mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ))


def _open(path: str) -> FileIO:
    try:
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - the recording closes it
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise ReplayError(f"there is no file {path}") from None
        if error.errno == errno.EISDIR:
            raise ReplayError(f"{path} is a directory: name the files in it") from None
        raise ReplayError(f"{path} cannot be opened: {os.strerror(error.errno or 0)}") from None
    return file
