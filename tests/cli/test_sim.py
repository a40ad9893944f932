"""``mdfeedd sim`` as its users see it."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start

PORT = 21_000 + os.getpid() % 4_000 + 6_000


def test_plays_tells_its_lines_and_counts_what_it_sent(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.xml"
    ran = run(
        "sim", "cme", "--seconds", 0.5, "--port", PORT, "--write-config", config, "--loss", "A=0.5"
    )
    assert ran.status == 0, ran
    assert ran.err == ""
    assert ran.out.startswith("channel 310: 8 instruments (")
    assert f"  SMBO B 127.0.0.1:{PORT + 7}\n" in ran.out
    assert f"the lines are in {config}" in ran.out
    assert 'feed-type="SMBO"' in config.read_text()
    sent = [int(n.replace(",", "")) for n in re.findall(r":\d+: ([\d,]+)", ran.out)]
    assert len(sent) == 8
    total = re.search(r"^([\d,]+) packets \(", ran.out, re.MULTILINE)
    assert total
    assert int(total[1].replace(",", "")) == sum(sent) > 0
    assert len(re.findall(r"[\d,]+ lost", ran.out)) >= 1
    assert re.search(r"I A .* lost", ran.out)
    assert not re.search(r" B .* lost", ran.out)


def test_holes_of_both_sides_are_counted(run: Run) -> None:
    ran = run("sim", "cme", "--seconds", 1, "--port", PORT, "--hole-every", 0.1)
    assert ran.status == 0, ran
    told = re.search(
        r"^  lost on both sides of line I: (\d+) holes?, (\d+) packets?$", ran.out, re.MULTILINE
    )
    assert told, ran.out
    holes, packets = map(int, told.groups())
    assert packets >= holes >= 1
    assert len(re.findall(rf"I [AB] \S+ [\d,]+, {packets} lost", ran.out)) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_with_a_summary_when_stopped(start: Start, number: signal.Signals) -> None:
    process = start("sim", "cme", "--port", PORT, "--no-orders", "--version", 9)
    assert process.stdout is not None
    while process.stdout.readline() != "playing\n":
        assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == ""
    assert "MsgSeqNum" in out
    assert "SMBO" not in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--loss", "C=0.1"], "--loss"),
        (["--loss", "2"], "loss: a share"),
        (["--loss", "0.1.2"], "--loss"),
        (["--cut", "B"], "--cut"),
        (["--cut", "A:5-2"], "--cut: must end after it begins"),
        (["--cut", "A:2-2"], "--cut: must end after it begins"),
        (["--cut", "A:1.2.3-4"], "--cut"),
        (["--group", "239.1.1.1"], "--group: only with --multicast"),
        (["--multicast", "lo", "--group", "é"], "group: must be an address"),
        (["--host", "é"], "host: must be an address"),
        (["--skew", "fast"], "--skew"),
        (["--host", "224.0.0.1"], "host"),
        (["--host", "nonsense"], "nonsense"),
    ],
)
def test_option_that_makes_no_sense(run: Run, arguments: list[str], sentence: str) -> None:
    ran = run("sim", "cme", "--seconds", 0.1, *arguments)
    assert ran.status == 2
    assert sentence in ran.sentence()


def test_interface_that_is_none(run: Run) -> None:
    ran = run("sim", "cme", "--seconds", 0.1, "--multicast", "nosuch0")
    assert ran.status == 1
    assert "nosuch0" in ran.sentence()


def test_venue_that_is_none(run: Run) -> None:
    assert run("sim", "nyse").status == 2
