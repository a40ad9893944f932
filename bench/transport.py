"""What a transport is, and ours: see transports.py."""

from __future__ import annotations

import importlib.util
import multiprocessing
import struct
import uuid
from functools import partial
from itertools import repeat
from typing import Any, ClassVar

import numpy as np

from mdfeedd.ring import Reader, Writer
from mdfeedd.tick import TICK

BATCH = 64
CAPACITY = 65_536  # the ring's default, and the depth that every peer is given where it can be set
BATCH_BYTES = BATCH * TICK.itemsize
PIPE_BYTES = 1 << 20
SPAWN = multiprocessing.get_context("spawn")


class Transport:
    """One way from one process to another."""

    name: ClassVar[str]
    needs: ClassVar[str | None] = None  # the module of the peer
    phases: ClassVar[tuple[str, ...]] = ("single", "batch", "spin", "blocking")
    pinned: ClassVar[bool] = True  # False: it has threads of its own, which want a processor, too
    singles: ClassVar[int] = 100_000  # records of a round
    batches: ClassVar[int] = 20_000  # messages of a round

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.id = uuid.uuid4().hex[:12]

    @classmethod
    def available(cls) -> bool:
        return cls.needs is None or importlib.util.find_spec(cls.needs) is not None

    def prepare(self) -> None:
        """In each child: the record and the batch that are sent."""
        self.record = np.zeros(1, TICK)
        self.record["kind"] = 1
        self.many = np.zeros(BATCH, TICK)
        self.many["kind"] = 1

    def waking_sender(self) -> Any:
        """As `sender`, waking a receiver that sleeps."""
        return self.sender()

    def number_of(self, message: Any) -> int:
        """The number of `message`: `ts_event` of its last record."""
        return struct.unpack_from("<q", message, len(message) - TICK.itemsize + 8)[0]

    def close(self) -> None:
        """Let go of everything in this child."""


class Ring(Transport):
    """mdfeedd, as it comes: default capacity, `Reader.read`."""

    name = "mdfeedd"
    singles = 2_000_000
    batches = 400_000

    def open_sender(self) -> None:
        self.writer = Writer(self.id, CAPACITY, directory=self.directory)

    def open_receiver(self) -> None:
        self.reader = Reader(self.id, wait=30, directory=self.directory)

    def _wait_for_room(self, records: int) -> None:
        writer = self.writer
        floor = writer.next_seq + records - CAPACITY + BATCH
        while (slowest := writer.slowest_consumer()) is None or slowest < floor:
            pass

    def send_single(self, n: int) -> None:
        publish, record, room = self.writer.publish, self.record, CAPACITY // 8
        for done in range(0, n, room):
            chunk = min(room, n - done)
            self._wait_for_room(chunk)
            for _ in repeat(None, chunk):
                publish(record)

    def send_batch(self, n: int) -> None:
        publish, many, room = self.writer.publish, self.many, CAPACITY // 8
        for done in range(0, n, room):
            chunk = min(room, n - done)
            self._wait_for_room(chunk)
            for _ in repeat(None, chunk // BATCH):
                publish(many)

    def receive_single(self, n: int) -> None:
        read, got = self.reader.read, 0
        while got < n:
            got += len(read())
        assert self.reader.lost == 0

    def receive_batch(self, n: int) -> None:
        read, got = self.reader.read, 0
        while got < n:
            got += len(read().records)
        assert self.reader.lost == 0

    def sender(self) -> Any:
        return partial(self.writer.publish, self.record)

    def poller(self) -> Any:
        return partial(self.reader.read, 4096, 0)

    def waiter(self) -> Any:
        return self.reader.read

    def number_of(self, message: Any) -> int:
        return int(message.records["ts_event"][-1])

    def close(self) -> None:
        for end in (getattr(self, "writer", None), getattr(self, "reader", None)):
            if end is not None:
                end.close()


class RingInto(Ring):
    """mdfeedd with `Reader.read_into`: no batch object, the same array again and again."""

    name = "mdfeedd read_into"
    phases = ("single", "batch", "spin")

    def open_receiver(self) -> None:
        super().open_receiver()
        self.into = np.zeros(4096, TICK)

    def receive_single(self, n: int) -> None:
        read_into, into, got = self.reader.read_into, self.into, 0
        while got < n:
            got += read_into(into)
        assert self.reader.lost == 0

    receive_batch = receive_single

    def poller(self) -> Any:
        return partial(self.reader.read_into, self.into)

    def number_of(self, message: Any) -> int:
        return int(self.into["ts_event"][message - 1])


class RingSpin(Ring):
    """mdfeedd with a reader that spins in C, without the GIL."""

    name = "mdfeedd spin=inf"
    phases = ("spin",)

    def open_receiver(self) -> None:
        self.reader = Reader(self.id, wait=30, spin=float("inf"), directory=self.directory)

    def poller(self) -> Any:
        return self.reader.read
