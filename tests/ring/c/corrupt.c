/* corrupt.c: damaged and truncated segments are refused with a sentence, and never followed.
 *
 *     corrupt DIRECTORY
 *
 * Built with AddressSanitizer and UndefinedBehaviorSanitizer. Every 4-byte and 8-byte word of both
 * files' headers takes a set of bad values. A field that says what the file is must be refused by
 * readers and writers; any other must do no harm: reading and publishing on stay inside the
 * mapping. Prints counts.
 */
#include "mdfeedd.h"

#include "record.h"

enum { LAYOUT = 256, LAYOUT_END = 1024, INSTRUMENTS = 300, RECORDS = 700 };

static char path[512], registry_path[600];
static uint8_t *image, *registry_image;
static size_t image_size, registry_size;
static uint64_t refused, harmless;

static uint8_t *slurp(const char *name, size_t *size) {
    struct stat st;
    int fd = open(name, O_RDONLY);
    REQUIRE(fd >= 0 && !fstat(fd, &st), "no %s", name);
    uint8_t *bytes = (uint8_t *)malloc((size_t)st.st_size);
    REQUIRE(bytes && read(fd, bytes, (size_t)st.st_size) == st.st_size, "cannot read %s", name);
    close(fd);
    *size = (size_t)st.st_size;
    return bytes;
}

static void spill(const char *name, const uint8_t *bytes, size_t size) {
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0640);
    REQUIRE(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, "cannot write %s", name);
    close(fd);
}

static mdf_ring_options options(void) {
    mdf_ring_options o = {"feed", layout_of(64), 64, 0, INSTRUMENTS, 256};
    return o;
}

/* 0, or the error's code; everything a reader does is done. */
static int try_reader(const char *name) {
    static uint64_t out[64 * MAX_WORDS];
    char err[MDF_ERR] = "";
    mdf_reader r;
    int code = mdf_reader_open(&r, path, layout_of(64), 64, MDF_START_OLDEST, name, err);
    if (code) {
        REQUIRE(code < 0 && strlen(err) > 10 && strchr(err, '/'),
                "error %d without a sentence: '%s'", code, err);
        return code;
    }
    uint64_t skip;
    for (int i = 0; i < 20; i++) mdf_read_batch(&r, out, 64, &skip);
    for (int i = 0; i < 300; i++) mdf_read_one(&r, out);
    for (uint64_t i = 0; i < INSTRUMENTS + 2; i++) {
        mdf_instrument e;
        int rc = mdf_read_instrument(&r, i, &e);
        REQUIRE(i < INSTRUMENTS || rc == -1, "an instrument beyond the table");
    }
    mdf_wait(&r, 0, 1000);
    REQUIRE(mdf_available(&r) + mdf_lag(&r) != 1, "impossible"); /* both are looked at */
    mdf_reader_close(&r);
    return 0;
}

static int try_writer(void) {
    static uint64_t records[100 * 8];
    char err[MDF_ERR] = "";
    mdf_writer w;
    mdf_instrument e;
    mdf_ring_options o = options();
    int code = mdf_writer_open(&w, path, &o, err);
    if (code) {
        REQUIRE(code < 0 && strlen(err) > 10 && strchr(err, '/'),
                "error %d without a sentence: '%s'", code, err);
        return code;
    }
    memset(&e, 0, sizeof e);
    for (int i = 0; i < 70; i++) mdf_publish(&w, records);
    mdf_publish_batch(&w, records, 100);
    mdf_flush(&w);
    for (uint32_t i = 0; i < INSTRUMENTS + 2; i++) mdf_instrument_put(&w, i, &e, err);
    mdf_writer_close(&w, 1);
    return 0;
}

/* Fields that say what the file is; a change of any of them must be refused. */
static int says_what_it_is(size_t offset) {
    static const struct {
        size_t from, to;
    } fields[] = {
        {0, 12}, /* magic, abi_major */
        {offsetof(mdf_ring_header, total_size), offsetof(mdf_ring_header, block)},
        {offsetof(mdf_ring_header, counters_off), offsetof(mdf_ring_header, feed_index)},
        {offsetof(mdf_ring_header, layout_len), offsetof(mdf_ring_header, reserved_0)},
        {LAYOUT, LAYOUT + 28}, /* the text itself; behind its end nothing is looked at */
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (offset >= fields[i].from && offset < fields[i].to) return 1;
    return 0;
}

static uint64_t bad_value(int kind, uint64_t old) {
    switch (kind) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return old + 1;
    case 3: return old ^ 1u << 7;
    case 4: return UINT64_C(1) << 63;
    case 5: return UINT64_MAX - MDF_PAGE + 1;
    case 6: return old * 2;
    case 7: return (UINT64_C(1) << 40) + 3;
    default: return UINT64_C(0x7fffffff);
    }
}

static void damage_ring(size_t offset, size_t width) {
    uint64_t old = 0;
    memcpy(&old, image + offset, width);
    for (int kind = 0; kind < 9; kind++) {
        uint64_t value = bad_value(kind, old);
        if (!memcmp(&value, &old, width)) continue;
        snprintf(case_name, sizeof case_name, "ring byte %zu, width %zu, value %llx", offset, width,
                 (unsigned long long)value);
        memcpy(image + offset, &value, width);
        spill(path, image, image_size);
        int reader = try_reader(kind & 1 ? "me" : NULL), writer = 0;
        if (offset != 0 || reader == MDF_E_CORRUPT) writer = try_writer();
        if (says_what_it_is(offset))
            REQUIRE(reader && (writer || offset >= offsetof(mdf_ring_header, layout_len)),
                    "a lie about the layout was believed");
        if (reader) refused++;
        else harmless++;
        memcpy(image + offset, &old, width);
    }
}

/* Offsets that wrap around 64 bits together. */
static void damage_in_concert(void) {
    snprintf(case_name, sizeof case_name, "offsets that wrap");
    uint64_t off = offsetof(mdf_ring_header, data_off), at[2], bytes;
    memcpy(&at[0], image + off, 8);
    memcpy(&at[1], image + offsetof(mdf_ring_header, instruments_off), 8);
    memcpy(&bytes, image + offsetof(mdf_ring_header, total_size), 8);
    uint64_t data = 0 - UINT64_C(1) * MDF_PAGE,
             instruments = data + 256 * 64; /* = 3 pages, beyond 2^64 */
    uint32_t entries = (uint32_t)((bytes - instruments) / sizeof(mdf_instrument)), kept;
    memcpy(&kept, image + offsetof(mdf_ring_header, instruments_capacity), 4);
    memcpy(image + off, &data, 8);
    memcpy(image + offsetof(mdf_ring_header, instruments_off), &instruments, 8);
    memcpy(image + offsetof(mdf_ring_header, instruments_capacity), &entries, 4);
    spill(path, image, image_size);
    REQUIRE(try_reader(NULL) == MDF_E_CORRUPT && try_writer() == MDF_E_CORRUPT,
            "an offset that wraps was believed");
    memcpy(image + off, &at[0], 8);
    memcpy(image + offsetof(mdf_ring_header, instruments_off), &at[1], 8);
    memcpy(image + offsetof(mdf_ring_header, instruments_capacity), &kept, 4);
    refused++;
}

static void truncate_ring(void) {
    size_t sizes[] = {0,
                      1,
                      8,
                      1023,
                      MDF_PAGE - 1,
                      MDF_PAGE,
                      MDF_PAGE + 1,
                      2 * MDF_PAGE,
                      image_size / 2,
                      image_size - MDF_PAGE,
                      image_size - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(case_name, sizeof case_name, "ring of %zu bytes", sizes[i]);
        spill(path, image, sizes[i]);
        REQUIRE(try_reader("me") == MDF_E_CORRUPT, "a truncated ring was read");
        REQUIRE(try_writer() == MDF_E_CORRUPT, "a truncated ring was written");
        refused++;
    }
    snprintf(case_name, sizeof case_name, "ring with a byte more");
    uint8_t *longer = (uint8_t *)calloc(1, image_size + 1);
    REQUIRE(longer, "no memory");
    memcpy(longer, image, image_size);
    spill(path, longer, image_size + 1);
    REQUIRE(try_reader("me") == MDF_E_CORRUPT && try_writer() == MDF_E_CORRUPT,
            "a ring with a byte more was used");
    free(longer);
    refused++;
}

static void damage_registry(void) {
    spill(path, image, image_size);
    for (size_t offset = 0; offset < sizeof(mdf_registry); offset += offset < 256 ? 4 : 8) {
        if (offset >= 256 && offset < 4096) continue;
        if (offset > 4096 + 3 * sizeof(mdf_consumer)) break; /* the consumers are alike */
        for (int kind = 0; kind < 9; kind++) {
            uint64_t old = 0, value;
            memcpy(&old, registry_image + offset, 4);
            value = bad_value(kind, old);
            if (!memcmp(&value, &old, 4)) continue;
            snprintf(case_name, sizeof case_name, "registry byte %zu, value %llx", offset,
                     (unsigned long long)value);
            memcpy(registry_image + offset, &value, 4);
            spill(registry_path, registry_image, registry_size);
            int reader = try_reader("me"), writer = try_writer();
            int other_abi = offset == offsetof(mdf_registry, abi_major);
            if (offset < 16) REQUIRE(reader, "a lie about the registry was believed");
            REQUIRE(writer == (other_abi ? MDF_E_MISMATCH : 0), "a damaged registry was not made anew");
            if (reader) refused++;
            else harmless++;
            memcpy(registry_image + offset, &old, 4);
        }
    }
    for (size_t size = 0; size < registry_size; size += registry_size / 7 + 1) {
        snprintf(case_name, sizeof case_name, "registry of %zu bytes", size);
        spill(registry_path, registry_image, size);
        REQUIRE(try_reader("me") == MDF_E_CORRUPT, "a truncated registry was used");
        REQUIRE(try_writer() == 0 && try_reader("me") == 0, "a truncated registry was not made anew");
        refused++;
    }
}

int main(int argc, char **argv) {
    char err[MDF_ERR];
    mdf_writer w;
    mdf_instrument e;
    uint64_t record[8];
    mdf_ring_options o = options();
    REQUIRE(argc == 2, "usage: corrupt DIRECTORY");
    snprintf(path, sizeof path, "%s/ring", argv[1]);
    mdf_registry_path(registry_path, sizeof registry_path, path);
    REQUIRE(mdf_writer_open(&w, path, &o, err) == 0, "%s", err);
    memset(&e, 0, sizeof e);
    for (uint32_t i = 0; i < 3; i++) REQUIRE(mdf_instrument_put(&w, i, &e, err) == 0, "%s", err);
    for (int i = 0; i < RECORDS; i++) {
        record_fill(record, 8, w.next, 1);
        mdf_publish(&w, record);
    }
    mdf_writer_close(&w, 1);
    REQUIRE(try_reader("me") == 0 && try_reader(NULL) == 0, "the sound ring was refused");
    image = slurp(path, &image_size);
    registry_image = slurp(registry_path, &registry_size);
    for (size_t offset = 0; offset < LAYOUT_END; offset += 4) damage_ring(offset, 4);
    for (size_t offset = 0; offset < LAYOUT + 64; offset += 8) damage_ring(offset, 8);
    for (size_t offset = LAYOUT_END; offset < 2304; offset += 8) damage_ring(offset, 8);
    damage_in_concert();
    truncate_ring();
    damage_registry();
    printf("refused=%llu harmless=%llu\n", (unsigned long long)refused,
           (unsigned long long)harmless);
    free(image);
    free(registry_image);
    return 0;
}
