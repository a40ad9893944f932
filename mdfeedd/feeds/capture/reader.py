"""Capture files as one stream of UDP packets in time order."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, Self

from mdfeedd.feeds.capture import _capture
from mdfeedd.feeds.capture._capture import CapturedPacket, Decoder, Destination, Player
from mdfeedd.feeds.capture.files import CaptureError, CaptureFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mdfeedd.feeds._packet import PacketSink

__all__ = ["MAX_FILES", "CaptureReader", "CapturedPacket", "Destination", "Stop"]

MAX_FILES: Final = 512  # open at once when merged
_TAKEN: Final = 256  # packets given to Python at a time


class Stop(enum.IntEnum):
    """Why `CaptureReader.run` came back."""

    ENDED = _capture.ENDED  #: all files have been played
    LATER = _capture.LATER  #: the next packet, of time `next_ns`, is after `until_ns`
    LIMIT = _capture.LIMIT  #: `max_packets` were delivered
    ASKED = _capture.ASKED  #: the taker has something for Python; go on afterwards
    READ = _capture.NEED_INPUT  #: a piece of a file is used up: a moment to look at other things


class CaptureReader:
    """One or several captures (pcap or pcapng, plain, .gz or .zst), merged by their stamps.

    A file is read once, forwards. `run` plays it into a taker of packets without the GIL; `packets` gives
    it to Python, and what one has taken the other does not see. Raises `CaptureError` where a file cannot
    be opened, and from `run` and `packets` where it cannot be read on, after what came before.
    """

    def __init__(self, *paths: str) -> None:
        if not 1 <= len(paths) <= MAX_FILES:
            raise ValueError(f"1 to {MAX_FILES} files, not {len(paths)}")
        self.paths = paths
        self._files: list[CaptureFile] = []
        try:
            for path in paths:
                self._files.append(CaptureFile(path))
        except BaseException:
            self.close()
            raise
        self._pieces = [file.pieces() for file in self._files]
        self._player = Player([Decoder() for _ in paths])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def add_lines(self, lines: Mapping[tuple[str, int], int]) -> None:
        """Say which destinations are wanted: ``{(address, port): line}``. Raises `ValueError`."""
        self._player.add_lines(lines)

    def run(
        self,
        sink: PacketSink,
        lines: Mapping[tuple[str, int], int] | None = None,
        *,
        until_ns: int | None = None,
        max_packets: int | None = None,
        max_records: int | None = None,
    ) -> Stop:
        """Play packets of the listed destinations into `sink`, up to a time (capture time, UNIX ns).

        `lines` are added to those listed before. No packet is played once `max_records` have gone into one of
        the sink's rings; those of the last packet may be more.

        The taker's `burst_end` is called on the captures' time: see capture_play.h. READ comes between
        pieces of `READ_BYTES` or so.
        """
        if lines is not None:
            self._player.add_lines(lines)
        return self._stop(self._player.play(sink, until_ns, max_packets, max_records))

    def packets(self) -> Iterator[CapturedPacket]:
        """All UDP packets, one by one, whether listed or not."""
        return self._taken(None, None, 0)

    def samples(
        self, per_destination: int, max_bytes: int | None = None, short_bytes: int = 0
    ) -> Iterator[CapturedPacket]:
        """The first packets of each destination, and the first whose payload is longer than `short_bytes`.

        All of the files is read for them, or `max_bytes`.
        """
        return self._taken(per_destination, max_bytes, short_bytes)

    def _taken(
        self, per_destination: int | None, max_bytes: int | None, short_bytes: int
    ) -> Iterator[CapturedPacket]:
        status: Stop | None = None
        while status is not Stop.ENDED:
            code, taken = self._player.take(_TAKEN, per_destination, short_bytes)
            yield from taken
            if max_bytes is not None and self.read_bytes > max_bytes:
                return
            status = self._stop(code)

    def _stop(self, code: int) -> Stop:
        which = self._player.which
        if code == _capture.NEED_INPUT:
            self._feed(which)
        if code == _capture.ERROR:
            raise CaptureError(f"{self.paths[which]} {self._player.decoders[which].reason}")
        return Stop(code)

    def _feed(self, which: int) -> None:
        try:
            piece = next(self._pieces[which], None)
        except CaptureError:
            self._player.end(which)  # whoever goes on gets the other files
            raise
        if piece is None:
            self._player.end(which)
        else:
            self._player.decoders[which].feed(piece)

    @property
    def next_ns(self) -> int:
        """Time of the packet for which `run` returned LATER."""
        return self._player.next_ns

    @property
    def last_ns(self) -> int:
        """Time of the last packet that was delivered."""
        return self._player.last_ns

    @property
    def read_bytes(self) -> int:
        """Of all files, as they lie on the disk."""
        return sum(file.read_bytes for file in self._files)

    @property
    def formats(self) -> tuple[str, ...]:
        """Of each file: ``pcap``, ``pcapng``, or "" before the first bytes."""
        return tuple(decoder.format for decoder in self._player.decoders)

    @property
    def destinations(self) -> list[Destination]:
        """What was seen so far, and what is listed; most packets first, at most MAX_DESTINATIONS."""
        return self._player.destinations()

    @property
    def counts(self) -> dict[str, int]:
        """What became of the frames of all files (see capture_net.h), `delivered` and `unlisted`."""
        total: dict[str, int] = {}
        for decoder in self._player.decoders:
            for name, n in decoder.counts.items():
                total[name] = total.get(name, 0) + n
        return {**total, "delivered": self._player.delivered, "unlisted": self._player.unlisted}
