"""The registry of consumers, and what forks and exits of processes leave behind."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from mdfeedd import Reader, Writer
from mdfeedd.ring import (
    RingBusy,
    RingDenied,
    RingMissing,
    RingSpace,
    list_rings,
    remove,
)
from mdfeedd.ring.inspect import inspect


def test_consumer_resumes_after_what_it_acknowledged(shm_dir: str, ticks) -> None:
    with Writer("r", directory=shm_dir) as writer:
        writer.publish(ticks(10))
        with Reader("r", "resume", "store", directory=shm_dir) as reader:
            assert len(reader.read()) == 10, "a new consumer begins with the oldest"
            reader.ack(4)
        with Reader("r", "resume", "store", directory=shm_dir) as reader:
            assert reader.read().first_seq == 5


def test_two_living_consumers_of_one_name_are_refused(shm_dir: str) -> None:
    with Writer("r", directory=shm_dir), Reader("r", consumer="a", directory=shm_dir):
        with pytest.raises(RingBusy, match="living consumer named 'a'"):
            Reader("r", consumer="a", directory=shm_dir)
        Reader("r", directory=shm_dir).close()


def test_registry_full_then_reclaimed_after_a_kill(shm_dir: str, run_python) -> None:
    code = """
        import sys, os, signal
        from mdfeedd import Reader
        readers = [Reader("r", directory=sys.argv[1]) for _ in range(128)]
        print(len(readers), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with Writer("r", directory=shm_dir) as writer:
        for _ in range(2):
            assert run_python(code, shm_dir).stdout == "128\n"
            assert writer.consumer_count() == 0
        readers = [Reader("r", directory=shm_dir) for _ in range(128)]
        assert writer.consumer_count() == 128
        with pytest.raises(RingSpace, match="128 consumers"):
            Reader("r", directory=shm_dir)
        readers.pop().close()
        Reader("r", directory=shm_dir).close()


def test_what_operators_see(shm_dir: str, ticks) -> None:
    with (
        Writer("r", 256, directory=shm_dir) as writer,
        Reader("r", consumer="slow", directory=shm_dir) as slow,
    ):
        writer.counters.add("received_bytes", 100)
        writer.publish(ticks(10))
        slow.read(4)
        slow.counters.add("flushes")
        slow.counters.set("pending_records", 3)
        info = inspect("r", shm_dir)
        assert (info.tail, info.writer_alive, info.state_text) == (10, True, "live")
        assert info.counters["received_bytes"] == 100
        (seen,) = [c for c in info.consumers if c.name == "slow"]
        assert (seen.lag, seen.records, seen.reads, seen.lost, seen.alive) == (6, 4, 1, 0, True)
        assert seen.counters["flushes"] == 1
        assert seen.counters["pending_records"] == 3
        assert writer.slowest_consumer() == 4
        with pytest.raises(KeyError):
            writer.counters.add("no such counter")
        writer.publish(ticks(1000))
        slow.read(timeout=0)
        (seen,) = [c for c in inspect("r", shm_dir).consumers if c.name == "slow"]
        assert seen.lost == slow.lost > 0
    assert inspect("r", shm_dir).state_text == "closed"


def test_reader_without_access_to_the_registry_still_reads(shm_dir: str, ticks) -> None:
    with Writer("r", directory=shm_dir) as writer:
        (Path(shm_dir) / "mdfeedd.r.readers").unlink()
        with Reader("r", directory=shm_dir) as reader:
            assert not reader.registered
            threading.Timer(0.05, lambda: writer.publish(ticks(1))).start()
            assert len(reader.read(timeout=20)) == 1
            reader.ack(1)
            reader.counters.add("flushes")


def test_living_ring_is_not_removed(shm_dir: str) -> None:
    with Writer("r", directory=shm_dir), pytest.raises(RingBusy, match="living writer"):
        remove("r", shm_dir)
    remove("r", shm_dir)
    assert list(Path(shm_dir).iterdir()) == []
    with pytest.raises(RingMissing):
        remove("r", shm_dir)


def _hold(ready: multiprocessing.synchronize.Event, go: multiprocessing.synchronize.Event) -> None:
    ready.set()
    go.wait(30)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_child_does_not_keep_its_parents_lock(shm_dir: str) -> None:
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    writer = Writer("r", directory=shm_dir)
    reader = Reader("r", consumer="c", directory=shm_dir)
    child = context.Process(target=_hold, args=(ready, go))
    child.start()
    try:
        assert ready.wait(20)
        assert reader.writer_alive, "the child's close must not drop the parent's lock"
        writer.close()
        reader.close()
        with Writer("r", directory=shm_dir), Reader("r", consumer="c", directory=shm_dir):
            pass
    finally:
        go.set()
        child.join(20)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_child_finds_its_copies_closed(shm_dir: str, ticks) -> None:
    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if writer.closed and reader.closed else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        writer.publish(ticks(1))
        assert len(reader.read()) == 1


def test_exit_of_a_reader_leaves_the_ring_alone(shm_dir: str, ticks, run_python) -> None:
    with Writer("r", directory=shm_dir) as writer:
        code = """
            import sys
            from mdfeedd import Reader
            r = Reader("r", "oldest", directory=sys.argv[1])
            print(len(r.read()))
        """
        writer.publish(ticks(3))
        done = run_python(code, shm_dir)
        assert (done.stdout, done.stderr) == ("3\n", "")
        assert list_rings(shm_dir) == ["r"]


def test_denied_is_an_os_error() -> None:
    assert issubclass(RingDenied, OSError)


def test_ring_and_consumer_are_free_as_soon_as_they_are_closed(shm_dir):
    """A child that was forked a moment before shares their locks until it has closed its copies."""
    for _ in range(50):
        writer = Writer("f", 256, directory=shm_dir)
        reader = Reader("f", directory=shm_dir, consumer="one")
        child = os.fork()
        if not child:
            os._exit(0)
        reader.close()
        Reader("f", directory=shm_dir, consumer="one").close()
        writer.close()
        Writer("f", 256, directory=shm_dir).close()
        os.waitpid(child, 0)
