# cython: language_level=3, boundscheck=False, wraparound=False
"""For Python: the flat decoder of mdp_entries.h, mdp_define.h's definitions, mdp_layout.h's table."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t

from mdfeedd.feeds.cme.codec._define cimport mdp_definition

cdef extern from "mdp_entries.h" nogil:
    enum:
        MDP_SOUND
        MDP_BAD_HEADER
        MDP_BAD_SIZE
        MDP_BAD_BLOCK
        MDP_BAD_GROUP
        MDP_TYPE_text
        MDP_TYPE_price
        MDP_TYPE_i64
        MDP_TYPE_i32
        MDP_TYPE_i16
        MDP_FIELD_ROWS
        MDP_GROUP_ROWS
        MDP_COLUMN_NUMBER
    ctypedef struct mdp_entry:
        pass
    ctypedef struct mdp_column:
        const char *name
        uint16_t offset, size
        uint8_t kind
    ctypedef struct mdp_field_row:
        const char *template_name
        const char *group
        const char *field
        const char *type_name
        uint16_t template_id, old_id, offset, size, since
    ctypedef struct mdp_group_row "mdp_define_group":
        uint8_t template_id, since, old_since, dimension
        uint16_t min
    ctypedef struct mdp_group_name:
        const char *template_name
        const char *group
        uint16_t template_id, old_id
    ctypedef struct mdp_shape:
        uint16_t root_min
        uint8_t known
    ctypedef struct mdp_plan:
        mdp_shape shapes[256]
        mdp_entry null
    ctypedef struct mdp_message:
        const uint8_t *root
        const uint8_t *groups
        const uint8_t *end
        uint16_t template_id, version, block
    const mdp_column mdp_columns[]
    const mdp_field_row mdp_field_rows[]
    const mdp_group_row mdp_define_groups[]
    const mdp_group_name mdp_group_names[]
    void mdp_plan_init(mdp_plan *plan)
    int mdp_check(const mdp_shape *shapes, const uint8_t *packet, size_t length)
    int mdp_entries_fault(const mdp_plan *plan, const uint8_t *packet, size_t length, size_t *offset)
    size_t mdp_entries(const mdp_plan *plan, const uint8_t *packet, size_t length, mdp_entry *out,
                       size_t capacity)
    const uint8_t *mdp_message_at(const uint8_t *at, mdp_message *message)
    int mdp_define(unsigned template_id, unsigned version, const uint8_t *root, unsigned block_length,
                   const uint8_t *groups, size_t groups_length, mdp_definition *out)

cdef extern from *:
    """
    static const struct { const char *name; unsigned id, old_id, root_min; } mdp_template_rows[] = {
    #define X(template, id, old, root) {#template, id, old, root},
        MDP_TEMPLATES(X)
    #undef X
    };
    enum { MDP_TEMPLATE_ROWS = sizeof(mdp_template_rows) / sizeof(mdp_template_rows[0]) };
    """
    enum:
        MDP_TEMPLATE_ROWS
    ctypedef struct mdp_template_row:
        const char *name
        unsigned id, old_id, root_min
    const mdp_template_row mdp_template_rows[]

cdef mdp_plan PLAN
mdp_plan_init(&PLAN)

#: Bytes of a row, and a row without a value in any column.
ENTRY_SIZE = sizeof(mdp_entry)
NULL_ENTRY = (<const char *>&PLAN.null)[:sizeof(mdp_entry)]

_FAULTS = {
    MDP_BAD_HEADER: "is shorter than a packet header",
    MDP_BAD_SIZE: "has a message whose MsgSize is too small or reaches beyond the packet",
    MDP_BAD_BLOCK: "has a message whose root is shorter than its template's, or longer than the message",
    MDP_BAD_GROUP: "has a message with a group that reaches beyond it or has entries that are too short",
}


class MdpError(ValueError):
    """Bytes that are no MDP 3.0 packet: lengths in it contradict each other."""


def columns():
    """Name, offset, size in bytes and numpy's kind of each column of `ENTRY`."""
    signed = (MDP_TYPE_price, MDP_TYPE_i64, MDP_TYPE_i32, MDP_TYPE_i16)
    return [
        (mdp_columns[i].name.decode(), mdp_columns[i].offset, mdp_columns[i].size,
         "S" if mdp_columns[i].kind == MDP_TYPE_text else "i" if mdp_columns[i].kind in signed else "u")
        for i in range(MDP_COLUMN_NUMBER)
    ]


def templates():
    """Each template: name, id, old id or 0, bytes of the root that all versions carry."""
    return [
        (mdp_template_rows[i].name.decode(), mdp_template_rows[i].id, mdp_template_rows[i].old_id,
         mdp_template_rows[i].root_min)
        for i in range(MDP_TEMPLATE_ROWS)
    ]


def groups():
    """Each group in wire order: template, group, bytes of dimension and entry, since, since of the old id."""
    return [
        (mdp_group_names[i].template_name.decode(), mdp_group_names[i].group.decode(),
         mdp_define_groups[i].dimension, mdp_define_groups[i].min, mdp_define_groups[i].since,
         mdp_define_groups[i].old_since)
        for i in range(MDP_GROUP_ROWS)
    ]


def fields():
    """Each field: template, group or Root, field, offset, size, type, since."""
    return [
        (mdp_field_rows[i].template_name.decode(), mdp_field_rows[i].group.decode(),
         mdp_field_rows[i].field.decode(), mdp_field_rows[i].offset, mdp_field_rows[i].size,
         mdp_field_rows[i].type_name.decode(), mdp_field_rows[i].since)
        for i in range(MDP_FIELD_ROWS)
    ]


def check(const uint8_t[::1] payload not None):
    """Raise `MdpError` unless the whole packet can be walked."""
    _check(payload)


def count(const uint8_t[::1] payload not None):
    """Rows of a packet; raises `MdpError`."""
    cdef size_t length = payload.shape[0], rows
    cdef const uint8_t *packet = _check(payload)
    with nogil:
        rows = mdp_entries(&PLAN, packet, length, NULL, 0)
    return rows


def decode_into(const uint8_t[::1] payload not None, uint8_t[::1] out not None):
    """Decode into the bytes of an array of `ENTRY` and return the rows written; raises `MdpError`.

    Raises `ValueError`, and may have written some rows, if they do not all fit.
    """
    cdef size_t length = payload.shape[0], room = out.shape[0] // sizeof(mdp_entry), rows
    cdef const uint8_t *packet = _check(payload)
    cdef mdp_entry *rows_out = <mdp_entry *>&out[0] if room else NULL
    with nogil:
        rows = mdp_entries(&PLAN, packet, length, rows_out, room)
    if rows > room:
        raise ValueError(f"{rows} rows do not fit into the {room} of the array")
    return rows


def messages(const uint8_t[::1] payload not None):
    """Offset, size, root's length, template and version of each message of a packet; raises `MdpError`."""
    cdef const uint8_t *packet = _check(payload)
    cdef const uint8_t *at = packet + 12
    cdef const uint8_t *next
    cdef mdp_message m
    out = []
    while at < packet + payload.shape[0]:
        next = mdp_message_at(at, &m)
        out.append((at - packet, next - at, m.block, m.template_id, m.version))
        at = next
    return out


def definitions(const uint8_t[::1] payload not None):
    """Each instrument definition of a packet as a dict of `struct mdp_definition`; raises `MdpError`."""
    cdef const uint8_t *packet = _check(payload)
    cdef const uint8_t *at = packet + 12
    cdef mdp_message m
    cdef mdp_definition definition
    out = []
    while at < packet + payload.shape[0]:
        at = mdp_message_at(at, &m)
        if mdp_define(m.template_id, m.version, m.root, m.block, m.groups, m.end - m.groups,
                      &definition) == 0:
            out.append(definition)
    return out


def define(unsigned template_id, unsigned version, const uint8_t[::1] root not None,
           const uint8_t[::1] groups not None):
    """What `mdp_define` returns, and the definition as a dict (None unless it returned 0)."""
    cdef mdp_definition definition
    cdef const uint8_t *root_at = &root[0] if root.shape[0] else NULL
    cdef const uint8_t *groups_at = &groups[0] if groups.shape[0] else NULL
    cdef int result = mdp_define(template_id, version, root_at, <unsigned>root.shape[0], groups_at,
                                 groups.shape[0], &definition)
    return result, definition if result == 0 else None


cdef const uint8_t *_check(const uint8_t[::1] payload) except NULL:
    cdef size_t length = payload.shape[0], offset = 0
    cdef const uint8_t *packet = &payload[0] if length else NULL
    cdef int fault
    with nogil:
        fault = mdp_entries_fault(&PLAN, packet, length, &offset)
    if fault != MDP_SOUND:
        raise MdpError(f"a packet of {length} bytes {_FAULTS[fault]}: at byte {offset}")
    return packet
