"""What the tail does not tell, and what it tells in vain: a writer that died in a batch, a damaged ring.

A reader goes by the commit words of a few slots, or after a burst by the tail first: both must find the same.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from mdfeedd import Reader, Writer

TAIL_AT = 1152  # of mdf_ring_header.tail
TOLD, WRITTEN = 60, 100  # records that the dead writer told of, and that it committed
BY_WORDS, BY_TAIL = 10, TOLD  # records of a read; a burst is more than 32


def set_tail(shm_dir: str, tail: int) -> None:
    with (Path(shm_dir) / "mdfeedd.r").open("r+b") as file:
        file.seek(TAIL_AT)
        file.write(tail.to_bytes(8, "little"))


@pytest.fixture
def dead(shm_dir: str, ticks):
    """A ring as a kill in the middle of a batch leaves it, and a reader that has read what was told."""

    def make(most: int, **options) -> Reader:
        writer = Writer("r", 256, directory=shm_dir)
        reader = Reader("r", directory=shm_dir, **options)
        writer.publish(ticks(TOLD))
        while reader.next_seq <= TOLD:
            reader.read(most, timeout=0)
        writer.publish(ticks(WRITTEN - TOLD))
        writer.close_core(False)  # says nothing, as who is killed
        set_tail(shm_dir, TOLD)
        assert not reader.writer_alive
        return reader

    return make


@pytest.mark.parametrize("most", [BY_WORDS, BY_TAIL])
def test_reader_that_does_not_follow_has_all_that_a_dead_writer_committed(dead, most: int) -> None:
    with dead(most, follow=False) as reader:
        assert reader.available > 0
        assert reader.ready
        assert not reader.ended
        seqs = [seq for batch in reader for seq in batch.records["seq"].tolist()]
        assert seqs == list(range(TOLD + 1, WRITTEN + 1))
        assert reader.ended
        assert not reader.available
        assert not reader.ready


@pytest.mark.parametrize("most", [BY_WORDS, BY_TAIL])
def test_one_read_finds_it_however_it_waits(dead, most: int, ticks) -> None:
    with dead(most, spin=0.0) as reader:
        assert reader.read_into(ticks(8)) == 8
        assert reader.read_into(ticks(8), timeout=30) == 8
        assert reader.read(8, timeout=0).first_seq == TOLD + 17
        assert reader.read(8, timeout=30).first_seq == TOLD + 25
        assert reader.read(8).last_seq == WRITTEN  # for ever, if need be


@pytest.mark.parametrize("most", [BY_WORDS, BY_TAIL])
def test_event_loop_finds_it(dead, most: int) -> None:
    async def first() -> int:
        with dead(most) as reader:
            assert await reader.wait(30)
            return (await asyncio.wait_for(anext(reader), 30)).first_seq

    assert asyncio.run(first()) == TOLD + 1


@pytest.mark.parametrize("before", [1, TOLD], ids=["by the words", "by the tail"])
def test_tail_that_slots_deny_is_not_believed(shm_dir: str, ticks, before: int) -> None:
    """No record that was never published, no reader that runs hot, and none missed that comes after."""
    with Writer("r", 256, directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        writer.publish(ticks(before))
        assert len(reader.read()) == before
        set_tail(shm_dir, before + 50)
        assert not reader.ready
        assert reader.available == 0
        assert len(reader.read(timeout=0.05)) == 0
        assert reader.read_into(ticks(8), timeout=0.05) == 0
        for seq in (before + 1, before + 2):
            writer.publish(ticks(1))
            assert reader.read().records["seq"].tolist() == [seq]
        assert reader.lost == 0


def test_event_loop_sleeps_where_slots_deny_the_tail(shm_dir: str, ticks) -> None:
    async def main() -> None:
        with (
            Writer("r", 256, directory=shm_dir) as writer,
            Reader("r", directory=shm_dir) as reader,
        ):
            writer.publish(ticks(1))
            reader.read()
            set_tail(shm_dir, 5)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(reader), 0.1)

    asyncio.run(main())


def test_reader_closed_by_a_signal_while_it_waits(shm_dir: str) -> None:
    """Whether there was time left to wait or not: a sentence, and no look at memory that is gone."""
    with Writer("r", 256, directory=shm_dir):
        for timeout_s, handler_s in ((30.0, 0.0), (0.1, 0.2)):
            reader = Reader("r", directory=shm_dir)

            def close(*_: object, reader: Reader = reader, handler_s: float = handler_s) -> None:
                reader.close()
                time.sleep(handler_s)

            before = signal.signal(signal.SIGALRM, close)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.03)
                with pytest.raises(ValueError, match="the reader is closed"):
                    reader.read(timeout=timeout_s)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_reader_forgotten_while_a_thread_watches_for_it(run_python, shm_dir: str) -> None:
    """The thread's next look is not at a reader that is gone: 100 ms later, in a process of its own."""
    done = run_python(
        f"""
        import asyncio, gc
        from mdfeedd import Reader, Writer

        async def main():
            reader = Reader("r", directory={shm_dir!r})
            assert not await reader.wait(0.05)
            del reader
            gc.collect()
            await asyncio.sleep(0.4)

        with Writer("r", 256, directory={shm_dir!r}):
            asyncio.run(main())
        print("went on")
        """
    )
    assert done.returncode == 0, done.stderr
    assert "went on" in done.stdout


def test_ring_is_replaced_while_records_wait_in_the_old_one(shm_dir: str, ticks) -> None:
    """Whoever comes back from a wait to find another ring of the name first reads what it has."""
    with Writer("r", 256, directory=shm_dir) as small:
        reader = Reader("r", directory=shm_dir)
        small.publish(ticks(3))
    with reader, Writer("r", 512, directory=shm_dir) as large:
        large.publish(ticks(2))
        assert reader.on_idle()
        assert reader.capacity == 256
        seen: list[int] = []
        while len(seen) < 5:
            seen += reader.read(timeout=30).records["seq"].tolist()
        assert seen == [1, 2, 3, 4, 5]
        assert reader.capacity == 512
        assert reader.lost == 0
