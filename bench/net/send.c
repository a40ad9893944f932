/* Sends every sequence number to each line, one after the other, at a rate or as fast as it can.
 *
 *     cc -O2 -std=c11 bench/net/send.c -o send
 *     ./send lines=2 port=45310 packets=200000 bytes=150 pps=100000 burst=1 cpu=0
 *
 * pps counts datagrams over all lines; 0: no pause. burst: datagrams that leave together.
 */
#include "wire.h"

int main(int argc, char **argv) {
    wire_options o = wire_read(argc, argv);
    static uint8_t payload[9000];
    struct sockaddr_in to[MAX_WIRE_LINES];
    int fd = socket(AF_INET, SOCK_DGRAM, 0), bytes = 8 << 20;
    if (fd < 0)
        wire_fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    for (uint32_t i = 0; i < o.lines; i++) {
        to[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)(o.port + i))};
        inet_pton(AF_INET, o.address, &to[i].sin_addr);
    }
    int64_t start = wire_clock(CLOCK_MONOTONIC), refused = 0;
    for (uint32_t n = 0; n < o.packets; n++) {
        if (o.pps && n % o.burst == 0) {
            int64_t due = start + (int64_t)n * o.lines * 1000000000 / o.pps;
            while (wire_clock(CLOCK_MONOTONIC) < due)
                ;
        }
        memcpy(payload, &n, sizeof n);
        for (uint32_t i = 0; i < o.lines; i++)
            refused += sendto(fd, payload, o.bytes, 0, (struct sockaddr *)&to[i], sizeof to[i]) < 0;
    }
    int64_t wall = wire_clock(CLOCK_MONOTONIC) - start;
    uint32_t end = END;
    memcpy(payload, &end, sizeof end);
    for (int i = 0; i < 100; i++) {
        struct timespec pause = {0, 5000000};
        sendto(fd, payload, o.bytes, 0, (struct sockaddr *)&to[0], sizeof to[0]);
        nanosleep(&pause, NULL);
    }
    printf("{\"sent\": %lu, \"refused\": %ld, \"wall_ns\": %ld}\n", (unsigned long)o.packets * o.lines,
           (long)refused, (long)wall);
    return 0;
}
