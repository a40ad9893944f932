"""Nothing is allocated per tick, in Python's heap and in the process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np

from mdfeedd import TICK, Reader, Writer


def test_ticks_cost_no_python_memory(shm_dir: str) -> None:
    with Writer("r", 4096, directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        one, out = np.zeros(1, TICK), np.zeros(512, TICK)

        def work(rounds: int) -> int:
            got = 0
            for _ in range(rounds):
                for _ in range(100):
                    writer.publish(one)
                got += reader.read_into(out)
            return got

        work(2)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            assert work(200) == 20_000
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 2_000
        assert peak - before < 20_000


def test_days_of_batches_do_not_grow_the_process(shm_dir: str) -> None:
    code = """
        import sys, numpy as np
        from mdfeedd import Reader, Writer, TICK
        def rss():
            with open("/proc/self/statm") as f:
                return int(f.read().split()[1]) * 4096
        w = Writer("r", 4096, directory=sys.argv[1])
        r = Reader("r", directory=sys.argv[1])
        batch = np.zeros(1000, TICK)
        def work(n):
            for _ in range(n):
                w.publish(batch)
                b = r.read()
                b.records["ts_event"].sum()
        work(500)
        before = rss()
        work(5000)
        print(rss() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), shm_dir],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert int(done.stdout) < 2_000_000


def test_importing_a_reader_pulls_in_numpy_and_nothing_else() -> None:
    code = """
        import sys, numpy
        before = set(sys.modules)
        import mdfeedd
        heavy = {"pydantic", "yaml", "prometheus_client", "rich", "asyncio", "pyarrow", "pandas",
                 "zstandard", "databento_dbn", "uvloop", "multiprocessing"}
        print(sorted(heavy & {m.split(".")[0] for m in set(sys.modules) - before}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[]\n"
