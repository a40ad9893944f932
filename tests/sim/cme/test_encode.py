"""The encoder against CME's own schema files, read by a small reader that knows nothing of the encoder."""

from __future__ import annotations

import random
import struct
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from mdfeedd.sim.cme import encode, schema

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = (5, 6, 8, 9, 10, 11, 12, 13)
NAMESPACE = "{http://www.fixprotocol.org/ns/simple/1.0}"
FORMATS = {
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
}


@dataclass
class XmlSchema:
    types: dict[str, list[tuple[str, str]]]  # type -> [(suffix of the field name, struct code)]
    messages: dict[int, ET.Element]


def read_schema(path: Path) -> XmlSchema:
    root = ET.parse(path).getroot()
    types: dict[str, list[tuple[str, str]]] = {}
    declared = root.find("types")
    assert declared is not None
    for node in declared.iter("type"):
        if node.get("presence") != "constant":
            types[node.get("name", "")] = [("", code(node))]
        else:
            types[node.get("name", "")] = []
    for node in declared:
        name = node.get("name", "")
        if node.tag == "composite":
            kept = [part for part in node if part.get("presence") != "constant"]
            one = len(kept) == 1
            types[name] = [("" if one else part.get("name", ""), code(part)) for part in kept]
        elif node.tag in ("enum", "set"):
            encoding = node.get("encodingType", "")
            types[name] = types.get(encoding) or [("", FORMATS.get(encoding.lower(), "s"))]
    messages = {int(m.get("id", "0")): m for m in root.iter(NAMESPACE + "message")}
    return XmlSchema(types, messages)


def code(node: ET.Element) -> str:
    primitive = node.get("primitiveType", "")
    return f"{node.get('length', '1')}s" if primitive == "char" else FORMATS[primitive]


@pytest.fixture(scope="module")
def schemas(testdata: Path) -> dict[int, XmlSchema]:
    folder = testdata / "cme" / "schema"
    return {v: read_schema(folder / f"templates_FixBinary_v{v}.xml") for v in VERSIONS}


def read_block(xml: XmlSchema, fields: list[ET.Element], block: bytes, version: int) -> dict:
    """Values by name, by the offsets that the XML states; anything between fields must be zero."""
    found: dict[str, object] = {}
    covered = bytearray(len(block))
    at = 0
    for field in fields:
        at = int(field.get("offset", at))
        for suffix, fmt in xml.types[field.get("type", "")]:
            size = struct.calcsize("<" + fmt)
            assert at + size <= len(block)
            assert int(field.get("sinceVersion", "0")) <= version
            (value,) = struct.unpack_from("<" + fmt, block, at)
            found[field.get("name", "") + suffix] = value
            covered[at : at + size] = b"\1" * size
            at += size
    assert all(c or not b for c, b in zip(covered, block, strict=True)), "padding is not zero"
    return found


def read_message(xml: XmlSchema, data: bytes, version: int) -> tuple[int, dict, dict[str, list]]:
    size, block_length, template, schema_id, stated = struct.unpack_from("<HHHHH", data)
    assert (size, schema_id, stated) == (len(data), 1, version)
    node = xml.messages[template]
    assert block_length == int(node.get("blockLength", "0"))
    root = read_block(xml, node.findall("field"), data[10 : 10 + block_length], version)
    at = 10 + block_length
    groups: dict[str, list] = {}
    for group in node.findall("group"):
        wide = group.get("dimensionType") == "groupSize8Byte"
        length, count = struct.unpack_from("<H5xB" if wide else "<HB", data, at)
        assert length == int(group.get("blockLength", "0"))
        at += 8 if wide else 3
        groups[group.get("name", "")] = entries = []
        for _ in range(count):
            entries.append(read_block(xml, group.findall("field"), data[at : at + length], version))
            at += length
    assert at == len(data)
    return template, root, groups


def random_values(rng: random.Random, block: schema.Block) -> dict[str, object]:
    values: dict[str, object] = {}
    for field in block.fields:
        width = struct.calcsize("<" + field.code)
        if field.is_text:
            values[field.name] = bytes(rng.randrange(65, 91) for _ in range(width))
        elif field.code.isupper():
            values[field.name] = rng.choice((0, 1, rng.getrandbits(8 * width)))
        else:
            values[field.name] = rng.choice((0, -1, rng.getrandbits(8 * width - 1)))
    return values


def every_template(version: int) -> list[int]:
    return [i for i, (since, until) in schema.MESSAGES.items() if since <= version <= until]


@pytest.mark.parametrize("version", VERSIONS)
def test_schema_file_reads_back_every_value(schemas: dict[int, XmlSchema], version: int) -> None:
    rng = random.Random(version)
    for template in every_template(version):
        layout = schema.message_of(template, version)
        root = random_values(rng, layout.root)
        groups = [(g.name, [random_values(rng, g.block) for _ in range(3)]) for g in layout.groups]
        data = encode.message(template, version, root, groups)
        assert read_message(schemas[version], data, version) == (template, root, dict(groups))


@pytest.mark.parametrize("version", VERSIONS)
def test_schema_file_has_messages_that_the_encoder_lacks(
    schemas: dict[int, XmlSchema], version: int
) -> None:
    left_out = {15, 16, 40, 59, 61, 62, 68}  # sessions, TCP, top orders, collateral
    assert set(schemas[version].messages) - left_out == set(every_template(version))


@pytest.mark.parametrize("version", VERSIONS)
def test_field_that_is_not_given_is_null(schemas: dict[int, XmlSchema], version: int) -> None:
    old = version < 9
    data = encode.message(
        32 if old else 46, version, {}, [("NoMDEntries", [{"SecurityID": 7, "MDEntryPx": None}])]
    )
    _, root, groups = read_message(schemas[version], data, version)
    entry = groups["NoMDEntries"][0]
    assert root == {"TransactTime": 0, "MatchEventIndicator": 0}
    assert entry["MDEntryPx"] == 2**63 - 1
    assert entry["MDEntrySize"] == entry["NumberOfOrders"] == 2**31 - 1
    assert entry["SecurityID"] == 7
    assert ("TradeableSize" in entry) == (version >= 10)
    assert groups.get("NoOrderIDEntries", []) == []


def test_field_younger_than_the_version_leaves_zero_bytes() -> None:
    values = {"SecurityID": 7, "TradeableSize": 0x01020304}
    old = encode.message(46, 9, {}, [("NoMDEntries", [values])])
    new = encode.message(46, 10, {}, [("NoMDEntries", [values])])
    assert len(old) == len(new)
    at = 10 + 11 + 3 + 27
    assert old[at : at + 4] == b"\0\0\0\0"
    assert new[at : at + 4] == b"\4\3\2\1"


def test_values_in_wire_order_give_the_same_bytes_as_by_name() -> None:
    names = ("MDEntryPx", "MDEntrySize", "SecurityID", "RptSeq", "NumberOfOrders", "MDPriceLevel")
    row = (-5, 6, 7, 8, 9, 1, 2, b"0", 4)
    named = dict(zip((*names, "MDUpdateAction", "MDEntryType", "TradeableSize"), row, strict=True))
    for version in (9, 10, 13, 99):
        by_name = encode.message(46, version, (1, 2), [("NoMDEntries", [named])])
        assert encode.message(46, version, (1, 2), [("NoMDEntries", [row])]) == by_name


def test_unknown_version_has_todays_fields_in_longer_blocks(
    schemas: dict[int, XmlSchema],
) -> None:
    entry = {"MDEntryPx": 1, "SecurityID": 2, "TradeableSize": 3}
    data = encode.message(46, 99, {"TransactTime": 9}, [("NoMDEntries", [entry] * 2)])
    size, root_length, template, _, version = struct.unpack_from("<HHHHH", data)
    assert (size, template, version) == (len(data), 46, 99)
    assert root_length > 11
    group_length, count = struct.unpack_from("<HB", data, 10 + root_length)
    assert (group_length > 32, count) == (True, 2)
    today = encode.message(46, 13, {"TransactTime": 9}, [("NoMDEntries", [entry])])
    assert data[10 : 10 + 11] == today[10 : 10 + 11]
    assert data[10 + 11 : 10 + root_length].strip(b"\xa5") == b""
    first = 10 + root_length + 3
    assert data[first : first + 32] == today[10 + 11 + 3 : 10 + 11 + 3 + 32]
    assert data[first + 32 : first + group_length] == b"\xa5" * (group_length - 32)


@pytest.mark.parametrize(
    ("template", "version"), [(46, 8), (32, 10), (36, 9), (57, 9), (63, 11), (43, 6), (61, 13)]
)
def test_template_that_the_version_does_not_have(template: int, version: int) -> None:
    with pytest.raises(ValueError, match=f"template {template}"):
        encode.message(template, version)


def test_name_that_no_version_has() -> None:
    with pytest.raises(KeyError, match="Prize"):
        encode.message(46, 13, {}, [("NoMDEntries", [{"Prize": 1}])])
    with pytest.raises(KeyError, match="NoLegs"):
        encode.message(46, 13, {}, [("NoLegs", [])])


def test_group_that_only_a_later_version_has_is_left_out() -> None:
    rows = [("NoMDEntries", [{"SecurityID": 7}]), ("NoOrderIDEntries", [{"OrderID": 1}])]
    assert encode.message(32, 6, {}, rows) == encode.message(32, 6, {}, rows[:1])


def test_packet_is_header_and_messages() -> None:
    beat = encode.message(12, 13)
    data = encode.packet(0xFFFFFFFE, 2**63, [beat, beat])
    assert struct.unpack_from("<IQ", data) == (0xFFFFFFFE, 2**63)
    assert data[12:] == beat * 2
