# The codec's kernel as the data plane sees it: both work on the same touches and the same staging.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mdfeedd.ring._ring cimport WriterCore, mdf_tick


cdef extern from "blp_decode.h" nogil:
    enum:
        BLP_TAKEN
        BLP_MAX_ROOM
    ctypedef struct blp_sides:
        int64_t bid, ask
        uint64_t bid_size, ask_size
    ctypedef struct blp_touch:
        blp_sides told, shown
        int64_t last_ns, hole_first_ns, hole_last_ns, image_ns, stamp_ns
        uint32_t instrument_id, hole_reason
        uint16_t flags
        uint8_t imaging
    ctypedef struct blp_staging:
        mdf_tick *ticks
        size_t n, capacity
        uint64_t quotes, trades, others, gaps
    ctypedef struct blp_decoder:
        blp_staging *out
        uint64_t messages, skipped, quick
        int64_t last_ns, sent_ns
        int refuse_delayed
    int blp_reserve(blp_staging *s, size_t n)
    void blp_tell_quote(blp_staging *s, int64_t at_ns, int64_t recv_ns, uint32_t instrument, uint16_t flags,
                        const blp_sides *shown)
    void blp_tell_trade(blp_staging *s, int kind, int64_t at_ns, int64_t recv_ns, uint32_t instrument,
                        uint16_t flags, int64_t price, uint64_t size, uint64_t number)
    void blp_tell_hole(blp_staging *s, int kind, int64_t now_ns, uint32_t instrument, uint64_t first_ns,
                       uint64_t last_ns, uint32_t reason)
    void blp_tell_statistic(blp_staging *s, int64_t at_ns, int64_t recv_ns, uint32_t instrument,
                            uint16_t flags, uint16_t type, int64_t price, int64_t quantity)
    void blp_tell_status(blp_staging *s, int64_t now_ns, uint32_t instrument, uint16_t reason)
    void blp_tell_bare(blp_staging *s, int kind, int64_t now_ns, uint32_t instrument)
    blp_sides blp_show(blp_sides told)

cdef extern from "blp_table.h" nogil:
    ctypedef struct blp_table:
        pass
    blp_touch *blp_table_get(const blp_table *t, uint64_t cid)


cdef class Touch:
    cdef blp_touch t


cdef class Staging:
    cdef blp_staging s
    cdef int _reserve(self, size_t n) except -1
    cdef int publish_all(self, WriterCore writer) except -1


cdef class Touches(dict):
    cdef blp_table table
    cdef int _forget(self, object cid) except -1


cdef class Kernel:
    cdef blp_decoder d
    cdef readonly Staging staging
    cdef readonly Touches touches
    cdef public object last_message
