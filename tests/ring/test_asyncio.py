"""Reading in an event loop: woken, fair, ended, cancelled, many rings, no thread left behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading

import pytest

from mdfeedd import Reader, Writer

uvloop = pytest.importorskip("uvloop")
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request):
    def runner(coroutine):
        with asyncio.Runner(loop_factory=request.param, debug=request.param is LOOPS[0]) as runner:
            return runner.run(asyncio.wait_for(coroutine, 60))

    return runner


def native_threads() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))


def test_sleeping_loop_is_woken(shm_dir: str, run, ticks) -> None:
    async def main() -> list[int]:
        seen: list[int] = []

        async def read() -> None:
            async for batch in reader:
                seen.extend(batch.records["seq"].tolist())
                if len(seen) >= 20:
                    return

        task = asyncio.create_task(read())
        for _ in range(20):
            await asyncio.sleep(0.002)
            writer.publish(ticks(1))
        await task
        return seen

    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        assert run(main()) == list(range(1, 21))


def test_loop_sleeps_instead_of_polling(shm_dir: str, run, ticks) -> None:
    async def main() -> float:
        import time

        task = asyncio.create_task(anext(reader))
        await asyncio.sleep(0.05)
        before = time.process_time()
        await asyncio.sleep(1.0)
        used = time.process_time() - before
        writer.publish(ticks(1))
        await task
        return used

    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        # a busy loop would use the whole second; what is left is the 100 ms slice of the thread
        assert run(main()) < 0.25


def test_busy_ring_does_not_starve_other_tasks(shm_dir: str, run, ticks) -> None:
    async def main() -> int:
        others = 0

        async def count() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(count())
        for _ in range(64):
            writer.publish(ticks(1))
            await anext(reader)
        task.cancel()
        return others

    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        assert run(main()) >= 3


def test_many_rings_one_thread(shm_dir: str, run, ticks) -> None:
    writers = [Writer(f"r{i}", 256, directory=shm_dir) for i in range(12)]
    readers = [Reader(f"r{i}", directory=shm_dir) for i in range(12)]

    async def main() -> int:
        before = native_threads()
        tasks = [asyncio.create_task(anext(r)) for r in readers]
        await asyncio.sleep(0.05)
        added = native_threads() - before
        for writer in writers:
            writer.publish(ticks(2))
        batches = await asyncio.gather(*tasks)
        assert [len(b) for b in batches] == [2] * 12
        return added

    assert run(main()) == 1
    for reader in readers:
        reader.close()
    for writer in writers:
        writer.close()


def test_thread_ends_with_the_last_reader(shm_dir: str, run) -> None:
    async def main() -> tuple[int, int]:
        before = native_threads()
        with Reader("r", directory=shm_dir) as reader:
            assert not await reader.wait(0.01)
            during = native_threads()
        return during - before, native_threads() - before

    with Writer("r", directory=shm_dir):
        assert run(main()) == (1, 0)


def test_cancelled_wait_can_be_repeated(shm_dir: str, run, ticks) -> None:
    async def main() -> int:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(reader)
        writer.publish(ticks(4))
        return len(await anext(reader))

    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        assert run(main()) == 4


def test_two_tasks_on_one_reader_are_a_mistake(shm_dir: str, run, ticks) -> None:
    async def main() -> None:
        first = asyncio.create_task(reader.wait())
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="another task"):
            await reader.wait()
        writer.publish(ticks(1))
        assert await first

    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        run(main())


def test_iteration_ends_with_the_writer_when_not_following(shm_dir: str, run, ticks) -> None:
    async def main() -> list[int]:
        asyncio.get_running_loop().call_later(0.05, writer.close)
        return [len(b) async for b in reader]

    writer = Writer("r", directory=shm_dir)
    with Reader("r", directory=shm_dir, follow=False) as reader:
        writer.publish(ticks(3))
        assert run(main()) == [3]


def test_following_reader_goes_over_to_the_ring_that_replaces_its_own(
    shm_dir: str, run, ticks
) -> None:
    async def main() -> list[int]:
        nonlocal writer
        seen: list[int] = []
        async for batch in reader:
            seen += batch.records["seq"].tolist()
            if len(seen) == 2:
                writer.close()
                writer = Writer("r", 1024, directory=shm_dir)
                writer.publish(ticks(2))
            if len(seen) == 4:
                break
        return seen

    writer = Writer("r", 256, directory=shm_dir)
    writer.publish(ticks(2))
    with Reader("r", "oldest", directory=shm_dir) as reader:
        assert run(main()) == [1, 2, 3, 4]
    writer.close()


def test_reader_closed_while_a_task_waits(shm_dir: str, run) -> None:
    async def main() -> None:
        task = asyncio.create_task(reader.wait())
        await asyncio.sleep(0.01)
        reader.close()
        with pytest.raises(ValueError, match="closed"):
            await task

    with Writer("r", directory=shm_dir):
        reader = Reader("r", directory=shm_dir)
        run(main())


def test_teardown_in_the_middle_of_a_wait_prints_nothing(shm_dir: str) -> None:
    code = """
        import asyncio, sys
        from mdfeedd import Reader
        async def main():
            reader = Reader("r", directory=sys.argv[1])
            task = asyncio.create_task(reader.wait())
            await asyncio.sleep(0.05)
            task.cancel()
        asyncio.run(main())
    """
    with Writer("r", directory=shm_dir):
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", textwrap.dedent(code), shm_dir],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert threading.active_count() >= 1


def test_reader_closed_after_its_loop_was_closed_under_it(shm_dir: str) -> None:
    with Writer("r", 256, directory=shm_dir):
        reader = Reader("r", directory=shm_dir)
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(reader.wait())
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        reader.close()
        assert reader.closed
        waiting._log_destroy_pending = False
        waiting.get_coro().close()
