"""How the user would call what is running, for commands that we show: they must work as they stand."""

from __future__ import annotations

import os
import shlex
import shutil
import sys

from mdfeedd.cli import units


def python() -> str:
    """The interpreter that runs us: ``python`` where that is it, else its path."""
    return _short(sys.executable)


def mdfeedd() -> str:
    """The command that runs us: ``mdfeedd`` where that is it, else a path, else ``python -m mdfeedd``."""
    script = os.path.join(os.path.dirname(sys.executable), "mdfeedd")
    return _short(script) if os.path.exists(script) else f"{python()} -m mdfeedd"


def shm_option(shm_dir: str) -> str:
    """`` --shm-dir DIR`` for a command on the rings there; nothing where they lie anyway."""
    return "" if shm_dir == units.SHM_DIR else f" --shm-dir {shlex.quote(shm_dir)}"


def _short(path: str) -> str:
    """A program's name if the shell finds it by that, else its path from here if that is shorter."""
    name = os.path.basename(path)
    found = shutil.which(name)
    if found and os.path.abspath(found) == os.path.abspath(path):
        return name
    return min(path, os.path.relpath(path), key=len)
