"""CME's config.xml as it is, as it is not meant to be, and as somebody hostile would write it."""

from __future__ import annotations

import pytest

from mdfeedd.feeds.cme.config_xml import MAX_BYTES, ConfigXmlError, parse, read
from mdfeedd.feeds.cme.lines import Line

CHANNEL = """\
<?xml version="1.0" encoding="UTF-8"?>
<configuration environment="Production" updated="2026/11/22-18:00:02">
 <channel id="310" label="CME Globex Equity Futures">
  <products>
   <product code="0ES"><group code="$E"/></product>
   <product code="ES"><group code="ES"/></product>
  </products>
  <connections>
   <connection id="310H2A">
    <type feed-type="H">Historical Replay</type>
    <protocol>TCP/IP</protocol>
    <host-ip>192.0.2.72</host-ip>
    <port>10000</port>
    <feed>A</feed>
   </connection>
   <connection id="310IA">
    <type feed-type="I">Incremental</type>
    <protocol>UDP/IP</protocol>
    <ip>224.0.31.1</ip>
    <host-ip>192.0.2.70</host-ip>
    <host-ip>192.0.2.71</host-ip>
    <port>14310</port>
    <feed>A</feed>
   </connection>
   <connection id="310NB">
    <type feed-type="N">Instrument  Replay</type>
    <protocol>UDP/IP</protocol>
    <ip>224.0.32.43</ip>
    <host-ip>192.0.2.48</host-ip>
    <port>15310</port>
    <feed>B</feed>
   </connection>
   <connection id="310SA">
    <type feed-type="S">Snapshot</type>
    <protocol>UDP/IP</protocol>
    <ip>224.0.31.22</ip>
    <port>14310</port>
    <feed>A</feed>
   </connection>
   <connection id="310SAMBO">
    <type feed-type="SMBO">Snapshot-MBO</type>
    <protocol>UDP/IP</protocol>
    <ip>233.72.75.1</ip>
    <host-ip>192.0.2.108</host-ip>
    <port>23310</port>
    <feed>A</feed>
   </connection>
  </connections>
 </channel>
</configuration>
"""


def config(connection: str, channel: str = '<channel id="7" label="x">') -> bytes:
    text = f"<configuration>{channel}<connections>\n{connection}</connections></channel>"
    return f"{text}</configuration>".encode()


def connection(**changed: str) -> str:
    parts = {
        "type": '<type feed-type="I">any text</type>',
        "protocol": "<protocol>UDP/IP</protocol>",
        "ip": "<ip>224.0.31.1</ip>",
        "host": "<host-ip>192.0.2.1</host-ip>",
        "port": "<port>14310</port>",
        "feed": "<feed>A</feed>",
    } | changed
    return f'  <connection id="7IA">{"".join(parts.values())}</connection>\n'


def problem(data: bytes, channel: int = 7) -> str:
    with pytest.raises(ConfigXmlError) as caught:
        parse(data, "config.xml").channel(channel)
    return str(caught.value)


def test_channel_has_all_its_lines_and_no_tcp():
    found = parse(CHANNEL.encode(), "c.xml")
    channel = found.channel(310)
    assert channel.label == "CME Globex Equity Futures"
    assert channel.assets == {"0ES", "ES"}
    assert channel.groups == {"$E", "ES"}
    assert channel.lines == (
        Line(310, "incremental", "224.0.31.1", 14310, "A", ("192.0.2.70", "192.0.2.71")),
        Line(310, "definition", "224.0.32.43", 15310, "B", ("192.0.2.48",)),
        Line(310, "snapshot", "224.0.31.22", 14310, "A"),
        Line(310, "orders", "233.72.75.1", 23310, "A", ("192.0.2.108",)),
    )
    assert (found.environment, found.updated) == ("Production", "2026/11/22-18:00:02")


@pytest.mark.parametrize("part", ["host", "protocol"])
def test_what_is_harmless_may_be_missing(part):
    (line,) = parse(config(connection(**{part: ""}))).channel(7).lines
    assert line.sources == (() if part == "host" else ("192.0.2.1",))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"ip": ""}, "has no <ip>"),
        ({"port": "<port/>"}, "has no <port>"),
        ({"feed": ""}, "has no <feed>"),
        ({"type": "<type>Incremental</type>"}, "has no feed-type"),
        ({"port": "<port>14310x</port>"}, "port: not a number: '14310x'"),
        ({"port": "<port>70000</port>"}, "port: must be 1 to 65535, not 70000"),
        ({"port": f"<port>{'9' * 10_000}</port>"}, "port: must be 1 to 65535"),
        ({"ip": "<ip>224.0.31</ip>"}, "address: not an IPv4 address: '224.0.31'"),
        ({"host": "<host-ip>a.b</host-ip>"}, "sources: not an IPv4 address: 'a.b'"),
        ({"feed": "<feed>C</feed>"}, "side: must be A or B, not 'C'"),
    ],
)
def test_connection_is_wrong_at_its_place(changed, sentence):
    told = problem(config(connection(**changed)))
    assert told.startswith("config.xml:2:3: channel 7, connection 7IA: ")
    assert sentence in told


def test_two_lines_of_one_side():
    told = problem(config(connection() + connection()))
    assert told == ("config.xml:3:3: channel 7, connection 7IA: is the second incremental line A")


def test_mistake_in_one_channel_leaves_the_others_alone():
    text = CHANNEL.replace(
        "</configuration>",
        f'<channel id="9"><connections>{connection(ip="")}</connections></channel></configuration>',
    )
    found = parse(text.encode(), "c.xml")
    assert len(found.channel(310).lines) == 4
    with pytest.raises(ConfigXmlError, match=r"c\.xml:50:32: channel 9, .* has no <ip>"):
        found.channel(9)


def test_channel_that_is_not_there_is_told_with_those_that_are():
    assert problem(CHANNEL.encode(), 311) == "config.xml: no channel 311; it has 310"
    many = "".join(f'<channel id="{n}"/>' for n in range(300, 400))
    told = problem(f"<configuration>{many}</configuration>".encode(), 3100)
    assert told == "config.xml: no channel 3100 among 100; near it: 310, 300, 391, 390, 381"


def test_unknown_feed_types_and_elements_are_left_out():
    more = connection(type='<type feed-type="Q">New</type>') + connection(
        host="<host-name>x<deep><deeper/></deep></host-name>"
    )
    assert len(parse(config(more)).channel(7).lines) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "config.xml:1:1: not well-formed XML: no element found"),
        ("<configuration>\n <channel</configuration>", "config.xml:2:10: not well-formed XML"),
        ("<configuration/>", "config.xml: no channel in it"),
        ("<html/>", "config.xml:1:1: the root must be <configuration>, not <html>"),
        ("<configuration>\n<channel/></configuration>", "config.xml:2:1: a channel needs a number"),
        ('<configuration><channel id="0"/></configuration>', "as its id, found '0'"),
        ('<configuration><channel id="7"/><channel id="7"/>', "1:33: channel 7 is there twice"),
        ("\x00\xff\xfe", "not well-formed XML"),
    ],
)
def test_file_that_is_no_config_xml(text, sentence):
    assert sentence in problem(text.encode("latin-1"))


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("KLINGON", "unknown encoding: KLINGON"),
        ("UTF-32", "multi-byte encodings are not supported"),
        ("rot13", "'rot13' is not a text encoding"),
        ("undefined", "decoding with 'undefined' codec failed"),
        ("K" * 100_000, f"unknown encoding: {'K' * 100}"),
    ],
)
def test_encoding_that_cannot_be_decoded(encoding, reason):
    told = problem(f'<?xml version="1.0" encoding="{encoding}"?>{CHANNEL}'.encode())
    assert told.startswith(f"config.xml:1:1: cannot be decoded: {reason}")
    assert len(told) < 1000


def test_entities_would_make_a_small_file_large():
    laughs = '<!DOCTYPE c [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><configuration>&b;'
    assert problem(laughs.encode()).endswith("entities are not allowed here")
    outside = '<!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/passwd">]><configuration>&x;'
    assert problem(outside.encode()).endswith("entities are not allowed here")


def test_nesting_and_size_have_a_limit():
    assert "nested more than 32 deep" in problem(b"<configuration>" + b"<a>" * 100)
    assert "is no config.xml of CME" in problem(bytes(MAX_BYTES + 1))
    many = "".join(f'<channel id="{n}"/>' for n in range(1, 1100))
    assert "more than 1024 channels" in problem(f"<configuration>{many}".encode())


def test_file_is_missing_or_a_folder(tmp_path):
    with pytest.raises(ConfigXmlError, match="cannot be read: No such file"):
        read(tmp_path / "none.xml")
    with pytest.raises(ConfigXmlError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_file_is_read(tmp_path):
    path = tmp_path / "config.xml"
    path.write_text(CHANNEL)
    assert read(path).channel(310).id == 310
