/* multicast.h: lines, a group and port each, received without the GIL and passed to an mdf_packet_sink.
 *
 *     blocking     epoll_wait -> for each ready socket: recvmmsg(64) -> packet() ... -> burst_end()
 *     busy         the same without sleeping; few sockets are asked directly
 *     packet_ring  epoll_wait on one ring per interface; the lines' sockets only keep the membership of the
 *                  group and drop everything themselves
 *
 * A socket is bound to its group and told to hear no group that it has not joined itself (IP_MULTICAST_ALL), so
 * lines that share a port never hear each other. Everything is allocated by mdf_receiver_new(); opening and
 * closing lines later costs sockets only. One thread: nothing here may be called while mdf_receiver_run() runs.
 */
#ifndef MDF_MULTICAST_H
#define MDF_MULTICAST_H

#include "packet.h"
#include "packet_ring.h"

#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

#define MDF_MAX_LINES 512u /* 39 channels have 312 groups; the filter of a ring holds as many */
#define MDF_MAX_SOURCES 16u
#define MDF_MAX_RINGS 8u
#define MDF_BATCH 64u
#define MDF_SLOT_BYTES 9280u /* an odd number of cache lines: slots do not share their sets */
#define MDF_CONTROL_BYTES 128u
#define MDF_EVENTS 64u
#define MDF_DIRECT_LINES 4u   /* busy: so many sockets are asked in turn; epoll tells of more */
#define MDF_LOOKUP_SLOTS 2048u /* power of two, four times the lines */
#define MDF_RING_EVENT 0x80000000u
#define MDF_TIMER_EVENT 0x40000000u
#define MDF_ERROR_PAUSE_NS 1000000 /* a socket that fails again and again does not burn a processor */
MDF_ASSERT(MDF_SLOT_BYTES >= MDF_DATAGRAM_BYTES && MDF_SLOT_BYTES % 128 == 64, "odd number of cache lines");
MDF_ASSERT(7 * MDF_MAX_LINES + 16 <= MDF_FILTER_STEPS, "the filter of all lines fits");

enum mdf_receive_mode { MDF_BLOCKING, MDF_BUSY, MDF_PACKET_RING };

enum mdf_run_end { MDF_RUN_TIME = 0, MDF_RUN_ASKED = 1, MDF_RUN_SIGNAL = 2 }; /* below zero: -errno */

typedef struct mdf_line_counts {
    uint64_t packets, bytes, kernel_drops, truncated, fragments, refused, errors;
} mdf_line_counts;

typedef struct mdf_line {
    int fd;   /* -1: left */
    int ring; /* -1: none */
    uint32_t number; /* the taker's */
    uint32_t address; /* host byte order, as sources */
    uint32_t ifindex; /* 0: the kernel's choice */
    uint32_t last_drops, receive_bytes; /* of the socket now open */
    uint16_t port, n_sources;
    int hot; /* there may be more to read: in the receiver's list of such lines */
    uint32_t source[MDF_MAX_SOURCES];
    mdf_line_counts count;
} mdf_line;

typedef struct mdf_receiver {
    enum mdf_receive_mode mode;
    enum mdf_stage stage; /* where mdf_line_open failed */
    int epoll, timer, hardware, busy_poll_us, busy_poll_refused, last_error;
    uint64_t buffer_bytes, clock_apart, errors, closed_ring_drops;
    uint32_t n_lines, n_open, n_hot;
    mdf_line line[MDF_MAX_LINES];
    uint16_t open[MDF_MAX_LINES], hot[MDF_MAX_LINES], lookup[MDF_LOOKUP_SLOTS];
    mdf_ring ring[MDF_MAX_RINGS];
    mdf_filter filter;
    uint64_t endpoint[MDF_MAX_LINES];
    struct epoll_event event[MDF_EVENTS];
    struct mmsghdr message[MDF_BATCH];
    struct iovec part[MDF_BATCH];
    struct sockaddr_in from[MDF_BATCH];
    _Alignas(16) uint8_t control[MDF_BATCH][MDF_CONTROL_BYTES];
    _Alignas(64) uint8_t slot[MDF_BATCH][MDF_SLOT_BYTES];
} mdf_receiver;

static inline int mdf_is_multicast(uint32_t address) { return address >> 28 == 0xE; }

/* --------------------------------------------------------------------------------------------- set up */

/* Ends each wait after MDF_PACKET_IDLE_NS at the latest. A time-out of epoll_wait would set a timer of the
 * hardware for every burst, which on a virtual machine costs more than receiving it. Reading it arms it again. */
static inline int mdf_receiver_tick(mdf_receiver *r) {
    struct itimerspec beat = {{0, MDF_PACKET_IDLE_NS}, {0, MDF_PACKET_IDLE_NS}};
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = MDF_TIMER_EVENT};
    r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return r->timer < 0 || timerfd_settime(r->timer, 0, &beat, NULL) ||
           epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->timer, &event);
}

static inline mdf_receiver *mdf_receiver_new(int mode) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, sizeof(mdf_receiver)))
        return NULL;
    mdf_receiver *r = memory;
    memset(r, 0, sizeof *r);
    r->mode = (enum mdf_receive_mode)mode;
    r->timer = -1;
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (r->epoll < 0 || (mode != MDF_BUSY && mdf_receiver_tick(r))) {
        close(r->timer);
        close(r->epoll);
        return free(r), NULL;
    }
    for (uint32_t i = 0; i < MDF_MAX_RINGS; i++)
        r->ring[i].fd = -1;
    for (uint32_t i = 0; i < MDF_BATCH; i++) {
        r->part[i] = (struct iovec){r->slot[i], MDF_DATAGRAM_BYTES};
        r->message[i].msg_hdr = (struct msghdr){
            .msg_name = &r->from[i],
            .msg_namelen = sizeof r->from[i],
            .msg_iov = &r->part[i],
            .msg_iovlen = 1,
            .msg_control = r->control[i],
            .msg_controllen = MDF_CONTROL_BYTES,
        };
    }
    return r;
}

/* Adds a closed line; the caller fills in address, port, ifindex and sources. NULL: MDF_MAX_LINES reached. */
static inline mdf_line *mdf_receiver_add(mdf_receiver *r, uint32_t number) {
    if (r->n_lines == MDF_MAX_LINES)
        return NULL;
    mdf_line *l = &r->line[r->n_lines++];
    memset(l, 0, sizeof *l);
    l->fd = l->ring = -1;
    l->number = number;
    return l;
}

static inline uint32_t mdf_lookup_start(uint32_t address, uint16_t port, int ring) {
    uint64_t key = (MDF_ENDPOINT(address, port) ^ (uint64_t)ring << 56) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(key >> 32) & (MDF_LOOKUP_SLOTS - 1);
}

static inline mdf_line *mdf_lookup(mdf_receiver *r, uint32_t address, uint16_t port, int ring) {
    uint32_t at = mdf_lookup_start(address, port, ring);
    for (uint16_t place; (place = r->lookup[at]); at = (at + 1) & (MDF_LOOKUP_SLOTS - 1)) {
        mdf_line *l = &r->line[place - 1];
        if (l->address == address && l->port == port && l->ring == ring)
            return l;
    }
    return NULL;
}

/* After a line was opened or closed: the list of open ones, and by whom a ring's packets are taken. */
static inline void mdf_receiver_index(mdf_receiver *r) {
    memset(r->lookup, 0, sizeof r->lookup);
    r->n_open = 0;
    for (uint32_t i = 0; i < r->n_lines; i++) {
        mdf_line *l = &r->line[i];
        if (l->fd < 0)
            continue;
        r->open[r->n_open++] = (uint16_t)i;
        if (l->ring >= 0) {
            uint32_t at = mdf_lookup_start(l->address, l->port, l->ring);
            while (r->lookup[at])
                at = (at + 1) & (MDF_LOOKUP_SLOTS - 1);
            r->lookup[at] = (uint16_t)(i + 1);
        }
    }
}

static int mdf_endpoint_order(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The filter of the open lines on an interface, and of `joining` if it is not NULL. */
static inline int mdf_receiver_filter(mdf_receiver *r, uint32_t ifindex, const mdf_line *joining) {
    uint32_t n = 0, kept = 0;
    for (uint32_t i = 0; i < r->n_lines; i++) {
        const mdf_line *l = &r->line[i];
        if (l == joining || (l->fd >= 0 && l->ring >= 0 && r->ring[l->ring].ifindex == ifindex))
            r->endpoint[n++] = MDF_ENDPOINT(l->address, l->port);
    }
    qsort(r->endpoint, n, sizeof *r->endpoint, mdf_endpoint_order);
    for (uint32_t i = 0; i < n; i++)
        if (!kept || r->endpoint[kept - 1] != r->endpoint[i])
            r->endpoint[kept++] = r->endpoint[i];
    return mdf_filter_make(&r->filter, r->endpoint, kept) ? -E2BIG : 0;
}

static inline int mdf_receiver_watch(mdf_receiver *r, int fd, uint32_t which, uint32_t how) {
    struct epoll_event event = {.events = EPOLLIN | how, .data.u32 = which};
    r->stage = MDF_STAGE_POLL;
    return epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* The ring of the line's interface, opened if it is the first line there, with the line in its filter. */
static inline int mdf_line_on_ring(mdf_receiver *r, mdf_line *l) {
    int place = -1, error;
    for (int i = (int)MDF_MAX_RINGS - 1; i >= 0; i--)
        if (r->ring[i].fd < 0 && (place < 0 || r->ring[place].fd < 0))
            place = i;
        else if (r->ring[i].fd >= 0 && r->ring[i].ifindex == l->ifindex)
            place = i;
    r->stage = MDF_STAGE_RING_MEMORY;
    if (place < 0 || (r->ring[place].fd >= 0 && r->ring[place].ifindex != l->ifindex))
        return -ENOSPC;
    mdf_ring *g = &r->ring[place];
    r->stage = MDF_STAGE_FILTER;
    if ((error = mdf_receiver_filter(r, l->ifindex, l)))
        return error;
    if (g->fd >= 0) {
        if ((error = mdf_ring_filter(g, &r->filter)))
            return error;
    } else {
        if ((error = mdf_ring_open(g, l->ifindex, r->buffer_bytes, r->hardware, &r->filter, &r->stage)))
            return error;
        if ((error = mdf_receiver_watch(r, g->fd, MDF_RING_EVENT | (uint32_t)place, 0)))
            return mdf_ring_close(g), error;
    }
    g->lines++;
    l->ring = place;
    return 0;
}

static inline void mdf_line_off_ring(mdf_receiver *r, mdf_line *l) {
    mdf_ring *g = &r->ring[l->ring];
    l->ring = -1;
    if (--g->lines == 0) {
        mdf_ring_measure(g);
        r->closed_ring_drops += g->drops;
        mdf_ring_close(g);
    } else if (!mdf_receiver_filter(r, g->ifindex, NULL)) {
        (void)mdf_ring_filter(g, &r->filter); /* the wider one would do: unknown packets are not ours */
    }
}

static inline int mdf_set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value);
}

/* Buffer, stamps and the drop counter of a socket that is read; what is refused is told by what is read back. */
static inline int mdf_line_options(mdf_receiver *r, mdf_line *l) {
    int bytes = r->buffer_bytes > INT32_MAX / 2 ? INT32_MAX / 2 : (int)r->buffer_bytes, got = 0;
    socklen_t size = sizeof got;
    if (mdf_set(l->fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes))
        (void)mdf_set(l->fd, SOL_SOCKET, SO_RCVBUF, bytes);
    if (getsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &got, &size))
        return -errno;
    l->receive_bytes = (uint32_t)got / 2; /* the kernel doubles what it is asked for, for its own share */
    int all = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_HARDWARE |
              SOF_TIMESTAMPING_RAW_HARDWARE;
    if (!r->hardware || mdf_set(l->fd, SOL_SOCKET, SO_TIMESTAMPING, all))
        if (mdf_set(l->fd, SOL_SOCKET, SO_TIMESTAMPNS, 1))
            return -errno;
    if (mdf_set(l->fd, SOL_SOCKET, SO_RXQ_OVFL, 1))
        return -errno;
    if (r->busy_poll_us && mdf_set(l->fd, SOL_SOCKET, SO_BUSY_POLL, r->busy_poll_us))
        r->busy_poll_refused = 1;
    return 0;
}

/* Only there for the membership: the socket drops all it gets, so the ring alone delivers. */
static inline int mdf_line_deaf(const mdf_line *l) {
    struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog program = {1, &nothing};
    (void)mdf_set(l->fd, SOL_SOCKET, SO_RCVBUF, 1);
    return setsockopt(l->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ? -errno : 0;
}

static inline struct sockaddr_storage mdf_endpoint(uint32_t address, uint16_t port) {
    struct sockaddr_storage storage;
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
    memset(&storage, 0, sizeof storage);
    memcpy(&storage, &in, sizeof in);
    return storage;
}

static inline int mdf_line_membership(const mdf_line *l) {
    struct group_req any = {.gr_interface = l->ifindex, .gr_group = mdf_endpoint(l->address, 0)};
    struct group_source_req one = {.gsr_interface = l->ifindex, .gsr_group = any.gr_group};
    if (!l->n_sources)
        return setsockopt(l->fd, IPPROTO_IP, MCAST_JOIN_GROUP, &any, sizeof any) ? -errno : 0;
    for (uint32_t i = 0; i < l->n_sources; i++) {
        one.gsr_source = mdf_endpoint(l->source[i], 0);
        if (setsockopt(l->fd, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &one, sizeof one))
            return -errno;
    }
    return 0;
}

static inline int mdf_line_setup(mdf_receiver *r, mdf_line *l) {
    int error, multicast = mdf_is_multicast(l->address);
    struct sockaddr_storage here = mdf_endpoint(l->address, l->port);
    r->stage = MDF_STAGE_OPTION;
    if (multicast && (mdf_set(l->fd, SOL_SOCKET, SO_REUSEADDR, 1) ||
                      mdf_set(l->fd, IPPROTO_IP, IP_MULTICAST_ALL, 0)))
        return -errno;
    if ((error = r->mode == MDF_PACKET_RING ? mdf_line_deaf(l) : mdf_line_options(r, l)))
        return error;
    r->stage = MDF_STAGE_BIND;
    if (bind(l->fd, (struct sockaddr *)&here, sizeof(struct sockaddr_in)))
        return -errno;
    r->stage = MDF_STAGE_JOIN;
    if (multicast && (error = mdf_line_membership(l)))
        return error;
    return r->mode == MDF_PACKET_RING ? mdf_line_on_ring(r, l)
                                      : mdf_receiver_watch(r, l->fd, (uint32_t)(l - r->line), EPOLLET);
}

/* Opens, binds and joins. 0 or -errno, with r->stage. Nothing is left behind after an error. */
static inline int mdf_line_open(mdf_receiver *r, mdf_line *l) {
    r->stage = MDF_STAGE_SOCKET;
    l->last_drops = 0;
    l->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return -errno;
    int error = mdf_line_setup(r, l);
    if (error) {
        close(l->fd);
        l->fd = -1;
    } else {
        r->stage = MDF_STAGE_NONE;
    }
    mdf_receiver_index(r);
    return error;
}

static inline void mdf_line_drops(mdf_line *l, uint32_t drops) {
    int32_t more = (int32_t)(drops - l->last_drops); /* counts wrap; a queued message tells an older one */
    if (more > 0) {
        l->count.kernel_drops += (uint32_t)more;
        l->last_drops = drops;
    }
}

/* Asks the socket itself: drops after the last datagram that was delivered are told by no message. */
static inline void mdf_line_measure(mdf_line *l) {
    uint32_t info[SK_MEMINFO_VARS];
    socklen_t bytes = sizeof info;
    if (l->fd >= 0 && l->ring < 0 && !getsockopt(l->fd, SOL_SOCKET, SO_MEMINFO, info, &bytes) &&
        bytes > SK_MEMINFO_DROPS * sizeof *info)
        mdf_line_drops(l, info[SK_MEMINFO_DROPS]);
}

static inline void mdf_line_forget(mdf_receiver *r, mdf_line *l) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->n_hot; i++)
        if (&r->line[r->hot[i]] != l)
            r->hot[kept++] = r->hot[i];
    r->n_hot = kept;
    l->hot = 0;
}

/* Leaves the group. Datagrams that were not read are gone. */
static inline void mdf_line_close(mdf_receiver *r, mdf_line *l) {
    if (l->fd < 0)
        return;
    mdf_line_measure(l);
    close(l->fd);
    l->fd = -1;
    mdf_line_forget(r, l);
    if (l->ring >= 0)
        mdf_line_off_ring(r, l);
    mdf_receiver_index(r);
}

static inline void mdf_receiver_free(mdf_receiver *r) {
    if (!r)
        return;
    for (uint32_t i = 0; i < r->n_lines; i++)
        mdf_line_close(r, &r->line[i]);
    close(r->timer);
    close(r->epoll);
    free(r);
}

/* Has the network card stamp what it receives. 0, or -errno: it cannot, or we may not. */
static inline int mdf_hardware_stamps(uint32_t ifindex) {
    struct hwtstamp_config config = {0};
    struct ifreq request = {.ifr_data = (char *)&config};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), error = 0;
    if (fd < 0)
        return -errno;
    if (!if_indextoname(ifindex, request.ifr_name)) {
        error = -errno;
    } else if (ioctl(fd, SIOCGHWTSTAMP, &request) || config.rx_filter == HWTSTAMP_FILTER_NONE) {
        config.rx_filter = HWTSTAMP_FILTER_ALL;
        if (ioctl(fd, SIOCSHWTSTAMP, &request))
            error = -errno;
        else if (config.rx_filter == HWTSTAMP_FILTER_NONE)
            error = -EOPNOTSUPP;
    }
    close(fd);
    return error;
}

/* -------------------------------------------------------------------------------------------- receive */

static inline void mdf_receiver_failed(mdf_receiver *r, mdf_line *l, int error) {
    r->errors++;
    r->last_error = error;
    if (l)
        l->count.errors++;
}

/* Sockets are watched for edges, which spares the kernel a second look at each before it lets us sleep. So a
 * line that may have more is remembered, and read in the next turn whether epoll speaks of it or not. */
static inline void mdf_line_unread(mdf_receiver *r, mdf_line *l) {
    if (!l->hot) {
        l->hot = 1;
        r->hot[r->n_hot++] = (uint16_t)(l - r->line);
    }
}

/* One recvmmsg; the number of datagrams it gave. */
static inline int mdf_line_receive(mdf_receiver *r, mdf_line *l, const mdf_packet_sink *sink,
                                   int64_t now_ns) {
    int n = recvmmsg(l->fd, r->message, MDF_BATCH, MSG_DONTWAIT, NULL);
    if (n < 0) {
        if (errno == EAGAIN)
            return 0;
        mdf_line_unread(r, l);
        if (errno != EINTR)
            mdf_receiver_failed(r, l, errno);
        return 0;
    }
    if (n == (int)MDF_BATCH)
        mdf_line_unread(r, l);
    mdf_packet p = {.line = l->number, .now_ns = now_ns};
    mdf_control control;
    for (int i = 0; i < n; i++) {
        struct msghdr *m = &r->message[i].msg_hdr;
        mdf_control_read(r->control[i], m->msg_controllen, &control);
        if (control.has_drops)
            mdf_line_drops(l, control.drops);
        m->msg_namelen = sizeof r->from[i];
        m->msg_controllen = MDF_CONTROL_BYTES;
        if (m->msg_flags & MSG_TRUNC) {
            l->count.truncated++;
            continue;
        }
        p.payload = r->slot[i];
        p.length = r->message[i].msg_len;
        p.ts_recv = mdf_control_time(&control, &p.ts_flags, &r->clock_apart);
        if (p.ts_recv == MDF_TIME_UNDEF)
            p.ts_recv = mdf_clock_ns(CLOCK_REALTIME);
        p.source = ntohl(r->from[i].sin_addr.s_addr);
        p.source_port = ntohs(r->from[i].sin_port);
        l->count.packets++;
        l->count.bytes += p.length;
        sink->packet(sink->context, &p);
    }
    return n;
}

static inline int mdf_source_wanted(const mdf_line *l, uint32_t source) {
    if (!l->n_sources || !mdf_is_multicast(l->address))
        return 1;
    for (uint32_t i = 0; i < l->n_sources; i++)
        if (l->source[i] == source)
            return 1;
    return 0;
}

static inline int64_t mdf_frame_time(mdf_receiver *r, mdf_ring *g, const mdf_frame *f, uint16_t *flags) {
    *flags = MDF_KERNEL_TS;
    if (!(f->status & TP_STATUS_TS_RAW_HARDWARE))
        return f->time_ns;
    int64_t now = mdf_clock_ns(CLOCK_REALTIME), ahead = f->time_ns - now;
    if (ahead <= MDF_CLOCK_APART_NS && ahead >= -MDF_CLOCK_APART_NS) {
        *flags = MDF_HARDWARE_TS;
        return f->time_ns;
    }
    r->clock_apart++;
    if (g->hardware)
        mdf_ring_kernel_stamps(g);
    *flags = 0;
    return now;
}

static inline void mdf_frame_receive(mdf_receiver *r, mdf_ring *g, const mdf_frame *f,
                                     const mdf_packet_sink *sink, int64_t now_ns) {
    int checked = (f->status & (TP_STATUS_CSUM_VALID | TP_STATUS_CSUMNOTREADY)) != 0;
    mdf_datagram d;
    int verdict = mdf_packet_read(f->ip, f->captured, f->whole, checked, &d);
    mdf_line *l = mdf_lookup(r, d.destination, d.destination_port, (int)(g - r->ring));
    if (!l || f->packet_type == PACKET_OUTGOING || f->packet_type == PACKET_OTHERHOST)
        return; /* came before the filter was narrowed, or broken before its address */
    if (verdict != MDF_DATAGRAM || !mdf_source_wanted(l, d.source)) {
        uint64_t *count = verdict == MDF_FRAGMENT ? &l->count.fragments
                          : verdict == MDF_CUT    ? &l->count.truncated
                                                  : &l->count.refused;
        ++*count;
        return;
    }
    mdf_packet p = {
        .payload = d.payload, .length = d.length, .line = l->number, .now_ns = now_ns,
        .source = d.source, .source_port = d.source_port,
    };
    p.ts_recv = mdf_frame_time(r, g, f, &p.ts_flags);
    l->count.packets++;
    l->count.bytes += p.length;
    sink->packet(sink->context, &p);
}

/* Some blocks of a ring; the number of frames in them. */
static inline int mdf_ring_receive(mdf_receiver *r, mdf_ring *g, const mdf_packet_sink *sink,
                                   int64_t now_ns) {
    int frames = 0, got = 0;
    for (uint32_t turn = 0; turn < MDF_BLOCKS_PER_TURN; turn++) {
        uint8_t *block = mdf_ring_block(g);
        if (!block)
            break;
        mdf_walk walk;
        mdf_frame frame;
        mdf_walk_open(&walk, block, MDF_BLOCK_BYTES);
        for (; (got = mdf_walk_next(&walk, &frame)) > 0; frames++)
            mdf_frame_receive(r, g, &frame, sink, now_ns);
        if (got < 0)
            mdf_receiver_failed(r, NULL, EBADMSG);
        mdf_ring_release(g, block);
    }
    return frames;
}

static inline int mdf_event_receive(mdf_receiver *r, const struct epoll_event *e,
                                    const mdf_packet_sink *sink, int64_t now_ns) {
    uint32_t which = e->data.u32 & ~MDF_RING_EVENT;
    if (which == MDF_TIMER_EVENT) {
        uint64_t beats;
        (void)!read(r->timer, &beats, sizeof beats);
        return 0;
    }
    if (!(e->data.u32 & MDF_RING_EVENT))
        return mdf_line_receive(r, &r->line[which], sink, now_ns);
    mdf_ring *g = &r->ring[which];
    if (e->events & EPOLLERR) { /* ENETDOWN when the interface goes; asking takes it off the socket */
        int error = 0;
        socklen_t bytes = sizeof error;
        if (!getsockopt(g->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) && error)
            mdf_receiver_failed(r, NULL, error);
    }
    return mdf_ring_receive(r, g, sink, now_ns);
}

/* The lines that had more to read after the last turn. Those that still have come onto the list again. */
static inline int mdf_hot_receive(mdf_receiver *r, const mdf_packet_sink *sink, int64_t now_ns) {
    uint32_t n = r->n_hot;
    int got = 0;
    r->n_hot = 0;
    for (uint32_t i = 0; i < n; i++) { /* the list grows behind the place that is read */
        mdf_line *l = &r->line[r->hot[i]];
        l->hot = 0;
        got += mdf_line_receive(r, l, sink, now_ns);
    }
    return got;
}

/* One round over what is ready: datagrams or frames taken, or -errno. `*now_ns` is when it began. */
static inline int mdf_receiver_turn(mdf_receiver *r, const mdf_packet_sink *sink, int64_t *now_ns) {
    int got = 0;
    if (r->mode == MDF_BUSY && r->n_open <= MDF_DIRECT_LINES) {
        *now_ns = mdf_clock_ns(CLOCK_MONOTONIC);
        r->n_hot = 0; /* all are read in any case */
        for (uint32_t i = 0; i < r->n_open; i++) {
            r->line[r->open[i]].hot = 0;
            got += mdf_line_receive(r, &r->line[r->open[i]], sink, *now_ns);
        }
        return got;
    }
    int n = epoll_wait(r->epoll, r->event, MDF_EVENTS, r->mode == MDF_BUSY || r->n_hot ? 0 : -1);
    *now_ns = mdf_clock_ns(CLOCK_MONOTONIC);
    if (n < 0)
        return -errno;
    got += mdf_hot_receive(r, sink, *now_ns);
    for (int i = 0; i < n; i++)
        got += mdf_event_receive(r, &r->event[i], sink, *now_ns);
    return got;
}

/* Receives until max_ns have passed, the sink asks for Python, or a signal came; -errno if epoll fails. */
static inline int mdf_receiver_run(mdf_receiver *r, const mdf_packet_sink *sink, int64_t max_ns) {
    const struct timespec pause = {0, MDF_ERROR_PAUSE_NS};
    int64_t now = mdf_clock_ns(CLOCK_MONOTONIC), told = now;
    const int64_t end = max_ns > INT64_MAX - now ? INT64_MAX : now + max_ns;
    for (;;) {
        uint64_t errors = r->errors;
        int got = mdf_receiver_turn(r, sink, &now);
        if (got < 0 && got != -EINTR)
            return got;
        if (got > 0 || now - told >= MDF_PACKET_IDLE_NS) {
            told = now;
            if (sink->burst_end(sink->context, now))
                return MDF_RUN_ASKED;
        }
        if (got == -EINTR)
            return MDF_RUN_SIGNAL;
        if (now >= end)
            return MDF_RUN_TIME;
        if (got == 0 && r->errors != errors)
            (void)nanosleep(&pause, NULL);
    }
}

#endif
