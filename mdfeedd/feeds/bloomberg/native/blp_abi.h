/* The C interface of Bloomberg's library, as far as the data plane needs it: prototypes of our own, nothing linked.
 *
 * The library is the one that the package blpapi has loaded into the process already; it is looked up, never loaded.
 * All symbols of BLP_SYMBOLS must be there, those of BLP_OPTIONAL may be. 0 is success where a code is returned.
 * Elements belong to their message, messages to their iterator, and all to the event, which the caller holds.
 */
#ifndef MDFEEDD_BLP_ABI_H
#define MDFEEDD_BLP_ABI_H

#include "blp_decode.h"

#include <dlfcn.h>

typedef struct blp_event blp_event;
typedef struct blp_iterator blp_iterator;
typedef struct blp_message blp_message;
typedef struct blp_element blp_element;
typedef struct blp_name blp_name;

/* A correlation id. flags: size 8 bits, type of the value 4, class 16, internal 4. v[0] is the value of an integer. */
typedef struct { uint32_t flags; uint64_t v[6]; } blp_cid;
#define BLP_CID_TYPE(cid) ((cid).flags >> 8 & 0xF)
#define BLP_CID_INT 1

typedef struct {
    uint8_t parts, hours, minutes, seconds;
    uint16_t milliseconds;
    uint8_t month, day;
    uint16_t year;
    int16_t offset_minutes;
    uint32_t picoseconds; /* on top of the milliseconds */
} blp_datetime;
enum { BLP_HAS_DATE = 0x07, BLP_HAS_OFFSET = 0x08, BLP_HAS_TIME = 0x70, BLP_HAS_FRACTION = 0x80 };

MDF_ASSERT(sizeof(blp_cid) == 56, "layout of a correlation id");
MDF_ASSERT(sizeof(blp_datetime) == 16 && offsetof(blp_datetime, picoseconds) == 12, "layout of a datetime");

/* Types of elements. */
enum {
    BLP_BOOL = 1, BLP_CHAR, BLP_BYTE, BLP_INT32, BLP_INT64, BLP_FLOAT32, BLP_FLOAT64, BLP_STRING, BLP_BYTEARRAY,
    BLP_DATE, BLP_TIME, BLP_DECIMAL, BLP_DATETIME, BLP_ENUMERATION, BLP_SEQUENCE, BLP_CHOICE
};

#define BLP_SYMBOLS(X) \
    X(blp_iterator *, MessageIterator_create, (const blp_event *)) \
    X(int, MessageIterator_next, (blp_iterator *, blp_message **)) \
    X(void, MessageIterator_destroy, (blp_iterator *)) \
    X(blp_element *, Message_elements, (const blp_message *)) \
    X(blp_cid, Message_correlationId, (const blp_message *, size_t)) \
    X(blp_name *, Name_create, (const char *)) \
    X(int, Element_getElement, (const blp_element *, blp_element **, const char *, const blp_name *)) \
    X(int, Element_datatype, (const blp_element *)) \
    X(int, Element_isArray, (const blp_element *)) \
    X(int, Element_isNullValue, (const blp_element *, size_t)) \
    X(int, Element_getValueAsBool, (const blp_element *, int *, size_t)) \
    X(int, Element_getValueAsFloat64, (const blp_element *, double *, size_t)) \
    X(int, Element_getValueAsInt64, (const blp_element *, int64_t *, size_t)) \
    X(int, Element_getValueAsString, (const blp_element *, const char **, size_t)) \
    X(int, Element_getValueAsHighPrecisionDatetime, (const blp_element *, blp_datetime *, size_t))
#define BLP_OPTIONAL(X) \
    X(int, Message_recapType, (const blp_message *)) \
    X(void, Name_destroy, (blp_name *))

typedef struct {
#define BLP_MEMBER(returns, name, takes) returns (*name) takes;
    BLP_SYMBOLS(BLP_MEMBER)
    BLP_OPTIONAL(BLP_MEMBER)
#undef BLP_MEMBER
    void *library;
    blp_name *names[BLP_FIELDS];
} blp_abi;

/* Words for the fields: 0, or -1 if the library does not give them. */
static inline int blp_abi_names(blp_abi *abi) {
    for (int i = 0; i < BLP_FIELDS; i++)
        if (!(abi->names[i] = abi->Name_create(blp_field_names[i]))) return -1;
    return 0;
}

static inline void blp_abi_close(blp_abi *abi) {
    for (int i = 0; i < BLP_FIELDS; i++)
        if (abi->names[i] && abi->Name_destroy) abi->Name_destroy(abi->names[i]);
    if (abi->library) dlclose(abi->library);
    memset(abi, 0, sizeof *abi);
}

/* Find everything in the library `path` of this process: NULL, or why it cannot be used, and then nothing is held. */
static const char *blp_abi_open(blp_abi *abi, const char *path) {
    void *at;
    memset(abi, 0, sizeof *abi);
    abi->library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (!abi->library) return "it is not loaded";
#define BLP_FIND(name) (at = dlsym(abi->library, "blpapi_" #name), memcpy(&abi->name, &at, sizeof at), at)
#define BLP_NEED(returns, name, takes) \
    if (!BLP_FIND(name)) { blp_abi_close(abi); return "it has no blpapi_" #name; }
#define BLP_TRY(returns, name, takes) (void)BLP_FIND(name);
    BLP_OPTIONAL(BLP_TRY)
    BLP_SYMBOLS(BLP_NEED)
#undef BLP_TRY
#undef BLP_NEED
#undef BLP_FIND
    if (!blp_abi_names(abi)) return NULL;
    blp_abi_close(abi);
    return "it gives no names";
}

#endif
