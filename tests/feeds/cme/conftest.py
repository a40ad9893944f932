"""CME's own words for the tests of the codec: schema files read by the rules of SBE, and captures.

Nothing in here comes from the code under test: offsets are counted from the XML, messages are
written field by field from it, and captures are taken apart by twenty lines of their own.
"""

# ruff: noqa: TC003 - dataclasses resolve their annotations
from __future__ import annotations

import dataclasses
import random
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

VERSIONS = (5, 6, 8, 9, 10, 11, 12, 13)
SIZES = {
    "char": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8,
    "uint64": 8,
}  # fmt: skip
PACKET_HEADER = struct.Struct("<IQ")
MESSAGE_HEADER = struct.Struct("<HHHHH")


@dataclasses.dataclass(frozen=True)
class Type:
    """A type of the schema: what it takes on the wire, and what its values mean."""

    name: str
    primitive: str
    size: int  # bytes; 0: a constant, not on the wire
    null: int | None = None
    exponent: int | None = None  # of a decimal
    kind: str = ""  # enum, set, or composite
    values: tuple[tuple[str, str], ...] = ()  # name and value of an enum's choices or a set's bits
    since: int = 0


@dataclasses.dataclass(frozen=True)
class Field:
    name: str
    offset: int
    type: Type
    since: int
    semantic: str

    @property
    def end(self) -> int:
        return self.offset + self.type.size


@dataclasses.dataclass(frozen=True)
class Group:
    name: str
    dimension: int
    block: int
    since: int
    fields: tuple[Field, ...]


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of one schema version. `encode` writes it; what is not given is null, or 0."""

    name: str
    id: int
    block: int
    since: int
    version: int
    fields: tuple[Field, ...]
    groups: tuple[Group, ...]

    def encode(
        self,
        fields: Mapping[str, Any] | None = None,
        groups: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        *,
        version: int | None = None,
        longer: bytes = b"",
    ) -> bytes:
        """The message. `version`: of the header; `longer`: more bytes at the end of each block."""
        given = dict(groups or {})
        body = _block(self.fields, self.block, fields or {}) + longer
        length = len(body)
        for group in self.groups:
            entries = given.pop(group.name, ())
            head = struct.pack("<H", group.block + len(longer))
            body += head + bytes(group.dimension - 3) + bytes([len(entries)])
            body += b"".join(_block(group.fields, group.block, e) + longer for e in entries)
        assert not given, f"no such group: {given}"
        header = MESSAGE_HEADER.pack(
            MESSAGE_HEADER.size + len(body),
            length,
            self.id,
            1,
            self.version if version is None else version,
        )
        return header + body

    def invent(self, rng: random.Random) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
        """Values for all fields and some entries of all groups: any that the types can have."""
        fields = {field.name: _invent(field, rng) for field in self.fields}
        groups = {
            group.name: [
                {field.name: _invent(field, rng) for field in group.fields}
                for _ in range(rng.choice((0, 1, 1, 2, 5)))
            ]
            for group in self.groups
        }
        return fields, groups


def _invent(field: Field, rng: random.Random) -> Any:
    kind = field.type
    if kind.primitive == "char":
        text = "".join(rng.choice("ABCXYZ019-") for _ in range(rng.randrange(kind.size + 1)))
        return text if kind.size > 1 else rng.choice("ABC019")
    if kind.name == "MaturityMonthYear":
        return (2026, rng.randrange(1, 13), rng.choice((255, 18)), 255)
    if kind.null is not None and rng.random() < 0.2:
        return kind.null
    bits = 8 * kind.size
    low, high = 0, (1 << bits) - 1
    if kind.primitive[0] == "i":
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return rng.choice((0, 1, high - 1, low, rng.randint(low, high - 1)))


def _block(fields: Sequence[Field], length: int, values: Mapping[str, Any]) -> bytes:
    block = bytearray(length)
    given = dict(values)
    for field in fields:
        kind = field.type
        value = given.pop(field.name, 0 if kind.null is None else kind.null)
        if kind.name == "MaturityMonthYear":
            year_month = value if isinstance(value, tuple) else (0xFFFF, 255, 255, 255)
            raw = struct.pack("<HBBB", *year_month)
        elif kind.primitive == "char":
            raw = (value or "").encode().ljust(kind.size, b"\0")
        else:
            raw = value.to_bytes(kind.size, "little", signed=kind.primitive[0] == "i")
        block[field.offset : field.end] = raw
    assert not given, f"no such field: {given}"
    return bytes(block)


class Schema:
    """One of CME's template files."""

    def __init__(self, path: Path) -> None:
        root = ET.parse(path).getroot()
        self.version = int(root.attrib["version"])
        self.types = {kind.name: kind for kind in _types(root)}
        self.messages = {
            message.id: message
            for message in (
                self._message(element) for element in root if element.tag.endswith("}message")
            )
        }

    def _message(self, element: ET.Element) -> Message:
        groups = tuple(
            Group(
                group.attrib["name"],
                self.types[group.attrib["dimensionType"]].size,
                int(group.attrib["blockLength"]),
                int(group.get("sinceVersion", "0")),
                self._fields(group),
            )
            for group in element.iter("group")
        )
        return Message(
            element.attrib["name"],
            int(element.attrib["id"]),
            int(element.attrib["blockLength"]),
            int(element.get("sinceVersion", "0")),
            self.version,
            self._fields(element),
            groups,
        )

    def _fields(self, element: ET.Element) -> tuple[Field, ...]:
        fields, at = [], 0
        for field in element.findall("field"):
            kind = self.types[field.attrib["type"]]
            if not kind.size:
                continue
            at = int(field.get("offset", at))
            since = int(field.get("sinceVersion", "0"))
            fields.append(
                Field(field.attrib["name"], at, kind, since, field.get("semanticType", ""))
            )
            at += kind.size
        return tuple(fields)


def _types(root: ET.Element) -> Iterator[Type]:
    simple: dict[str, Type] = {}
    for element in root.iter("type"):
        if "name" in element.attrib and element.attrib["name"] not in simple:
            simple[element.attrib["name"]] = _simple(element)
    for types in root.iter("types"):
        yield from (simple[element.attrib["name"]] for element in types.findall("type"))
        for element in (*types.findall("enum"), *types.findall("set")):
            name = element.attrib["encodingType"]
            base = simple[name] if name in simple else Type(name, name, SIZES[name])
            values = tuple((v.attrib["name"], v.text or "") for v in element)
            yield dataclasses.replace(
                base, name=element.attrib["name"], kind=element.tag, values=values
            )
        yield from (_composite(element) for element in types.findall("composite"))


def _simple(element: ET.Element) -> Type:
    primitive = element.attrib["primitiveType"]
    size = SIZES[primitive] * int(element.get("length", "1"))
    null = element.get("nullValue")
    constant = element.get("presence") == "constant"
    return Type(
        element.attrib["name"], primitive, 0 if constant else size, None if null is None else int(null)
    )  # fmt: skip


def _composite(element: ET.Element) -> Type:
    parts = [(part, _simple(part)) for part in element]
    size = 0
    for part, kind in parts:
        size = int(part.get("offset", size)) + kind.size
    exponent = next((int(p.text or "") for p, kind in parts if not kind.size), None)
    first = parts[0][1]
    return Type(element.attrib["name"], first.primitive, size, first.null, exponent, "composite")


def packet(*messages: bytes, seq: int = 1, sending_time: int = 1_700_000_000_000_000_000) -> bytes:
    """A UDP payload."""
    return PACKET_HEADER.pack(seq, sending_time) + b"".join(messages)


def payloads(path: Path) -> list[bytes]:
    """The UDP payloads of a capture file, pcap or pcapng, in its order."""
    data = path.read_bytes()
    frames = _pcapng(data) if data[:4] == b"\x0a\x0d\x0d\x0a" else _pcap(data)
    return [payload for frame in frames if (payload := _udp(frame)) is not None]


def _pcap(data: bytes) -> Iterator[bytes]:
    at = 24
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 8)
        yield data[at + 16 : at + 16 + length]
        at += 16 + length


def _pcapng(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind == 6:
            (length,) = struct.unpack_from("<I", data, at + 20)
            yield data[at + 28 : at + 28 + length]
        at += size


def _udp(frame: bytes) -> bytes | None:
    ip = 14
    while frame[ip - 2 : ip] == b"\x81\x00":
        ip += 4
    if frame[ip - 2 : ip] != b"\x08\x00" or frame[ip + 9] != 17:
        return None
    udp = ip + 4 * (frame[ip] & 15)
    (length,) = struct.unpack_from(">H", frame, udp + 4)
    return frame[udp + 8 : udp + length]


@pytest.fixture(scope="session")
def cme_data(testdata: Path) -> Path:
    """CME's schema files and captures; the test is skipped where they are absent."""
    if not (testdata / "cme/schema").is_dir():
        pytest.skip(f"no CME schemas and captures at {testdata}/cme")
    return testdata / "cme"


@pytest.fixture(scope="session")
def schemas(cme_data: Path) -> dict[int, Schema]:
    """Each schema version that we have."""
    return {
        version: Schema(cme_data / f"schema/templates_FixBinary_v{version}.xml")
        for version in VERSIONS
    }


@pytest.fixture(scope="session")
def captures(cme_data: Path) -> dict[str, list[bytes]]:
    """The payloads of each capture, by the file's name without its suffix."""
    return {path.stem: payloads(path) for path in sorted(cme_data.glob("captures/**/*.pcap"))}


@pytest.fixture(scope="session")
def make_packet() -> Any:
    """`packet`, for tests, which cannot import this file."""
    return packet
