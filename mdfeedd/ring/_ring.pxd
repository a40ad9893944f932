# The C truth as Cython sees it, for kernels that publish or read without the GIL.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "mdfeedd.h" nogil:
    enum:
        MDF_ERR
        MDF_CONSUMERS
        MDF_APP_COUNTERS
        MDF_FEED_COUNTERS_END
        MDF_CONSUMER_COUNTERS_END
        MDF_MIN_CAPACITY
        MDF_MAX_CAPACITY
        MDF_ABI_MAJOR
        MDF_ABI_MINOR
        MDF_LATENCY_BUCKETS
        MDF_LATENCY_SHIFT
        MDF_LATENCY_EVERY
        MDF_LINES
        MDF_LINE_VALUES
        MDF_LINE_VALUES_END
    int64_t MDF_START_NOW
    int64_t MDF_START_OLDEST
    int64_t MDF_START_RESUME
    const char *MDF_TICK_LAYOUT
    const char *MDF_BAR_LAYOUT
    const char *MDF_DEPTH_LAYOUT
    const char *MDF_ORDER_LAYOUT
    int64_t MDF_PRICE_UNDEF
    const char *const *mdf_feed_counter_text
    const char *const *mdf_consumer_counter_text
    const char *const *mdf_line_value_text

    enum:
        MDF_E_SYSTEM
        MDF_E_MISSING
        MDF_E_DENIED
        MDF_E_MISMATCH
        MDF_E_CORRUPT
        MDF_E_BUSY
        MDF_E_SPACE
        MDF_E_ARGUMENT
    enum:
        MDF_LIVE
        MDF_CLOSED
        MDF_SUPERSEDED
    enum:
        MDF_TIMEOUT
        MDF_READY
        MDF_INTERRUPTED
    enum:
        MDF_RESUME_OLDEST
        MDF_RESUME_LATEST

    ctypedef struct mdf_tick:
        uint64_t seq
        int64_t ts_event
        int64_t ts_recv
        uint32_t instrument_id
        uint8_t kind
        uint8_t side
        uint16_t flags
        uint32_t venue_seq
        uint32_t count

    ctypedef struct mdf_bar:
        uint64_t seq
        int64_t ts_open
        uint32_t instrument_id
        uint32_t interval_s

    ctypedef struct mdf_ring_header:
        uint64_t magic
        uint32_t abi_major
        uint32_t abi_minor
        uint64_t total_size
        uint64_t capacity
        uint64_t data_off
        uint32_t slot_size
        uint32_t block
        uint64_t first_seq
        int64_t created_ns
        uint8_t ring_id[16]
        uint8_t boot_id[16]
        char feed[32]
        uint32_t instruments_capacity
        uint32_t feed_index
        uint32_t layout_len
        char layout[768]
        uint64_t reserve
        uint64_t tail
        uint64_t epoch
        uint64_t epoch_first_seq
        int64_t heartbeat_ns
        uint32_t pid
        uint32_t state
        uint64_t batches
        uint64_t wakes
        uint64_t recoveries
        uint64_t recovered_slots
        uint64_t max_burst
        uint64_t instruments_count
        uint64_t instruments_version

    ctypedef struct mdf_instrument:
        uint32_t version
        uint32_t instrument_id
        uint64_t vendor_id
        uint32_t publisher_id
        uint32_t source_index
        int64_t tick_size
        int64_t expiration
        int64_t multiplier
        char currency[8]
        char venue[24]
        char feed[32]
        char symbol[72]
        char vendor_symbol[72]

    ctypedef struct mdf_consumer:
        uint64_t cursor
        uint64_t lost
        uint64_t overruns
        uint64_t reads
        uint64_t records
        uint64_t sleeps
        int64_t heartbeat_ns
        uint64_t acked
        uint32_t pid
        uint32_t used
        uint32_t says_acked
        uint8_t ring_id[16]
        char name[32]
        uint64_t *app

    ctypedef struct mdf_latency:
        uint64_t *bucket
        uint64_t sum_ns

    ctypedef struct mdf_feed_line:
        uint64_t key
        uint64_t *value

    ctypedef struct mdf_counters_page:
        mdf_feed_line *line
        mdf_latency arrival
        mdf_latency venue

    ctypedef struct mdf_registry:
        uint32_t waiters
        mdf_consumer *consumer
        mdf_latency *latency

    ctypedef struct mdf_writer:
        mdf_ring_header *h
        mdf_instrument *instruments
        uint64_t *counters
        mdf_registry *registry
        uint64_t capacity
        uint64_t next
        uint64_t reserved
        uint32_t words
        size_t map_size
        int fd
        int registry_fd

    ctypedef struct mdf_reader:
        const mdf_ring_header *h
        const mdf_instrument *instruments
        const uint64_t *counters
        mdf_registry *registry
        mdf_consumer *consumer
        uint64_t capacity
        uint64_t next
        uint64_t lost
        uint64_t overruns
        uint64_t seen_epoch
        uint32_t words
        uint32_t seen_state
        uint32_t instruments_capacity
        uint32_t flags_at
        int on_overrun
        size_t map_size
        int fd
        int registry_fd
        int consumer_index

    ctypedef struct mdf_ring_options:
        const char *feed
        const char *layout
        uint32_t slot_size
        uint32_t feed_index
        uint32_t instruments_capacity
        uint64_t capacity

    uint64_t mdf_publish(mdf_writer *w, const void *record)
    uint64_t mdf_publish_batch(mdf_writer *w, const void *records, uint64_t n)
    void mdf_flush(mdf_writer *w)
    void mdf_beat(mdf_writer *w)
    int mdf_writer_open(mdf_writer *w, const char *path, const mdf_ring_options *o, char *err)
    void mdf_writer_close(mdf_writer *w, int announce)
    int mdf_writer_use_huge_pages(const mdf_writer *w)
    int mdf_instrument_put(mdf_writer *w, uint32_t index, const mdf_instrument *entry, char *err)
    int mdf_copy_instrument(const mdf_ring_header *h, const mdf_instrument *table, uint32_t capacity,
                            uint64_t index, mdf_instrument *out)
    int mdf_survive_cuts()
    int mdf_reader_open(mdf_reader *r, const char *path, const char *layout, uint32_t slot_size,
                        int64_t start, const char *name, char *err)
    int mdf_reader_register(mdf_reader *r, int64_t start, const char *name, const char *path,
                            char *err)
    void mdf_reader_close(mdf_reader *r)
    int mdf_read_one(mdf_reader *r, void *out)
    uint64_t mdf_read_found(mdf_reader *r, void *out, uint64_t n, uint64_t max, uint64_t *skip)
    uint64_t mdf_ahead(const mdf_reader *r, uint64_t max)
    uint64_t mdf_available(const mdf_reader *r)
    int mdf_at_hand(const mdf_reader *r)
    int mdf_changed(const mdf_reader *r)
    int mdf_ready(const mdf_reader *r)
    void mdf_acknowledge_state(mdf_reader *r)
    void mdf_ack(mdf_reader *r, uint64_t seq)
    int mdf_wait(mdf_reader *r, int64_t spin_ns, int64_t timeout_ns)
    int mdf_writer_alive(int ring_fd)
    int mdf_consumer_alive(int registry_fd, unsigned i)
    void mdf_text(char *to, size_t size, const char *source)
    uint64_t mdf_load(const uint64_t *p)
    uint64_t mdf_load_acquire(const uint64_t *p)
    uint32_t mdf_load32(const uint32_t *p)
    uint32_t mdf_load32_acquire(const uint32_t *p)
    void mdf_store(uint64_t *p, uint64_t v)
    void mdf_store_release(uint64_t *p, uint64_t v)
    void mdf_count(uint64_t *p, uint64_t n)
    int64_t mdf_clock_ns(int clock)


cdef class WriterCore:
    cdef mdf_writer w
    cdef int _inside   # threads that are inside without the GIL
    cdef bint _gone    # closed while one was: the last of them unmaps
    cdef object dtype
    cdef object _accepted      # last dtype seen that fits, kept so that its address stays its own
    cdef int check(self) except -1
    cdef int _leave(self) except -1
