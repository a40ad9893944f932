/* The receive loop of mdfeedd with a sink that counts.
 *
 *     cc -O2 -std=c11 -Imdfeedd/ring -Imdfeedd/feeds -Imdfeedd/feeds/multicast bench/net/receive.c -o receive
 *     ./receive lines=1 port=45310 cpu=1 mode=blocking|busy|packet_ring
 */
#include "wire.h"

#include "multicast.h"

static void take(void *context, const mdf_packet *p) {
    wire_figures *f = context;
    if (f->latency_ns)
        wire_late(f, p->ts_recv, mdf_clock_ns(CLOCK_REALTIME));
    wire_take(f, p->line, p->payload);
}

static int took(void *context, int64_t now_ns) {
    wire_figures *f = context;
    (void)now_ns;
    f->calls++;
    return f->ended;
}

int main(int argc, char **argv) {
    wire_options o = wire_read(argc, argv);
    wire_figures f;
    int ring = !strcmp(o.mode, "packet_ring");
    int busy = !strcmp(o.mode, "busy");
    mdf_receiver *r = mdf_receiver_new(ring ? MDF_PACKET_RING : busy ? MDF_BUSY : MDF_BLOCKING);
    mdf_packet_sink sink = {.context = &f, .packet = take, .burst_end = took};
    if (!r)
        wire_fail("mdf_receiver_new");
    r->buffer_bytes = (uint64_t)o.buffer_mib << 20;
    for (uint32_t i = 0; i < o.lines; i++) {
        mdf_line *l = mdf_receiver_add(r, i);
        struct in_addr address;
        inet_pton(AF_INET, o.address, &address);
        l->address = ntohl(address.s_addr);
        l->port = (uint16_t)(o.port + i);
        l->ifindex = if_nametoindex("lo");
        int error = mdf_line_open(r, l);
        if (error) {
            errno = -error;
            wire_fail("mdf_line_open");
        }
    }
    wire_begin(&f, &o);
    while (!f.ended)
        mdf_receiver_run(r, &sink, 50000000);
    uint64_t drops = 0;
    for (uint32_t i = 0; i < o.lines; i++) {
        mdf_line_measure(&r->line[i]);
        drops += r->line[i].count.kernel_drops;
    }
    if (ring) {
        mdf_ring_measure(&r->ring[0]);
        drops += r->ring[0].drops;
    }
    mdf_receiver_free(r);
    wire_print(&f, drops);
    return 0;
}
