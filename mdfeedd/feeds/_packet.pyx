# cython: language_level=3, boundscheck=False, wraparound=False
"""Who takes packets: the base class of codecs and recorders, and one that keeps them in a list."""
from libc.stdint cimport int64_t
from libc.string cimport memset

from typing import NamedTuple


class Packet(NamedTuple):
    """One packet of a `PacketList`: times in ns, the source as a dotted address ("" unknown)."""

    line: int
    payload: bytes
    ts_recv_ns: int
    now_ns: int
    ts_flags: int
    source: str
    source_port: int


cdef class PacketSink:
    """Takes packets. Subclasses in Cython fill `sink` with their C functions; others override `packet`."""

    def __cinit__(self):
        memset(&self.sink, 0, sizeof(self.sink))
        self.sink.context = <void *>self
        self.sink.packet = _to_python
        self.sink.burst_end = _nothing

    def packet(self, line, payload, ts_recv_ns, now_ns, ts_flags, source, source_port):
        """One packet of a line. Called with the GIL; an exception is printed, not raised."""
        raise NotImplementedError


cdef class PacketList(PacketSink):
    """Keeps the packets it is given, at most `limit`; what comes beyond is counted in `dropped`."""

    cdef readonly list packets
    cdef readonly size_t limit, dropped

    def __init__(self, size_t limit=1_000_000):
        self.packets = []
        self.limit = limit
        self.dropped = 0

    def packet(self, line, payload, ts_recv_ns, now_ns, ts_flags, source, source_port):
        """Keep it."""
        if <size_t>len(self.packets) < self.limit:
            self.packets.append(
                Packet(line, payload, ts_recv_ns, now_ns, ts_flags, source, source_port))
        else:
            self.dropped += 1


cdef void _to_python(void *context, const mdf_packet *p) noexcept with gil:
    source = ""
    if p.source:
        source = ".".join(str((p.source >> shift) & 0xFF) for shift in (24, 16, 8, 0))
    (<PacketSink>context).packet(p.line, (<const char *>p.payload)[:p.length], p.ts_recv, p.now_ns,
                                 p.ts_flags, source, p.source_port)


cdef int _nothing(void *context, int64_t now_ns) noexcept nogil:
    return 0
