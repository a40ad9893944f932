"""A configuration written out means the same when it is read again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.showing import COVER, as_written, to_yaml
from mdfeedd.sim.cme.lines import config_xml, unicast_lines

P = "daemon_test_plugins"
REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((REPOSITORY / "config").glob("*.yaml"))


@pytest.fixture(autouse=True)
def simulated_channel(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.xml").write_text(config_xml(310, unicast_lines()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_comes_back_as_it_was(path):
    pytest.importorskip("pyarrow")
    pattern = r"^( *)# ((?:  )*(?:- )?[a-z_]+:(?: .*)?)$"
    for text in (path.read_text(), re.sub(pattern, r"\1\2", path.read_text(), flags=re.MULTILINE)):
        plan = config.parse(text, path.name)
        assert config.parse(to_yaml(as_written(plan)), "shown.yaml") == plan


@pytest.mark.parametrize(
    "symbol",
    ["ON", "1e9", "010", "0o17", "~", "", "17:00", "- x", "a: b", "'", '"', "#", "é", "a\nb"],
)
def test_text_that_yaml_would_take_for_something_else(symbol):
    data = {"name": "f", "vendor": f"{P}:TickingFeed", "options": {"symbols": [symbol, "x"]}}
    plan = config.check({"feeds": [data], "metrics": None})
    written = to_yaml(as_written(plan))
    assert config.parse(written) == plan
    assert config.parse(written).feeds[0].options["symbols"] == [symbol, "x"]


def test_lists_of_values_take_one_line_and_includes_are_joined(tmp_path):
    (tmp_path / "a.yaml").write_text("consumers: [{name: b, type: bars, rings: [f]}]\n")
    main = tmp_path / "main.yaml"
    main.write_text(f"include: a.yaml\nfeeds: [{{name: f, vendor: '{P}:TickingFeed'}}]\n")
    written = to_yaml(as_written(config.load(main)))
    assert "include" not in written
    assert "  rings: [f]\n" in written
    assert "    intervals_s: [60]\n" in written


def test_secrets_are_references_and_what_sounds_like_one_is_covered(monkeypatch):
    data = {"name": "f", "vendor": f"{P}:SecretFeed", "options": {
        "password": "hunter2", "url": "http://me:hunter2@host/", "more": {"api_key": "hunter2", "a": "b"},
        "token": {"credential": "feed-token"},
    }}  # fmt: skip
    options = as_written(config.check({"feeds": [data]}))["feeds"][0]["options"]
    assert options == {
        "password": COVER,
        "url": "http://me:*******@host/",
        "more": {"api_key": COVER, "a": "b"},
        "token": {"credential": "feed-token"},
    }
