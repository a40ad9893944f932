# An instrument's definition (mdp_define.h) as Cython sees it.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "mdp_define.h" nogil:
    ctypedef struct mdp_definition:
        uint64_t last_update, activation, expiration
        int64_t tick_size, display_factor, multiplier, high_limit, low_limit, max_variation
        int32_t security_id
        uint32_t total_reports
        int16_t channel
        uint16_t template_id, version
        uint8_t mei, action, trading_status, depth, implied_depth, user_defined
        char symbol[21]
        char group[7]
        char asset[7]
        char exchange[5]
        char currency[4]
        char security_type[7]
        char cfi[7]
