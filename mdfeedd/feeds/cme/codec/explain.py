"""A packet for people: every message, group and field by the name that CME gives it.

Driven by the table of mdp_layout.h. A field that the header's version does not have, or that the
block is too short for, is left out; one that was sent as null is None.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.feeds.cme.codec import _entries
from mdfeedd.feeds.cme.codec.layout import TEMPLATES, Field, Template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer

__all__ = ["explain"]

_PACKET_HEADER: Final = 12  # u32 MsgSeqNum, u64 SendingTime
_MESSAGE_HEADER: Final = 10
_EPOCH: Final = dt.date(1970, 1, 1)
_QUANTITY_EXPONENT: Final = -4


def explain(payload: ReadableBuffer) -> list[dict[str, Any]]:
    """Decode one UDP payload to one dict per message; raises `MdpError`.

    Keys: `msg_seq` and `sending_time` (UNIX ns) of the packet, `message` (number in the packet, from
    0), `template`, `name` (as in mdp_layout.h, "" for an unknown template), `version`, `size` and
    `block` (bytes), `fields` (of the root: name to value), `groups` (name to a list of such dicts,
    as on the wire) and `rest` (bytes that no known group accounts for; the whole body of an unknown
    template).

    Values: prices and quantities with decimals are exact `Decimal`, dates `datetime.date`, months
    "YYYYMM" with day or week as FIX has it, texts str, everything else int: times in UNIX ns, flags
    and codes as they are (`layout.name_of` knows their names).
    """
    packet = bytes(payload)
    out = []
    for number, (at, size, block, template_id, version) in enumerate(_entries.messages(packet)):
        body = packet[at + _MESSAGE_HEADER : at + size]
        template = TEMPLATES.get(template_id)
        fields: dict[str, Any] = {}
        groups: dict[str, list[dict[str, Any]]] = {}
        rest = body
        if template is not None:
            fields = _values(template.fields, body[:block], template, version)
            groups, rest = _groups(template, body[block:], version)
        out.append(
            {
                "msg_seq": _unsigned(packet[0:4]),
                "sending_time": _unsigned(packet[4:_PACKET_HEADER]),
                "message": number,
                "template": template_id,
                "name": template.name if template else "",
                "version": version,
                "size": size,
                "block": block,
                "fields": fields,
                "groups": groups,
                "rest": rest,
            }
        )
    return out


def _groups(
    template: Template, data: bytes, version: int
) -> tuple[dict[str, list[dict[str, Any]]], bytes]:
    """The groups of a message that was checked, and what follows the last known one."""
    groups: dict[str, list[dict[str, Any]]] = {}
    at = 0
    for group in template.groups:
        if version < group.since or at == len(data):
            continue
        block, number = _unsigned(data[at : at + 2]), data[at + group.dimension - 1]
        at += group.dimension
        groups[group.name] = [
            _values(group.fields, data[start : start + block], template, version)
            for start in (at + i * block for i in range(number))
        ]
        at += block * number
    return groups, data[at:]


def _values(
    fields: Iterable[Field], block: bytes, template: Template, version: int
) -> dict[str, Any]:
    return {
        field.name: _value(block[field.offset : field.end], field, template)
        for field in fields
        if version >= field.since and len(block) >= field.end
    }


def _value(data: bytes, field: Field, template: Template) -> Any:
    if field.type.startswith("chr("):
        return data.partition(b"\0")[0].decode("latin-1").rstrip(" ")
    if field.type == "month_year":
        return _month(data)
    nullable = field.type.endswith("_null") or field.type in {"price", "qty4", "date"}
    signed = field.type[0] == "i" or field.type in {"price", "price_null", "qty4"}
    number = int.from_bytes(data, "little", signed=signed)
    if nullable and number == (1 << 8 * len(data) - signed) - 1:
        return None
    if field.type in {"price", "price_null"}:
        return _decimal(number, template.price_exponent)
    if field.type == "qty4":
        return _decimal(number, _QUANTITY_EXPONENT)
    if field.type == "date":
        return _EPOCH + dt.timedelta(days=number)
    return number


def _decimal(mantissa: int, exponent: int) -> Decimal:
    """Exact whatever the context, without zeros at the end."""
    while exponent < 0 and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    digits = tuple(int(digit) for digit in str(abs(mantissa)))
    return Decimal((int(mantissa < 0), digits, exponent))


def _month(data: bytes) -> str | None:
    """A MaturityMonthYear as FIX writes it: YYYYMM, YYYYMMDD or YYYYMMwW."""
    year, month, day, week = _unsigned(data[0:2]), data[2], data[3], data[4]
    if year == 0xFFFF:
        return None
    text = f"{year:04}" + (f"{month:02}" if month != 0xFF else "")
    if day != 0xFF:
        return f"{text}{day:02}"
    return f"{text}w{week}" if week != 0xFF else text


def _unsigned(data: bytes) -> int:
    return int.from_bytes(data, "little")
