# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Captures for Python: datagrams one by one, or without the GIL into a taker of packets; and such a taker."""
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from mdfeedd.feeds._packet cimport PacketSink, mdf_packet, mdf_packet_sink

from typing import NamedTuple

cdef extern from "capture.h" nogil:
    enum:
        CAP_NEED_INPUT
        CAP_RECORD
        CAP_E_MAGIC
        CAP_E_MODIFIED
        CAP_E_VERSION
        CAP_E_LENGTH
        CAP_E_BYTE_ORDER
        CAP_E_TRAILER
        CAP_E_CUT
        CAP_E_EMPTY
        CAP_E_MEMORY
        CAP_PCAP
        CAP_PCAPNG
        CAP_MAX_PACKET_BYTES
        CAP_MAX_BLOCK_BYTES
        CAP_MAX_INTERFACES
    int64_t MDF_TIME_UNDEF, CAP_MAX_TIME
    ctypedef struct cap_reader:
        uint64_t offset, blocks_skipped
        uint8_t format
        uint16_t version
        uint32_t interfaces_n
        int error
    void cap_give(cap_reader *r, const uint8_t *data, size_t n)

cdef extern from "capture_net.h" nogil:
    enum:
        CAP_MAX_PARTIAL
    int64_t CAP_MAX_PARTIAL_AGE_NS
    ctypedef struct cap_datagram:
        const uint8_t *payload
        uint32_t length, source, destination
        uint16_t source_port, destination_port, flags
        int64_t ts_ns, now_ns
    ctypedef struct cap_counts:
        uint64_t frames, datagrams, not_udp, truncated, malformed, fragments, incomplete, bad_stamps
    ctypedef struct cap_decoder:
        cap_reader reader
        cap_counts count
    void cap_decoder_open(cap_decoder *d)
    void cap_decoder_close(cap_decoder *d)

cdef extern from "capture_play.h" nogil:
    enum:
        CAP_MAX_DESTINATIONS
        CAP_SLOTS
        CAP_PLAY_HEAD
        CAP_PLAY_ENDED
        CAP_PLAY_NEED_INPUT
        CAP_PLAY_ERROR
        CAP_PLAY_LATER
        CAP_PLAY_LIMIT
        CAP_PLAY_ASKED
    uint32_t CAP_UNLISTED
    ctypedef struct cap_destination:
        uint64_t packets, bytes, longer
        uint32_t address, line
        uint16_t port
        bint used
    ctypedef struct cap_source:
        cap_decoder *decoder
        cap_datagram head
        bint has_head, ended
    ctypedef struct cap_player:
        cap_source *sources
        uint32_t sources_n, current, which, destinations_n
        int64_t next_ns, last_ns
        uint64_t delivered, unlisted
        cap_destination *slots
    int cap_play(cap_player *p, const mdf_packet_sink *sink, int64_t until_ns, uint64_t max_packets,
                 uint64_t max_records)
    int cap_pick(cap_player *p)
    cap_destination *cap_destination_of(cap_player *p, uint32_t address, uint16_t port)
    cap_destination *cap_arrive(cap_player *p, const cap_datagram *m)

cdef extern from "capture_write.h" nogil:
    enum:
        CAP_MAX_PAYLOAD_BYTES
        CAP_HEADERS_BYTES
        CAP_BLOCK_BYTES
    ctypedef struct cap_line:
        uint32_t address
        uint16_t port
    ctypedef struct cap_writer:
        uint8_t *buffer
        size_t n, capacity
        const cap_line *lines
        uint32_t lines_n
        int64_t emptied_ns
        bint begun
        uint64_t packets, payload_bytes, dropped, refused
    void cap_write(cap_writer *w, const mdf_packet *packet)
    int cap_write_due(cap_writer *w, int64_t now_ns)

ENDED = CAP_PLAY_ENDED
NEED_INPUT = CAP_PLAY_NEED_INPUT
ERROR = CAP_PLAY_ERROR
LATER = CAP_PLAY_LATER
LIMIT = CAP_PLAY_LIMIT
ASKED = CAP_PLAY_ASKED
MAX_DESTINATIONS = CAP_MAX_DESTINATIONS
MAX_PACKET_BYTES = CAP_MAX_PACKET_BYTES
MAX_BLOCK_BYTES = CAP_MAX_BLOCK_BYTES
MAX_INTERFACES = CAP_MAX_INTERFACES
MAX_PAYLOAD_BYTES = CAP_MAX_PAYLOAD_BYTES
MAX_PARTIAL = CAP_MAX_PARTIAL
MAX_PARTIAL_AGE_NS = CAP_MAX_PARTIAL_AGE_NS

cdef dict _REASONS = {
    CAP_E_MAGIC: "is no capture: neither pcap nor pcapng",
    CAP_E_MODIFIED: "is in the modified pcap format (Kuznetzov's): convert it with editcap -F pcapng",
    CAP_E_VERSION: "is of version {version}, which is not known",
    CAP_E_LENGTH: "has a record of impossible length at byte {offset}, so the next one cannot be found",
    CAP_E_BYTE_ORDER: "has a section without a byte order at byte {offset}",
    CAP_E_TRAILER: "has a damaged block at byte {offset}, so the next one cannot be found",
    CAP_E_CUT: "ends in the middle of a record, at byte {offset}",
    CAP_E_EMPTY: "is empty",
    CAP_E_MEMORY: "cannot be read on at byte {offset}: out of memory",
}


class CapturedPacket(NamedTuple):
    """One UDP datagram of a capture. Addresses are dotted, "" if unknown (IPv6); `ts_ns` None: no stamp."""

    ts_ns: int | None
    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes


class Destination(NamedTuple):
    """What went to an address and port; `line` is None where it was not listed."""

    address: str
    port: int
    line: int | None
    packets: int
    bytes: int


cdef str _dotted(uint32_t address):
    if not address:
        return ""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


cdef uint32_t _address(str text) except? 0:
    if not text:
        return 0
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) <= 255 for part in parts):
        raise ValueError(f"not an IPv4 address: {text!r}")
    a, b, c, d = (int(part) for part in parts)
    return <uint32_t>(a << 24 | b << 16 | c << 8 | d)


cdef class Decoder:
    """One capture file's bytes, given piece by piece to a `Player`."""

    cdef cap_decoder *d
    cdef const uint8_t[::1] _piece

    def __cinit__(self):
        self.d = <cap_decoder *>PyMem_RawMalloc(sizeof(cap_decoder))
        if self.d == NULL:
            raise MemoryError()
        cap_decoder_open(self.d)

    def __dealloc__(self):
        if self.d != NULL:
            cap_decoder_close(self.d)
            PyMem_RawFree(self.d)

    def feed(self, const uint8_t[::1] piece not None):
        """The next piece, when the player has asked for it; it is kept until the next."""
        self._piece = piece
        cap_give(&self.d.reader, &piece[0] if piece.shape[0] else NULL, piece.shape[0])

    @property
    def format(self):
        """``pcap`` or ``pcapng``; "" before the first bytes."""
        return {CAP_PCAP: "pcap", CAP_PCAPNG: "pcapng"}.get(self.d.reader.format, "")

    @property
    def offset(self):
        """Byte of the (decompressed) file where the record at hand begins."""
        return self.d.reader.offset

    @property
    def reason(self):
        """Why it cannot be read on, to follow the file's name; "" if it can."""
        reason = _REASONS.get(self.d.reader.error, "")
        return reason.format(offset=self.d.reader.offset, version=self.d.reader.version)

    @property
    def counts(self):
        """What became of the frames: see cap_counts in capture_net.h."""
        return {**self.d.count, "blocks_skipped": self.d.reader.blocks_skipped}


cdef class Player:
    """Captures merged by their time; datagrams to a destination in `lines` go to the taker as that line."""

    cdef cap_player *p
    cdef readonly tuple decoders

    def __cinit__(self, decoders, lines=None):
        cdef Decoder decoder
        self.decoders = tuple(decoders)
        self.p = <cap_player *>PyMem_RawCalloc(1, sizeof(cap_player))
        if self.p == NULL:
            raise MemoryError()
        self.p.sources = <cap_source *>PyMem_RawCalloc(len(self.decoders) + 1, sizeof(cap_source))
        if self.p.sources == NULL:
            raise MemoryError()
        self.p.sources_n = len(self.decoders)
        for i, decoder in enumerate(self.decoders):
            self.p.sources[i].decoder = decoder.d
        self.add_lines(lines or {})

    def __dealloc__(self):
        if self.p != NULL:
            PyMem_RawFree(self.p.sources)
            PyMem_RawFree(self.p)

    def add_lines(self, lines):
        """List destinations: ``{(address, port): line}``. Raises `ValueError` above MAX_DESTINATIONS."""
        cdef cap_destination *entry
        for (address, port), line in lines.items():
            if not 0 <= port <= 65535:
                raise ValueError(f"not a port: {port}")
            if not 0 <= line < CAP_UNLISTED:
                raise ValueError(f"not the number of a line: {line}")
            entry = cap_destination_of(self.p, _address(address), port)
            if entry == NULL:
                raise ValueError(f"more than {CAP_MAX_DESTINATIONS} destinations")
            entry.line = line

    def end(self, size_t which):
        """Capture `which` has no more bytes."""
        if which >= self.p.sources_n:
            raise IndexError(which)
        self.p.sources[which].ended = True

    @property
    def which(self):
        """The capture that NEED_INPUT or ERROR is about."""
        return self.p.which

    @property
    def next_ns(self):
        """Time of the packet that was LATER."""
        return self.p.next_ns

    @property
    def last_ns(self):
        """Time of the last packet delivered."""
        return self.p.last_ns

    @property
    def delivered(self):
        """Packets given to takers."""
        return self.p.delivered

    @property
    def unlisted(self):
        """Packets to destinations that are not listed."""
        return self.p.unlisted

    def play(self, PacketSink sink not None, until_ns=None, max_packets=None, max_records=None):
        """Play until the caller is needed; one of ENDED NEED_INPUT ERROR LATER LIMIT ASKED."""
        cdef int64_t until = CAP_MAX_TIME
        cdef uint64_t limit = <uint64_t>-1, records = <uint64_t>-1
        cdef int status
        if until_ns is not None:
            until = min(max(until_ns, -1), CAP_MAX_TIME)
        if max_packets is not None:
            limit = max_packets
        if max_records is not None:
            records = max_records
        with nogil:
            status = cap_play(self.p, &sink.sink, until, limit, records)
        return status

    def take(self, size_t max_packets, per_destination=None, size_t short_bytes=0):
        """Up to so many datagrams, listed or not, as `CapturedPacket`, and a status as of `play`.

        With `per_destination` only the first so many of each destination, and the first so many that are
        longer than `short_bytes`; the others are but counted.
        """
        cdef uint64_t most = <uint64_t>-1 if per_destination is None else per_destination
        cdef cap_destination *entry
        cdef cap_source *source
        cdef int status = CAP_PLAY_HEAD
        out = []
        while <size_t>len(out) < max_packets:
            with nogil:
                status = cap_pick(self.p)
                while status == CAP_PLAY_HEAD:
                    source = &self.p.sources[self.p.current]
                    source.has_head = False
                    entry = cap_arrive(self.p, &source.head)
                    if entry != NULL:
                        entry.longer += source.head.length > short_bytes
                        if entry.packets <= most or (
                                source.head.length > short_bytes and entry.longer <= most):
                            break
                    status = cap_pick(self.p)
            if status != CAP_PLAY_HEAD:
                return status, out
            out.append(_captured(&source.head))
        return CAP_PLAY_LIMIT, out

    def destinations(self):
        """What was seen, and what is listed, as `Destination`; most packets first."""
        found = []
        for i in range(CAP_SLOTS):
            e = self.p.slots[i]
            if e.used:
                line = None if e.line == CAP_UNLISTED else e.line
                found.append(Destination(_dotted(e.address), e.port, line, e.packets, e.bytes))
        return sorted(found, key=lambda one: (-one.packets, one.address, one.port))


cdef _captured(const cap_datagram *m):
    return CapturedPacket(
        None if m.ts_ns == MDF_TIME_UNDEF else m.ts_ns, _dotted(m.source), m.source_port,
        _dotted(m.destination), m.destination_port, (<const char *>m.payload)[:m.length])


cdef class BlockBuffer(PacketSink):
    """A taker that turns packets into blocks of pcapng, interface = line, in a buffer of bounded size.

    `lines` are the (address, port) of lines 0, 1, ... `burst_end` asks for Python when the buffer is half
    full, or once a second; then `view` is to be written and `clear` called, in the thread that runs the
    source. Packets that find it full are counted as dropped.
    """

    cdef cap_writer w
    cdef cap_line *_lines

    def __cinit__(self, lines, size_t capacity, *args, **kwargs):
        memset(&self.w, 0, sizeof(self.w))
        if capacity < 2 * (CAP_MAX_PAYLOAD_BYTES + CAP_HEADERS_BYTES + CAP_BLOCK_BYTES):
            raise ValueError("the buffer must hold two datagrams of the greatest length")
        self._lines = <cap_line *>PyMem_RawCalloc(len(lines) + 1, sizeof(cap_line))
        self.w.buffer = <uint8_t *>PyMem_RawMalloc(capacity)
        if self._lines == NULL or self.w.buffer == NULL:
            raise MemoryError()
        for i, (address, port) in enumerate(lines):
            self._lines[i] = cap_line(_address(address), port)
        self.w.capacity = capacity
        self.w.lines = self._lines
        self.w.lines_n = len(lines)
        self.sink.packet = _buffer_packet
        self.sink.burst_end = _buffer_due

    def __dealloc__(self):
        PyMem_RawFree(self._lines)
        PyMem_RawFree(self.w.buffer)

    def packet(self, line, const uint8_t[::1] payload not None, ts_recv_ns, now_ns=0, ts_flags=0, source="",
               source_port=0):
        """One packet of a line, from Python."""
        cdef mdf_packet p
        memset(&p, 0, sizeof(p))
        p.payload = &payload[0] if payload.shape[0] else NULL
        p.length = payload.shape[0]
        p.line, p.ts_recv, p.now_ns, p.ts_flags = line, ts_recv_ns, now_ns, ts_flags
        p.source, p.source_port = _address(source), source_port
        cap_write(&self.w, &p)

    def due(self, int64_t now_ns):
        """Whether the buffer wants to be emptied: what `burst_end` says."""
        return bool(cap_write_due(&self.w, now_ns))

    def view(self):
        """The blocks so far; not to be kept beyond `clear`."""
        return <const uint8_t[:self.w.n]>self.w.buffer if self.w.n else b""

    def clear(self):
        """What was in the buffer is safe elsewhere."""
        self.w.n = 0
        self.w.begun = False

    @property
    def counts(self):
        """`packets` and `payload_bytes` taken; `dropped` (buffer full) and `refused` (too long, no line)."""
        return {"packets": self.w.packets, "payload_bytes": self.w.payload_bytes,
                "dropped": self.w.dropped, "refused": self.w.refused}


cdef void _buffer_packet(void *context, const mdf_packet *packet) noexcept nogil:
    cap_write(&(<BlockBuffer>context).w, packet)


cdef int _buffer_due(void *context, int64_t now_ns) noexcept nogil:
    return cap_write_due(&(<BlockBuffer>context).w, now_ns)
