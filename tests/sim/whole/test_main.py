"""`python -m mdfeedd.sim`: what it says, and its exit status."""

from __future__ import annotations

import pytest

pytest.importorskip("greenlet", reason="the simulation's processes are greenlets")

from mdfeedd.sim.__main__ import main
from mdfeedd.sim.whole import play as module


def test_seeds_that_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2", "--start", "4", "--vendor", "cme"]) == 0
    assert "2 seeds, 0 failed" in capsys.readouterr().out


def test_seed_that_fails_is_told_with_its_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "check_all", lambda _evidence: ["loss: a planted one"])
    assert main(["--seeds", "1", "--start", "4", "--vendor", "cme"]) == 1
    told = capsys.readouterr().out
    assert "loss: a planted one" in told
    assert "again: python -m mdfeedd.sim --seeds 1 --start 4 --without" in told
    assert "feed0: starts, life 1" in told


@pytest.mark.parametrize("given", [["--vendor", "nyse"], ["--without", "rain"]])
def test_unknown_vendor_or_family_is_refused(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--seeds", "1", *given]) == 2
    assert f"{given[1]}: there is no such" in capsys.readouterr().err


def test_trace_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "1", "--start", "4", "--vendor", "cme", "--trace"]) == 0
    assert "heals" in capsys.readouterr().out
