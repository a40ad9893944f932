# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The kernel of jsontext.h with numpy arrays in and out."""
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

from mdfeedd.ring._ring cimport mdf_tick

cdef extern from "numpy_abi.h":
    ctypedef struct mdf_ndarray:
        char *data
        int nd
        Py_ssize_t *dimensions
        PyObject *descr
        int flags
    enum:
        MDF_NDARRAY_C_CONTIGUOUS
        MDF_NDARRAY_WRITEABLE

cdef extern from "jsontext.h" nogil:
    enum:
        MDF_JSON_LINE_MAX
        MDF_JSON_TEXTS

    ctypedef struct mdf_json_heads:
        const char *texts
        const int64_t *offsets
        const int64_t *places

    size_t mdf_json_lines(const mdf_tick *ticks, size_t i, size_t n, const mdf_json_heads *heads,
                          int resp, char *out, int64_t *lengths, size_t *written)

LINE_MAX = MDF_JSON_LINE_MAX
TEXTS = MDF_JSON_TEXTS


cdef char *_memory(array, Py_ssize_t itemsize, Py_ssize_t *n) except NULL:
    """Address and length of a contiguous, aligned array of shape (n,)."""
    cdef mdf_ndarray *a = <mdf_ndarray *>array
    if a.nd != 1 or not a.flags & MDF_NDARRAY_C_CONTIGUOUS or <size_t>a.data % min(itemsize, 8):
        raise ValueError("an array must be contiguous, aligned and of shape (n,)")
    if array.itemsize != itemsize:
        raise TypeError(f"items must have {itemsize} bytes, not {array.itemsize}")
    n[0] = a.dimensions[0]
    return a.data


def lines(ticks, Py_ssize_t start, places, bytes texts, offsets, bint resp, out, lengths):
    """Quotes and trades from `start` on as lines at the begin of `out`.

    ticks: `TICK`, shape (n,). places: int64 (n,), which instrument. texts, offsets: int64
    (`TEXTS` * instruments + 1,), see jsontext.h. out: uint8. lengths: int64 (n,), of each line.
    Returns the index of the first tick of another kind, or n, and the bytes written.
    Raises `ValueError` and `TypeError` for arrays that do not fit.
    """
    cdef Py_ssize_t n, n_places, n_offsets, n_out, n_lengths, i, instruments, room, n_texts = len(texts)
    cdef const mdf_tick *ticks_at = <const mdf_tick *>_memory(ticks, sizeof(mdf_tick), &n)
    cdef mdf_json_heads heads
    cdef char *out_at = _memory(out, 1, &n_out)
    cdef int64_t *lengths_at = <int64_t *>_memory(lengths, 8, &n_lengths)
    cdef int64_t longest = 0
    cdef size_t written = 0, end
    heads.texts = texts
    heads.places = <const int64_t *>_memory(places, 8, &n_places)
    heads.offsets = <const int64_t *>_memory(offsets, 8, &n_offsets)
    instruments = (n_offsets - 1) // MDF_JSON_TEXTS
    for i in range(n_offsets):
        if not (heads.offsets[i - 1] if i else 0) <= heads.offsets[i] <= n_texts:
            raise ValueError("offsets must go up, from 0 to the end of the texts at most")
    for i in range(instruments):
        longest = max(longest, heads.offsets[(i + 1) * MDF_JSON_TEXTS] - heads.offsets[i * MDF_JSON_TEXTS])
    room = n_out // (MDF_JSON_LINE_MAX + longest)
    if not 0 <= start <= n or n_places != n or n_lengths != n or room < n - start:
        raise ValueError("places and lengths must be as long as ticks, and out have room for them")
    for i in range(n):
        if not 0 <= heads.places[i] < instruments:
            raise ValueError("a place must be that of an instrument")
    with nogil:
        end = mdf_json_lines(ticks_at, <size_t>start, <size_t>n, &heads, resp, out_at, lengths_at,
                             &written)
    return <Py_ssize_t>end, <Py_ssize_t>written
