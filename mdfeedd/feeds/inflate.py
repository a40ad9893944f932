"""Compressed bytes, given piece by piece, into plain ones of bounded size. No I/O."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MAX_HEAD_BYTES",
    "ZSTD_MAGIC",
    "GzipInflater",
    "InflateError",
    "Inflater",
    "ZstdInflater",
    "inflater_for",
]

#: Given out at a time, about.
OUT_BYTES: Final = 1 << 20
#: Compressed bytes given to zstd at a time. A block of four bytes can hold 128 KiB, so this bounds memory.
ZSTD_SLICE_BYTES: Final = 1024
#: The beginning of a file that `inflater_for` looks at.
MAX_HEAD_BYTES: Final = 6
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GZIP: Final = b"\x1f\x8b"
_OTHERS: Final = {
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
}
_GZIP_WINDOW: Final = 31  # zlib's word for: with a gzip header


class InflateError(ValueError):
    """Damaged, cut, or compressed with what we cannot read. The sentence follows the file's name."""


class Inflater(Protocol):
    """Frames or members, one after the other."""

    name: str

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Decompressed pieces. Raises `InflateError` after what could be had."""

    def finish(self) -> None:
        """The file ends here: raise `InflateError` if that is within a frame."""


def inflater_for(head: bytes) -> Inflater | None:
    """What reads a file that begins like this; None if it is not compressed.

    Raises `InflateError` for compressions that we do not read.
    """
    if head.startswith(ZSTD_MAGIC):
        return ZstdInflater()
    if head.startswith(_GZIP):
        return GzipInflater()
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise InflateError(f"is compressed with {name}: decompress it, or use gzip or zstd")
    return None


class ZstdInflater:
    """Zstandard frames."""

    name = "zstd"

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor()
        self._frame = self._context.decompressobj()
        self._begun = False  # within a frame
        self._at = 0

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Decompressed pieces of about `OUT_BYTES`; a slice that holds more makes a longer one."""
        out: list[bytes] = []
        size = 0
        for start in range(0, len(data), ZSTD_SLICE_BYTES):
            rest: bytes | memoryview = data[start : start + ZSTD_SLICE_BYTES]
            while rest:
                rest, piece, fault = self._step(rest)
                out.append(piece)
                size += len(piece)
                if fault is not None:
                    if size:
                        yield b"".join(out)
                    raise fault
            if size >= OUT_BYTES:
                yield b"".join(out)
                out, size = [], 0
        if size:
            yield b"".join(out)

    def finish(self) -> None:
        """The file ends here."""
        if self._begun:
            raise InflateError(f"ends within a zstd frame, at byte {self._at}")

    def _step(self, data: bytes | memoryview) -> tuple[bytes, bytes, InflateError | None]:
        """What is left of `data` for the next frame, what came out, and what went wrong."""
        try:
            piece = self._frame.decompress(data)
        except zstandard.ZstdError as error:
            return b"", b"", InflateError(f"has a damaged zstd frame near byte {self._at}: {error}")
        rest = b""
        self._begun = not self._frame.eof
        if self._frame.eof:
            rest = self._frame.unused_data
            self._frame = self._context.decompressobj()
        self._at += len(data) - len(rest)
        return rest, piece, None


class GzipInflater:
    """Members of gzip."""

    name = "gzip"

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._begun = False  # within a member
        self._padding = False  # zeros after the last member, as tapes have them
        self._at = 0

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Decompressed pieces of at most `OUT_BYTES`."""
        rest = bytes(data)
        while rest:
            if self._padding or (self._at and not self._begun and rest[:1] == b"\0"):
                self._padding = True
                if rest.strip(b"\0"):
                    raise InflateError(f"has garbage after its gzip data, near byte {self._at}")
                return
            try:
                piece = self._member.decompress(rest, OUT_BYTES)
            except zlib.error as error:
                sentence = f"has damaged gzip data near byte {self._at}: {error}"
                raise InflateError(sentence) from None
            self._begun = not self._member.eof
            left = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._at += len(rest) - len(left)
            rest = left
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP_WINDOW)
            if piece:
                yield piece

    def finish(self) -> None:
        """The file ends here."""
        if self._begun:
            raise InflateError(f"ends within its gzip data, at byte {self._at}")
