"""A folder takes a sequence space from one process only, however that ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mdfeedd.sinks.folder_lock import FolderLock

A, B = "a" * 32, "b" * 32


def test_two_take_different_spaces_and_not_the_same(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert first.take(A)
    assert first.take(A)  # it is ours already
    assert not second.take(A)
    assert second.take(B)
    assert not first.take(B)
    first.close()
    assert second.take(A)
    second.close()
    second.close()


def test_a_killed_process_lets_go(tmp_path):
    code = (
        f"import os, pathlib, sys; sys.path[:0] = {sys.path!r};"
        "from mdfeedd.sinks.folder_lock import FolderLock;"
        f"assert FolderLock(pathlib.Path({str(tmp_path)!r})).take({A!r});"
        "print('taken', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"taken\n"
        lock = FolderLock(tmp_path)
        assert not lock.take(A)
        process.kill()
        process.wait()
        assert lock.take(A)
        lock.close()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        FolderLock(tmp_path / "nowhere").take(A)
