# cython: language_level=3, boundscheck=False, wraparound=False
"""Records by partition, in their order (see split.h)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

import numpy as np

cdef extern from "split.h" nogil:
    int SPLIT_UNKNOWN
    ctypedef struct split_table:
        uint32_t *ids
        uint16_t *places
        uint32_t mask
    void split_put(split_table *t, uint32_t id, uint16_t place)
    uint64_t split_look(const split_table *t, const uint8_t *records, uint64_t n, uint32_t size,
                        uint32_t id_offset, uint16_t *where, uint64_t *counts, uint32_t partitions)
    void split_copy(const uint8_t *records, uint64_t n, uint32_t size, const uint16_t *where,
                    uint8_t *out, uint64_t *next, uint32_t partitions)

cdef enum:
    FIRST_ENTRIES = 1024

MAX_PARTITIONS = 4096


cdef class Splitter:
    """Knows the partition of each instrument id it was told of. Not thread-safe."""

    cdef split_table table
    cdef uint32_t known
    cdef readonly uint32_t partitions
    cdef uint64_t *counts
    cdef uint64_t *next
    cdef uint16_t *where
    cdef uint64_t room

    def __cinit__(self, uint32_t partitions):
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise ValueError(f"partitions must be 1 to {MAX_PARTITIONS}, not {partitions}")
        self.partitions = partitions
        self.table.mask = FIRST_ENTRIES - 1
        self.table.ids = <uint32_t *>calloc(FIRST_ENTRIES, sizeof(uint32_t))
        self.table.places = <uint16_t *>calloc(FIRST_ENTRIES, sizeof(uint16_t))
        self.counts = <uint64_t *>calloc(partitions, sizeof(uint64_t))
        self.next = <uint64_t *>calloc(partitions, sizeof(uint64_t))
        if not (self.table.ids and self.table.places and self.counts and self.next):
            raise MemoryError

    def __dealloc__(self):
        free(self.table.ids)
        free(self.table.places)
        free(self.counts)
        free(self.next)
        free(self.where)

    def learn(self, uint32_t instrument_id, uint32_t partition):
        """Where the records of an instrument (not 0) go from now on."""
        if not instrument_id or partition >= self.partitions:
            raise ValueError(f"no instrument {instrument_id} in partition {partition}")
        if (self.known + 1) * 2 > self.table.mask:
            self._grow()
        split_put(&self.table, instrument_id, <uint16_t>partition)
        self.known += 1  # an id that is told twice counts twice: the table is only emptier for it

    def forget(self):
        """Another writer's numbers are others."""
        memset(self.table.ids, 0, (self.table.mask + 1) * sizeof(uint32_t))
        self.known = 0

    cdef int _grow(self) except -1:
        cdef split_table old = self.table
        cdef split_table new
        cdef uint32_t i
        new.mask = old.mask * 2 + 1
        new.ids = <uint32_t *>calloc(new.mask + 1, sizeof(uint32_t))
        new.places = <uint16_t *>calloc(new.mask + 1, sizeof(uint16_t))
        if not (new.ids and new.places):
            free(new.ids)
            free(new.places)
            raise MemoryError
        self.known = 0
        for i in range(old.mask + 1):
            if old.ids[i]:
                split_put(&new, old.ids[i], old.places[i])
                self.known += 1
        self.table = new
        free(old.ids)
        free(old.places)
        return 0

    def split(self, records):
        """Records by partition: (uint8 array of all, bounds in records, one more than partitions).

        `records` is contiguous and has a field instrument_id. Records of instrument 0 are in every partition.
        Where instruments are unknown, returns their ids (a sorted uint32 array) in place of the bounds.
        """
        dtype = records.dtype
        cdef uint64_t n = records.shape[0]
        cdef uint32_t size = dtype.itemsize
        cdef uint32_t id_offset = dtype.fields["instrument_id"][1]
        if not records.flags.c_contiguous:
            raise ValueError("records must be contiguous")
        cdef const uint8_t[::1] view = records.view(np.uint8) if n else np.empty(1, np.uint8)
        cdef const uint8_t *data = &view[0]
        cdef uint64_t unknown, total = 0
        cdef uint32_t p
        if n > self.room:
            self._make_room(n)
        with nogil:
            unknown = split_look(&self.table, data, n, size, id_offset, self.where, self.counts,
                                 self.partitions)
        if unknown:
            where = np.asarray(<uint16_t[:<Py_ssize_t>n]>self.where)
            return None, np.unique(records["instrument_id"][where == SPLIT_UNKNOWN])
        bounds = np.zeros(self.partitions + 1, np.int64)
        for p in range(self.partitions):
            self.next[p] = total
            total += self.counts[p]
            bounds[p + 1] = total
        out = np.empty((total if total else 1) * size, np.uint8)
        cdef uint8_t[::1] target = out
        with nogil:
            split_copy(data, n, size, self.where, &target[0], self.next, self.partitions)
        return out[:<Py_ssize_t>(total * size)], bounds

    cdef int _make_room(self, uint64_t n) except -1:
        cdef uint16_t *more = <uint16_t *>realloc(self.where, n * sizeof(uint16_t))
        if not more:
            raise MemoryError
        self.where = more
        self.room = n
        return 0
