"""What the README shows runs as shown."""

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

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_reader_in_ten_lines(shm_dir: str, monkeypatch) -> None:
    (code,) = [b for b in blocks("python") if 'Reader("demo-futures")' in b]
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


def test_every_command_of_the_table_exists() -> None:
    from mdfeedd.cli import main

    names = set(re.findall(r"^\| `mdfeedd ([\w-]+)", README, flags=re.MULTILINE))
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
        main(["--help"])
    commands = out.getvalue().partition("COMMAND\n")[2].partition("\n\n")[0]
    assert names == set(re.findall(r"^    ([\w-]+)", commands, flags=re.MULTILINE))
    for name in sorted(names):
        with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as done:
            main([name, "--help"])
        assert done.value.code == 0
        assert f"mdfeedd {name}" in out.getvalue()


def test_files_that_the_readme_names_exist() -> None:
    root = Path(__file__).resolve().parents[2]
    for path in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (root / path).exists(), path
    for path in re.findall(r"`((?:mdfeedd|config|bench|tests|systemd)/[\w./]*)`", README):
        assert (root / path).exists(), path
