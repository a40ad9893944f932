"""Closing what another thread uses: in processes of their own, for what goes wrong here is a segmentation fault."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

BEGIN = """
    import faulthandler, sys, threading, time
    import numpy as np
    from mdfeedd import TICK, MultiReader, Reader, Writer
    faulthandler.enable()
    directory = sys.argv[1]
    outcome = []

    def guarded(work):
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(f"{type(error).__name__}: {error}")

    def begin(work):
        thread = threading.Thread(target=guarded, args=(work,), daemon=True)
        thread.start()
        return thread
"""


def run(script: str, directory: str) -> str:
    code = textwrap.dedent(BEGIN) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", code, directory],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "wait",
    [
        "reader.read()",
        "reader.read(timeout=60)",
        "next(iter(reader))",
        "reader.wait_ready(60)",
        "reader.read_into(np.zeros(8, TICK), 60)",
        "reader.wait_until(lambda last: False, timeout_s=60)",
    ],
)
@pytest.mark.parametrize("spin", ["0.0", "float('inf')"])
def test_close_ends_a_read_of_another_thread(wait: str, spin: str, shm_dir: str) -> None:
    script = f"""
        with Writer("r", directory=directory) as writer:
            reader = Reader("r", consumer="one", directory=directory, spin={spin})
            thread = begin(lambda: {wait})
            time.sleep(0.2)
            reader.close()
            assert reader.closed
            thread.join(60)
            print(outcome, writer.consumer_count())
            reader.close()
            with Reader("r", consumer="one", directory=directory):
                print("the name is free")
    """
    told = "['ValueError: the reader is closed'] 0\nthe name is free\n"
    assert run(script, shm_dir) == told


def test_close_ends_a_wait_for_several(shm_dir: str) -> None:
    script = """
        with Writer("a", directory=directory), Writer("b", directory=directory):
            reader = MultiReader(["a", "b"], directory=directory)
            thread = begin(lambda: reader.read(timeout=60))
            time.sleep(0.2)
            reader.close()
            thread.join(90)
            print(outcome)
    """
    assert "ValueError: " in run(script, shm_dir)
    assert "closed" in run(script, shm_dir)


def test_reader_closed_within_long_copies(shm_dir: str) -> None:
    """Again and again, with threads that copy megabytes without the GIL: each read is whole, or says why not."""
    script = """
        records = np.zeros(65_536, TICK)
        with Writer("r", directory=directory) as writer:
            writer.publish(records)
            for _ in range(100):
                reader = Reader("r", "oldest", directory=directory)
                room = np.zeros(65_536, TICK)
                threads = [begin(lambda: len(reader.read(65_536, 0))), begin(lambda: reader.read_into(room))]
                reader.close()
                for thread in threads:
                    thread.join(60)
        told = {one for one in outcome if isinstance(one, str)}
        print(told <= {"ValueError: the reader is closed"} or told, len(outcome))
    """
    assert run(script, shm_dir) == "True 200\n"


def test_writer_closed_within_a_long_publish(shm_dir: str) -> None:
    """What was being published is published; then nothing can be."""
    script = """
        records = np.zeros(500_000, TICK)
        for _ in range(30):
            writer = Writer("r", directory=directory)
            first = writer.next_seq
            thread = begin(lambda: writer.publish(records))
            time.sleep(0.001)
            writer.close()
            assert writer.closed
            thread.join(60)
            guarded(lambda: writer.publish(records))
            with Writer("r", directory=directory) as again:
                assert again.next_seq in (first, first + len(records)), (first, again.next_seq)
        print(set(map(type, outcome)) == {int, str}, outcome[-1])
    """
    assert run(script, shm_dir) == "True ValueError: the writer is closed\n"
