"""``mdfeedd config``: show, schema and check."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mdfeedd.cli import main
from mdfeedd.daemon import config

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

MAIN = """\
include: conf.d
metrics: {port: 0}
feeds:
  - name: d
    vendor: databento
    options:
      dataset: GLBX.MDP3
      subscriptions: [{schema: trades, symbols: [ESZ6]}]
      key: {credential: databento-key}
"""
PART = "feeds: [{name: sim, vendor: synthetic, hang_s: 1m}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "sim.yaml").write_text(PART)
    (tmp_path / "main.yaml").write_text(MAIN)
    return tmp_path / "main.yaml"


def test_show_prints_a_configuration_that_means_the_same(file: Path, run: Run) -> None:
    ran = run("config", "show", "-c", file)
    assert (ran.status, ran.err) == (0, "")
    assert config.parse(ran.out) == config.load(file)
    assert "      credential: databento-key\n" in ran.out
    assert "  hang_s: 60.0\n" in ran.out
    assert "include" not in ran.out


def test_show_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "-c", str(file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [feed["name"] for feed in shown["feeds"]] == ["d", "sim"]
    assert shown["feeds"][0]["options"]["key"] == {"credential": "databento-key"}
    assert shown["feeds"][0]["options"]["heartbeat_s"] == 30
    assert config.check(shown) == config.load(file)


def test_bad_file_is_not_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = file.parent / "conf.d" / "sim.yaml"
    part.write_text(PART + "zzz: 1\n")
    assert main(["config", "show", "-c", str(file)]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{part}:2:1: error: unknown key 'zzz'")


def test_check_is_the_other_check(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(file)]) == 0
    expected = capsys.readouterr().out
    assert main(["config", "check", "-c", str(file)]) == 0
    assert capsys.readouterr().out == expected


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"].keys() == {
        "feeds", "consumers", "include", "shm_dir", "metrics", "log", "symbols",
    }  # fmt: skip


def test_action_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["config"])
    assert caught.value.code == 2
    assert "ACTION" in capsys.readouterr().err
