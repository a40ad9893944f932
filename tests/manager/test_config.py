"""A feed of the library as a section of the configuration, and its key, which is nowhere."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from mdfeedd.daemon import config
from mdfeedd.manager.config import KEY_VARIABLE, FeedConfig, Vendor, child_variables, feed_section
from mdfeedd.manager.planning import check_feed
from mdfeedd.secret import Secret

SECRET = "db-0123456789abcdef0123456789abc"


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("MDFEEDD_DATABENTO_GATEWAY", "MDFEEDD_BLPAPI_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_databento():
    given = FeedConfig(Vendor.DATABENTO, ["ESZ4", "NQZ4"], SECRET, "GLBX.MDP3")
    assert feed_section(given) == {
        "name": "databento",
        "vendor": "databento",
        "capacity": 65_536,
        "options": {
            "dataset": "GLBX.MDP3",
            "subscriptions": [{"schema": "mbp-1", "symbols": ["ESZ4", "NQZ4"]}],
            "key_env": KEY_VARIABLE,
        },
    }
    assert child_variables(given)[KEY_VARIABLE].reveal() == SECRET
    check_feed("databento", given)


def test_databento_by_parent_symbols_of_another_schema_without_a_key():
    given = FeedConfig(
        "databento", ["ES.FUT"], dataset="GLBX.MDP3", schema="trades", stype="parent"
    )
    section = feed_section(given, "es")
    assert section["name"] == "es"
    assert section["options"]["subscriptions"] == [
        {"schema": "trades", "symbols": ["ES.FUT"], "stype": "parent"}
    ]
    assert "key_env" not in section["options"]
    assert child_variables(given) == {}
    check_feed("es", given)


def test_subscriptions_by_hand():
    by_hand = [{"schema": "mbo", "symbols": ["ESZ4"]}]
    given = FeedConfig("databento", dataset="GLBX.MDP3", options={"subscriptions": by_hand})
    assert feed_section(given)["options"]["subscriptions"] == by_hand
    check_feed("databento", given)


def test_bloomberg_cme_synthetic_and_a_plugin():
    assert feed_section(FeedConfig(Vendor.BLOOMBERG, ["ESZ4 Index"]))["options"] == {
        "topics": [{"topic": "ESZ4 Index"}]
    }
    assert feed_section(FeedConfig(Vendor.CME, ["ES*"], options={"depth": True}))["options"] == {
        "symbols": ["ES*"],
        "depth": True,
        "cache_dir": "",
    }
    assert feed_section(FeedConfig(Vendor.SYNTHETIC, ["A"]))["options"] == {"instruments": ["A"]}
    plugin = FeedConfig("manager_test_feeds:CountingFeed", ["A"], SECRET, name="p")
    assert feed_section(plugin)["options"] == {"symbols": ["A"], "key_env": KEY_VARIABLE}
    assert feed_section(dataclasses.replace(plugin, name=None))["name"] == "CountingFeed"
    check_feed("p", plugin)


def test_environment_has_the_defaults_of_two_options(monkeypatch):
    monkeypatch.setenv("MDFEEDD_DATABENTO_GATEWAY", "localhost:1")
    monkeypatch.setenv("MDFEEDD_BLPAPI_PATH", "/somewhere")
    assert feed_section(FeedConfig("databento", ["A"]))["options"]["gateway"] == "localhost:1"
    given = FeedConfig("databento", ["A"], options={"gateway": ""})
    assert feed_section(given)["options"]["gateway"] == ""
    assert feed_section(FeedConfig("bloomberg", ["A"]))["options"]["blpapi_path"] == "/somewhere"
    assert "gateway" not in feed_section(FeedConfig("bloomberg", ["A"]))["options"]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"symbols": "ESZ4"}, TypeError, r'a list, such as \["ESZ4"\]'),
        ({"symbols": [1]}, TypeError, "must be texts, not 1"),
        ({"symbols": ["A", "B", "A"]}, ValueError, "A is there twice"),
        ({"vendor": ""}, TypeError, "vendor: must be"),
        ({"vendor": 7}, TypeError, "vendor: must be"),
        ({"api_key": " "}, ValueError, "api_key: is empty"),
        ({"api_key": b"x"}, TypeError, "api_key: must be a text"),
        ({"name": "n" * 25}, ValueError, "name: must be of 1 to 24"),
        ({"options": ["x"]}, TypeError, "options: must be a mapping"),
        ({"vendor": "cme", "dataset": "GLBX.MDP3"}, ValueError, "dataset: is for Databento"),
        ({"vendor": "bloomberg", "api_key": "x"}, ValueError, "api_key: is for Databento"),
        ({"symbols": ["A"], "options": {"subscriptions": []}}, ValueError, "exclude each other"),
    ],
)
def test_mistakes(given, error, text):
    with pytest.raises(error, match=text):
        FeedConfig(**({"vendor": "databento"} | given))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"vendor": "databnto"}, "unknown vendor 'databnto' \\(did you mean 'databento'"),
        ({"symbols": ["A"]}, "'dataset' is missing"),
        ({"symbols": ["A"], "dataset": "x"}, "dataset: must be like GLBX.MDP3"),
        (
            {"symbols": ["A"], "dataset": "GLBX.MDP3", "options": {"hearbeat_s": 5}},
            "unknown key 'hearbeat_s' \\(did you mean 'heartbeat_s'",
        ),
        ({"symbols": ["A"], "dataset": "GLBX.MDP3", "capacity": 1000}, "power of two"),
        ({"vendor": "cme"}, "give config_xml and channels, or lines"),
        ({"vendor": "replay"}, "'paths' is missing"),
        ({"vendor": "bloomberg"}, "'topics' is missing"),
    ],
)
def test_mistakes_that_the_daemons_check_sees(given, text):
    feed = FeedConfig(**({"vendor": "databento"} | given))
    with pytest.raises(ValueError, match=text) as told:
        check_feed("desk", feed)
    assert str(told.value).startswith("feed desk: ")
    assert "feeds[0]" not in str(told.value)


def test_key_is_shown_by_nothing():
    given = FeedConfig("databento", ["ESZ4"], SECRET, "GLBX.MDP3")
    assert isinstance(given.api_key, Secret)
    shown = [repr(given), str(given), f"{given}", repr(given.api_key), repr(feed_section(given))]
    shown.append(str(config.check({"metrics": None, "feeds": [feed_section(given)]})))
    assert not [text for text in shown if SECRET in text]
    with pytest.raises(TypeError):
        pickle.dumps(given)
    with pytest.raises(TypeError):
        copy.deepcopy(given)
    with pytest.raises(ValueError, match="dataset") as told:
        check_feed("desk", FeedConfig("databento", ["ESZ4"], SECRET, "glbx"))
    assert SECRET not in str(told.value)


def test_key_with_a_line_s_end_and_one_that_cannot_be():
    assert child_variables(FeedConfig("databento", api_key=SECRET + "\n"))
    for wrong in (SECRET + "\0", "db-\udc80", "db-1\ndb-2"):
        with pytest.raises(ValueError, match="api_key: has characters that no key has"):
            FeedConfig("databento", api_key=wrong)


def test_options_are_a_copy():
    options = {"rate": 5.0}
    given = FeedConfig("synthetic", options=options)
    options["rate"] = 6.0
    feed_section(given)["options"]["rate"] = 7.0
    assert given.options == {"rate": 5.0}
