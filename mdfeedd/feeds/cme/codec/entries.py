"""Packets as flat rows, one per entry of each group: what the venue sent, no books, no arbitration.

The decoder behind it is native and checks every length; it takes its offsets from the one table
(mdp_layout.h). For ticks use the codec's `Handler`; this is for looking, for research and for tests.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mdfeedd.feeds.cme.codec import _entries
from mdfeedd.feeds.cme.codec._entries import MdpError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from _typeshed import ReadableBuffer

__all__ = ["ENTRY", "NULL", "MdpError", "RowGroup", "check_packet", "decode_many", "decode_packet"]


class RowGroup(IntEnum):
    """Column `group`: what a row stands for."""

    ROOT = 0  # a message without groups of entries: heartbeat, status, definition, unknown template
    EMPTY = 1  # a message that could have entries and has none; its MatchEventIndicator counts
    ENTRY = 2  # an entry of NoMDEntries, or NoRelatedSym of a quote request
    ORDER = 3  # an entry of NoOrderIDEntries


#: One row. Prices in 1e-9 units whatever the template, `mantissa` as on the wire; times UNIX ns;
#: dates days since 1970-01-01. A column without a value (not in the template, newer than the
#: header's version, or sent as null) holds what it holds in `NULL`: the largest value of its type,
#: or no text. Fields of the root stand in each row of the message.
ENTRY: Final = np.dtype(
    [
        ("sending_time", "<u8"),
        ("transact_time", "<u8"),
        ("last_update", "<u8"),
        ("price", "<i8"),  # MDEntryPx
        ("mantissa", "<i8"),
        ("size", "<i8"),  # MDEntrySize, MDDisplayQty, LastQty, OrderQty
        ("high_limit", "<i8"),
        ("low_limit", "<i8"),
        ("max_variation", "<i8"),
        ("order_id", "<u8"),
        ("priority", "<u8"),
        ("msg_seq", "<u4"),
        ("security_id", "<i4"),
        ("rpt_seq", "<u4"),
        ("orders", "<i4"),  # NumberOfOrders
        ("tradeable_size", "<i4"),
        ("trade_id", "<u4"),  # MDTradeEntryID
        ("last_seq", "<u4"),  # LastMsgSeqNumProcessed
        ("total_reports", "<u4"),
        ("chunk", "<u4"),
        ("chunks", "<u4"),
        ("message", "<u2"),  # number in the packet, from 0
        ("entry", "<u2"),  # number in the group, from 0
        ("template", "<u2"),
        ("version", "<u2"),
        ("trade_date", "<u2"),
        ("reference_date", "<u2"),
        ("channel", "<i2"),  # ApplID
        ("level", "<i2"),
        ("group", "u1"),  # RowGroup
        ("mei", "u1"),  # MatchEventIndicator
        ("action", "u1"),  # of the entry or the order; in a definition the code of a letter
        ("side", "u1"),  # AggressorSide, or Side of an order: 1 buy, 2 sell
        ("reference", "u1"),  # ReferenceID: number of the entry in the message, from 1
        ("settlement", "u1"),  # SettlPriceType
        ("open_close", "u1"),  # OpenCloseSettlFlag
        ("status", "u1"),
        ("halt_reason", "u1"),
        ("event", "u1"),  # SecurityTradingEvent
        ("type", "S1"),  # MDEntryType
        ("security_group", "S6"),
        ("asset", "S6"),
        ("symbol", "S20"),
    ],
    align=True,
)

#: A row without a value in any column.
NULL: Final[npt.NDArray[np.void]] = np.frombuffer(_entries.NULL_ENTRY, ENTRY)


def _same_layout() -> bool:
    fields: Mapping[str, Any] = ENTRY.fields or {}
    compiled = {name: (offset, kind, size) for name, offset, size, kind in _entries.columns()}
    here = {name: (f[1], f[0].kind, f[0].itemsize) for name, f in fields.items()}
    return compiled == here and ENTRY.itemsize == _entries.ENTRY_SIZE


if not _same_layout():
    raise ImportError("mdfeedd.feeds.cme.codec: ENTRY is not what the compiled decoder writes")


def check_packet(payload: ReadableBuffer) -> None:
    """Raise `MdpError` unless the whole of a UDP payload can be walked, group by group."""
    _entries.check(payload)


def decode_packet(payload: ReadableBuffer) -> npt.NDArray[np.void]:
    """Decode one UDP payload to rows of `ENTRY`, in the order they are sent.

    Raises `MdpError`, and decodes nothing of it, if lengths in the packet contradict each other.
    """
    rows = np.empty(_entries.count(payload), ENTRY)
    if len(rows):
        _entries.decode_into(payload, rows.view(np.uint8))
    return rows


def decode_many(
    payloads: Sequence[ReadableBuffer], *, errors: list[tuple[int, MdpError]] | None = None
) -> npt.NDArray[np.void]:
    """Decode UDP payloads to rows of `ENTRY`, one packet after the other.

    A packet that is none raises `MdpError`; with a list `errors` it is skipped, and its number and
    error are appended there.
    """
    counts = [_count(payload, number, errors) for number, payload in enumerate(payloads)]
    rows = np.empty(sum(counts), ENTRY)
    octets = rows.view(np.uint8)
    at = 0
    for payload, count in zip(payloads, counts, strict=True):
        end = at + count * ENTRY.itemsize
        if count:
            _entries.decode_into(payload, octets[at:end])
        at = end
    return rows


def _count(payload: ReadableBuffer, number: int, errors: list[tuple[int, MdpError]] | None) -> int:
    try:
        return _entries.count(payload)
    except MdpError as error:
        if errors is None:
            raise
        errors.append((number, error))
        return 0
