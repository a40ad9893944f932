from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Self

from mdfeedd.feeds._packet import PacketSink

ENDED: Final[int]
NEED_INPUT: Final[int]
ERROR: Final[int]
LATER: Final[int]
LIMIT: Final[int]
ASKED: Final[int]
MAX_DESTINATIONS: Final[int]
MAX_PACKET_BYTES: Final[int]
MAX_BLOCK_BYTES: Final[int]
MAX_INTERFACES: Final[int]
MAX_PAYLOAD_BYTES: Final[int]
MAX_PARTIAL: Final[int]
MAX_PARTIAL_AGE_NS: Final[int]

class CapturedPacket(NamedTuple):
    ts_ns: int | None
    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes

class Destination(NamedTuple):
    address: str
    port: int
    line: int | None
    packets: int
    bytes: int

class Decoder:
    def feed(self, piece: bytes | memoryview) -> None: ...
    @property
    def format(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def counts(self) -> dict[str, int]: ...

class Player:
    @property
    def decoders(self) -> tuple[Decoder, ...]: ...
    def __new__(
        cls, decoders: Iterable[Decoder], lines: Mapping[tuple[str, int], int] | None = None
    ) -> Self: ...
    def add_lines(self, lines: Mapping[tuple[str, int], int]) -> None: ...
    def end(self, which: int) -> None: ...
    @property
    def which(self) -> int: ...
    @property
    def next_ns(self) -> int: ...
    @property
    def last_ns(self) -> int: ...
    @property
    def delivered(self) -> int: ...
    @property
    def unlisted(self) -> int: ...
    def play(
        self,
        sink: PacketSink,
        until_ns: int | None = None,
        max_packets: int | None = None,
        max_records: int | None = None,
    ) -> int: ...
    def take(
        self, max_packets: int, per_destination: int | None = None, short_bytes: int = 0
    ) -> tuple[int, list[CapturedPacket]]: ...
    def destinations(self) -> list[Destination]: ...

class BlockBuffer(PacketSink):
    def __new__(
        cls, lines: Sequence[tuple[str, int]], capacity: int, *args: object, **kwargs: object
    ) -> Self: ...
    def packet(
        self,
        line: int,
        payload: bytes | memoryview,
        ts_recv_ns: int,
        now_ns: int = 0,
        ts_flags: int = 0,
        source: str = "",
        source_port: int = 0,
    ) -> None: ...
    def due(self, now_ns: int) -> bool: ...
    def view(self) -> memoryview | bytes: ...
    def clear(self) -> None: ...
    @property
    def counts(self) -> dict[str, int]: ...
