/* One input of a fuzz target, however it came: `one_input` is the target's.
 *
 *     PROGRAM replay FILE...       each file once, under sanitizers: the regressions
 *     with FUZZ_GUIDED             libFuzzer's main in place of the program's own
 *
 * Inputs of targets that draw numbers begin with the 8 bytes that they draw them from.
 */
#ifndef TEST_ONE_INPUT_H
#define TEST_ONE_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void one_input(const uint8_t *data, size_t n);

#ifdef FUZZ_GUIDED
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    one_input(data, n);
    return 0;
}
#define main main_of_rounds
#endif

/* argv[1] is "replay": the exit status; each file in a block of exactly its size. */
__attribute__((unused)) static int replay(int argc, char **argv) {
    static uint8_t buffer[1 << 21];
    for (int i = 2; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) return 2;
        size_t n = fread(buffer, 1, sizeof buffer, file);
        fclose(file);
        uint8_t *exact = (uint8_t *)malloc(n ? n : 1);
        if (!exact) return 2;
        memcpy(exact, buffer, n);
        one_input(exact, n);
        free(exact);
    }
    printf("%d\n", argc - 2);
    return 0;
}

__attribute__((unused)) static uint64_t seed_of(const uint8_t *data, size_t n) {
    uint64_t seed = 0;
    memcpy(&seed, data, n < sizeof seed ? n : sizeof seed);
    return seed;
}

#endif
