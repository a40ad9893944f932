/* packet_ring.h: a TPACKET_V3 ring per interface: the kernel writes packets into memory that we have mapped.
 *
 *     network card -> kernel --filter: UDP to our endpoints--> block | block | ... | block      (mapped)
 *                                                      kernel's <-+-> ours, when full or after 1 ms
 *
 * No system call and no copy per packet; in return up to a millisecond of delay at low rates, and CAP_NET_RAW is
 * needed. The ring takes IPv4 as it comes in (ETH_P_IP, not ETH_P_ALL): what this host sends is not seen twice
 * on `lo`, and a frame that still has the tag of a VLAN counts as another host's. A fanout group of one has the
 * kernel put fragments together first; where it refuses, first fragments are counted and the datagram is lost.
 */
#ifndef MDF_PACKET_RING_H
#define MDF_PACKET_RING_H

#include "datagram.h"

#include <linux/if_ether.h>
#include <linux/sock_diag.h>

#define MDF_BLOCK_BYTES (64u << 10) /* a stall of ours may last as many ms as there are blocks */
#define MDF_MIN_BLOCKS 8u
#define MDF_MAX_BLOCKS 16384u /* 1 GiB */
#define MDF_BLOCK_TIMEOUT_MS 1u
#define MDF_BLOCKS_PER_TURN 16u /* blocks read before timers and other interfaces have their turn */

/* What failed, so that the sentence can say what to do. */
enum mdf_stage {
    MDF_STAGE_NONE = 0,
    MDF_STAGE_MEMORY,
    MDF_STAGE_SOCKET,
    MDF_STAGE_OPTION,
    MDF_STAGE_BIND,
    MDF_STAGE_JOIN,
    MDF_STAGE_POLL,
    MDF_STAGE_RING_SOCKET,
    MDF_STAGE_RING_MEMORY,
    MDF_STAGE_RING_BIND,
    MDF_STAGE_FILTER,
};

typedef struct mdf_ring {
    int fd; /* -1: closed */
    uint32_t ifindex, lines; /* open lines on it */
    uint8_t *map;
    size_t bytes;
    uint32_t blocks, next;
    int defragments, hardware;
    uint64_t drops;
} mdf_ring;

static inline int mdf_ring_filter(const mdf_ring *g, mdf_filter *f) {
    struct sock_fprog program = {(unsigned short)f->n, f->step};
    return setsockopt(g->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ? -errno : 0;
}

static inline void mdf_ring_close(mdf_ring *g) {
    if (g->map)
        munmap(g->map, g->bytes);
    if (g->fd >= 0)
        close(g->fd);
    g->map = NULL;
    g->fd = -1;
}

static inline int mdf_ring_map(mdf_ring *g, uint64_t buffer_bytes) {
    uint64_t blocks = buffer_bytes / MDF_BLOCK_BYTES;
    blocks = blocks < MDF_MIN_BLOCKS ? MDF_MIN_BLOCKS : blocks > MDF_MAX_BLOCKS ? MDF_MAX_BLOCKS : blocks;
    struct tpacket_req3 want = {
        .tp_block_size = MDF_BLOCK_BYTES,
        .tp_block_nr = (unsigned)blocks,
        .tp_frame_size = TPACKET_ALIGNMENT << 7,
        .tp_frame_nr = (unsigned)(blocks * (MDF_BLOCK_BYTES / (TPACKET_ALIGNMENT << 7))),
        .tp_retire_blk_tov = MDF_BLOCK_TIMEOUT_MS,
    };
    if (setsockopt(g->fd, SOL_PACKET, PACKET_RX_RING, &want, sizeof want))
        return -errno;
    g->blocks = (uint32_t)blocks;
    g->bytes = (size_t)blocks * MDF_BLOCK_BYTES;
    void *map = mmap(NULL, g->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, g->fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    g->map = map;
    return 0;
}

/* Nothing comes in before the filter is set: the socket is bound last. */
static inline int mdf_ring_open(mdf_ring *g, uint32_t ifindex, uint64_t buffer_bytes, int hardware,
                                mdf_filter *filter, enum mdf_stage *stage) {
    int version = TPACKET_V3, stamps = SOF_TIMESTAMPING_RAW_HARDWARE, error;
    struct sockaddr_ll where = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)ifindex};
    memset(g, 0, sizeof *g);
    g->ifindex = ifindex;
    *stage = MDF_STAGE_RING_SOCKET;
    g->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (g->fd < 0)
        return -errno;
    if (setsockopt(g->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version)) {
        error = -errno;
        return mdf_ring_close(g), error;
    }
    g->hardware = hardware && !setsockopt(g->fd, SOL_PACKET, PACKET_TIMESTAMP, &stamps, sizeof stamps);
    *stage = MDF_STAGE_FILTER;
    if ((error = mdf_ring_filter(g, filter)))
        return mdf_ring_close(g), error;
    *stage = MDF_STAGE_RING_MEMORY;
    if ((error = mdf_ring_map(g, buffer_bytes)))
        return mdf_ring_close(g), error;
    *stage = MDF_STAGE_RING_BIND;
    if (bind(g->fd, (struct sockaddr *)&where, sizeof where)) {
        error = -errno;
        return mdf_ring_close(g), error;
    }
    uint32_t how = PACKET_FANOUT_CPU | PACKET_FANOUT_FLAG_DEFRAG | PACKET_FANOUT_FLAG_UNIQUEID;
    uint32_t fanout = how << 16; /* the low half is the group's number: the kernel's choice */
    g->defragments = !setsockopt(g->fd, SOL_PACKET, PACKET_FANOUT, &fanout, sizeof fanout);
    *stage = MDF_STAGE_NONE;
    return 0;
}

/* Reads the kernel's drop count; it starts again at zero whenever it is read. */
static inline void mdf_ring_measure(mdf_ring *g) {
    struct tpacket_stats_v3 s;
    socklen_t bytes = sizeof s;
    if (g->fd >= 0 && !getsockopt(g->fd, SOL_PACKET, PACKET_STATISTICS, &s, &bytes))
        g->drops += s.tp_drops;
}

/* The next block if the kernel has handed it over, else NULL. */
static inline uint8_t *mdf_ring_block(const mdf_ring *g) {
    uint8_t *block = g->map + (size_t)g->next * MDF_BLOCK_BYTES;
    const struct tpacket_block_desc *head = (const struct tpacket_block_desc *)block;
    return __atomic_load_n(&head->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER ? block : NULL;
}

static inline void mdf_ring_release(mdf_ring *g, uint8_t *block) {
    struct tpacket_block_desc *head = (struct tpacket_block_desc *)block;
    __atomic_store_n(&head->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    g->next = g->next + 1 == g->blocks ? 0 : g->next + 1;
}

/* The card's clock is not set: go on with the kernel's. */
static inline void mdf_ring_kernel_stamps(mdf_ring *g) {
    int none = 0;
    (void)setsockopt(g->fd, SOL_PACKET, PACKET_TIMESTAMP, &none, sizeof none);
    g->hardware = 0;
}

#endif
