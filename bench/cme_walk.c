/* The limit of bench/cme.py: walk packets in memory and touch every entry, nothing else.
 *
 *     cme_walk FILE REPEAT     FILE: see cme_packets.h      prints ns a packet
 */
#include "cme_packets.h"

static uint64_t sum;

/* Price, size, instrument and RptSeq of every book entry of one packet, with the length checks of a real walk. */
static void walk(const uint8_t *p, size_t n, int64_t recv) {
    (void)recv;
    sum += u32(p);
    const uint8_t *end = p + n;
    for (const uint8_t *m = p + 12; end - m >= 10;) {
        size_t size = u16(m), block = u16(m + 2);
        unsigned template_id = u16(m + 4);
        if (size < 10 + block || size > (size_t)(end - m)) break;
        if (template_id == 32 && size >= 13 + block) {
            const uint8_t *g = m + 10 + block;
            size_t length = u16(g), count = g[2];
            if (13 + block + length * count <= size)
                for (size_t i = 0; i < count; i++) {
                    const uint8_t *e = g + 3 + i * length;
                    sum += (uint64_t)i64(e) + u32(e + 8) + u32(e + 12) + u32(e + 16) + e[24] + e[25] + e[26];
                }
        }
        m += size;
    }
}

static void begin(void) {}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    double ns = best_ns(argv[1], atoi(argv[2]), begin, walk);
    printf("%.3f %llu\n", ns, (unsigned long long)sum);
    return 0;
}
