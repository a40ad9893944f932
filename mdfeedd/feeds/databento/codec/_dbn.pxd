# The decoder of dbn.h as other compiled modules see it: a session's pump runs it without the GIL.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mdfeedd.ring._ring cimport WriterCore, mdf_bar, mdf_tick, mdf_writer

cdef extern from "dbn.h" nogil:
    enum:
        DBN_NEED_INPUT
        DBN_OUTPUT_FULL
        DBN_NEED_INSTRUMENT
        DBN_METADATA
        DBN_COLD
        DBN_E_MAGIC
        DBN_E_DBZ
        DBN_E_ZSTD
        DBN_E_VERSION
        DBN_E_METADATA_SHORT
        DBN_E_METADATA_LIMIT
        DBN_E_LENGTH
        DBN_E_MEMORY
        DBN_COLD_DEFINITION
        DBN_COLD_MAPPING
        DBN_COLD_SYSTEM
        DBN_COLD_ERROR
        DBN_COLD_UNKNOWN
        DBN_COLD_SHORT
        DBN_COLD_BOOK
        DBN_COLD_PRESENT
        DBN_COLD_HELD
        DBN_PREFIX
        DBN_MAX_VERSION
        DBN_TICKS_PER_RECORD
        DBN_RUN_TICKS
        DBN_MAX_RECORD_BYTES
        DBN_MAX_METADATA_BYTES
    ctypedef struct dbn_counters:
        uint64_t records, skipped, unknown, malformed, unmapped, known, quotes, trades, others, bars
    ctypedef struct dbn_books:
        uint32_t max_orders
        uint64_t overflows
    ctypedef struct dbn_hole:
        uint64_t first_missing, last_missing
        uint32_t reason, line
    ctypedef struct dbn_position:
        uint64_t key
        int64_t index_ns, event_ns
        uint32_t count
    ctypedef struct dbn_resume_head:
        uint64_t magic
        uint32_t slots, used, replay, full
        char dataset[32]
        int64_t known_ns
        uint64_t ticks
        int64_t begun_ns[256]
    ctypedef struct dbn_resume:
        dbn_resume_head *head
        dbn_position *position
        dbn_position *last
        uint8_t replaying[256]
        int64_t start_ns, live_from_ns
        uint64_t known, disagreed, replayed
    uint64_t DBN_RESUME_MAGIC
    int64_t DBN_NOT_TRACKED
    enum:
        DBN_RESUME_HEAD_BYTES
        DBN_RESUME_MAX_SLOTS
    void dbn_resume_intend(dbn_decoder *s, uint64_t first_seq, uint64_t n, int in_bars)
    void dbn_resume_done(dbn_decoder *s)
    void dbn_resume_open(dbn_resume *r, uint8_t *memory, uint32_t slots, const char *dataset, int fresh)
    void dbn_resume_settle(dbn_resume *r, uint64_t next, uint64_t next_bar)
    int64_t dbn_resume_earliest(const dbn_resume *r, const uint8_t *types, int64_t since_ns)
    int dbn_resume_is_unmet(const dbn_resume *r, uint32_t slot, unsigned type)

    ctypedef struct dbn_decoder:
        int64_t arrival_ns
        uint16_t schema
        uint8_t version, ts_out, accept_newer
        int recovering
        dbn_hole hole
        dbn_resume *resume
        uint8_t hold[256]
        uint64_t offset
        int64_t clock_ns
        int64_t[256] type_ns
        dbn_counters count
        int stage, error
        uint32_t need_instrument
        uint16_t need_publisher
        int64_t need_time
        int cold
        const uint8_t *cold_record
        uint32_t cold_length
        uint8_t *metadata
        uint32_t metadata_length, carried
        dbn_books books
    ctypedef struct dbn_output:
        mdf_tick *ticks
        size_t ticks_capacity, ticks_n
        mdf_bar *bars
        size_t bars_capacity, bars_n
    int dbn_open(dbn_decoder *s, unsigned version, int ts_out)
    void dbn_close(dbn_decoder *s)
    int dbn_map(dbn_decoder *s, uint16_t publisher, uint32_t vendor, uint32_t instrument_id,
                int64_t from_ns, int64_t until_ns, int unmapped)
    void dbn_forget(dbn_decoder *s, uint32_t vendor)
    int dbn_decode(dbn_decoder *s, const uint8_t *data, size_t n, size_t *consumed, dbn_output *out)
    int dbn_at_boundary(const dbn_decoder *s)
    size_t dbn_run_ring(dbn_decoder *s, const uint8_t *data, size_t n, size_t *pos, mdf_writer *w,
                        size_t most)


cdef class Positions:
    cdef dbn_resume r
    cdef object _memory


cdef class DbnDecoder:
    cdef dbn_decoder s
    cdef dbn_output out
    cdef dbn_counters counted      # what the ring's counters have
    cdef object _symbology, _told, _fault
    cdef object _positions         # kept alive
    cdef readonly object metadata
    cdef readonly bint paused

    cdef int begin(self, object ts_recv_ns) except -1
    cdef int publish_ticks(self, WriterCore writer, const uint8_t *p, size_t n, size_t *pos,
                           uint64_t *left) noexcept nogil
    cdef int publish_bars(self, object bars) except -1
    cdef int serve(self, int status) except -1
    cdef int count_all(self, WriterCore writer) except -1
    cdef int _count_published(self, WriterCore writer) except -1
    cdef int _resolve(self) except -1
    cdef int _look(self, int cold, bytes record) except -1
