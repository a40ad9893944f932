"""Packets into a pcapng file that any tool opens."""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from mdfeedd.feeds.capture._capture import BlockBuffer
from mdfeedd.feeds.capture.files import CaptureError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BUFFER_BYTES", "MAX_RECORDED_LINES", "CaptureWriter", "RecordedLine"]

BUFFER_BYTES: Final = 16 << 20  # a tenth of a second of a line at 1 Gbit/s
MAX_RECORDED_LINES: Final = 1024
MAX_PARTS: Final = 9999
_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_ETHERNET: Final = 1
_OPTION_NAME, _OPTION_RESOLUTION, _OPTION_APPLICATION = 2, 9, 4
_RESOLUTION_NS: Final = b"\x09"


class RecordedLine(NamedTuple):
    """Where packets of a line were sent; `name` is what the file calls its interface."""

    name: str
    address: str
    port: int


class CaptureWriter(BlockBuffer):
    """A taker of packets that writes them to `path`, one interface per line, times in ns.

    Packets are put into a buffer without the GIL; when `burst_end` asks for Python, and at least once a
    second, the thread that runs the source calls `flush`. What finds the buffer full is counted in
    `counts["dropped"]`, what a file did not take in `unwritten`. With `max_file_bytes` a new file
    ``NAME-1.pcapng``, ``NAME-2.pcapng``, ... is begun when one has grown so large.

    The file must not exist yet. Raises `CaptureError` where a file cannot be made or written.
    """

    def __init__(
        self,
        path: str,
        lines: Sequence[RecordedLine],
        *,
        buffer_bytes: int = BUFFER_BYTES,  # noqa: ARG002 - taken by __new__
        max_file_bytes: int | None = None,
    ) -> None:
        self.paths: list[str] = []
        self.written_bytes: int = 0
        self.unwritten: int = 0
        self._first = Path(path)
        self._head = _section() + b"".join(_interface(line.name) for line in lines)
        self._max_file_bytes = max_file_bytes
        self._file_bytes = 0
        self._descriptor: int | None = None
        self._begin()

    def __new__(
        cls,
        path: str,  # noqa: ARG004 - of __init__
        lines: Sequence[RecordedLine],
        *,
        buffer_bytes: int = BUFFER_BYTES,
        **_others: Any,
    ) -> Self:
        """Make the buffer."""
        if not 1 <= len(lines) <= MAX_RECORDED_LINES:
            raise ValueError(f"1 to {MAX_RECORDED_LINES} lines, not {len(lines)}")
        return super().__new__(cls, [(line.address, line.port) for line in lines], buffer_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def flush(self) -> None:
        """Write the buffer to the file. Raises `CaptureError`; the buffer is emptied all the same, and what
        of it is not in the file is counted in `unwritten`.
        """
        if self._descriptor is None:
            raise ValueError("the writer is closed")
        blocks = self.view()
        if not len(blocks):
            return
        limit = self._max_file_bytes
        begun = self._file_bytes > len(self._head)
        before: int | None = None
        try:
            if limit is not None and begun and self._file_bytes + len(blocks) > limit:
                self._end()
                self._begin()
            before = self.written_bytes
            self._write(blocks)
        except CaptureError:
            written = 0 if before is None else self.written_bytes - before
            self.unwritten += _packets_after(blocks, written)
            raise
        finally:
            del blocks
            self.clear()

    def close(self) -> None:
        """Write what is left and wait until the disk has it."""
        if self._descriptor is None:
            return
        try:
            self.flush()
        finally:
            self._end()

    def _begin(self) -> None:
        path = self._first
        if self.paths:
            if len(self.paths) > MAX_PARTS:
                raise CaptureError(f"{path}: more than {MAX_PARTS} files: choose larger ones")
            path = path.with_stem(f"{path.stem}-{len(self.paths)}")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise CaptureError(f"{path} exists already: choose another name") from None
            raise CaptureError(f"{path} cannot be made: {error.strerror}") from None
        self.paths.append(str(path))
        self._file_bytes = 0
        self._write(self._head)

    def _write(self, data: bytes | memoryview) -> None:
        assert self._descriptor is not None
        left = memoryview(data)
        while left:
            try:
                n = os.write(self._descriptor, left)
            except OSError as error:
                sentence = f"{self.paths[-1]} cannot be written: {error.strerror}"
                raise CaptureError(sentence) from error
            left = left[n:]
            self._file_bytes += n
            self.written_bytes += n

    def _end(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise CaptureError(
                f"{self.paths[-1]} may not be on the disk: {error.strerror}"
            ) from error
        finally:
            os.close(descriptor)


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)


def _packets_after(blocks: bytes | memoryview, written: int) -> int:
    """How many of the blocks, a packet each, do not lie whole in the first bytes that were written."""
    packets = end = 0
    while end < len(blocks):
        end += int.from_bytes(blocks[end + 4 : end + 8], sys.byteorder)
        packets += end > written
    return packets


def _section() -> bytes:
    options = _option(_OPTION_APPLICATION, b"mdfeedd") + _option(0, b"")
    return _block(_SECTION, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1) + options)


def _interface(name: str) -> bytes:
    options = _option(_OPTION_NAME, name.encode()[:255]) + _option(
        _OPTION_RESOLUTION, _RESOLUTION_NS
    )
    return _block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + options + _option(0, b""))
