"""Sessions as files that the vendor's own tools read: what came, from the metadata on, compressed."""

from __future__ import annotations

import errno
import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import zstandard

if TYPE_CHECKING:
    import logging

    from mdfeedd.ring import Writer

__all__ = ["Recording"]

LEVEL: Final = 1
"""Of zstd: cheap, and still a fifth of the bytes."""
FLUSH_S: Final = 1.0
"""What a kill may cost."""
MAX_NAMES: Final = 100
"""Of sessions in one second that have the same number."""
_HEAD_BYTES: Final = 8
"""Of the metadata: magic, version, and how many bytes follow."""
_LENGTH_AT: Final = 4
_WORD_BYTES: Final = 4
_LEAST_WORDS: Final = 4
"""Of a record: its header."""
_LOOK_RECORDS: Final = 64
"""Of one length, that are looked through at a time."""


class Recording:
    """One file per session: NAME-TIME-SESSION.dbn.zst in `folder`, under a name ending in .part until it is closed.

    What cannot be written ends the recording with one sentence, and nothing else: the feed goes on. Whole records
    are written alone: of a session that breaks within one the file ends before it.
    """

    def __init__(
        self, folder: str, feed: str, session_id: str, writer: Writer, logger: logging.Logger
    ) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        safe = "".join(c for c in session_id if c.isalnum())[:32] or "0"
        self.path: Path
        self.path, self._part = _names(Path(folder), f"{feed}-{stamp}-{safe}")
        self._writer = writer
        self._logger = logger
        self._zstd = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        self._flushed_s = 0.0  # the first bytes go at once: without metadata nothing can be read
        self._held = False
        self._bytes = 0
        self._whole = _Whole()
        self._file = None
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self._file = self._part.open("xb", buffering=0)
        except OSError as error:
            self._give_up(error)

    def write(self, data: bytes | memoryview) -> None:
        """Append what came."""
        if self._file is None:
            return
        data = self._whole.take(data)
        if not data:
            return
        self._bytes += len(data)
        self._held = True
        self._put(self._zstd.compress(data))
        self._writer.counters.add("recorded_bytes", len(data))
        self.beat()

    def beat(self) -> None:
        """Write what the compressor has held back for long; now and then, also while nothing comes."""
        now_s = time.monotonic()
        if self._held and self._file is not None and now_s - self._flushed_s >= FLUSH_S:
            self._flushed_s = now_s
            self._held = False
            self._put(self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))

    def close(self) -> None:
        """Finish the file and give it its name; none is left if nothing came."""
        if self._file is None:
            return
        self._put(self._zstd.flush())
        if self._file is None:
            return
        self._file.close()
        self._file = None
        try:
            if self._bytes:
                self._part.rename(self.path)
            else:
                self._part.unlink()
        except OSError as error:
            self._give_up(error)

    def _put(self, packed: bytes) -> None:
        left = memoryview(packed)
        try:
            while left and self._file is not None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._logger.error(
            "the session is not recorded any further: %s: %s", self._part, error.strerror or error
        )
        if self._file is not None:
            self._file.close()
        self._file = None


class _Whole:
    """Finds where records end in a stream of DBN, which comes in pieces cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._broken = False

    def take(self, piece: bytes | memoryview) -> bytes | memoryview:
        """What is whole by now and was not given yet; the rest is kept for later.

        Nothing comes behind a record of an impossible length: where the next one begins cannot be known.
        """
        if self._broken:
            return b""
        data = memoryview(self._rest + bytes(piece) if self._rest else piece)
        at = self._metadata_end(data)
        if self._begun:
            at = self._records_end(data, at)
        self._rest = bytes(data[at:])
        return data[:at]

    def _metadata_end(self, data: memoryview) -> int:
        if self._begun or len(data) < _HEAD_BYTES:
            return 0
        (length,) = struct.unpack_from("<I", data, _LENGTH_AT)
        self._begun = len(data) >= _HEAD_BYTES + length
        return _HEAD_BYTES + length if self._begun else 0

    def _records_end(self, data: memoryview, at: int) -> int:
        """Behind the last whole record: runs of one length are passed at once, records a piece being many."""
        while at < len(data):
            words = data[at]
            if words < _LEAST_WORDS:
                self._broken = True
                break
            step = words * _WORD_BYTES
            heads = bytes(data[at : at + _LOOK_RECORDS * step : step])
            run = len(heads) - len(heads.lstrip(heads[:1]))
            whole = min(run, (len(data) - at) // step)
            at += whole * step
            if whole < run:
                break
        return at


def _names(folder: Path, stem: str) -> tuple[Path, Path]:
    """Of the file and of its unfinished form: the first pair that no other session has."""
    for number in range(MAX_NAMES):
        path = folder / f"{stem}{f'-{number}' if number else ''}.dbn.zst"
        part = path.with_name(path.name + ".part")
        if not os.path.exists(path) and not os.path.exists(part):
            break
    return path, part
