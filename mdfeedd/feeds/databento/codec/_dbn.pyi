from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mdfeedd.feeds.databento.codec.events import Event
from mdfeedd.feeds.databento.codec.metadata import Metadata
from mdfeedd.feeds.databento.codec.symbology import Definition, MappingMessage
from mdfeedd.ring._ring import WriterCore

MAX_VERSION: Final[int]
MAX_RECORD_BYTES: Final[int]
MAX_METADATA_BYTES: Final[int]
TICKS_PER_RECORD: Final[int]

class _Symbology(Protocol):
    def metadata(self, metadata: Metadata) -> None: ...
    def mapping(self, message: MappingMessage) -> bool: ...
    def definition(self, definition: Definition) -> bool: ...
    def resolve(
        self, publisher_id: int, instrument_id: int, ts_ns: int
    ) -> tuple[int, int, int, bool]: ...

class Decoded(NamedTuple):
    ticks: npt.NDArray[np.void]
    bars: npt.NDArray[np.void]

class DbnDecoder:
    metadata: Metadata | None
    def __init__(
        self,
        symbology: _Symbology,
        *,
        version: int | None = None,
        schema: int | None = None,
        ts_out: bool = False,
        max_orders: int | None = None,
    ) -> None: ...
    @property
    def offset(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def counts(self) -> dict[str, int]: ...
    @property
    def book_overflows(self) -> int: ...
    def take_events(self) -> list[Event]: ...
    def decode(
        self, data: bytes | bytearray | memoryview, ts_recv_ns: int | None = None
    ) -> Decoded: ...
    def decode_into(
        self,
        writer: WriterCore,
        data: bytes | bytearray | memoryview,
        *,
        bars: Callable[[], WriterCore] | None = None,
        ts_recv_ns: int | None = None,
        max_ticks: int | None = None,
    ) -> int: ...
    def count_records_into(self, writer: WriterCore) -> None: ...
    def finish(self) -> None: ...
