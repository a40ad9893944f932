"""The usage of the design document, as it stands there, against simulated vendors: only the import is another."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
from pathlib import Path

import pytest

THEIRS = "from feed_manager import FeedManager, FeedConfig\nfrom models import Vendor\n"
OURS = "from mdfeedd import FeedManager, FeedConfig, Vendor, Tick\n"


@pytest.fixture(scope="module")
def blocks(testdata):
    """The Python blocks of the section on usage."""
    document = testdata.parent / "seed.txt"
    if not document.is_file():
        pytest.skip(f"the design document is not at {document}")
    usage = document.read_text(encoding="utf-8").partition("\n## Usage\n")[2].partition("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", usage, re.DOTALL)
    assert len(found) == 2
    assert found[0].startswith(THEIRS)
    return [found[0].replace(THEIRS, OURS), found[1]]


async def execute(text, names, pause=None):
    """Run a block statement by statement, as at a prompt; `pause` after `await manager.start()`."""
    for statement in ast.parse(text).body:
        code = compile(
            ast.Module([statement], []), "<document>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result
        if pause is not None and "start()" in ast.unparse(statement):
            await pause(names["manager"])


def delivered(manager, *feeds):
    stats = manager.stats().feeds
    return all(name in stats and stats[name].delivered > 10 for name in feeds)


def test_basic_usage(blocks, run, databento, terminal, until, capsys):
    databento("ESZ4", "NQZ4")
    terminal("ESZ4 Index")
    folders = []

    async def until_shutdown(manager):
        folders.append(manager.directory)
        await until(lambda: delivered(manager, "databento", "bloomberg"), "ticks of both feeds")

    names = {}
    run(execute(blocks[0], names, until_shutdown))
    said = capsys.readouterr().out
    counts = [int(n) for n in re.findall(r"^Received (\d+) ticks$", said, re.MULTILINE)]
    stats = names["manager"].stats()
    assert sum(counts) == sum(feed.delivered for feed in stats.feeds.values())
    assert {feed.state for feed in stats.feeds.values()} == {"stopped"}
    assert stats.feeds["databento"].published == stats.feeds["databento"].delivered
    assert not Path(folders[0]).exists()


@pytest.mark.parametrize("later", [False, True], ids=["before start", "while running"])
def test_aggregation(blocks, run, databento, terminal, until, capsys, later):
    databento("ESZ4", "NQZ4")
    terminal("ESZ4 Index")
    basic, aggregation = blocks
    before, start, after = basic.partition("await manager.start()\n")
    bar = re.compile(r"^(ESZ4|NQZ4): O=(\d+) H=(\d+) L=(\d+) C=(\d+)$", re.MULTILINE)

    async def until_shutdown(manager):
        if later:
            await execute(aggregation, names)
            await manager.applied()
        await until(lambda: delivered(manager, "databento", "bloomberg"), "ticks of both feeds")

        def is_made():
            ring = Path(manager.directory, "mdfeedd.bars1-databento")
            return ring.exists()

        await until(is_made, "the ring of the bars")
        await asyncio.sleep(0.5)  # some trades, of which the stop makes a bar

    names = {}

    async def both():
        await execute(before, names)
        if not later:
            await execute(aggregation, names)
        await execute(start + after, names, until_shutdown)

    run(both())
    bars = bar.findall(capsys.readouterr().out)
    assert {symbol for symbol, *_ in bars} == {"ESZ4", "NQZ4"}
    for _, *prices in bars:
        first, high, low, last = map(int, prices)
        assert 0 < low <= min(first, last) <= max(first, last) <= high


def test_key_is_in_no_argument_and_in_one_environment_only(blocks, run, databento, terminal, until):
    databento("ESZ4", "NQZ4")
    terminal("ESZ4 Index")
    found = {}

    async def look(manager):
        await until(lambda: delivered(manager, "databento", "bloomberg"), "ticks of both feeds")
        for child in manager._engine._supervisor.children:
            process = Path(f"/proc/{child.pid}")
            found[child.name] = b"your-key" in (process / "environ").read_bytes()
            assert b"your-key" not in (process / "cmdline").read_bytes()
        assert "your-key" not in repr(manager) + repr(manager.feeds) + str(manager.stats())
        assert "your-key" not in manager._engine._supervisor.plan.to_json()
        assert "your-key" not in os.environ.values()

    run(execute(blocks[0], {}, look))
    assert found == {"databento": True, "bloomberg": False}
