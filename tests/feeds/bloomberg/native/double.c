/* A double of Bloomberg's library: the symbols that the data plane needs, over a list of messages given as bytes.
 *
 * Event: u32 messages. Message: u32 trouble, u32 type of the cid, u64 cid, u32 recap, u32 fields. Field: u8 length of
 * the name, u8 type, u8 trouble, u8 zero, u32 length of the value; the name, the value. Little-endian, unaligned.
 * A value is a double, an int64, an int (bool), text, or a datetime. It does as it is told, wrong things, too.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NO_MESSAGE = 1, NO_ELEMENTS = 2 };
enum { NO_ELEMENT = 1, IS_ARRAY = 2, IS_NULL = 4, FAILS = 8, NO_TEXT = 16 };
enum { MAX_NAMES = 64, MAX_NAME_BYTES = 64, MAX_MESSAGES = 4096, MAX_FIELDS = 256 };

typedef struct { uint32_t flags; uint64_t v[6]; } cid;
typedef struct { const struct name *name; int type, trouble; size_t length; char *value; } element;
typedef struct { uint32_t trouble, cid_type, recap, fields; uint64_t number; element *elements; } message;
typedef struct { uint32_t n; message *messages; } event;
typedef struct { const event *of; uint32_t next; } iterator;
typedef struct name { char text[MAX_NAME_BYTES]; } name;

static name names[MAX_NAMES];
static int used_names;
int double_iterates = 1, double_names = 1, double_endless = 0, double_lies = 0;
long double_iterators = 0; /* that live */

name *blpapi_Name_create(const char *text) {
    if (!double_names || strlen(text) >= MAX_NAME_BYTES) return NULL;
    for (int i = 0; i < used_names; i++)
        if (!strcmp(names[i].text, text)) return &names[i];
    if (used_names == MAX_NAMES) return NULL;
    strcpy(names[used_names].text, text);
    return &names[used_names++];
}
#ifndef WITHOUT_OPTIONAL
void blpapi_Name_destroy(name *n) { (void)n; }
int blpapi_Message_recapType(const message *m) { return (int)m->recap; }
#endif

static uint64_t take(const uint8_t **at, const uint8_t *end, size_t n) {
    uint64_t value = 0;
    if ((size_t)(end - *at) < n) { *at = end; return 0; }
    memcpy(&value, *at, n);
    *at += n;
    return value;
}

static void take_element(element *e, const uint8_t **at, const uint8_t *end) {
    char text[MAX_NAME_BYTES] = {0};
    size_t n = (size_t)take(at, end, 1);
    e->type = (int)take(at, end, 1);
    e->trouble = (int)take(at, end, 2) & 0xFF;
    size_t length = (size_t)take(at, end, 4);
    if (n >= MAX_NAME_BYTES || n > (size_t)(end - *at)) { *at = end; n = 0; }
    memcpy(text, *at, n);
    *at += n;
    e->name = blpapi_Name_create(text);
    if (length > (size_t)(end - *at)) length = (size_t)(end - *at);
    e->length = length;
    e->value = malloc(length + 1); /* no more, so that a reader that goes on is caught */
    memcpy(e->value, *at, length);
    e->value[length] = 0;
    *at += length;
}

event *double_event(const uint8_t *bytes, size_t n) {
    const uint8_t *end = bytes + n;
    event *made = calloc(1, sizeof *made);
    made->n = (uint32_t)take(&bytes, end, 4);
    if (made->n > MAX_MESSAGES) made->n = MAX_MESSAGES;
    made->messages = calloc(made->n + 1, sizeof *made->messages);
    for (uint32_t i = 0; i < made->n; i++) {
        message *m = &made->messages[i];
        m->trouble = (uint32_t)take(&bytes, end, 4);
        m->cid_type = (uint32_t)take(&bytes, end, 4);
        m->number = take(&bytes, end, 8);
        m->recap = (uint32_t)take(&bytes, end, 4);
        m->fields = (uint32_t)take(&bytes, end, 4);
        if (m->fields > MAX_FIELDS) m->fields = MAX_FIELDS;
        m->elements = calloc(m->fields + 1, sizeof *m->elements);
        for (uint32_t j = 0; j < m->fields; j++) take_element(&m->elements[j], &bytes, end);
    }
    return made;
}

void double_free(event *e) {
    for (uint32_t i = 0; i < e->n; i++) {
        for (uint32_t j = 0; j < e->messages[i].fields; j++) free(e->messages[i].elements[j].value);
        free(e->messages[i].elements);
    }
    free(e->messages);
    free(e);
}

iterator *blpapi_MessageIterator_create(const event *e) {
    if (!double_iterates) return NULL;
    iterator *made = malloc(sizeof *made);
    *made = (iterator){e, 0};
    double_iterators++;
    return made;
}

void blpapi_MessageIterator_destroy(iterator *it) {
    double_iterators--;
    free(it);
}

int blpapi_MessageIterator_next(iterator *it, message **m) {
    if (it->next == it->of->n && double_endless && it->of->n) it->next = 0;
    if (it->next == it->of->n) return 1;
    *m = &it->of->messages[it->next++];
    if ((*m)->trouble & NO_MESSAGE) *m = NULL;
    return 0;
}

const message *blpapi_Message_elements(const message *m) { return m->trouble & NO_ELEMENTS ? NULL : m; }

#ifndef WITHOUT_CID
cid blpapi_Message_correlationId(const message *m, size_t index) {
    cid made = {56 | (m->cid_type & 0xF) << 8, {m->number}};
    if (index) memset(&made, 0xFF, sizeof made);
    return made;
}
#endif

int blpapi_Element_getElement(const message *m, element **found, const char *text, const name *n) {
    (void)text;
    for (uint32_t i = 0; i < m->fields; i++)
        if (m->elements[i].name == n) {
            *found = m->elements[i].trouble & NO_ELEMENT ? NULL : &m->elements[i];
            return 0;
        }
    return 0x6000d;
}

int blpapi_Element_datatype(const element *e) { return e->type; }
int blpapi_Element_isArray(const element *e) { return e->trouble & IS_ARRAY ? 1 : 0; }
int blpapi_Element_isNullValue(const element *e, size_t at) { return at == 0 && e->trouble & IS_NULL ? 1 : 0; }

static int copy(const element *e, void *to, size_t n) {
    if (e->trouble & FAILS || e->length != n) return 0x4000c;
    memcpy(to, e->value, n);
    return 0;
}
int blpapi_Element_getValueAsBool(const element *e, int *to, size_t at) { return at ? 1 : copy(e, to, sizeof *to); }
int blpapi_Element_getValueAsInt64(const element *e, int64_t *to, size_t at) { return at ? 1 : copy(e, to, 8); }
int blpapi_Element_getValueAsFloat64(const element *e, double *to, size_t at) {
    int64_t whole = 0;
    if (e->type != 4 && e->type != 5) {
        int failed = at ? 1 : copy(e, to, 8);
        *to += double_lies;
        return failed;
    }
    int failed = at ? 1 : copy(e, &whole, 8);
    *to = (double)whole;
    return failed;
}
int blpapi_Element_getValueAsString(const element *e, const char **to, size_t at) {
    if (at || e->trouble & FAILS) return 0x4000c;
    *to = e->trouble & NO_TEXT ? NULL : e->value;
    return 0;
}
int blpapi_Element_getValueAsHighPrecisionDatetime(const element *e, void *to, size_t at) {
    return at ? 1 : copy(e, to, 16);
}
