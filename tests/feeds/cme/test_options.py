"""Options: every mistake is told with its key, and through `mdfeedd check` with its place in the file."""

from __future__ import annotations

import dataclasses
import re

import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.config import ConfigError
from mdfeedd.daemon.plan import jsonable, revive
from mdfeedd.feeds.cme.options import MAX_LINES, MAX_PATTERNS, CmeOptions, Line

I_A = Line(310, "incremental", "224.0.31.1", 14310, "A")
I_B = Line(310, "incremental", "224.0.32.1", 15310, "B")
S_A = Line(310, "snapshot", "224.0.31.22", 14310, "A")
CONNECTION = (
    '<connection id="{id}"><type feed-type="{type}"/><protocol>UDP/IP</protocol><ip>{ip}</ip>'
    "<host-ip>192.0.2.1</host-ip><port>{port}</port><feed>{feed}</feed></connection>"
)


@pytest.fixture
def xml(tmp_path):
    path = tmp_path / "config.xml"
    parts = []
    for channel, last in ((310, 1), (311, 2), (312, 3)):
        lines = [
            CONNECTION.format(id="IA", type="I", ip=f"224.0.31.{last}", port=14310, feed="A"),
            CONNECTION.format(id="IB", type="I", ip=f"224.0.32.{last}", port=15310, feed="B"),
            CONNECTION.format(id="SA", type="S", ip=f"224.0.31.2{last}", port=14310, feed="A"),
        ]
        products = (
            f'<products><product code="P{channel}"><group code="G{last}"/></product></products>'
        )
        parts.append(
            f'<channel id="{channel}" label="Channel {channel}">{products}'
            + "\n".join(["<connections>", *lines, "</connections></channel>"])
        )
    path.write_text(f"<configuration>{''.join(parts)}</configuration>")
    return path


def test_channels_of_config_xml(xml):
    plan = CmeOptions(config_xml=str(xml), channels=(312, 310, 312)).plan()
    assert plan.channels == (312, 310)
    assert plan.labels == {312: "Channel 312", 310: "Channel 310"}
    assert (plan.assets, plan.groups) == ({"P312", "P310"}, {"G3", "G1"})
    assert [str(line) for line in plan.lines[:3]] == [
        "312 incremental A 224.0.31.3:14310",
        "312 incremental B 224.0.32.3:15310",
        "312 snapshot A 224.0.31.23:14310",
    ]


def test_line_by_hand_replaces_the_one_of_its_feed_and_side(xml):
    mine = Line(310, "incremental", "127.0.0.1", 9000, "B")
    plan = CmeOptions(config_xml=str(xml), channels=(310,), lines=(mine,)).plan()
    assert [line.address for line in plan.lines] == ["224.0.31.1", "127.0.0.1", "224.0.31.21"]


def test_interfaces_are_the_sides_unless_the_line_has_its_own():
    own = dataclasses.replace(S_A, interface="eth9")
    plan = CmeOptions(lines=(I_A, I_B, own), interface_a="eth1", interface_b="192.0.2.9").plan()
    assert [line.interface for line in plan.lines] == ["eth1", "192.0.2.9", "eth9"]


def test_nothing_said_selects_all_and_something_said_only_that():
    everything = CmeOptions(lines=(I_A,)).patterns
    assert everything == {"symbols": ("*",), "groups": (), "assets": ()}
    some = CmeOptions(lines=(I_A,), assets=("ES",)).patterns
    assert some == {"symbols": (), "groups": (), "assets": ("ES",)}


def test_options_survive_the_pipe_to_the_child(xml):
    options = CmeOptions(config_xml=str(xml), channels=(310,), lines=(I_B,), cpu=1, depth=True)
    assert revive(CmeOptions, jsonable(options)) == options


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"lines": ()}, "lines: there are none"),
        ({"lines": (S_A,)}, "lines: channel 310 has no incremental line"),
        ({"lines": (I_A, I_A)}, "lines: two incremental lines A of channel 310"),
        (
            {"lines": (I_A, dataclasses.replace(I_A, side="B"))},
            "lines: two of them are one: 310 incremental A 224.0.31.1:14310 and 310 incremental B",
        ),
        ({"channels": (310,)}, "channels: are looked up in config_xml"),
        ({"max_wait_ms": 0}, "max_wait_ms: must be 0.01 to 1000, not 0"),
        ({"max_wait_ms": float("nan")}, "max_wait_ms: must be 0.01 to 1000, not nan"),
        ({"silence_s": 0}, "silence_s: must be 1 to 3600"),
        ({"reorder_packets": 1}, "reorder_packets: must be 16 to 65536"),
        ({"reorder_packets": 1000}, "reorder_packets: must be a power of two, not 1000"),
        ({"receive_buffer_bytes": 1}, "receive_buffer_bytes: must be 65536 to 1073741824, not 1"),
        ({"max_wait_ms": 0.0}, "max_wait_ms: must be 0.01 to 1000, not 0.0"),
        ({"cpu": -1}, "cpu: must be 0 to 1023 or null"),
        ({"cache_dir": "state"}, "cache_dir: must be an absolute path"),
        ({"interface_a": "eth0/1"}, "interface_a: not the name or IPv4 address"),
        ({"symbols": ("",)}, "symbols: must be 1 to 71 ASCII characters, not ''"),
        ({"groups": ("é",)}, "groups: must be"),
        ({"assets": ("A",) * (MAX_PATTERNS + 1)}, "assets: at most 256, not 257"),
        (
            {"lines": tuple(dataclasses.replace(I_A, channel=n, port=n) for n in range(1, 99))},
            "lines: of at most 64 channels, not 98",
        ),
    ],
)
def test_option_is_wrong(changed, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        CmeOptions(**({"lines": (I_A,)} | changed))


def test_more_lines_than_anybody_has():
    sides = ("A", "B")
    feeds = ("incremental", "definition", "snapshot", "orders")
    lines = [Line(n, f, "127.0.0.1", 1, s) for n in range(1, 70) for f in feeds for s in sides]
    many = tuple(dataclasses.replace(line, port=i) for i, line in enumerate(lines, 1))
    assert len(many) > MAX_LINES
    with pytest.raises(ValueError, match=r"^lines: at most 512"):
        CmeOptions(lines=many)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"channel": 0}, "channel: a channel is 1 to 32767, not 0"),
        ({"feed": "I"}, "feed: must be one of incremental, definition, snapshot, orders"),
        ({"side": "C"}, "side: must be A or B"),
        ({"address": "localhost"}, "address: not an IPv4 address: 'localhost'"),
        ({"address": "0.0.0.0"}, "address: 0.0.0.0 hears every group on that port"),
        ({"address": "::1"}, "address: not an IPv4 address"),
        ({"port": 0}, "port: must be 1 to 65535, not 0"),
        ({"sources": ("224.0.0.1",)}, "sources: 224.0.0.1 is a group"),
        ({"sources": ("192.0.2.1",) * 17}, "sources: at most 16"),
        ({"interface": "a-name-too-long-for-linux"}, "interface: not the name"),
    ],
)
def test_line_is_wrong(changed, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        dataclasses.replace(I_A, **changed)


@pytest.mark.parametrize(
    ("channels", "sentence"),
    [
        ((), "channels: say which of config_xml"),
        ((313,), "channels: {xml}: no channel 313; it has 310, 311, 312"),
        ((-1,), "channels: a channel is 1 to 32767, not -1"),
        (tuple(range(1, 66)), "channels: at most 64, not 65"),
    ],
)
def test_channel_is_not_in_config_xml(xml, channels, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence.format(xml=xml))}"):
        CmeOptions(config_xml=str(xml), channels=channels)


def test_channel_of_config_xml_has_a_mistake(xml):
    xml.write_text(xml.read_text().replace("<ip>224.0.31.2</ip>", "", 1))
    assert CmeOptions(config_xml=str(xml), channels=(310,)).plan().channels == (310,)
    with pytest.raises(ValueError, match=rf"^config_xml: {xml}:6:1: channel 311, connection IA"):
        CmeOptions(config_xml=str(xml), channels=(311,))


def test_config_xml_is_missing_or_broken(xml, tmp_path):
    with pytest.raises(ValueError, match=r"^config_xml: .*none\.xml: cannot be read: No such file"):
        CmeOptions(config_xml=str(tmp_path / "none.xml"), channels=(310,))
    xml.write_text("<configuration>\n  <oops</configuration>")
    with pytest.raises(ValueError, match=rf"^config_xml: {xml}:2:8: not well-formed XML"):
        CmeOptions(config_xml=str(xml), channels=(310,))


# ------------------------------------------------------------------------------------ mdfeedd check

FILE = """\
feeds:
  - name: cme
    vendor: cme
    options:
"""


def told(*options: str) -> list[str]:
    text = FILE + "".join(f"      {line}\n" for line in options)
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "f.yaml")
    return [str(problem).splitlines()[0] for problem in caught.value.problems]


def test_check_accepts_lines_by_hand():
    text = FILE + (
        "      lines:\n"
        "        - {channel: 310, feed: incremental, side: A, address: 224.0.31.1, port: 14310}\n"
        "        - {channel: 310, feed: snapshot, address: 224.0.31.22, port: 14310}\n"
    )
    (feed,) = config.parse(text).feeds
    assert feed.options["lines"][1]["side"] == "A"


def test_check_shows_the_mistake_of_one_line_at_its_place():
    found = told(
        "lines:",
        "  - {channel: 310, feed: incremental, address: 224.0.31.1, port: 14310}",
        "  - {channel: 310, feed: snapshot, side: C, adress: 224.0.31.300, port: x}",
    )
    assert [problem[:14] for problem in found] == [
        "f.yaml:7:11: e",
        "f.yaml:7:48: e",
        "f.yaml:7:51: e",
        "f.yaml:7:79: e",
    ]
    assert "unknown key 'adress'" in found[2]


def test_check_shows_the_place_of_the_key_and_that_in_config_xml(xml):
    xml.write_text("<configuration>\n  <oops</configuration>")
    (found,) = told("channels: [310]", f"config_xml: {xml}")
    assert found.startswith("f.yaml:6:19: error: feeds[0].options: config_xml: ")
    assert f"{xml}:2:8: not well-formed XML" in found


def test_check_shows_the_place_of_an_unknown_encoding(xml):
    xml.write_text('<?xml version="1.0" encoding="KLINGON"?><configuration/>')
    (found,) = told("channels: [310]", f"config_xml: {xml}")
    assert found.startswith("f.yaml:6:19: error: feeds[0].options: config_xml: ")
    assert found.endswith(f"{xml}:1:1: cannot be decoded: unknown encoding: KLINGON")


@pytest.mark.parametrize("key", ["interface_a", "interface_b"])
def test_check_tells_an_interface_once_and_at_its_key(xml, key):
    (found,) = told(f"config_xml: {xml}", "channels: [310]", f"{key}: a-very-very-long-interface")
    assert found.startswith(f"f.yaml:7:20: error: feeds[0].options: {key}: not the name or IPv4")


def test_check_knows_the_channels_there_are(xml):
    (found,) = told(f"config_xml: {xml}", "channels: [313]")
    assert found.startswith("f.yaml:6:17: error: feeds[0].options: channels: ")
    assert found.endswith("no channel 313; it has 310, 311, 312")
