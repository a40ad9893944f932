"""The example files are configurations that work, and mdfeedd.yaml shows every key with its default."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from mdfeedd.daemon import config, plugins, references
from mdfeedd.sim.cme.lines import config_xml, unicast_lines

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((REPOSITORY / "config").glob("*.yaml"))
SHOWN = REPOSITORY / "config" / "mdfeedd.yaml"
OURS = [(group, name) for group, names in plugins.BUILTIN.items() for name in names]
NEEDED = {"parquet": "pyarrow"}


@pytest.fixture(autouse=True)
def simulated_channel(tmp_path, monkeypatch):
    """Where the examples are read there is the config.xml that `mdfeedd sim cme` would have written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.xml").write_text(config_xml(310, unicast_lines()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_valid(path):
    pytest.importorskip("pyarrow")
    plan = config.load(path)
    assert plan.feeds
    assert plan.consumers


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_what_is_commented_out_is_valid_too(path):
    """Every key uncommented: the same file, written out."""
    pytest.importorskip("pyarrow")
    text = re.sub(
        r"^( *)# ((?:  )*(?:- )?[a-z_]+:(?: .*)?)$", r"\1\2", path.read_text(), flags=re.MULTILINE
    )
    plan = config.parse(text, path.name)
    if path == SHOWN:
        assert {feed.plugin for feed in plan.feeds} == {
            "synthetic",
            "replay",
            "cme",
            "databento",
            "bloomberg",
            "kafka",
        }
        assert {consumer.plugin for consumer in plan.consumers} == {
            "bars",
            "batch",
            "callbacks",
            "fanout",
            "journal",
        }


@pytest.mark.parametrize(("group", "name"), OURS)
def test_every_option_is_shown_with_its_default(group, name):
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    options = plugins.load(plugins.resolve(group, name)).Options
    text = SHOWN.read_text()
    secrets = references.secrets_of(options)
    for secret, sources in secrets.items():
        shown = re.findall(rf"^[ #]*{secret}: +{{(\w+): \S+}}", text, re.MULTILINE)
        assert shown, f"{name}: {secret} is not shown"
        assert set(shown) & sources.keys()
    replaced = {flat for sources in secrets.values() for flat in sources.values()}
    for field in dataclasses.fields(options):
        if field.name in replaced:
            continue
        if field.name in {"sink_type", "sink_options"}:
            continue  # written as sink:
        shown = re.findall(rf"^[ #]*(?:- )?{field.name}: +(.*?)(?: +#.*)?$", text, re.MULTILINE)
        assert shown, f"{name}: {field.name} is not shown"
        if field.default is dataclasses.MISSING:
            continue
        values = [yaml.safe_load(value) for value in shown]
        default = json.loads(json.dumps(field.default))
        if field.name not in {
            "ring",
            "on_tick",
            "lines",
        }:  # which would say little with their defaults
            assert default in values, f"{name}: {field.name} is {default!r}, shown is {values}"


def test_our_plugins_are_those_of_the_distribution():
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        declared = tomllib.load(file)["project"]["entry-points"]
    assert declared == plugins.BUILTIN
