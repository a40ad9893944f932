from collections.abc import Callable
from typing import Final

from mdfeedd.feeds.databento.codec import DbnDecoder
from mdfeedd.ring._ring import WriterCore

TIME_OVER: Final[int]
EVENT: Final[int]
ENDED: Final[int]
FAILED: Final[int]

class Pump:
    error: int
    received_bytes: int
    def __init__(
        self,
        decoder: DbnDecoder,
        writer: WriterCore,
        bars: Callable[[], WriterCore] | None = None,
        *,
        buffer_bytes: int = 131_072,
        spin_ns: int = 0,
        clock: Callable[[], tuple[int, int]] | None = None,
    ) -> None: ...
    @property
    def last_byte_ns(self) -> int: ...
    def give(self, data: bytes | bytearray | memoryview, arrival_ns: int) -> None: ...
    def run(self, fd: int, max_ns: int) -> int: ...
