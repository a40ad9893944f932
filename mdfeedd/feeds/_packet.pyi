from typing import NamedTuple

class Packet(NamedTuple):
    line: int
    payload: bytes
    ts_recv_ns: int
    now_ns: int
    ts_flags: int
    source: str
    source_port: int

class PacketSink:
    def packet(
        self,
        line: int,
        payload: bytes,
        ts_recv_ns: int,
        now_ns: int,
        ts_flags: int,
        source: str,
        source_port: int,
    ) -> None: ...

class PacketList(PacketSink):
    packets: list[Packet]
    limit: int
    dropped: int
    def __init__(self, limit: int = 1_000_000) -> None: ...

class PacketTape:
    def __len__(self) -> int: ...
    def append(
        self,
        line: int,
        payload: bytes | bytearray | memoryview,
        ts_recv_ns: int,
        now_ns: int,
        ts_flags: int = 0,
    ) -> None: ...
    def play(self, sink: PacketSink, burst: int = 64) -> int: ...
