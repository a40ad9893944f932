"""What the tests of a changing configuration have in common: the file, its daemon, and waiting for others."""

from __future__ import annotations

import asyncio
import json
import time

from mdfeedd.daemon import config
from mdfeedd.daemon.reload import Reloader
from mdfeedd.daemon.supervisor import Limits, Supervisor

P = "daemon_test_plugins"
PATIENCE_S = 120.0
QUICK = Limits(restart_first_s=0.01, restart_base_s=0.02, restart_max_s=0.05)


def feed(name="f", vendor=f"{P}:TickingFeed", capacity=1 << 16, **options):
    return {"name": name, "vendor": vendor, "capacity": capacity, "options": options}


def counter(name, out, rings=("f",), **options):
    return {
        "name": name,
        "type": f"{P}:CountingConsumer",
        "rings": list(rings),
        "options": {"out": str(out), **options},
    }


class File:
    """A configuration file, and the daemon that runs it."""

    def __init__(self, path, shm_dir):
        self.path, self.shm_dir = path, shm_dir

    def write(self, feeds, consumers=(), **keys):
        data = {"shm_dir": self.shm_dir, "metrics": None, "feeds": feeds}
        self.path.write_text(json.dumps({**data, "consumers": list(consumers), **keys}, indent=1))

    def daemon(self, limits=QUICK):
        supervisor = Supervisor(config.load(self.path), limits=limits)
        return supervisor, Reloader(supervisor, self.path)


async def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.01)


def pids(supervisor):
    return {child.name: child.pid for child in supervisor.children}


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
