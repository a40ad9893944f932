"""The folder of a manager's rings: removed in order, at exit, and after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mdfeedd.manager.home import Home

SCRIPT = """
import sys, time
from mdfeedd.manager.home import Home
home = Home.make(sys.argv[1], lambda: print("before", flush=True))
print(home.path, flush=True)
if sys.argv[2] == "wait":
    time.sleep(600)
elif sys.argv[2] == "raise":
    raise RuntimeError("forgotten")
elif sys.argv[2] == "fork":
    import os
    if os.fork() == 0:
        sys.exit()
    os.wait()
    print(os.path.isdir(home.path), flush=True)
"""


def nothing() -> None:
    pass


def script(folder, what):
    command = [sys.executable, "-c", SCRIPT, folder, what]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def age(path):
    old = time.time() - 3600
    os.utime(path, (old, old))


def test_it_is_made_and_removed(shm_dir):
    home = Home.make(shm_dir, nothing)
    (Path(home.path) / "mdfeedd.x").touch()
    assert Path(home.path).stat().st_mode & 0o777 == 0o700
    home.remove()
    home.remove()
    assert os.listdir(shm_dir) == []


def test_interpreter_that_ends_without_removing_it(shm_dir):
    for what in ("return", "raise"):
        ended = script(shm_dir, what)
        assert ended.stdout.splitlines()[-1] == "before"
        assert os.listdir(shm_dir) == []


def test_forked_child_that_ends_leaves_it_alone(shm_dir):
    ended = script(shm_dir, "fork")
    assert ended.stdout.splitlines()[1:] == ["True", "before"]
    assert os.listdir(shm_dir) == []


def test_folder_of_one_that_was_killed_is_swept_by_the_next(shm_dir, spawn):
    living = Home.make(shm_dir, nothing)
    age(living.path)
    killed = spawn(
        [sys.executable, "-c", SCRIPT, shm_dir, "wait"], stdout=subprocess.PIPE, text=True
    )
    left = Path(killed.stdout.readline().strip())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    another = Home.make(shm_dir, nothing)
    assert left.is_dir()  # too young: its owner may be about to lock it
    age(left)
    another.remove()
    another = Home.make(shm_dir, nothing)
    assert not left.exists()
    assert Path(living.path).is_dir()
    another.remove()
    living.remove()


def test_folder_with_rings_is_swept_at_once(shm_dir, spawn):
    killed = spawn(
        [sys.executable, "-c", SCRIPT, shm_dir, "wait"], stdout=subprocess.PIPE, text=True
    )
    left = Path(killed.stdout.readline().strip())
    (left / "mdfeedd.x").touch()
    another = Home.make(shm_dir, nothing)
    assert left.is_dir()  # its owner lives
    another.remove()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    another = Home.make(shm_dir, nothing)
    assert not left.exists()
    another.remove()
