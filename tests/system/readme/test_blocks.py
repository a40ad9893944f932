"""Every block of the README is run by a test, and nothing is replaced that is not there."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import threading
from pathlib import Path

import numpy as np
import pytest

import mdfeedd
from mdfeedd.tick import TRADE, Kind, to_fixed

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
ELSEWHERE = {"service"}
"""Which tests/system/systemd/test_readme.py runs, on a systemd of its own."""


def test_every_block_is_run_by_a_test(readme) -> None:
    assert set(readme.blocks_of(readme.README)) == set(readme.BLOCKS.values())
    tests = [path for path in HERE.glob("test_*.py") if path != Path(__file__)]
    source = "".join(path.read_text() for path in tests)
    idle = {name for name in readme.BLOCKS if f'"{name}"' not in source}
    assert idle == ELSEWHERE, "no test runs these blocks"


def test_everything_that_is_replaced_is_there(readme) -> None:
    texts = [readme.README, readme.STRATEGIES, readme.LIBRARY]
    text = "\n".join(path.read_text() for path in texts)
    assert [said for said in readme.SUBSTITUTIONS if said not in text] == []


def test_readme_is_short(readme) -> None:
    assert len(readme.README.read_text().splitlines()) <= 300


def test_reader_in_ten_lines(readme, shm_dir: str, monkeypatch) -> None:
    code = readme.blocks_of(readme.README)[readme.BLOCKS["reader"]].text
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    writer = mdfeedd.Writer("demo-futures", 256, directory=shm_dir)
    trades = np.zeros(1000, TRADE)
    trades["kind"] = Kind.TRADE
    trades["instrument_id"] = writer.instruments.add("ESZ6")
    trades["price"] = to_fixed("4502.25")
    trades["size"] = 3
    reader = functools.partial(mdfeedd.Reader, directory=shm_dir, follow=False)
    monkeypatch.setattr(mdfeedd, "Reader", reader)

    def play() -> None:
        while writer.consumer_count() == 0:
            threading.Event().wait(0.001)
        writer.publish(trades)
        writer.close()

    player = threading.Thread(target=play)
    player.start()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    player.join()
    lines = printed.getvalue().splitlines()
    lost = sum(int(line.split()[1]) for line in lines if line.startswith("lost"))
    assert lines[-1] == "ESZ6 4502.250000000 3"
    assert lost + sum(line.startswith("ESZ6") for line in lines) == 1000
    assert lost > 0, "a ring of 256 must lap a reader of 1000"


def test_every_command_of_the_table_exists(readme) -> None:
    from mdfeedd.cli import main

    text = readme.README.read_text()
    names = set(re.findall(r"^\| `mdfeedd ([\w-]+)", text, flags=re.MULTILINE))
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
        main(["--help"])
    commands = out.getvalue().partition("COMMAND\n")[2].partition("\n\n")[0]
    assert names == set(re.findall(r"^    ([\w-]+)", commands, flags=re.MULTILINE))
    for name in sorted(names):
        with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as done:
            main([name, "--help"])
        assert done.value.code == 0
        assert f"mdfeedd {name}" in out.getvalue()
