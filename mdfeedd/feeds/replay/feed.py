"""The replay as a feed process."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from mdfeedd.feeds.databento.codec import (
    DbnDecoder,
    DbnError,
    ErrorMessage,
    Symbology,
    SystemMessage,
)
from mdfeedd.feeds.replay.capture import CaptureReplay
from mdfeedd.feeds.replay.journal import JournalRecording, Read
from mdfeedd.feeds.replay.merge import Batch, merge
from mdfeedd.feeds.replay.options import MAX_FILES, SCHEMAS, ReplayOptions
from mdfeedd.feeds.replay.pace import Pace
from mdfeedd.feeds.replay.progress import Progress
from mdfeedd.feeds.replay.rings import Rings
from mdfeedd.feeds.replay.source import (
    DamagedRecording,
    Recording,
    ReplayError,
    total_bytes,
    vendor_of,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from mdfeedd.feeds.databento.codec import Decoded
    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.ring import Writer

__all__ = ["MAX_FILES", "Progress", "ReplayError", "ReplayFeed", "ReplayOptions"]

logger: logging.Logger = logging.getLogger("mdfeedd.replay")

MAX_WAIT_S: Final = 0.05  # between looks at `stop` and heartbeats while nothing is due


class ReplayFeed:
    """Publishes recordings into the ring of `ring`, their bars into the ring NAME.bars.

    Captures of CME's multicast go through its codec: see `CaptureReplay`. ts_recv of a tick is the recording's, flagged REPLAYED. Several files are merged by it. The ring is made
    after all files were opened, so a missing file leaves nothing behind.
    """

    Options: ClassVar[type[Any]] = ReplayOptions
    once: ClassVar[bool] = True

    def __init__(self, name: str, options: ReplayOptions, ring: RingPlan) -> None:
        self.name = name
        self.options = options
        self.ring = ring
        self.progress: Progress = Progress(total_bytes(options.paths))
        self._broken: list[str] = []

    def run(self, stop: threading.Event) -> None:
        """Replay all of it, or until `stop`.

        Raises `ReplayError` where a file cannot be read (on), `DamagedRecording` if something was published, all
        that is whole of each of them, and `RingError` if the ring cannot be made.
        """
        options = self.options
        vendor = vendor_of(options.paths, options.vendor)
        if vendor == "cme":
            CaptureReplay(self.name, options, self.ring, self.progress).run(stop)
            return
        with contextlib.ExitStack() as stack:
            recordings: list[Recording | JournalRecording] = []
            for path in options.paths:
                recording = (
                    JournalRecording(path, self.ring.shard)
                    if vendor == "journal"
                    else Recording(path, options.version)
                )
                stack.callback(recording.close)
                recordings.append(recording)
            rings = stack.enter_context(Rings(self.name, self.ring, stop, options))
            rings.gate.wait_for_consumers(
                self.ring, options.min_consumers, options.min_consumers_limit_s
            )
            started_s = time.monotonic()
            first = recordings[0]
            if len(recordings) == 1 and options.speed == "max" and isinstance(first, Recording):
                self._stream(first, rings, stop)
            else:
                self._merged(recordings, rings, stop)
            self._log_end(rings.ticks, time.monotonic() - started_s)
            damage = [one.damage for one in recordings if one.damage]
            if told := [*self._broken, *damage]:
                final = (
                    damage or rings.published
                )  # else a file may yet be whole at the next attempt
                raise (DamagedRecording if final else ReplayError)("; ".join(told))

    def _decoder(self, recording: Recording, rings: Rings) -> DbnDecoder:
        version = recording.decoder_version
        schema = None if version is None else SCHEMAS.get(self.options.schema or "")
        return DbnDecoder(Symbology(rings, self.ring.shard), version=version, schema=schema)

    def _stream(self, recording: Recording, rings: Rings, stop: threading.Event) -> None:
        """One file at full speed: its bytes go straight into the ring."""
        decoder = self._decoder(recording, rings)
        writer, capacity = rings.ticks, rings.ticks.capacity
        try:
            for piece in self._sound(recording.pieces()):
                left = memoryview(piece)
                while left:
                    room = rings.gate.room(capacity)
                    if stop.is_set():
                        return
                    used = decoder.decode_into(
                        writer, left, bars=rings.bars_with_room, max_ticks=room
                    )
                    left = left[used:]
                self._count_bytes([recording], writer)
                _log_events(recording, decoder)
            if not self._broken:
                decoder.finish()
        except DbnError as fault:
            _log_events(recording, decoder)
            self._broken.append(str(recording.error(fault)))

    def _sound(self, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """Those that can be read."""
        try:
            yield from pieces
        except ReplayError as error:
            self._broken.append(str(error))

    def _count_bytes(
        self, recordings: Sequence[Recording | JournalRecording], writer: Writer
    ) -> None:
        done_bytes = sum(recording.read_bytes for recording in recordings)
        writer.counters.add("received_bytes", done_bytes - self.progress.done_bytes)
        self.progress.done_bytes = done_bytes

    def _merged(
        self,
        recordings: Sequence[Recording | JournalRecording],
        rings: Rings,
        stop: threading.Event,
    ) -> None:
        speed = None if self.options.speed == "max" else self.options.speed
        pace = Pace(speed)
        sources: list[Iterator[Decoded | Read]] = [
            self._decoded(recording, rings)
            if isinstance(recording, Recording)
            else recording.decoded(rings)
            for recording in recordings
        ]
        for batch in merge(sources, self._tell_broken):
            self._count_bytes(recordings, rings.ticks)
            if not self._publish(batch, pace, rings, stop):
                return

    def _tell_broken(self, error: ReplayError) -> None:
        """One of the recordings has ended by it."""
        self._broken.append(str(error))
        if len(self.options.paths) > 1:
            logger.warning("%s; the other files go on", error)

    def _decoded(self, recording: Recording, rings: Rings) -> Iterator[Decoded]:
        decoder = self._decoder(recording, rings)
        try:
            for piece in recording.pieces():
                decoded = decoder.decode(piece)
                decoder.count_records_into(rings.ticks)
                _log_events(recording, decoder)
                yield decoded
            decoder.finish()
        except DbnError as fault:
            _log_events(recording, decoder)
            raise recording.error(fault) from None

    def _publish(self, batch: Batch, pace: Pace, rings: Rings, stop: threading.Event) -> bool:
        """Publish what is due, as it gets due. False once `stop` is set."""
        keys = (batch.tick_keys, batch.bar_keys)
        done = [0, 0]
        while done[0] < len(keys[0]) or done[1] < len(keys[1]):
            now_ns = time.monotonic_ns()
            next_ns = min(int(k[i]) for k, i in zip(keys, done, strict=True) if i < len(k))
            horizon_ns = pace.horizon_ns(next_ns, now_ns)
            for which, publish, records in (
                (0, rings.publish_ticks, batch.ticks),
                (1, rings.publish_bars, batch.bars),
            ):
                due = int(np.searchsorted(keys[which], horizon_ns, "right"))
                if due > done[which] and not publish(records[done[which] : due]):
                    return False
                done[which] = max(done[which], due)
            if stop.wait(min(pace.wait_s(next_ns, now_ns), MAX_WAIT_S)):
                return False
            rings.gate.beat()
        return True

    def _log_end(self, writer: Writer, took_s: float) -> None:
        counts = writer.counters.as_dict()
        logger.info(
            "%s: %d records, %d quotes, %d trades, %d other ticks, %d bars in %.1f s",
            self.name,
            counts["received_records"],
            counts["published_quotes"],
            counts["published_trades"],
            counts["published_others"],
            counts["published_bars"],
            took_s,
        )


def _log_events(recording: Recording, decoder: DbnDecoder) -> None:
    for event in decoder.take_events():
        if isinstance(event, SystemMessage):
            logger.debug("%s: %s", recording.path, event)
        elif isinstance(event, ErrorMessage):
            logger.warning("%s: error %d: %s", recording.path, event.code, event.text)
        else:
            logger.warning("%s: %s", recording.path, event)
