"""The ring and its peers behind one face: 64-byte records from one process to another, nothing lost.

Every transport is used as its own documentation would have it used, and as fast as that allows: what can
send without copying does, what can take many messages at once does, and none pays for a wrapper that another
is spared. A batch is 64 records in one message of 4,096 bytes; its receiver ends with a numpy array of them.

Life of a transport: made in the parent, sent to two spawned children, and there `open_sender` or
`open_receiver`. The phases that it takes part in are named in `phases`:

    single, batch     `send_single(n)` / `receive_single(n)`, `send_batch(n)` / `receive_batch(n)` (n records)
    spin, blocking    `sender()` -> a callable that sends `self.record`; `poller()` -> a callable that returns
                      a message or something false; `waiter()` -> one that sleeps until there is a message
"""

from __future__ import annotations

import fcntl
import os
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
from transport import (
    BATCH,
    BATCH_BYTES,
    CAPACITY,
    PIPE_BYTES,
    SPAWN,
    Ring,
    RingInto,
    RingSpin,
    Transport,
)

from mdfeedd.tick import TICK


class OsPipe(Transport):
    """A pipe of 1 MiB; the reader takes all that is there."""

    name = "os.pipe"
    singles = 400_000
    batches = 100_000

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.reading, self.writing = SPAWN.Pipe(
            duplex=False
        )  # these two travel to spawned children

    def open_sender(self) -> None:
        self.fd = self.writing.fileno()
        fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def open_receiver(self) -> None:
        self.fd = self.reading.fileno()

    def send_single(self, n: int) -> None:
        write, fd, record = os.write, self.fd, self.record
        for _ in repeat(None, n):
            write(fd, record)

    def send_batch(self, n: int) -> None:
        write, fd, many = os.write, self.fd, self.many
        for _ in repeat(None, n // BATCH):
            write(fd, many)

    def receive_single(self, n: int) -> None:
        read, fd, left = os.read, self.fd, n * TICK.itemsize
        while left:
            left -= len(read(fd, 65_536))

    def receive_batch(self, n: int) -> None:
        read, fd, frombuffer, got = os.read, self.fd, np.frombuffer, 0
        while got < n:
            got += len(frombuffer(read(fd, 65_536), TICK))

    def sender(self) -> Any:
        return partial(os.write, self.fd, self.record)

    def poller(self) -> Any:
        os.set_blocking(self.fd, False)
        read, fd = os.read, self.fd

        def poll() -> bytes | None:
            try:
                return read(fd, 65_536)
            except BlockingIOError:
                return None

        return poll

    def waiter(self) -> Any:
        os.set_blocking(self.fd, True)
        return partial(os.read, self.fd, 65_536)


class Queue(Transport):
    """multiprocessing.Queue of bytes."""

    name = "multiprocessing.Queue"
    phases = ("single", "batch", "blocking")
    pinned = False
    singles = 50_000
    batches = 10_000

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.queue = SPAWN.Queue()

    def open_sender(self) -> None: ...

    def open_receiver(self) -> None: ...

    def send_single(self, n: int) -> None:
        put, record = self.queue.put, self.record
        for _ in repeat(None, n):
            put(record.tobytes())

    def send_batch(self, n: int) -> None:
        put, many = self.queue.put, self.many
        for _ in repeat(None, n // BATCH):
            put(many.tobytes())

    def receive_single(self, n: int) -> None:
        get = self.queue.get
        for _ in repeat(None, n):
            get()

    def receive_batch(self, n: int) -> None:
        get, frombuffer, got = self.queue.get, np.frombuffer, 0
        while got < n:
            got += len(frombuffer(get(), TICK))

    def sender(self) -> Any:
        put, record = self.queue.put, self.record
        return lambda: put(record.tobytes())

    def waiter(self) -> Any:
        return self.queue.get


class QueueOfRecords(Queue):
    """multiprocessing.Queue of numpy records: what goes in and comes out is what goes in and out of ours."""

    name = "multiprocessing.Queue, records"
    phases = ("single",)
    singles = 30_000

    def send_single(self, n: int) -> None:
        put, record = self.queue.put, self.record
        for _ in repeat(None, n):
            put(record)


class FasterFifo(Transport):
    """faster-fifo without pickling; its own many-at-once call where single records are taken."""

    name = "faster-fifo"
    needs = "faster_fifo"

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        import faster_fifo
        import faster_fifo_reduction  # noqa: F401 - lets the queue travel to a child

        size = CAPACITY * (TICK.itemsize + 8)
        self.queue = faster_fifo.Queue(max_size_bytes=size, loads=bytes, dumps=bytes)

    def open_sender(self) -> None: ...

    def open_receiver(self) -> None: ...

    def send_single(self, n: int) -> None:
        put, record = self.queue.put, self.record
        for _ in repeat(None, n):
            put(record.tobytes(), timeout=30)

    def send_batch(self, n: int) -> None:
        put, many = self.queue.put, self.many
        for _ in repeat(None, n // BATCH):
            put(many.tobytes(), timeout=30)

    def receive_single(self, n: int) -> None:
        get_many, got = self.queue.get_many, 0
        while got < n:
            got += len(get_many(timeout=30))

    def receive_batch(self, n: int) -> None:
        get_many, frombuffer, got = self.queue.get_many, np.frombuffer, 0
        while got < n:
            for message in get_many(timeout=30):
                got += len(frombuffer(message, TICK))

    def sender(self) -> Any:
        put, record = self.queue.put, self.record
        return lambda: put(record.tobytes())

    def poller(self) -> Any:
        from queue import Empty

        get = self.queue.get_nowait

        def poll() -> bytes | None:
            try:
                return get()
            except Empty:
                return None

        return poll

    def waiter(self) -> Any:
        return partial(self.queue.get, True, 30)


class NumpyRing(Transport):
    """Slots, head and tail in shared memory, everything else in Python: what one would write in an hour.

    One reader, which the writer waits for. The memory is a mapped file and not
    `multiprocessing.shared_memory`, whose resource tracker removes it under others.
    """

    name = "numpy ring"
    phases = ("single", "batch", "spin")

    def _map(self) -> None:
        words = np.memmap(
            f"{self.directory}/{self.id}", np.uint64, "r+", shape=(16 + CAPACITY * 8,)
        )
        self.head, self.tail = words[:1], words[8:9]
        self.slots = words[16:].reshape(CAPACITY, 8)
        self.words = self.record.view(np.uint64).reshape(1, 8)
        self.many_words = self.many.view(np.uint64).reshape(BATCH, 8)
        self.at = 0

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        np.zeros(16 + CAPACITY * 8, np.uint64).tofile(f"{directory}/{self.id}")

    def open_sender(self) -> None:
        self._map()

    def open_receiver(self) -> None:
        self._map()

    def _send(self, words: np.ndarray, n: int) -> None:
        slots, head, tail, at, step = self.slots, self.head, self.tail, self.at, len(words)
        limit = int(tail[0]) + CAPACITY
        for _ in repeat(None, n // step):
            while at + step > limit:
                limit = int(tail[0]) + CAPACITY
            place = at & (CAPACITY - 1)
            slots[place : place + step] = words
            at += step
            head[0] = at
        self.at = at

    def send_single(self, n: int) -> None:
        self._send(self.words, n)

    def send_batch(self, n: int) -> None:
        self._send(self.many_words, n)

    def _receive(self) -> np.ndarray | None:
        at = self.at
        head = int(self.head[0])
        if head == at:
            return None
        place = at & (CAPACITY - 1)
        taken = self.slots[place : place + min(head - at, 4096)].copy()
        self.at = at + len(taken)
        self.tail[0] = self.at
        return taken

    def receive_single(self, n: int) -> None:
        got, receive = 0, self._receive
        while got < n:
            taken = receive()
            if taken is not None:
                got += len(taken)

    receive_batch = receive_single

    def sender(self) -> Any:
        return partial(self._send, self.words, 1)

    def poller(self) -> Any:
        receive = self._receive
        return lambda: (taken := receive()) is not None and (taken,)

    def number_of(self, message: Any) -> int:
        return int(message[0][-1, 1])


class ZmqPush(Transport):
    """pyzmq, PUSH to PULL over ipc."""

    name = "pyzmq PUSH/PULL"
    needs = "zmq"
    pinned = False
    singles = 200_000

    def _socket(self, kind: int) -> Any:
        import zmq

        self.context = zmq.Context()
        socket = self.context.socket(kind)
        socket.set_hwm(CAPACITY)
        socket.linger = 0
        return socket

    @property
    def _address(self) -> str:
        return f"ipc://{self.directory}/{self.id}"

    def open_sender(self) -> None:
        import zmq

        self.socket = self._socket(zmq.PUSH)
        self.socket.bind(self._address)

    def open_receiver(self) -> None:
        import zmq

        self.socket = self._socket(zmq.PULL)
        self.socket.connect(self._address)

    def send_single(self, n: int) -> None:
        send, record = self.socket.send, self.record
        for _ in repeat(None, n):
            send(record)

    def send_batch(self, n: int) -> None:
        send, many = self.socket.send, self.many
        for _ in repeat(None, n // BATCH):
            send(many)

    def receive_single(self, n: int) -> None:
        receive = self.socket.recv
        for _ in repeat(None, n):
            receive()

    def receive_batch(self, n: int) -> None:
        receive, frombuffer, got = self.socket.recv, np.frombuffer, 0
        while got < n:
            got += len(frombuffer(receive(), TICK))

    def sender(self) -> Any:
        return partial(self.socket.send, self.record)

    def poller(self) -> Any:
        import zmq

        receive, dont_wait, again = self.socket.recv, zmq.NOBLOCK, zmq.Again

        def poll() -> bytes | None:
            try:
                return receive(dont_wait)
            except again:
                return None

        return poll

    def waiter(self) -> Any:
        return self.socket.recv

    def close(self) -> None:
        self.socket.close()
        self.context.term()


class ZmqPub(ZmqPush):
    """pyzmq, PUB to SUB over ipc, set to wait at the high-water mark instead of dropping."""

    name = "pyzmq PUB/SUB"

    def open_sender(self) -> None:
        import zmq

        self.socket = self._socket(zmq.XPUB)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)
        self.socket.bind(self._address)
        self.socket.recv()  # the subscription has arrived: nothing sent from here on is missed

    def open_receiver(self) -> None:
        import zmq

        self.socket = self._socket(zmq.SUB)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.socket.connect(self._address)


class Iceoryx(Transport):
    """iceoryx2's Python binding, publish-subscribe, the publisher waiting for the subscriber.

    Single records and batches are two services, each of the payload that is sent.
    """

    name = "iceoryx2"
    needs = "iceoryx2"

    def _open(self) -> None:
        import ctypes

        import iceoryx2

        class OneTick(ctypes.Structure):
            _fields_ = (("words", ctypes.c_uint64 * 8),)

        class ManyTicks(ctypes.Structure):
            _fields_ = (("words", ctypes.c_uint64 * 8 * BATCH),)

        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        self.node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        self.depth = {OneTick: CAPACITY, ManyTicks: CAPACITY // BATCH}
        self.services = {
            payload: self.node.service_builder(
                iceoryx2.ServiceName.new(f"bench/{self.id}/{payload.__name__}")
            )
            .publish_subscribe(payload)
            .enable_safe_overflow(False)
            .history_size(0)
            .subscriber_max_buffer_size(depth)
            .open_or_create()
            for payload, depth in self.depth.items()
        }
        self.event = self.node.service_builder(
            iceoryx2.ServiceName.new(f"bench/{self.id}/wake")
        ).event()
        self.event = self.event.open_or_create()
        self.copy = ctypes.string_at

    def open_sender(self) -> None:
        import iceoryx2

        self._open()
        retry = iceoryx2.BackpressureStrategy.RetryUntilDelivered
        self.one, self.more = (
            service.publisher_builder().backpressure_strategy(retry).create()
            for service in self.services.values()
        )
        one, many = self.services
        self.one_payload = one.from_buffer(self.record)
        self.many_payload = many.from_buffer(self.many)
        self.notifier = self.event.notifier_builder().create()

    def open_receiver(self) -> None:
        self._open()
        self.one, self.more = (
            self.services[payload].subscriber_builder().buffer_size(depth).create()
            for payload, depth in self.depth.items()
        )
        self.listener = self.event.listener_builder().create()

    def send_single(self, n: int) -> None:
        send, payload = self.one.send_copy, self.one_payload
        for _ in repeat(None, n):
            send(payload)

    def send_batch(self, n: int) -> None:
        send, payload = self.more.send_copy, self.many_payload
        for _ in repeat(None, n // BATCH):
            send(payload)

    def receive_single(self, n: int) -> None:
        receive, copy, size, got = self.one.receive, self.copy, TICK.itemsize, 0
        while got < n:
            sample = receive()
            if sample is not None:
                copy(sample.payload_ptr, size)
                got += 1

    def receive_batch(self, n: int) -> None:
        receive, copy, frombuffer, got = self.more.receive, self.copy, np.frombuffer, 0
        while got < n:
            sample = receive()
            if sample is not None:
                got += len(frombuffer(copy(sample.payload_ptr, BATCH_BYTES), TICK))

    def sender(self) -> Any:
        send, payload = self.one.send_copy, self.one_payload
        return lambda: send(payload)

    def waking_sender(self) -> Any:
        send, payload, notify = self.one.send_copy, self.one_payload, self.notifier.notify

        def send_and_notify() -> None:
            send(payload)
            notify()

        return send_and_notify

    def poller(self) -> Any:
        receive = self.one.receive
        return lambda: receive() or None

    def waiter(self) -> Any:
        receive, wait = self.one.receive, self.listener.blocking_wait

        def take() -> Any:
            while (sample := receive()) is None:
                wait()
            return sample

        return take

    def number_of(self, message: Any) -> int:
        return super().number_of(self.copy(message.payload_ptr, TICK.itemsize))


TRANSPORTS: tuple[type[Transport], ...] = (
    Ring,
    RingInto,
    RingSpin,
    OsPipe,
    Iceoryx,
    FasterFifo,
    NumpyRing,
    ZmqPush,
    ZmqPub,
    Queue,
    QueueOfRecords,
)
