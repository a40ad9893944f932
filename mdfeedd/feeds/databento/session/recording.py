"""Sessions as files that the vendor's own tools read: what came, from the metadata on, compressed."""

from __future__ import annotations

import errno
import os
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


class Recording:
    """One file per session: NAME-TIME-SESSION.dbn.zst in `folder`, under a name ending in .part until it is closed.

    What cannot be written ends the recording with one sentence, and nothing else: the feed goes on.
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


def _names(folder: Path, stem: str) -> tuple[Path, Path]:
    """Of the file and of its unfinished form: the first pair that no other session has."""
    for number in range(MAX_NAMES):
        path = folder / f"{stem}{f'-{number}' if number else ''}.dbn.zst"
        part = path.with_name(path.name + ".part")
        if not os.path.exists(path) and not os.path.exists(part):
            break
    return path, part
