"""What real other users of the host can do with a ring: a member of its group, and anybody else.

The owner is a user without rights of its own. Each other one is a process that has given up root.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.feeds.resume_file import open_resume_file
from mdfeedd.ring import RingDenied, RingError, Writer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")

OWNER, MEMBER, OTHER, GROUP, NOBODYS = 61_001, 61_002, 61_003, 61_010, 61_011
DEADLINE_S = 60.0
BEGIN = """
import contextlib, errno, fcntl, json, mmap, os, struct, sys, time
import numpy as np
from mdfeedd.ring import Reader, RingError, Writer
from mdfeedd.ring._ring import survive_cuts
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import QUOTE, TICK, Kind
directory, uid, gid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.setgroups([]); os.setgid(gid); os.setuid(uid)
ring, registry = directory + "/mdfeedd.r", directory + "/mdfeedd.r.readers"
def told(call):
    try:
        call()
        return "done"
    except (OSError, RingError) as error:
        return errno.errorcode.get(getattr(error, "errno", None), type(error).__name__)
"""


def as_user(shm_dir, uid, gid, code):
    """What the code prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(code), shm_dir, str(uid), str(gid)],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def started(shm_dir, uid, gid, code):
    """The same, running: it prints a line when it is ready, and ends when its input does."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + textwrap.dedent(code), shm_dir, str(uid), str(gid)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline()
        yield process
    finally:
        process.stdin.close()
        process.wait(DEADLINE_S)
        process.stdout.close()


WRITER = """
survive_cuts()
writer = Writer("r", 256, directory=directory)
one = writer.instruments.add("ESZ6")
print("ready", flush=True)
tick = np.zeros(1, QUOTE)
tick["kind"], tick["instrument_id"] = Kind.QUOTE, one
while os.read(0, 1):                   # each byte: ten more ticks
    for _ in range(10):
        tick["ts_event"] += 1
        writer.publish(tick.view(TICK))
    print(writer.next_seq, flush=True)
"""


def more(process):
    """Ten more ticks; the next sequence number."""
    process.stdin.write("x")
    process.stdin.flush()
    return int(process.stdout.readline())


@pytest.fixture
def folder(shm_dir):
    """As /dev/shm: anybody may make files, and remove only their own."""
    Path(shm_dir).chmod(0o1777)
    return shm_dir


@pytest.fixture
def writer(folder):
    """A living writer, with ten ticks published."""
    with started(folder, OWNER, GROUP, WRITER) as process:
        assert more(process) == 11
        yield process


ALL = """
def read():
    with Reader("r", "oldest", "theirs", directory=directory) as reader:
        batch = reader.read(100, timeout=10)
        assert len(batch) == 10 and batch.lost == 0
        result["registered"] = reader.registered
        result["listed"] = [c.name for c in inspect("r", directory).consumers if c.alive]
def map_for_writing():
    fd = os.open(ring, os.O_RDONLY)
    mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
result = {}
result["read"] = told(read)
result["open for writing"] = told(lambda: os.open(ring, os.O_RDWR))
result["map for writing"] = told(map_for_writing)
result["truncate"] = told(lambda: os.truncate(ring, 0))
result["chmod"] = told(lambda: os.chmod(ring, 0o666))
result["unlink"] = told(lambda: os.unlink(ring))
result["rename over"] = told(lambda: (open(directory + "/x", "w"), os.rename(directory + "/x", ring)))
result["write"] = told(lambda: Writer("r", 256, directory=directory))
result["registry"] = told(lambda: os.open(registry, os.O_RDWR))
print(json.dumps(result))
"""
REFUSED = {
    "open for writing": "EACCES",
    "map for writing": "EACCES",
    "truncate": "EACCES",
    "chmod": "EPERM",
    "unlink": "EPERM",
    "rename over": "EPERM",
    "write": "RingDenied",
}


def test_member_of_the_group_reads_and_is_listed_and_writes_nothing(folder, writer):
    assert as_user(folder, MEMBER, GROUP, ALL) == {
        **REFUSED, "read": "done", "registered": True, "listed": ["theirs"], "registry": "done",
    }  # fmt: skip
    assert more(writer) == 21


def test_anybody_else_sees_nothing(folder, writer):
    expected = {**REFUSED, "read": "RingDenied", "registry": "EACCES", "map for writing": "EACCES"}
    assert as_user(folder, OTHER, NOBODYS, ALL) == expected
    assert more(writer) == 21


def test_reader_that_cuts_the_registry_stops_neither_writer_nor_the_next_one(folder, writer):
    """It may, as it writes there; a touch of what is gone would be SIGBUS."""
    for size in (0, 4096):
        assert as_user(folder, MEMBER, GROUP, f"os.truncate(registry, {size}); print(1)") == 1
        before = more(writer)
        assert more(writer) == before + 10
    # the next writer makes the registry anew; who reads is listed again
    code = """
    with Reader("r", "oldest", "after", directory=directory) as reader:
        print(json.dumps([len(reader.read(1000, timeout=10)), reader.registered]))
    """
    writer.kill()
    writer.wait(DEADLINE_S)
    with started(folder, OWNER, GROUP, WRITER) as again:
        assert more(again) == 61
        assert as_user(folder, MEMBER, GROUP, code) == [60, True]


def test_reader_that_overwrites_the_registry_is_noticed_by_nobody_else(folder, writer):
    code = """
    size = os.path.getsize(registry)
    with open(registry, "r+b") as file:
        file.write(os.urandom(size))
    print(1)
    """
    for _ in range(3):
        assert as_user(folder, MEMBER, GROUP, code) == 1
        before = more(writer)
        assert more(writer) == before + 10
    inspect_it = "print(json.dumps(told(lambda: inspect('r', directory))))"
    assert as_user(folder, OWNER, GROUP, inspect_it) == "RingCorrupt"
    reading = """
    with Reader("r", "oldest", None, directory=directory) as reader: pass
    """
    assert (
        as_user(
            folder, MEMBER, GROUP, f"print(json.dumps(told(lambda: exec({reading.strip()!r}))))"
        )
        == "RingCorrupt"
    )


def test_read_lock_of_a_reader_is_no_sign_of_life_of_a_writer(folder, writer):
    lock = """
    fd = os.open(ring, os.O_RDONLY)
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 1, 0))
    print("locked", flush=True)
    os.read(0, 1)
    """
    alive = 'print(json.dumps(inspect("r", directory).writer_alive))'
    writer.kill()
    writer.wait(DEADLINE_S)
    with started(folder, MEMBER, GROUP, lock):
        assert as_user(folder, OWNER, GROUP, alive) is False
        code = """
        try: Writer("r", 256, directory=directory)
        except RingError as error: print(json.dumps(str(error)))
        """
        assert "a reader holds a lock that keeps others out" in as_user(folder, OWNER, GROUP, code)
    assert (
        as_user(folder, OWNER, GROUP, 'Writer("r", 256, directory=directory).close(); print(1)')
        == 1
    )


def squat(folder, path, mode):
    """Somebody was first: a file of the name, and whatever they like in it."""
    Path(path).touch()
    os.chmod(path, mode)
    os.chown(path, OTHER, NOBODYS)


@pytest.mark.parametrize("which", ["mdfeedd.r", "mdfeedd.r.readers", "mdfeedd.r.resume"])
def test_name_that_another_user_has_taken_first_is_not_written(folder, which):
    """In /dev/shm anybody may make a file of any name: with our ring in it, they would write our prices."""
    if which == "mdfeedd.r":
        Writer("r", 256, directory=folder).close()
    squat(folder, f"{folder}/{which}", 0o666)
    if which.endswith("resume"):
        # or the kernel says it first (fs.protected_regular)
        with pytest.raises(OSError, match=r"belongs to user 61003|Permission denied"):
            open_resume_file(RingPlan("r", 1, directory=folder), 4096, "x")
        return
    with pytest.raises(RingDenied, match="belongs to user 61003"):
        Writer("r", 256, directory=folder)


def test_ring_that_others_may_write_is_not_gone_on_with(folder):
    Writer("r", 256, directory=folder).close()
    os.chmod(f"{folder}/mdfeedd.r", 0o660)
    with pytest.raises(RingDenied, match="may be written by others"):
        Writer("r", 256, directory=folder)


def test_link_in_the_place_of_a_ring_is_not_followed(folder, tmp_path):
    Writer("r", 256, directory=str(tmp_path)).close()
    os.symlink(tmp_path / "mdfeedd.r", f"{folder}/mdfeedd.r")
    with pytest.raises(RingError, match="symbolic links"):
        Writer("r", 256, directory=folder)


def test_reader_may_hold_a_name_and_the_next_one_is_told(folder, writer):
    """Members of the group can get into each other's way, but not into the writer's."""
    code = """
    reader = Reader("r", "now", "journal", directory=directory)
    print("reads", flush=True)
    os.read(0, 1)
    """
    with started(folder, MEMBER, GROUP, code):
        taken = """
        try: Reader("r", "now", "journal", directory=directory)
        except RingError as error: print(json.dumps(str(error)))
        """
        assert "living consumer named 'journal'" in as_user(folder, OWNER, GROUP, taken)
        assert more(writer) == 21
