"""Values to bytes: a message by its template and version, and packets of messages.

Written from the schema's field lists (`schema`), by a path of its own: no offset table is shared with the
decoder, so a misread layout shows as a difference.

Prices are given as they go on the wire, in units of the template's exponent (see `wire.Wire`, which scales).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from mdfeedd.sim.cme.schema import message_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["EMPTY_ROOT", "HEADER_BYTES", "PACKET_HEADER_BYTES", "framed", "message", "packet"]

HEADER_BYTES: Final = 10
PACKET_HEADER_BYTES: Final = 12
SCHEMA_ID: Final = 1
EMPTY_ROOT: Final[Mapping[str, object]] = {}
_HEADER: Final = struct.Struct("<HHHHH")
_PACKET: Final = struct.Struct("<IQ")


def message(
    template_id: int,
    version: int,
    root: Mapping[str, object] | tuple[object, ...] = EMPTY_ROOT,
    groups: Iterable[tuple[str, Sequence[Mapping[str, object] | tuple[object, ...]]]] = (),
) -> bytes:
    """A message with its header. Groups not named have no entries.

    Blocks are given by name (None is null; what is not named is null or zero) or as a tuple of all their values
    in wire order, nulls and text as the wire has them; values that `version` does not have yet are left out.
    ValueError for a template that the version does not have, KeyError for a group or field that none has.
    """
    layout = message_of(template_id, version)
    given = dict(groups)
    body = layout.root.pack(root)
    for group in layout.groups:
        body += group.pack(given.pop(group.name, ()))
    if given and (unknown := given.keys() - layout.later_groups):
        raise KeyError(f"template {template_id} has no group {', '.join(sorted(unknown))}")
    return framed(template_id, version, layout.root.length, body)


def framed(
    template_id: int, version: int, block_length: int, body: bytes, *, size: int | None = None
) -> bytes:
    """Any body under a message header; `size` states another MsgSize than the true one (to be hostile)."""
    true_size = HEADER_BYTES + len(body)
    stated = true_size if size is None else size
    return _HEADER.pack(stated, block_length, template_id, SCHEMA_ID, version) + body


def packet(seq: int, sending_time_ns: int, messages: Iterable[bytes]) -> bytes:
    """A UDP payload: MsgSeqNum (uint32), SendingTime (ns since 1970), messages."""
    return _PACKET.pack(seq, sending_time_ns) + b"".join(messages)
