"""What lies in the topics: names, headers, instruments, positions. Sans-IO; the feed reads it by this, too.

Of a ring RING under the prefix "md":

    md.RING.ticks        records of 64 bytes, all kinds; md.RING.bars: bars, of 128
    md.RING.instruments  compacted: what an instrument_id of a writer stands for
    md.RING.position     compacted, one partition: how far the ring is stored, and by whom

A chunk is a run of records of one writer (ring_id, epoch). It is one message *in every partition*:
the records of the instruments that live there, maybe none, under the same headers. So whoever reads
all partitions puts the ring's own order together again, and a partition that misses a chunk is seen
to miss it. Records of the whole feed (instrument_id 0) are in all partitions.

Headers of a chunk, text in ASCII:
    v           version of all this, `VERSION`
    codec       raw (the records as they lay in the ring, little-endian), or arrow (an IPC stream)
    layout      CRC-32 of the records' layout text, eight hex digits
    ring, ring_id, epoch, first, last    which records the chunk is made of
    prev        RING_ID:SEQ, the end of the chunk before it; empty for the first of all
    n           records in this message
    partitions  over how many the chunk is spread
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.ring.instruments import Instrument, partition_of
from mdfeedd.ring.position import Position
from mdfeedd.tick import BAR, TICK, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = [
    "VERSION",
    "ChunkHead",
    "DefinitionKey",
    "Mark",
    "Stored",
    "WireError",
    "kind_of",
    "partition_of",
    "topic",
]

VERSION: Final = 1
INSTRUMENTS: Final = "instruments"
POSITION: Final = "position"
POSITION_KEY: Final = b"position"
KINDS: Final = {"ticks": TICK, "bars": BAR}
_LAYOUTS: Final = {
    kind: f"{zlib.crc32(layout_of(dtype).encode()):08x}" for kind, dtype in KINDS.items()
}


class WireError(ValueError):
    """A message that is not what this version writes. One sentence."""


def topic(prefix: str, ring: str, what: str) -> str:
    """The name of a topic; `what` is ticks, bars, instruments or position."""
    return f"{prefix}.{ring}.{what}"


def kind_of(dtype: np.dtype[Any]) -> str | None:
    """One of ticks and bars; None for records that have no topic."""
    return next((kind for kind, known in KINDS.items() if known == dtype), None)


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of a chunk."""

    ring_id: str
    seq: int

    def __str__(self) -> str:
        return f"{self.ring_id}:{self.seq}"


@dataclass(frozen=True, slots=True)
class ChunkHead:
    """The headers of a chunk's message."""

    codec: str
    kind: str
    ring: str
    ring_id: str
    epoch: int
    first: int
    last: int
    prev: Mark | None
    n: int
    partitions: int

    @property
    def end(self) -> Mark:
        """The end of the chunk."""
        return Mark(self.ring_id, self.last)

    def encode(self) -> list[tuple[str, bytes]]:
        """As Kafka takes headers."""
        prev = "" if self.prev is None else str(self.prev)
        return [
            ("v", b"%d" % VERSION),
            ("codec", self.codec.encode()),
            ("layout", _LAYOUTS[self.kind].encode()),
            ("ring", self.ring.encode()),
            ("ring_id", self.ring_id.encode()),
            ("epoch", b"%d" % self.epoch),
            ("first", b"%d" % self.first),
            ("last", b"%d" % self.last),
            ("prev", prev.encode()),
            ("n", b"%d" % self.n),
            ("partitions", b"%d" % self.partitions),
        ]

    @classmethod
    def decode(cls, headers: list[tuple[str, bytes]] | None, kind: str) -> ChunkHead:
        """The head of a message of the topic of `kind`. Raises `WireError`."""
        given = {key: bytes(value or b"") for key, value in headers or ()}
        if given.get("v") != b"%d" % VERSION:
            version = given.get("v", b"").decode("ascii", "replace")
            raise WireError(
                f"its version is {version}, known is {VERSION}" if version else "it is no chunk"
            )
        if given.get("layout") != _LAYOUTS[kind].encode():
            raise WireError(f"its {kind} have another layout than those of this version")
        try:
            prev_ring, _, prev_seq = given["prev"].decode("ascii").rpartition(":")
            head = cls(
                codec=given["codec"].decode("ascii"),
                kind=kind,
                ring=given["ring"].decode(),
                ring_id=given["ring_id"].decode("ascii"),
                epoch=int(given["epoch"]),
                first=int(given["first"]),
                last=int(given["last"]),
                prev=Mark(prev_ring, int(prev_seq)) if prev_seq else None,
                n=int(given["n"]),
                partitions=int(given["partitions"]),
            )
        except (KeyError, ValueError) as error:
            raise WireError(f"its headers cannot be read: {error!r}") from None
        if not (0 < head.first <= head.last < 1 << 64 and head.n >= 0 and head.partitions > 0):
            raise WireError(f"its headers contradict each other: {head}")
        return head


@dataclass(frozen=True, slots=True)
class DefinitionKey:
    """Whose number it is: that of one writer of one ring."""

    ring_id: str
    epoch: int
    instrument_id: int

    def encode(self) -> bytes:
        """The key in the instruments topic."""
        return f"{self.ring_id}:{self.epoch}:{self.instrument_id}".encode()

    @classmethod
    def decode(cls, key: bytes | None) -> DefinitionKey:
        """Raises `WireError`."""
        try:
            ring_id, epoch, instrument_id = (key or b"").decode("ascii").split(":")
            return cls(ring_id, int(epoch), int(instrument_id))
        except ValueError:
            raise WireError(f"no key of an instrument: {key!r}") from None


def encode_instrument(instrument: Instrument) -> bytes:
    """The value in the instruments topic."""
    return json.dumps(asdict(instrument), ensure_ascii=False, separators=(",", ":")).encode()


def _text(limit_bytes: int) -> Callable[[object], bool]:
    def fits(given: object) -> bool:
        if not isinstance(given, str) or "\0" in given:
            return False
        try:
            return len(given.encode()) <= limit_bytes
        except UnicodeEncodeError:  # half a pair of JSON's \\u
            return False

    return fits


def _number(low: int, high: int) -> Callable[[object], bool]:
    return lambda given: type(given) is int and low <= given <= high


_U32: Final = _number(0, 2**32 - 1)
_I64: Final = _number(-(2**63), 2**63 - 1)
_FITS: Final[dict[str, Callable[[object], bool]]] = {
    "instrument_id": _U32,
    "vendor_id": _number(0, 2**64 - 1),
    "publisher_id": _U32,
    "source_index": _U32,
    "tick_size": _I64,
    "expiration": _I64,
    "multiplier": _I64,
    "currency": _text(7),
    "venue": _text(23),
    "feed": _text(31),
    "symbol": _text(71),
    "vendor_symbol": _text(71),
}
"""What a ring's table takes (`mdf_instrument`): a message stays in its topic, and would end the feed at each start."""


def decode_instrument(value: bytes) -> Instrument:
    """The inverse; keys of a later version are left out. Raises `WireError`."""
    try:
        given = json.loads(value)
        told = {name: given[name] for name in Instrument.__slots__}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError(f"an instrument that cannot be read: {error!r}") from None
    for name, fits in _FITS.items():
        if not fits(told[name]):
            raise WireError(f"an instrument that no table takes: {name} is {told[name]!r:.80}")
    return Instrument(**told)


@dataclass(frozen=True, slots=True)
class Stored:
    """How far a ring is stored, and who says so. `owner` is another with each start of a sink."""

    owner: str
    position: Position | None

    def encode(self) -> bytes:
        """The value in the position topic."""
        told: dict[str, Any] = {"v": VERSION, "owner": self.owner}
        if self.position is not None:
            told |= asdict(self.position)
        return json.dumps(told, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Stored:
        """Raises `WireError`."""
        try:
            told = json.loads(value)
            if told["v"] != VERSION:
                raise WireError(f"the position's version is {told['v']}, known is {VERSION}")
            position = None
            if "ring_id" in told:
                position = Position(str(told["ring_id"]), int(told["seq"]), int(told["epoch"]))
            return cls(str(told["owner"]), position)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            if isinstance(error, WireError):
                raise
            raise WireError(f"a position that cannot be read: {error!r}") from None
