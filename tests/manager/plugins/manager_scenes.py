"""What several tests of the manager are played with."""

from __future__ import annotations

from pathlib import Path

from mdfeedd import FeedConfig

COUNTING = "manager_test_feeds:CountingFeed"


def counting(name=None, symbols=("A",), **options):
    return FeedConfig(COUNTING, symbols, name=name, options=options)


def pids(manager):
    return [child.pid for child in manager._engine._supervisor.children if child.pid]


def is_gone(pid):
    return not Path(f"/proc/{pid}").exists()
