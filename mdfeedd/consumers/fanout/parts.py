"""Records on their way to clients, and the frames that they become. Sans-IO.

    {"type": "ticks", "ring": "cme", "records": [{"kind": "QUOTE", "symbol": "ESZ6", ...}, ...]}
        a text frame; type "snapshot" for the last values that come with a subscription
    64 bytes of `mdfeedd.sinks.packed`, then the records as they lie in the ring
        a binary frame, for clients that asked for ``?format=binary``; its `prev` is 0. Before it,
        where need be, text frames: of type "instruments", what new ids in it mean; of type
        "snapshot" with `records`, how many of the next ones are last values

A part is made once and shared by all clients that want the same; so are its frames.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.ring.arrow import distinct_ids
from mdfeedd.sinks.packed import pack_header

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mdfeedd.ring import Instrument, Instruments
    from mdfeedd.sinks.jsontext import JsonText

    Records = npt.NDArray[np.void]
    #: Text is a text frame, bytes are a binary one, a pair is UTF-8 of a text frame.
    Frame = str | bytes | tuple[bytes]

__all__ = ["Encoder", "Lapped", "Part", "RingNow"]

FRAME_RECORDS: Final = 1000  # in a frame at most: about 300 KB of text


@dataclass(frozen=True, slots=True)
class RingNow:
    """A ring, and which life of it: what clients are told when that changes."""

    name: str
    ring_id: str
    epoch: int

    def text(self) -> str:
        """As a client is told."""
        return json.dumps(
            {"type": "ring", "ring": self.name, "ring_id": self.ring_id, "epoch": self.epoch}
        )


@dataclass(frozen=True, slots=True)
class Lapped:
    """So many records were overwritten in the ring before this consumer read them."""

    ring: str
    records: int

    def text(self) -> str:
        """As a client is told."""
        told = {"type": "lost", "ring": self.ring, "reason": "lapped", "records": self.records}
        return json.dumps(told)


class Part:
    """Records (dtype `TICK` or `BAR`, at least one) of one life of a ring."""

    __slots__ = ("_binary", "_json", "_named", "instruments", "records", "ring", "snapshot")

    def __init__(
        self, ring: RingNow, records: Records, instruments: Instruments, *, snapshot: bool = False
    ) -> None:
        assert len(records)
        self.ring: RingNow = ring
        self.records: Records = records
        self.instruments: Instruments = instruments
        self.snapshot: bool = snapshot
        self._json: list[Frame] | None = None
        self._binary: list[Frame] | None = None
        self._named: dict[int, Instrument] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def json(self, text: JsonText) -> list[Frame]:
        """As text frames. `text` makes objects behind commas."""
        if self._json is None:
            kind = "snapshot" if self.snapshot else "ticks"
            head = json.dumps({"type": kind, "ring": self.ring.name})[:-1].encode()
            self._json = []
            for some in self._pieces():
                lines, _ = text.lines(some, self.instruments)
                self._json.append((b"".join((head, b', "records": [', lines[1:], b"]}")),))
        return self._json

    def binary(self) -> list[Frame]:
        """As binary frames."""
        if self._binary is None:
            ring = self.ring
            self._binary = [
                pack_header(ring.ring_id, ring.epoch, 0, some) + some.tobytes()
                for some in self._pieces()
            ]
        return self._binary

    def named(self) -> dict[int, Instrument]:
        """What the ids in it mean, as far as the ring's table knows."""
        if self._named is None:
            unique, _ = distinct_ids(self.records["instrument_id"])
            found = {i: self.instruments.get(i) for i in unique.tolist()}
            self._named = {i: one for i, one in found.items() if one is not None}
        return self._named

    def _pieces(self) -> list[Records]:
        return [self.records[at : at + FRAME_RECORDS] for at in range(0, len(self), FRAME_RECORDS)]


class Encoder:
    """Makes the frames of one client, which remembers in binary what ids it knows."""

    def __init__(self, text: JsonText, *, binary: bool) -> None:
        self._text = text
        self._is_binary = binary
        self._known: dict[str, dict[int, Instrument]] = {}  # by ring: those of its present life
        self._lives: dict[str, str] = {}

    def frames(self, part: Part) -> list[Frame]:
        """What is to be sent for a part."""
        if not self._is_binary:
            return part.json(self._text)
        frames: list[Frame] = []
        told = self._instruments(part)
        if told:
            frames.append(told)
        if part.snapshot:
            told = {"type": "snapshot", "ring": part.ring.name, "records": len(part)}
            frames.append(json.dumps(told))
        return [*frames, *part.binary()]

    def _instruments(self, part: Part) -> Any:
        ring = part.ring
        if self._lives.get(ring.name) != ring.ring_id:
            self._lives[ring.name] = ring.ring_id
            self._known[ring.name] = {}
        known = self._known[ring.name]
        named = part.named()
        if named.items() <= known.items():
            return ""
        news = {i: one for i, one in named.items() if known.get(i) is not one}
        known |= news
        names = {i: _described(one) for i, one in news.items()}
        told = {"type": "instruments", "ring": ring.name, "ring_id": ring.ring_id}
        return json.dumps(told | {"instruments": names})


def _described(one: Instrument) -> dict[str, Any]:
    return {
        "symbol": one.symbol,
        "feed": one.feed,
        "venue": one.venue,
        "currency": one.currency,
        "tick_size": one.tick_size,
        "multiplier": one.multiplier,
    }
