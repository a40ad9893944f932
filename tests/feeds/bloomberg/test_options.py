"""What the configuration may say, and what becomes of it in the SDK's options."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.plan import revive
from mdfeedd.feeds.bloomberg.credentials import Credentials, read_credentials
from mdfeedd.feeds.bloomberg.ending import Ending, SessionEnd
from mdfeedd.feeds.bloomberg.feed import BloombergFeed
from mdfeedd.feeds.bloomberg.options import FIELDS, MAX_TOPICS, BloombergOptions, Topic
from mdfeedd.feeds.bloomberg.session import subscription_options
from mdfeedd.options import OptionsError
from mdfeedd.sim.bloomberg import path

IBM = Topic("IBM US Equity", "IBM")
TLS = {"tls_client_credential": "client.pk12", "tls_password_credential": "password", "tls_trust_credential": "trust.pk7"}  # fmt: skip


def made(**options: Any) -> BloombergOptions:
    return BloombergOptions((IBM,), **options)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"topics": ()}, "topics"),
        ({"topics": (IBM, IBM)}, "topics"),
        ({"topics": (IBM, Topic("ESZ6 Index", "IBM"))}, "topics"),
        ({"topics": (IBM, Topic("IBM US Equity", "OTHER"))}, "topics"),
        ({"fields": ()}, "fields"),
        ({"fields": ("last price",)}, "fields"),
        ({"servers": ()}, "servers"),
        ({"servers": ("a b:8194",)}, "servers"),
        ({"servers": ("host:0",)}, "servers"),
        ({"servers": ("host:70000",)}, "servers"),
        ({"socks5": ":1"}, "socks5"),
        ({"topics": (IBM, Topic("ibm us equity", "OTHER"))}, "topics"),
        ({"fields": ("BID", "ASK", "BID")}, "fields"),
        ({"servers": ("a", "b", "a:8194")}, "servers"),
        ({"socks5": "proxy"}, "socks5"),
        ({"auth": "app"}, "auth"),
        ({"auth": "user_app"}, "auth"),
        ({"auth": "directory"}, "auth"),
        ({"auth": "manual", "user_id": "1"}, "auth"),
        ({"auth": "token"}, "auth"),
        ({"auth": "manual", "user_id": "1", "ip_address": "notip"}, "ip_address"),
        ({"app_name": "firm:app"}, "app_name"),
        ({"token_env": "TOKEN"}, "token_env"),
        ({"auth": "app", "app_name": "firm:app", "user_id": "1"}, "user_id"),
        ({"service": "//blp/refdata"}, "service"),
        ({"auth": "token", "token_credential": "a/b"}, "token_credential"),
        ({"tls_client_credential": "a"}, "tls_password"),
        ({"tls_trust_credential": "a", "tls_client_file": "/b"}, "tls_password"),
        ({"leased_line": 8194}, "leased_line"),
        ({"service": "mktdata"}, "service"),
        ({"interval_s": 0.01}, "interval_s"),
        ({"queue_events": 10}, "queue_events"),
        ({"spin_us": -1}, "spin_us"),
        ({"start_attempts": 0}, "start_attempts"),
        ({"connect_timeout_s": 200.0}, "connect_timeout_s"),
        ({"image_wait_s": 0.0}, "image_wait_s"),
        ({"silence_s": 0.0}, "silence_s"),
        ({"blpapi_path": "relative"}, "blpapi_path"),
    ],
)
def test_option_that_makes_no_sense_is_refused_by_name(options, key):
    with pytest.raises(ValueError, match=f"^{key}: "):
        BloombergOptions(**{"topics": (IBM,)} | options)


@pytest.mark.parametrize("fields", [{"topic": ""}, {"topic": " X"}, {"topic": "X?fields=BID"}, {"topic": "X&delayed"}, {"topic": "X\n"}, {"topic": "X" * 200}, {"topic": "X", "symbol": "\0"}, {"topic": "X", "fields": ("bid",)}, {"topic": "X", "fields": ("A",) * 101}])  # fmt: skip
def test_topic_that_makes_no_sense_is_refused(fields):
    with pytest.raises(ValueError, match=": "):
        Topic(**fields)


def test_every_mistake_within_a_list_is_told():
    topics = (IBM, Topic("A Equity", "A"), Topic("a equity"), Topic("B Equity", "A"), IBM)
    with pytest.raises(OptionsError) as caught:
        BloombergOptions(topics, fields=("a", "b", "BID", "BID"), servers=("x y", "h:0", "h"), auth="manual")  # fmt: skip
    told = caught.value.mistakes
    assert sum(one.startswith("topics: ") for one in told) == 3, told
    assert sum(one.startswith("fields: ") for one in told) == 3, told
    assert sum(one.startswith("servers: ") for one in told) == 2, told
    assert told[-2:] == ("auth: manual needs user_id", "auth: manual needs ip_address")


def test_too_many_topics():
    topics = tuple(Topic(f"T{n} Equity") for n in range(MAX_TOPICS + 1))
    with pytest.raises(ValueError, match="topics"):
        BloombergOptions(topics)


def test_names_addresses_and_defaults():
    options = made(servers=("localhost", "b.example:8196", "[::1]:9000"), socks5="proxy:1080")
    assert options.addresses() == (("localhost", 8194), ("b.example", 8196), ("::1", 9000))
    assert options.proxy() == ("proxy", 1080)
    assert made().proxy() is None
    assert options.fields == FIELDS
    assert (IBM.name, Topic("SPX Index").name) == ("IBM", "SPX Index")


def test_configuration_file_with_every_kind_of_key():
    text = """
feeds:
  - name: b
    vendor: bloomberg
    options:
      topics: [{topic: IBM US Equity, symbol: IBM}, {topic: ESZ6 Index, fields: [BID, ASK]}]
      servers: ["a:8194", "b:8194"]
      auth: app
      app_name: "firm:app"
      leased_line: 8196
      tls_client_credential: c
      tls_password_credential: p
      tls_trust_credential: t
consumers:
  - {name: c, type: callbacks, rings: [b], options: {on_tick: "os:getpid"}}
"""
    (feed,) = config.parse(text, "test.yaml").feeds
    assert feed.plugin == "bloomberg"


def test_simulated_is_the_folder_of_the_stand_in():
    assert made(blpapi_path="simulated").package_folder == path()
    assert (made().package_folder, made(blpapi_path="/x").package_folder) == ("", "/x")


def test_subscription_options_always_ask_for_gmt():
    assert subscription_options(made()) == {"useGMT": None}
    assert subscription_options(made(interval_s=2.0, conflate=True, delayed="force")) == {
        "useGMT": None, "interval": "2", "conflate": None, "delayed": None,
    }  # fmt: skip


def test_running_feed_takes_other_topics_and_nothing_else():
    old = made()
    assert BloombergFeed.live(old, replace(old, topics=(IBM, Topic("ESZ6 Index"))))
    assert BloombergFeed.live(old, old)
    assert not BloombergFeed.live(old, replace(old, interval_s=1.0))
    assert not BloombergFeed.live(old, replace(old, topics=(Topic("ESZ6 Index"),), conflate=True))


# credentials


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "client.pk12").write_bytes(b"\x30\x82client")
    (tmp_path / "password").write_text("s3cret\n")
    (tmp_path / "trust.pk7").write_bytes(b"\x30\x82trust")
    (tmp_path / "token").write_text("tok3n")
    return tmp_path


def test_credentials_are_read_and_do_not_print_themselves(folder):
    read = read_credentials(made(**TLS, auth="token", token_credential="token"))
    assert (read.client, read.password) == (b"\x30\x82client", "s3cret")
    assert (read.trust, read.token) == (b"\x30\x82trust", "tok3n")
    assert repr(read) == "<Credentials>"
    with pytest.raises(TypeError):
        pickle.dumps(read)


def test_files_and_variables_in_place_of_credentials(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("BLP_TOKEN", "tok3n")
    (tmp_path / "client").write_bytes(b"\x30\x82client")
    (tmp_path / "trust").write_bytes(b"\x30\x82trust")
    (tmp_path / "password").write_text("s3cret\n")
    text = f"""
feeds:
  - name: b
    vendor: bloomberg
    options:
      topics: [{{topic: IBM US Equity}}]
      auth: token
      token: {{env: BLP_TOKEN}}
      tls_client: {{file: {tmp_path}/client}}
      tls_password: {{file: {tmp_path}/password}}
      tls_trust: {{file: {tmp_path}/trust}}
"""
    (feed,) = config.parse(text, "test.yaml").feeds
    read = read_credentials(revive(BloombergOptions, feed.options))
    assert (read.client, read.password) == (b"\x30\x82client", "s3cret")
    assert (read.trust, read.token) == (b"\x30\x82trust", "tok3n")


def test_credential_that_is_not_there(folder):
    (folder / "password").unlink()
    with pytest.raises(SessionEnd) as caught:
        read_credentials(made(**TLS))
    assert caught.value.ending is Ending.NO_CREDENTIALS
    assert caught.value.ending.then.status == 77
    assert "password" in caught.value.text


def test_credential_that_is_empty(folder):
    (folder / "trust.pk7").write_bytes(b"")
    with pytest.raises(SessionEnd):
        read_credentials(made(**TLS))


def test_credentials_that_were_not_passed(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SessionEnd) as caught:
        read_credentials(made(**TLS))
    assert "client.pk12 was not passed" in caught.value.text


def test_no_credentials_where_none_are_named(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert read_credentials(made()).client == b""
    assert Credentials().token == ""
