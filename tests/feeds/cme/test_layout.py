"""The one table of offsets against CME's schema files: every field, group and length, every version."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from mdfeedd.feeds.cme.codec import _entries, layout

CODEC = Path(layout.__file__).parent
VERSIONS = (5, 6, 8, 9, 10, 11, 12, 13)
# nullable in only one of the twins; the table says so for both
NULLABLE_IN_ONE = {("TradeSummary", "NumberOfOrders"), ("Spread", "MinPriceIncrement")}


def type_of(field):
    """The type of a field of the XML in the words of the table."""
    kind, null = field.type, "_null" if field.type.null is not None else ""
    if kind.primitive == "char":
        return f"chr({kind.size})"
    if kind.kind == "set":
        return f"bits{8 * kind.size}"
    if kind.kind == "composite":
        if kind.exponent is None:
            return "month_year"
        assert (kind.exponent, kind.primitive) in {(-4, "int32"), (-7, "int64"), (-9, "int64")}
        return "qty4" if kind.exponent == -4 else "price" + null
    if field.semantic == "LocalMktDate":
        return "date"
    if field.semantic == "UTCTimestamp":
        return "time"
    return kind.primitive.replace("uint", "u").replace("int", "i") + null


def since_of(thing, message):
    """A version above the message's own; what it has had from its start counts as 0."""
    return thing.since if thing.since > message.since else 0


def assert_same_fields(template, message, known, fields, base):
    there = [f for f in known if f.since <= message.version]
    assert [(f.name, f.offset, f.size) for f in there] == [
        (f.name, f.offset, f.type.size) for f in fields
    ]
    for ours, theirs in zip(there, fields, strict=True):
        expected = type_of(theirs)
        if (template.name, ours.name) in NULLABLE_IN_ONE:
            expected = expected.removesuffix("_null") + "_null"
        assert ours.type == expected, (message.name, ours)
        own = max(since_of(theirs, message), since_of(theirs, base))
        # a field of the old twin has no `since` under the new id: the new template began with it
        assert ours.since == own or (own == 0 and ours.since <= message.since), (message.name, ours)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_field_lies_where_the_schema_says(schemas, version):
    for message in schemas[version].messages.values():
        template = layout.TEMPLATES[message.id]
        assert_same_fields(template, message, template.fields, message.fields, message)
        groups = [g for g in template.groups if g.since <= version]
        assert [(g.name, g.dimension) for g in groups] == [
            (g.name, g.dimension) for g in message.groups
        ]
        for ours, theirs in zip(groups, message.groups, strict=True):
            assert ours.since == since_of(theirs, message)
            assert_same_fields(template, message, ours.fields, theirs.fields, theirs)


@pytest.mark.parametrize("version", VERSIONS)
def test_block_of_some_version_is_shorter_than_we_demand(schemas, version):
    for message in schemas[version].messages.values():
        template = layout.TEMPLATES[message.id]
        assert template.root_min <= message.block
        for theirs in message.groups:
            (ours,) = (g for g in template.groups if g.name == theirs.name)
            assert ours.entry_min <= theirs.block


def test_we_demand_what_the_oldest_version_carries(schemas):
    oldest = {}
    for version, new_and_old in itertools.product(VERSIONS, _entries.templates()):
        name, new, old, root_min = new_and_old
        for template_id in (old, new):
            if template_id in schemas[version].messages and name not in oldest:
                oldest[name] = schemas[version].messages[template_id], root_min
    assert len(oldest) == len(_entries.templates())
    for message, root_min in oldest.values():
        assert root_min == max((f.end for f in message.fields), default=0)
        for theirs in message.groups:
            (ours,) = (g for g in layout.TEMPLATES[message.id].groups if g.name == theirs.name)
            assert ours.entry_min == max(f.end for f in theirs.fields)


def test_template_of_a_schema_is_missing_or_none_of_its(schemas):
    in_schemas = {i for schema in schemas.values() for i in schema.messages}
    assert set(layout.TEMPLATES) == in_schemas
    old = {i for i in in_schemas if 27 <= i <= 44 and i not in schemas[13].messages}
    assert old == layout.OLD_TEMPLATES
    for template_id, template in layout.TEMPLATES.items():
        exponents = {
            field.type.exponent
            for schema in schemas.values()
            if template_id in schema.messages
            for block in (schema.messages[template_id], *schema.messages[template_id].groups)
            for field in block.fields
            if field.type.exponent is not None and field.type.primitive == "int64"
        }
        assert exponents <= {template.price_exponent}


def test_field_has_one_offset_only_within_its_template():
    for template in layout.TEMPLATES.values():
        names = [f.name for block in (template, *template.groups) for f in block.fields]
        assert len(names) == len(set(names))


def test_value_is_called_otherwise_in_the_schema(schemas):
    named, flags = {}, {}
    for message in schemas[13].messages.values():
        for field in (f for block in (message, *message.groups) for f in block.fields):
            if field.type.kind == "enum":
                integer = field.type.primitive != "char"
                named.setdefault(field.name, {}).update(
                    {(int(value) if integer else value): name for name, value in field.type.values}
                )
            elif field.type.kind == "set":
                flags.setdefault(field.name, {}).update(
                    {int(value): name for name, value in field.type.values}
                )
    # the statistics call four types otherwise than the snapshots, and Side is a plain number in 39
    plain = {name: values for name, values in named.items() if name not in {"MDEntryType", "Side"}}
    assert {k: v for k, v in layout.NAMES.items() if k in plain} == plain
    assert set(layout.NAMES) == {*plain, "MDEntryType"}
    assert flags == layout.FLAGS
    types = {value: name for name, value in schemas[13].types["MDEntryType"].values}
    assert types == layout.NAMES["MDEntryType"]


ENUMERATIONS = {
    "mdp_action": "MDUpdateAction",
    "mdp_entry_type": "MDEntryType",
    "mdp_aggressor": "AggressorSide",
    "mdp_trading_status": "SecurityTradingStatus",
    "mdp_halt_reason": "HaltReason",
    "mdp_trading_event": "SecurityTradingEvent",
    "mdp_open_close": "OpenCloseSettlFlag",
    "mdp_update": "SecurityUpdateAction",
    "mdp_life": "EventType",
}


@pytest.mark.parametrize(("ours", "theirs"), ENUMERATIONS.items())
def test_constant_of_the_header_is_not_in_the_schema(schemas, ours, theirs):
    text = (CODEC / "mdp_layout.h").read_text()
    (body,) = re.findall(rf"enum {ours} \{{(.*?)\}};", text, re.DOTALL)
    values = re.findall(r"MDP_\w+ = (?:'(.)'|(\d+))", body)
    kind = schemas[13].types[theirs]
    assert sorted(a or b for a, b in values) == sorted(value for _, value in kind.values)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("mdp_event", "MatchEventIndicator"), ("mdp_settlement", "SettlPriceType")],
)
def test_flag_of_the_header_is_not_in_the_schema(schemas, ours, theirs):
    text = (CODEC / "mdp_layout.h").read_text()
    (body,) = re.findall(rf"enum {ours} \{{(.*?)\}};", text, re.DOTALL)
    bits = {int(value, 16) for value in re.findall(r"= (0x[0-9a-f]+)", body)}
    names = {name: 1 << int(bit) for name, bit in schemas[13].types[theirs].values}
    assert bits == {bit for name, bit in names.items() if "eserved" not in name}


@pytest.mark.parametrize("compiler", [["gcc", "-std=c11"], ["g++", "-std=c++17", "-xc++"]])
def test_header_offends_a_compiler(compiler, tmp_path):
    done = subprocess.run(
        [
            *compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{CODEC}",
            Path(__file__).parent / "c/layout.c", "-o", tmp_path / "layout",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    subprocess.run([tmp_path / "layout"], check=True)
