/* The measure: a program that does nothing but call recvmmsg, on one socket, with the same options set.
 *
 *     cc -O2 -std=c11 bench/net/recvmmsg.c -o recvmmsg
 *     ./recvmmsg lines=1 port=45310 cpu=1 mode=blocking
 *
 * mode blocking: MSG_WAITFORONE on one socket; epoll_wait before it where there are several. mode busy: no wait.
 */
#include "wire.h"

#include <sys/epoll.h>

enum { BATCH = 64, DATAGRAM = 9216, SLOT = 9280, CONTROL = 128 };

static struct mmsghdr message[BATCH];
static struct iovec part[BATCH];
static struct sockaddr_in from[BATCH];
static _Alignas(64) uint8_t slot[BATCH][SLOT];
static _Alignas(16) uint8_t control[BATCH][CONTROL];

static int line_open(const wire_options *o, uint32_t line) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1, bytes = (int)(o->buffer_mib << 20);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(o->port + line))};
    inet_pton(AF_INET, o->address, &here.sin_addr);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&here, sizeof here))
        wire_fail("bind");
    return fd;
}

static void receive(int fd, uint32_t line, int flags, wire_figures *f) {
    int n = recvmmsg(fd, message, BATCH, flags, NULL);
    f->calls++;
    for (int i = 0; i < n; i++) {
        struct msghdr *m = &message[i].msg_hdr;
        if (f->latency_ns) {
            struct cmsghdr *c = CMSG_FIRSTHDR(m);
            struct timespec t;
            if (c && c->cmsg_type == SCM_TIMESTAMPNS) {
                memcpy(&t, CMSG_DATA(c), sizeof t);
                wire_late(f, (int64_t)t.tv_sec * 1000000000 + t.tv_nsec, wire_clock(CLOCK_REALTIME));
            }
        }
        m->msg_namelen = sizeof from[i];
        m->msg_controllen = CONTROL;
        wire_take(f, line, slot[i]);
    }
}

int main(int argc, char **argv) {
    wire_options o = wire_read(argc, argv);
    wire_figures f;
    int fd[MAX_WIRE_LINES], poll = epoll_create1(0), busy = !strcmp(o.mode, "busy");
    for (int i = 0; i < BATCH; i++) {
        part[i] = (struct iovec){slot[i], DATAGRAM};
        message[i].msg_hdr = (struct msghdr){
            .msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &part[i], .msg_iovlen = 1,
            .msg_control = control[i], .msg_controllen = CONTROL};
    }
    for (uint32_t i = 0; i < o.lines; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
        fd[i] = line_open(&o, i);
        epoll_ctl(poll, EPOLL_CTL_ADD, fd[i], &e);
    }
    wire_begin(&f, &o);
    while (!f.ended) {
        struct epoll_event ready[MAX_WIRE_LINES];
        if (busy) {
            for (uint32_t i = 0; i < o.lines; i++)
                receive(fd[i], i, MSG_DONTWAIT, &f);
        } else if (o.lines == 1) {
            receive(fd[0], 0, MSG_WAITFORONE, &f);
        } else {
            int n = epoll_wait(poll, ready, MAX_WIRE_LINES, -1);
            for (int i = 0; i < n; i++)
                receive(fd[ready[i].data.u32], ready[i].data.u32, MSG_DONTWAIT, &f);
        }
    }
    wire_print(&f, 0);
    return 0;
}
