"""A ring's file or its registry is cut short, or made anew, while somebody has it open."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from mdfeedd import TICK, Reader, Writer
from mdfeedd.ring import RingCorrupt
from mdfeedd.ring.inspect import inspect

READER = """
import os, sys
from mdfeedd import Reader
from mdfeedd.ring import RingCorrupt
from mdfeedd.ring._ring import survive_cuts
if sys.argv[2] == "survives":
    survive_cuts()
with Reader("r", "oldest", "me", directory=sys.argv[1]) as reader:
    print(len(reader.read(100)), flush=True)
    os.read(0, 1)
    try:
        for _ in range(5):
            reader.read(100, timeout=0.2)
        reader.beat()
        reader.ack(5)
        print("went on")
    except RingCorrupt as error:
        print(error)
"""


def run_reader(shm_dir, mode, cut):
    """The reader's status and what it says after `cut`."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(READER), shm_dir, mode],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "10\n"
    cut()
    told, _ = process.communicate("x", timeout=60)
    return process.returncode, told.strip()


@pytest.fixture
def writer(shm_dir):
    """The ring r with ten ticks."""
    with Writer("r", 256, directory=shm_dir) as made:
        made.publish(np.zeros(10, TICK))
        yield made


def test_ring_that_is_cut_is_told(shm_dir, writer):
    path = f"{shm_dir}/mdfeedd.r"
    size = os.path.getsize(path)
    status, told = run_reader(shm_dir, "survives", lambda: os.truncate(path, 4096))
    assert (status, told) == (0, f"{path} was cut from {size} bytes to 4096")


def test_registry_that_is_cut_harms_no_reader_of_ours(shm_dir, writer):
    cut = lambda: os.truncate(f"{shm_dir}/mdfeedd.r.readers", 0)  # noqa: E731
    assert run_reader(shm_dir, "survives", cut) == (0, "went on")


def test_bus_error_that_is_not_ours_ends_a_process_as_ever(shm_dir):
    """The signal is taken for our files alone."""
    code = """
        import mmap, os, sys, tempfile
        from mdfeedd.ring._ring import survive_cuts
        survive_cuts()
        survive_cuts()
        with tempfile.TemporaryFile() as file:
            file.truncate(4096)
            memory = mmap.mmap(file.fileno(), 4096)
            file.truncate(0)
            memory[0]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == -7, done.stderr


def test_reader_moves_over_to_a_registry_that_was_made_anew(shm_dir):
    writer = Writer("r", 256, directory=shm_dir)
    writer.publish(np.zeros(10, TICK))
    with Reader("r", "oldest", "me", directory=shm_dir) as reader:
        assert len(reader.read(4)) == 4
        Path(shm_dir, "mdfeedd.r.readers").unlink()
        writer.close()
        with Writer("r", 256, directory=shm_dir) as writer:
            assert [c.name for c in inspect("r", shm_dir).consumers] == []
            writer.publish(np.zeros(10, TICK))
            seen = 4
            while seen < 20:
                batch = reader.read(100, timeout=10)
                assert batch.lost == 0
                seen += len(batch)
            reader.read(1, timeout=0.2)
            assert [c.name for c in inspect("r", shm_dir).consumers if c.alive] == ["me"]


def test_position_that_nobody_can_have_reached_is_not_resumed_from(shm_dir, writer):
    """By chance or by harm: what was not read must not be passed over."""
    with Reader("r", "oldest", "me", directory=shm_dir) as reader:
        reader.read(4)
    with open(f"{shm_dir}/mdfeedd.r.readers", "r+b") as file:
        file.seek(4096)
        file.write((10**9).to_bytes(8, "little"))
    with Reader("r", "resume", "me", directory=shm_dir) as reader:
        assert reader.next_seq == 1


def test_ring_that_reserves_all_numbers_is_refused_by_its_writer(shm_dir):
    """Readers would count all that comes as lost, for ever."""
    Writer("r", 256, directory=shm_dir).close()
    with open(f"{shm_dir}/mdfeedd.r", "r+b") as file:
        file.seek(1024)
        file.write(b"\xff" * 8)
    with pytest.raises(RingCorrupt, match="beyond its tail"):
        Writer("r", 256, directory=shm_dir)
