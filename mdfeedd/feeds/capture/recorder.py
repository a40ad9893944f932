"""Lines of the network into a capture file: sockets on one side, a pcapng file on the other.

Packets go from the receive loop into the writer's buffer without the GIL; this loop comes back to Python to
empty it when it is half full, or once a second.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from mdfeedd.feeds.capture.writer import BUFFER_BYTES, CaptureWriter, RecordedLine
from mdfeedd.feeds.multicast import Receiver

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from mdfeedd.feeds.multicast import LineCounts, LineSpec
    from mdfeedd.feeds.multicast.receiver import Mode

__all__ = ["Recorded", "Recorder"]

RUN_NS: Final = 50_000_000  # how long a stop may wait


class Recorded(NamedTuple):
    """What is in the file, and what is not: `buffer_drops` found the writer's buffer full, `kernel_drops` the
    socket's, `refused` were longer than the file can hold, `unwritten` the disk did not take. `payload_bytes`
    are those of `packets` and `unwritten`.
    """

    packets: int
    payload_bytes: int
    buffer_drops: int
    kernel_drops: int
    refused: int
    unwritten: int
    file_bytes: int


class Recorder:
    """Records `lines` into the new file `path`; their numbers are those of the file's interfaces.

    Raises `ReceiverError` where a line cannot be opened and `CaptureError` where the file cannot be made or,
    from `run` and `close`, written. Belongs to one thread.
    """

    def __init__(
        self,
        path: str,
        lines: Sequence[LineSpec],
        *,
        mode: Mode = "blocking",
        receive_buffer_bytes: int = 64 << 20,
        buffer_bytes: int = BUFFER_BYTES,
        max_file_bytes: int | None = None,
    ) -> None:
        self.lines: list[LineSpec] = [
            replace(line, line=number) for number, line in enumerate(lines)
        ]
        recorded = [
            RecordedLine(line.name or f"{line.address}:{line.port}", line.address, line.port)
            for line in self.lines
        ]
        self._closed = False
        self._drops = 0
        self._counts: list[LineCounts] = []
        self._writer = CaptureWriter(
            path, recorded, buffer_bytes=buffer_bytes, max_file_bytes=max_file_bytes
        )
        try:
            self._receiver = Receiver(
                self.lines, self._writer, mode=mode, receive_buffer_bytes=receive_buffer_bytes
            )
        except BaseException:
            self._writer.close()
            with contextlib.suppress(OSError):
                os.unlink(path)  # there is nothing in it
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self, stop: threading.Event, seconds: float | None = None) -> None:
        """Record until `stop` is set, or for so long."""
        end_ns = None if seconds is None else time.monotonic_ns() + round(seconds * 1e9)
        while not stop.is_set():
            left_ns = RUN_NS
            if end_ns is not None:
                left_ns = min(RUN_NS, end_ns - time.monotonic_ns())
                if left_ns <= 0:
                    return
            self._receiver.run(left_ns)
            if self._writer.due(time.monotonic_ns()):
                self._writer.flush()

    def close(self) -> None:
        """Leave the groups and wait until the disk has everything; the counts stay."""
        if not self._closed:
            self._closed = True
            self._drops = self._receiver.kernel_drops
            self._counts = [self._receiver.counts(line.line) for line in self.lines]
        self._receiver.close()
        self._writer.close()

    @property
    def paths(self) -> list[str]:
        """The files written so far."""
        return self._writer.paths

    def line_counts(self, line: int) -> LineCounts:
        """What a line has received."""
        return self._counts[line] if self._closed else self._receiver.counts(line)

    @property
    def taken(self) -> int:
        """Packets taken into the file's buffer, and from there into the file; may be asked by any thread."""
        return self._writer.counts["packets"]

    @property
    def recorded(self) -> Recorded:
        """All of it."""
        counts = self._writer.counts
        return Recorded(
            counts["packets"] - self._writer.unwritten,
            counts["payload_bytes"],
            counts["dropped"],
            self._drops if self._closed else self._receiver.kernel_drops,
            counts["refused"],
            self._writer.unwritten,
            self._writer.written_bytes,
        )
