from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "packet.h" nogil:
    ctypedef struct mdf_packet:
        const uint8_t *payload
        uint32_t length
        uint32_t line
        int64_t ts_recv
        int64_t now_ns
        uint16_t ts_flags
        uint16_t source_port
        uint32_t source
    ctypedef struct mdf_packet_sink:
        void *context
        void (*packet)(void *context, const mdf_packet *packet) noexcept nogil
        int (*burst_end)(void *context, int64_t now_ns) noexcept nogil
        const uint64_t *next[3]
    int64_t MDF_PACKET_IDLE_NS


cdef class PacketSink:
    cdef mdf_packet_sink sink
