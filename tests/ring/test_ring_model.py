"""The ring against a list: hypothesis drives writer, readers, restarts and replacements."""

from __future__ import annotations

import shutil
import tempfile

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from mdfeedd import TICK, Reader, Writer
from mdfeedd.ring import inspect as looking


class Ring(RuleBasedStateMachine):
    """Truth: record `s` carries ts_event = 1000 + s, for every s from 1 to `published`."""

    readers = Bundle("readers")

    @initialize(capacity=st.sampled_from([256, 512]))
    def begin(self, capacity: int) -> None:
        self.directory = tempfile.mkdtemp(prefix="mdfeedd-test-", dir="/dev/shm")
        self.capacity = capacity
        self.writer: Writer | None = Writer("m", capacity, directory=self.directory)
        self.published = 0
        self.epoch = 1
        self.told: dict[Reader, int] = {}
        self.start: dict[Reader, int] = {}

    def teardown(self) -> None:
        for reader in getattr(self, "told", {}):
            reader.close()
        if getattr(self, "writer", None):
            self.writer.close()
        shutil.rmtree(getattr(self, "directory", "/nonexistent"), ignore_errors=True)

    @precondition(lambda self: self.writer is not None)
    @rule(n=st.one_of(st.integers(1, 80), st.integers(200, 1500)))
    def publish(self, n: int) -> None:
        records = np.zeros(n, TICK)
        records["ts_event"] = 1000 + self.published + 1 + np.arange(n)
        assert self.writer is not None
        assert self.writer.publish(records) == self.published + 1
        self.published += n

    @rule(target=readers, start=st.sampled_from(["now", "oldest"]))
    def join(self, start: str) -> Reader:
        reader = Reader("m", start, directory=self.directory)
        self.start[reader] = reader.next_seq
        self.told[reader] = 0
        assert reader.next_seq <= self.published + 1
        return reader

    @rule(reader=readers, limit=st.integers(1, 600))
    def read(self, reader: Reader, limit: int) -> None:
        before = reader.next_seq
        batch = reader.read(limit, timeout=0)
        records = batch.records
        assert len(records) <= limit
        assert (records["ts_event"] == records["seq"] + 1000).all()
        if len(records):
            assert batch.first_seq == before + batch.lost
            assert (np.diff(records["seq"].astype(np.int64)) == 1).all()
        self.told[reader] += len(records)

    @rule()
    def restart(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = Writer("m", self.capacity, directory=self.directory)
        self.epoch += 1
        assert self.writer.next_seq == self.published + 1

    @precondition(lambda self: self.writer is not None)
    @rule()
    def die(self) -> None:
        assert self.writer is not None
        self.writer.close_core(announce=False)
        self.writer = None

    @invariant()
    def loss_is_exact(self) -> None:
        for reader, got in getattr(self, "told", {}).items():
            assert got + reader.lost == reader.next_seq - self.start[reader]
            assert reader.next_seq <= self.published + 1

    @invariant()
    def outside_view_agrees(self) -> None:
        if not hasattr(self, "directory"):
            return
        info = looking.inspect("m", self.directory)
        assert info.tail == self.published
        assert info.epoch == self.epoch
        assert info.writer_alive == (self.writer is not None)


Ring.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestRing = Ring.TestCase
