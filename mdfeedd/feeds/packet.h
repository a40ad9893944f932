/* A packet as one line delivered it, and whoever takes packets.
 *
 * What brings packets (sockets, the packet ring, a capture file, a simulation) knows nothing of vendors; what
 * takes them (a vendor's codec, a recorder) knows nothing of sockets. Both sides agree on this file alone, and
 * meet without the GIL.
 *
 * The bytes are valid during the call. `line` is the number under which the taker knows the group and side.
 */
#ifndef MDF_PACKET_H
#define MDF_PACKET_H

#include <stdint.h>

typedef struct mdf_packet {
    const uint8_t *payload; /* what UDP carried */
    uint32_t length;        /* of the payload, bytes */
    uint32_t line;
    int64_t ts_recv;      /* UNIX ns; MDF_TIME_UNDEF if nobody stamped it */
    int64_t now_ns;       /* clock of the timers, never going back: CLOCK_MONOTONIC, or the capture's time */
    uint16_t ts_flags;    /* of enum mdf_flag: KERNEL_TS, HARDWARE_TS, BAD_TS, REPLAYED; copied into the ticks */
    uint16_t source_port; /* 0 unknown */
    uint32_t source;      /* IPv4 address of the sender, host byte order; 0 unknown */
} mdf_packet;

#define MDF_PACKET_RINGS 3

typedef struct mdf_packet_sink {
    void *context;
    void (*packet)(void *context, const mdf_packet *packet);
    /* After each burst, and at least every MDF_PACKET_IDLE_NS without one: timers run, readers are woken.
     * Nonzero asks the shell to come back to Python, where something waits to be told. */
    int (*burst_end)(void *context, int64_t now_ns);
    /* Numbers of the next record of each of its rings, for whoever must not lap their readers. NULL: no such ring. */
    const uint64_t *next[MDF_PACKET_RINGS];
} mdf_packet_sink;

#define MDF_PACKET_IDLE_NS INT64_C(1000000) /* 1 ms: what a timer may be late */

#endif
