"""Blocking reads of several rings where the kernel has no futex_waitv, or a sandbox forbids it."""

from __future__ import annotations

import platform
import subprocess
import sys
import textwrap
import time

import pytest

from mdfeedd import Writer

FORBID = """
    import ctypes, struct
    # load the number of the call; 449 (futex_waitv) fails with EPERM or ENOSYS, the rest is allowed
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, 449), (0x06, 0, 0, 0x00050000 | ERRNO), (0x06, 0, 0, 0x7FFF0000)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *one) for one in code))
    filter = struct.pack("<H6xQ", len(code), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(filter), 0, 0):
        raise SystemExit(77)
    assert libc.syscall(449, 0, 0, 0, 0, 0) == -1
    assert ctypes.get_errno() == ERRNO
"""
READ = """
    import sys, time
    from mdfeedd import Reader
    with Reader(["a", "b"], consumer="old", directory=sys.argv[1]) as reader:
        print("ready", flush=True)
        before = time.process_time()
        batch = reader.read(timeout=60)
        print(len(batch), time.process_time() - before)
"""


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the filter does not look at the machine"
)
@pytest.mark.parametrize("errno", [1, 38], ids=["EPERM", "ENOSYS"])
def test_read_of_several_rings_without_futex_waitv(shm_dir, make, errno):
    code = textwrap.dedent(FORBID.replace("ERRNO", str(errno))) + textwrap.dedent(READ)
    with (
        Writer("a", feed_index=1, directory=shm_dir),
        Writer("b", feed_index=2, directory=shm_dir) as b,
        subprocess.Popen(
            [sys.executable, "-c", code, shm_dir], stdout=subprocess.PIPE, text=True
        ) as child,
    ):
        try:
            if child.stdout.readline() != "ready\n":
                assert child.wait(60) == 77
                pytest.skip("no seccomp filters here")
            time.sleep(0.5)  # it sleeps: a millisecond at a time
            b.publish(make.at_times([1], 2 << 24 | 1))
            records, used_s = child.stdout.readline().split()
        finally:
            child.kill()
    assert records == "1"
    assert float(used_s) < 0.4  # no busy loop
