"""No core file of a process that holds a secret."""

from __future__ import annotations

import subprocess
import sys

CHILD = """
import ctypes
from mdfeedd.feeds.core_file import forbid_core_file
dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
before = dumpable()
forbid_core_file("the key")
print(before, dumpable())
"""


def test_process_is_not_dumpable_from_then_on():
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["1", "0"]
    assert done.stderr == ""


def test_kernel_that_refuses_is_told(monkeypatch, caplog):
    from mdfeedd.feeds import core_file

    class Refusing:
        @staticmethod
        def prctl(*_: object) -> int:
            core_file.ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(core_file.ctypes, "CDLL", lambda *_, **__: Refusing)
    core_file.forbid_core_file("the key")
    (message,) = caplog.messages
    assert message == "prctl: Operation not permitted: a core file would hold the key"
