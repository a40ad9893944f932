/* orders.c: the protocol functions of mdfeedd.h, each by itself in the object file, for a look at their machine code. */
#include "mdfeedd.h"

#define KEPT __attribute__((noinline, used))

KEPT void o_reserve_to(mdf_writer *w, uint64_t need) { mdf_reserve_to(w, need); }
KEPT void o_write_slot(mdf_writer *w, uint64_t s, const uint8_t *record) { mdf_write_slot(w, s, record); }
KEPT uint64_t o_publish(mdf_writer *w, const void *record) { return mdf_publish(w, record); }
KEPT uint64_t o_publish_batch(mdf_writer *w, const void *r, uint64_t n) { return mdf_publish_batch(w, r, n); }
KEPT void o_wake_all(mdf_writer *w) { mdf_wake_all(w); }
KEPT void o_flush(mdf_writer *w) { mdf_flush(w); }
KEPT void o_instrument_carry_out(mdf_writer *w) { mdf_instrument_carry_out(w); }
KEPT void o_recover(mdf_writer *w) { mdf_recover(w); }
KEPT int o_read_one(mdf_reader *r, void *out) { return mdf_read_one(r, out); }
KEPT uint64_t o_available(const mdf_reader *r) { return mdf_available(r); }
KEPT uint64_t o_ahead(mdf_reader *r, uint64_t max) { return mdf_ahead(r, max); }
KEPT uint64_t o_read_found(mdf_reader *r, void *out, uint64_t n, uint64_t max, uint64_t *s) { return mdf_read_found(r, out, n, max, s); }
KEPT int o_ready(const mdf_reader *r) { return mdf_ready(r); }
KEPT int o_prepare_wait(const mdf_reader *r, uint32_t *gen) { return mdf_prepare_wait(r, gen); }
KEPT void o_acknowledge_state(mdf_reader *r) { mdf_acknowledge_state(r); }
KEPT int o_copy_instrument(const mdf_ring_header *h, const mdf_instrument *t, uint32_t c, uint64_t i, mdf_instrument *e) {
    return mdf_copy_instrument(h, t, c, i, e);
}
