"""The plugin classes of these tests are found by name, in this process and in the workers."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent / "plugins"
if str(PLUGINS) not in sys.path:
    sys.path.append(str(PLUGINS))


@pytest.fixture
def file(tmp_path, shm_dir):
    """A configuration file of a daemon on this test's rings."""
    from reload_scenario import File

    return File(tmp_path / "mdfeedd.yaml", shm_dir)


@pytest.fixture
def told(caplog):
    """The lines about one child in the last reload, or about all."""
    caplog.set_level(logging.INFO, "mdfeedd.daemon")

    def lines(label=""):
        number = max(int(r.getMessage().split()[1][:-1]) for r in records())
        head = f"reload {number}: {label}: " if label else f"reload {number}: "
        return [r.getMessage()[len(head) :] for r in records() if r.getMessage().startswith(head)]

    def records():
        return [r for r in caplog.records if r.name == "mdfeedd.daemon.reload"]

    return lines
