"""Ticks and bars as JSON lines in files: ``sink: {type: jsonlines, path: DIR}`` of a batch consumer.

    DIR/RING-RINGID.jsonl     one object a line, as `mdfeedd tail --json` prints them

The entry point ``jsonlines`` of the group ``mdfeedd.sinks`` names `JsonLinesSink`. A sink is told what to store in
batches, and answers two questions: what is safe (`progress`), and what is stored already (`position`).

The one hard part of a sink is a crash in the middle. Here the file itself is the answer: the last whole line says
how far a ring is stored, so nothing is stored twice and nothing is left out (`keeps_positions`). A store that cannot
say so sets ``keeps_positions = False``: the consumer then remembers what was safe, and records may come again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mdfeedd.ring import Position
from mdfeedd.sinks import SinkError, SinkProgress
from mdfeedd.sinks.jsontext import JsonText
from mdfeedd.sinks.protocol import refuse_other_records

if TYPE_CHECKING:
    from mdfeedd.sinks import SinkBatch

LAST_BYTES = 65_536  # of a file, in which its last line is looked for


@dataclass(frozen=True, slots=True)
class JsonLinesOptions:
    """The keys of ``sink:`` beside its type."""

    path: str = field(metadata={"help": "folder for the files"})
    sync: bool = field(default=True, metadata={"help": "true: safe from a crash of the host"})

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path: must name a folder")


class _File:
    """One file: what is in it, and what of that is safe."""

    def __init__(self, path: Path, last_seq: int) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.end = os.fstat(self.fd).st_size
        self.last_seq = self.safe_seq = last_seq
        self.stored = self.pending = self.stored_bytes = 0

    def append(self, text: memoryview) -> None:
        """All of it or nothing: what was written before an error is cut off again. Raises `OSError`."""
        written = 0
        try:
            while written < len(text):
                written += os.pwrite(self.fd, text[written:], self.end + written)
        except OSError:
            os.ftruncate(self.fd, self.end)
            raise
        self.end += written


class JsonLinesSink:
    """A store of batches; one thread uses it. Every `SinkError` here may pass by itself (a full disk, mostly)."""

    Options: ClassVar[type] = JsonLinesOptions
    keeps_positions: ClassVar[bool] = True

    def __init__(self, options: JsonLinesOptions, name: str) -> None:
        self._folder = Path(options.path)
        self._sync = options.sync
        self._files: dict[str, _File] = {}  # by ring_id
        self._text = JsonText(before=b"\n")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            why = f"the folder {self._folder} cannot be made: {error.strerror}"
            raise SinkError(why, retriable=False) from error

    def position(self, ring: str) -> Position | None:
        """What the newest file of the ring holds; a line that a crash has left unfinished is cut off."""
        files = self._folder.glob(f"{ring}-{'[0-9a-f]' * 32}.jsonl")
        newest = max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None or not (seq := _last_seq(newest)):
            return None
        return Position(newest.stem[-32:], seq)

    def write(self, batch: SinkBatch) -> None:
        """Take a batch. `batch.records` is the consumer's memory again when this returns."""
        refuse_other_records(batch, "this sink stores ticks and bars")
        lines, _ = self._text.lines(batch.records, batch.instruments)  # a newline before each
        try:
            file = self._file(batch)
            file.append(memoryview(bytes(lines[1:]) + b"\n"))
        except OSError as error:
            why = f"{self._folder}: {error.strerror}"
            raise SinkError(why, retriable=True) from error
        file.last_seq = int(batch.records["seq"][-1])
        file.pending += len(batch.records)
        file.stored_bytes += len(lines)

    def _file(self, batch: SinkBatch) -> _File:
        if batch.ring_id not in self._files:
            path = self._folder / f"{batch.ring}-{batch.ring_id}.jsonl"
            self._files[batch.ring_id] = _File(path, _last_seq(path) if path.exists() else 0)
        return self._files[batch.ring_id]

    def housekeep(self) -> None:
        """Called a few times a second: what was written becomes safe."""
        self.flush()

    def flush(self) -> None:
        """Make all safe that was taken."""
        for file in self._files.values():
            if not file.pending:
                continue
            try:
                if self._sync:
                    os.fsync(file.fd)
                    os.fsync(self._folder_fd)  # the name of a new file is in the folder
            except OSError as error:  # the kernel may have dropped what it could not write
                why = f"{self._folder}: {error.strerror}"
                raise SinkError(why, retriable=False) from error
            file.safe_seq = file.last_seq
            file.stored, file.pending = file.stored + file.pending, 0

    def progress(self, ring_id: str) -> SinkProgress:
        """How far a ring is. Never raises."""
        file = self._files.get(ring_id)
        if file is None:
            return SinkProgress()
        return SinkProgress(
            safe_seq=file.safe_seq,
            stored_records=file.stored,
            pending_records=file.pending,
            stored_bytes=file.stored_bytes,
        )

    def close(self) -> None:
        """Flush, and let go in any case."""
        try:
            self.flush()
        finally:
            for file in self._files.values():
                os.close(file.fd)
            self._files.clear()
            os.close(self._folder_fd)


def _last_seq(path: Path) -> int:
    """The sequence number of the last whole line, 0 if there is none. What follows it is cut off."""
    with path.open("r+b") as file:
        while size := file.seek(0, os.SEEK_END):
            file.seek(max(0, size - LAST_BYTES))
            lines, newline, torn = file.read().rpartition(b"\n")
            if newline and not torn:
                return int(json.loads(lines.rpartition(b"\n")[2])["seq"])
            file.truncate(size - len(torn))  # a crash may leave more than a part of a line
    return 0
