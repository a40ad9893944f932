"""The JSON Schema for editors: current, valid, and of one mind with the check as far as it goes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mdfeedd.daemon import plugins, yaml12
from mdfeedd.daemon.json_schema import json_schema

pytest.importorskip("pyarrow")

REPOSITORY = Path(__file__).resolve().parents[2]
COMMITTED = REPOSITORY / "config" / "mdfeedd.schema.json"
EXAMPLES = sorted((REPOSITORY / "config").glob("*.yaml"))
SIM = "feeds: [{name: f, vendor: synthetic}]\n"
DATABENTO = "feeds: [{name: f, vendor: databento, options: {dataset: A, subscriptions: [], %s}}]"
STORE = SIM + "consumers: [{name: c, type: batch, rings: [f], options: {sink: %s}}]"


@pytest.fixture(scope="module")
def schema():
    return json_schema(plugins.BUILTIN)


@pytest.fixture(scope="module")
def draft():
    """Here, not above: with all its formats the package takes seconds to import."""
    return pytest.importorskip("jsonschema").Draft7Validator


@pytest.fixture(scope="module")
def mistakes(schema, draft):
    validator = draft(schema)

    def find(text):
        node, problems = yaml12.parse(text.encode(), "x")
        assert not problems.found
        return [error.message for error in validator.iter_errors(node.plain())]

    return find


def test_committed_schema_is_current(schema):
    told = "mdfeedd config schema > config/mdfeedd.schema.json"
    assert json.loads(COMMITTED.read_text()) == json.loads(json.dumps(schema)), told


def test_schema_is_one(schema, draft):
    draft.check_schema(schema)


def test_example_says_where_its_schema_is():
    first = (REPOSITORY / "config" / "mdfeedd.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={COMMITTED.name}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_agree_with_it(path, mistakes):
    assert mistakes(path.read_text()) == []


def test_every_key_that_is_shown_agrees_with_it(mistakes):
    text = (REPOSITORY / "config" / "mdfeedd.yaml").read_text()
    pattern = r"^( *)# ((?:  )*(?:- )?[a-z_]+:(?: .*)?)$"
    assert mistakes(re.sub(pattern, r"\1\2", text, flags=re.MULTILINE)) == []


def test_every_key_of_ours_says_what_it_is_for(schema):
    silent = []

    def walk(node, path):
        for key, value in node.get("properties", {}).items():
            if isinstance(value, dict):
                if "description" not in value and not path.endswith(("then", "sink")):
                    silent.append(f"{path}.{key}")
                walk(value, f"{path}.{key}")
        for inner in ("items", "then"):
            if isinstance(node.get(inner), dict):
                walk(node[inner], f"{path}.{inner}")
        for one in node.get("allOf", ()):
            walk(one, path)

    walk(schema, "")
    assert silent == []


@pytest.mark.parametrize(
    "text",
    [
        SIM + "include: conf.d/*.yaml\n",
        SIM + "include: [a.yaml, conf.d]\nmetrics:\nlog:\n",
        "consumers: []\n",
        "feeds: [{name: f, vendor: 'my.module:Feed', options: {anything: 1}}]",
        "feeds: [{name: f, vendor: synthetic, hang_s: 1m, options: }]",
        DATABENTO % "key: {file: /x}, heartbeat_s: 30s, receive_buffer_bytes: 8MiB",
        STORE % "{type: parquet, path: x, roll_s: 1h}",
        STORE % "{type: 'my.module:Sink', anything: 1}",
    ],
)
def test_what_the_check_takes_it_takes(text, mistakes):
    assert mistakes(text) == []


@pytest.mark.parametrize(
    "text",
    [
        SIM + "zzz: 1\n",
        SIM + "metrics: {port: 70000}\n",
        SIM + "log: {level: inof}\n",
        "feeds: [{name: f}]",
        "feeds: [{name: f, vendor: no colon}]",
        "feeds: [{name: f, vendor: synthetic, hang_s: 5 parsecs}]",
        "feeds: [{name: f, vendor: synthetic, options: {rat: 5}}]",
        "feeds: [{name: f, vendor: synthetic, options: {rate: fast}}]",
        "feeds: [{name: f, vendor: synthetic, options: {market: futrues}}]",
        DATABENTO % "key: db-secret",
        DATABENTO % "key: {env: A, file: /b}",
        DATABENTO % "key: {file: b}",
        DATABENTO % "key: {}",
        DATABENTO % "receive_buffer_bytes: 8M",
        "feeds: [{name: f, vendor: databento, options: {dataset: A}}]",
        "feeds: [{name: f, vendor: cme, options: {lines: [{channel: 310}]}}]",
        STORE % "{type: parquet}",
        STORE % "{path: x}",
        STORE % "{type: parquet, path: x, rol_s: 5}",
        STORE % "parquet",
        SIM + "consumers: [{name: c, type: batch, rings: [f], options: {}}]",
    ],
)
def test_most_mistakes_are_seen_while_typing(text, mistakes):
    assert mistakes(text)


def test_plugin_that_cannot_be_imported_is_a_name_only():
    known = {plugins.FEEDS: {"gone": "no.such:Feed"}, plugins.CONSUMERS: {}, plugins.SINKS: {}}
    item = json_schema(known)["properties"]["feeds"]["items"]
    assert item["properties"]["vendor"]["anyOf"][0] == {"enum": ["gone"]}
    assert item["allOf"] == []
