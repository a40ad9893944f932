# cython: language_level=3, boundscheck=False, wraparound=False
"""Who takes packets: the base class of codecs and recorders, one that keeps them in a list; and a tape."""
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

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


cdef class PacketTape:
    """Packets in memory, in the order in which they came, to be played natively into a sink.

    For measuring and for simulation: what `play` costs beyond the sink is a loop over an array. A tape holds
    at most 4 GiB of payload.
    """

    cdef mdf_packet *packets
    cdef uint8_t *bytes_
    cdef size_t n, room, used, bytes_room

    def __cinit__(self):
        self.packets = NULL
        self.bytes_ = NULL
        self.n = self.room = self.used = self.bytes_room = 0

    def __dealloc__(self):
        PyMem_RawFree(self.packets)
        PyMem_RawFree(self.bytes_)

    def __len__(self):
        return self.n

    def append(self, line, const uint8_t[::1] payload not None, ts_recv_ns, now_ns, ts_flags=0):
        """Add a packet at the end."""
        cdef size_t length = payload.shape[0]
        if self.n == self.room:
            self._grow_packets()
        if self.used + length > self.bytes_room:
            self._grow_bytes(length)
        cdef mdf_packet *k = &self.packets[self.n]
        memset(k, 0, sizeof(k[0]))
        k.payload = <const uint8_t *>self.used  # an offset, until it is played: the bytes may yet move
        k.length, k.line, k.ts_recv, k.now_ns = <uint32_t>length, line, ts_recv_ns, now_ns
        k.ts_flags = ts_flags
        if length:
            memcpy(self.bytes_ + self.used, &payload[0], length)
        self.used += length
        self.n += 1

    cdef int _grow_packets(self) except -1:
        cdef size_t room = max(1024, 2 * self.room)
        more = <mdf_packet *>PyMem_RawRealloc(self.packets, room * sizeof(mdf_packet))
        if more == NULL:
            raise MemoryError()
        self.packets = more
        self.room = room
        return 0

    cdef int _grow_bytes(self, size_t wanted) except -1:
        cdef size_t room = max(1 << 16, 2 * self.bytes_room)
        while room < self.used + wanted:
            room *= 2
        if room > 1 << 32:
            raise MemoryError("a tape holds at most 4 GiB")
        more = <uint8_t *>PyMem_RawRealloc(self.bytes_, room)
        if more == NULL:
            raise MemoryError()
        self.bytes_ = more
        self.bytes_room = room
        return 0

    def play(self, PacketSink sink not None, size_t burst=64):
        """All packets into the sink, `burst_end` after each `burst` of them. Returns how many."""
        cdef size_t i = 0, end
        cdef mdf_packet k
        cdef mdf_packet_sink *to = &sink.sink
        if not burst:
            raise ValueError("burst must be at least 1")
        with nogil:
            while i < self.n:
                end = min(i + burst, self.n)
                while i < end:
                    k = self.packets[i]
                    k.payload = self.bytes_ + <size_t>k.payload
                    to.packet(to.context, &k)
                    i += 1
                to.burst_end(to.context, k.now_ns)
        return self.n


cdef void _to_python(void *context, const mdf_packet *p) noexcept with gil:
    source = ""
    if p.source:
        source = ".".join(str((p.source >> shift) & 0xFF) for shift in (24, 16, 8, 0))
    (<PacketSink>context).packet(p.line, (<const char *>p.payload)[:p.length], p.ts_recv, p.now_ns,
                                 p.ts_flags, source, p.source_port)


cdef int _nothing(void *context, int64_t now_ns) noexcept nogil:
    return 0
