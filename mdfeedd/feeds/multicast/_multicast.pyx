# cython: language_level=3, boundscheck=False, wraparound=False
"""The receive loop of multicast.h, without policy: numbers in, numbers and error codes out.

`mdfeedd.feeds.multicast.receiver` decides, explains and watches. One thread: the loop runs without the GIL,
and whoever touches the receiver meanwhile is refused.
"""
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from mdfeedd.feeds._packet cimport PacketSink, mdf_packet_sink

cdef extern from "multicast.h" nogil:
    ctypedef struct mdf_line_counts:
        uint64_t packets, bytes, kernel_drops, truncated, fragments, refused, errors
    ctypedef struct mdf_line:
        int fd, ring
        uint32_t address, ifindex, receive_bytes
        uint16_t port, n_sources
        uint32_t source[16]
        mdf_line_counts count
    ctypedef struct mdf_ring:
        int fd, defragments
        uint32_t ifindex
        uint64_t drops
    ctypedef struct mdf_receiver:
        int stage, hardware, busy_poll_us, busy_poll_refused, last_error
        uint64_t buffer_bytes, clock_apart, errors, closed_ring_drops
        uint32_t n_lines
        mdf_line *line
        mdf_ring *ring
    enum:
        MDF_BLOCKING
        MDF_BUSY
        MDF_PACKET_RING
        MDF_MAX_LINES
        MDF_MAX_SOURCES
        MDF_MAX_RINGS
        MDF_DATAGRAM_BYTES
        MDF_RUN_ASKED
        MDF_STAGE_MEMORY
        MDF_STAGE_SOCKET
        MDF_STAGE_OPTION
        MDF_STAGE_BIND
        MDF_STAGE_JOIN
        MDF_STAGE_POLL
        MDF_STAGE_RING_SOCKET
        MDF_STAGE_RING_MEMORY
        MDF_STAGE_RING_BIND
        MDF_STAGE_FILTER
    mdf_receiver *mdf_receiver_new(int mode)
    void mdf_receiver_free(mdf_receiver *r)
    mdf_line *mdf_receiver_add(mdf_receiver *r, uint32_t number)
    int mdf_line_open(mdf_receiver *r, mdf_line *l)
    void mdf_line_close(mdf_receiver *r, mdf_line *l)
    void mdf_line_measure(mdf_line *l)
    void mdf_ring_measure(mdf_ring *g)
    int mdf_receiver_run(mdf_receiver *r, const mdf_packet_sink *sink, int64_t max_ns)
    int mdf_hardware_stamps(uint32_t ifindex)

cdef extern from "ifaddrs.h" nogil:
    struct sockaddr:
        uint16_t sa_family
    struct ifaddrs:
        ifaddrs *ifa_next
        char *ifa_name
        sockaddr *ifa_addr
    int getifaddrs(ifaddrs **out)
    void freeifaddrs(ifaddrs *list)

cdef extern from "netinet/in.h" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        in_addr sin_addr
    uint32_t ntohl(uint32_t value)
    enum:
        AF_INET

LINES = MDF_MAX_LINES
SOURCES = MDF_MAX_SOURCES
DATAGRAM_BYTES = MDF_DATAGRAM_BYTES
MODES = {"blocking": MDF_BLOCKING, "busy": MDF_BUSY, "packet_ring": MDF_PACKET_RING}
STAGES = {
    MDF_STAGE_MEMORY: "memory",
    MDF_STAGE_SOCKET: "socket",
    MDF_STAGE_OPTION: "option",
    MDF_STAGE_BIND: "bind",
    MDF_STAGE_JOIN: "join",
    MDF_STAGE_POLL: "poll",
    MDF_STAGE_RING_SOCKET: "ring socket",
    MDF_STAGE_RING_MEMORY: "ring memory",
    MDF_STAGE_RING_BIND: "ring bind",
    MDF_STAGE_FILTER: "filter",
}


def interface_of(uint32_t address):
    """Name of the interface that has this address (host byte order), or ""."""
    cdef ifaddrs *all_of_them = NULL
    cdef ifaddrs *one
    cdef str name = ""
    if getifaddrs(&all_of_them):
        raise OSError(errno, "cannot list the interfaces")
    one = all_of_them
    while one != NULL:
        if (one.ifa_addr != NULL and one.ifa_addr.sa_family == AF_INET
                and ntohl((<sockaddr_in *>one.ifa_addr).sin_addr.s_addr) == address):
            name = (<bytes>one.ifa_name).decode()
            break
        one = one.ifa_next
    freeifaddrs(all_of_them)
    return name


def hardware_stamps(uint32_t ifindex):
    """Switch the card's receive stamps on: 0, or the errno that says why not."""
    return -mdf_hardware_stamps(ifindex)


cdef class ReceiverCore:
    """Lines by index, in the order in which they were added."""

    cdef mdf_receiver *r
    cdef PacketSink sink
    cdef bint running

    def __cinit__(self, PacketSink sink not None, int mode, uint64_t buffer_bytes, bint hardware,
                  int busy_poll_us):
        self.sink = sink
        self.r = mdf_receiver_new(mode)
        if self.r == NULL:
            raise OSError(errno, "no memory or descriptor for a receiver")
        self.r.buffer_bytes = buffer_bytes
        self.r.hardware = hardware
        self.r.busy_poll_us = busy_poll_us

    def __dealloc__(self):
        mdf_receiver_free(self.r)

    cdef mdf_receiver *idle(self) except NULL:
        if self.r == NULL:
            raise ValueError("the receiver is closed")
        if self.running:
            raise RuntimeError("the receiver is running: it belongs to the thread that runs it")
        return self.r

    cdef mdf_line *at(self, uint32_t index) except NULL:
        cdef mdf_receiver *r = self.idle()
        if index >= r.n_lines:
            raise IndexError(index)
        return &r.line[index]

    def add(self, uint32_t number, uint32_t address, uint16_t port, sources):
        """A closed line; its index. The number is the taker's; addresses in host byte order."""
        if len(sources) > SOURCES:
            raise ValueError(f"more than {SOURCES} sources")
        cdef mdf_line *line = mdf_receiver_add(self.idle(), number)
        if line == NULL:
            raise ValueError(f"more than {LINES} lines")
        line.address = address
        line.port = port
        for source in sources:
            line.source[line.n_sources] = source
            line.n_sources += 1
        return self.r.n_lines - 1

    def open(self, uint32_t index, uint32_t ifindex):
        """Bind and join: ("", 0), or the stage that failed and its errno."""
        cdef mdf_line *line = self.at(index)
        cdef int error
        if line.fd >= 0:
            return "", 0
        line.ifindex = ifindex
        with nogil:
            error = mdf_line_open(self.r, line)
        return ("", 0) if error == 0 else (STAGES[self.r.stage], -error)

    def close_line(self, uint32_t index):
        """Leave; nothing if it is not open."""
        mdf_line_close(self.r, self.at(index))

    def is_open(self, uint32_t index):
        """Whether datagrams of the line can come in."""
        return self.at(index).fd >= 0

    def receive_bytes(self, uint32_t index):
        """The receive buffer that the kernel granted; 0 in mode packet_ring."""
        return self.at(index).receive_bytes

    def counts(self, uint32_t index):
        """Seven numbers, in the order of `LineCounts`."""
        cdef mdf_line *line = self.at(index)
        mdf_line_measure(line)
        return (line.count.packets, line.count.bytes, line.count.kernel_drops, line.count.truncated,
                line.count.fragments, line.count.refused, line.count.errors)

    def kernel_drops(self):
        """Of all sockets and rings so far."""
        cdef mdf_receiver *r = self.idle()
        cdef uint64_t total = r.closed_ring_drops
        cdef uint32_t i
        for i in range(r.n_lines):
            mdf_line_measure(&r.line[i])
            total += r.line[i].count.kernel_drops
        for i in range(<uint32_t>MDF_MAX_RINGS):
            mdf_ring_measure(&r.ring[i])
            if r.ring[i].fd >= 0:
                total += r.ring[i].drops
        return total

    def defragments(self):
        """Whether the kernel puts fragments together for every ring that is open."""
        cdef mdf_receiver *r = self.idle()
        return all([r.ring[i].defragments for i in range(MDF_MAX_RINGS) if r.ring[i].fd >= 0])

    def troubles(self):
        """(failed receive calls, errno of the last, clocks found apart, busy polling refused)."""
        cdef mdf_receiver *r = self.idle()
        return r.errors, r.last_error, r.clock_apart, bool(r.busy_poll_refused)

    def run(self, int64_t max_ns):
        """Receive for `max_ns`, or until the sink asks for Python (then True) or a signal comes."""
        cdef mdf_receiver *r = self.idle()
        cdef int end
        self.running = True
        with nogil:
            end = mdf_receiver_run(r, &self.sink.sink, max_ns)
        self.running = False
        if end < 0:
            raise OSError(-end, "cannot wait for datagrams")
        return end == MDF_RUN_ASKED

    def close(self):
        """Close every line; closing twice is nothing."""
        if self.r != NULL:
            mdf_receiver_free(self.idle())
            self.r = NULL
