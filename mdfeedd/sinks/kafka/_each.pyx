# cython: language_level=3, boundscheck=False, wraparound=False
"""A message for each record, handed to librdkafka by its C interface, under a producer of confluent-kafka.

confluent-kafka takes a dict and a callback for each message, which costs more than all of librdkafka's work.
Its producer holds librdkafka's handle in the first field behind the head of the object; that it is the handle
is proved by what librdkafka gives back as its `opaque`: the object. Messages without a state of their own are
passed over by the producer's callback, so whether they arrive is told by the transaction they are in.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t

cdef enum:
    AT_ONCE = 1024
    FLAG_COPY = 2  # RD_KAFKA_MSG_F_COPY

ctypedef struct rd_message:  # rd_kafka_message_t
    int err
    void *topic
    int32_t partition
    void *payload
    size_t payload_bytes
    void *key
    size_t key_bytes
    int64_t offset
    void *state

ctypedef struct producer_head:  # of confluent-kafka's objects
    PyObject head
    void *rk

ctypedef void *(*opaque_call)(const void *) noexcept nogil
ctypedef void *(*topic_new_call)(void *, const char *, void *) noexcept nogil
ctypedef void (*topic_destroy_call)(void *) noexcept nogil
ctypedef int (*produce_call)(void *, int32_t, int, rd_message *, int) noexcept nogil


cdef class Direct:
    """`calls` are the addresses of rd_kafka_opaque, _topic_new, _topic_destroy and _produce_batch.

    Raises `ValueError` where the producer is not laid out as expected.
    """

    cdef object producer
    cdef void *rk
    cdef topic_new_call topic_new
    cdef topic_destroy_call topic_destroy
    cdef produce_call produce_batch

    def __cinit__(self, producer, tuple calls):
        cdef uintptr_t opaque_at = calls[0]
        cdef uintptr_t new_at = calls[1]
        cdef uintptr_t destroy_at = calls[2]
        cdef uintptr_t produce_at = calls[3]
        if type(producer).__basicsize__ < <Py_ssize_t>sizeof(producer_head):
            raise ValueError("the producer holds no handle")
        self.rk = (<producer_head *><PyObject *>producer).rk
        if self.rk == NULL or (<opaque_call>opaque_at)(self.rk) != <void *><PyObject *>producer:
            raise ValueError("the producer's handle is not where it is looked for")
        self.producer = producer
        self.topic_new = <topic_new_call>new_at
        self.topic_destroy = <topic_destroy_call>destroy_at
        self.produce_batch = <produce_call>produce_at

    def produce(self, const char *topic, int32_t partition, const uint8_t[::1] values,
                const int64_t[::1] ends, const char *keys, const int64_t[::1] key_ends,
                const int64_t[::1] places):
        """Queue messages, in order; returns how many were taken, and librdkafka's error code, 0 if all.

        ends: int64 (n,), where each value ends in `values`. key_ends: where each key ends in `keys`;
        places: (n,), which key each message has.
        """
        cdef Py_ssize_t n = ends.shape[0], taken = 0, i, most
        cdef int64_t start, at = 0
        cdef rd_message messages[AT_ONCE]
        cdef int queued, failed = 0
        if places.shape[0] != n or (n and not 0 <= ends[n - 1] <= values.shape[0]):
            raise ValueError("places and values must be as long as ends say")
        for i in range(n):
            if not 0 <= places[i] < key_ends.shape[0] or ends[i] < at:
                raise ValueError("a place must be that of a key, and ends must not fall")
            at = ends[i]
        cdef void *handle = self.topic_new(self.rk, topic, NULL)
        if handle == NULL:
            raise ValueError("librdkafka refuses the topic")
        at = 0
        with nogil:
            while taken < n and not failed:
                most = min(n - taken, <Py_ssize_t>AT_ONCE)
                for i in range(most):
                    start = key_ends[places[taken + i] - 1] if places[taken + i] else 0
                    messages[i].err = 0
                    messages[i].topic = NULL
                    messages[i].partition = partition
                    messages[i].payload = <void *>&values[at] if ends[taken + i] > at else NULL
                    messages[i].payload_bytes = <size_t>(ends[taken + i] - at)
                    messages[i].key = <void *>(keys + start)
                    messages[i].key_bytes = <size_t>(key_ends[places[taken + i]] - start)
                    messages[i].offset = 0
                    messages[i].state = NULL
                    at = ends[taken + i]
                queued = self.produce_batch(handle, partition, FLAG_COPY, messages, <int>most)
                taken += queued
                if queued != most:
                    for i in range(most):
                        if messages[i].err:
                            failed = messages[i].err
                            break
            self.topic_destroy(handle)
        return taken, failed
