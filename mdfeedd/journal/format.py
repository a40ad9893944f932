"""The bytes of a journal: segment headers, blocks, instrument entries. Bytes in, structures out; no I/O.

A segment is a header of one page and blocks behind it, each 64 bytes of header and its payload.
Everything is little-endian, and every block begins at a multiple of 64.

Segment header, 4096 bytes (a segment holds records of one ring_id and one layout, so it reads alone)::

      0 8s  magic            8 u16 version     10 u16 flags (0)        12 u32 record size in bytes
     16 u64 segment number  24 u64 first_seq: what the first block of records begins with
     32 16s ring_id         48 u64 space_first_seq: the first record of this ring_id in the journal
     56 u32 epoch           60 u32 length of the layout text           64 i64 created, UNIX ns
     72 32s feed           104 64s ring       168 16s ring_id of the space before, zeros if none
    184 u64 last seq of the space before      192 u64 durable_seq      200 zeros
    256 768s layout text
   1024 zeros             4088 u64 checksum of bytes 0-4087

durable_seq: what of this ring_id had been durable when the writer found the segment before damaged, if
that is more than what it found; else 0. Nobody else would know, where the ring no longer has it.

Block header, 64 bytes::

      0 4s  magic    4 u16 version   6 u16 flags   8 u32 n   12 u32 epoch   16 u64 first   24 u64 last
     32 i64 written, UNIX ns        40 u64 checksum of the payload          48 u64 durable_seq then
     56 u64 checksum of bytes 0-55, seeded with the segment's number: no block passes in another segment

The chain: a block's `first` is the `last` of the one before, plus one; that of the first block is the
segment's first_seq. By flags:

    0            n records, seq first..last, n = last - first + 1
    LAPPED       the ring lapped the journal: first..last are missing. One GAP record where records are
                 ticks (its seq is `last`), else none
    INSTRUMENTS  n entries of 256 bytes; no sequence numbers, so last = first - 1

Checksums are xxh3_64.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import xxhash

from mdfeedd.tick import GAP, TICK, GapReason, Kind, dtype_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

__all__ = [
    "BLOCK_BYTES",
    "BLOCK_MAGIC",
    "ENTRY_BYTES",
    "HEADER_BYTES",
    "MAX_BLOCK_RECORDS",
    "VERSION",
    "Block",
    "BlockFlag",
    "SegmentHeader",
    "checksum",
    "decode_block",
    "decode_entry",
    "decode_header",
    "encode_block",
    "encode_entry",
    "encode_header",
    "fault_of",
    "header_version",
    "lapped_record",
    "payload_bytes",
]

VERSION: Final = 1
SEGMENT_MAGIC: Final = b"MDFJRNL1"
BLOCK_MAGIC: Final = b"MDFB"
HEADER_BYTES: Final = 4096
BLOCK_BYTES: Final = 64
ENTRY_BYTES: Final = 256
MAX_BLOCK_RECORDS: Final = 1 << 16
MAX_LAYOUT_BYTES: Final = 768
_LAYOUT_AT: Final = 256
_SUM_AT: Final = HEADER_BYTES - 8

_HEADER: Final = struct.Struct("<8sHHIQQ16sQIIq32s64s16sQQ")
_BLOCK: Final = struct.Struct("<4sHHIIQQqQQ")
_SUM: Final = struct.Struct("<Q")
_ENTRY: Final = struct.Struct("<IIQIIqqq8s24s32s72s72s")

assert _HEADER.size == 200
assert _BLOCK.size == BLOCK_BYTES - 8
assert _ENTRY.size == ENTRY_BYTES

#: A digest of any contiguous buffer; the second argument is the seed.
checksum: Callable[..., int] = xxhash.xxh3_64_intdigest


class BlockFlag(enum.IntFlag):
    """What a block holds, if not records."""

    LAPPED = 1 << 0
    INSTRUMENTS = 1 << 1


LAPPED: Final = int(BlockFlag.LAPPED)
INSTRUMENTS: Final = int(BlockFlag.INSTRUMENTS)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment says of itself. ring_ids are 32 hex digits; "" for no space before."""

    number: int
    ring: str
    ring_id: str
    feed: str
    layout: str
    record_bytes: int
    epoch: int
    first_seq: int
    space_first_seq: int
    created_ns: int
    before_ring_id: str = ""
    before_last_seq: int = 0
    durable_seq: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header."""

    flags: int
    n: int
    epoch: int
    first: int
    last: int
    wall_ns: int
    checksum: int
    durable_seq: int


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def encode_header(header: SegmentHeader) -> bytes:
    """The page. Raises `ValueError` for what does not fit."""
    layout = header.layout.encode()
    feed, ring = header.feed.encode(), header.ring.encode()
    if len(layout) > MAX_LAYOUT_BYTES or len(feed) > 32 or len(ring) > 64:
        raise ValueError(f"layout, feed or ring is too long for a segment header: {header}")
    if header.record_bytes <= 0 or header.record_bytes % 64:
        raise ValueError(f"records must be a multiple of 64 bytes, not {header.record_bytes}")
    page = bytearray(HEADER_BYTES)
    _HEADER.pack_into(
        page,
        0,
        SEGMENT_MAGIC,
        VERSION,
        0,
        header.record_bytes,
        header.number,
        header.first_seq,
        bytes.fromhex(header.ring_id),
        header.space_first_seq,
        header.epoch,
        len(layout),
        header.created_ns,
        feed,
        ring,
        bytes.fromhex(header.before_ring_id),
        header.before_last_seq,
        header.durable_seq,
    )
    page[_LAYOUT_AT : _LAYOUT_AT + len(layout)] = layout
    _SUM.pack_into(page, _SUM_AT, checksum(memoryview(page)[:_SUM_AT]))
    return bytes(page)


def header_version(page: bytes) -> int | None:
    """The version that an undamaged segment header names; None for any other page.

    Every version keeps magic, version and checksum in their places.
    """
    if len(page) < HEADER_BYTES or not page.startswith(SEGMENT_MAGIC):
        return None
    if _SUM.unpack_from(page, _SUM_AT)[0] != checksum(memoryview(page)[:_SUM_AT]):
        return None
    return int.from_bytes(page[8:10], "little")


def decode_header(page: bytes) -> SegmentHeader | None:
    """The header of a page of this version; None if anything contradicts."""
    if header_version(page) != VERSION:
        return None
    (
        _, _, _, record_bytes, number, first_seq, ring_id, space_first_seq, epoch, layout_len,
        created_ns, feed, ring, before_ring_id, before_last_seq, durable_seq,
    ) = _HEADER.unpack_from(page)  # fmt: skip
    if layout_len > MAX_LAYOUT_BYTES or not record_bytes or record_bytes % 64:
        return None
    layout = page[_LAYOUT_AT : _LAYOUT_AT + layout_len].decode("utf-8", "replace")
    if not _is_layout(layout, record_bytes):
        return None
    return SegmentHeader(
        number=number,
        ring=_text(ring),
        ring_id=ring_id.hex(),
        feed=_text(feed),
        layout=layout,
        record_bytes=record_bytes,
        epoch=epoch,
        first_seq=first_seq,
        space_first_seq=space_first_seq,
        created_ns=created_ns,
        before_ring_id=before_ring_id.hex() if any(before_ring_id) else "",
        before_last_seq=before_last_seq,
        durable_seq=durable_seq,
    )


def _is_layout(text: str, record_bytes: int) -> bool:
    """Whoever wrote the file may mean harm, and its checksum be right."""
    try:
        return dtype_of(text).itemsize == record_bytes
    except ValueError:
        return False


def encode_block(into: bytearray, number: int, block: Block) -> None:
    """The 64 bytes before the payload, of a block of segment `number`."""
    _BLOCK.pack_into(
        into,
        0,
        BLOCK_MAGIC,
        VERSION,
        block.flags,
        block.n,
        block.epoch,
        block.first,
        block.last,
        block.wall_ns,
        block.checksum,
        block.durable_seq,
    )
    _SUM.pack_into(into, _BLOCK.size, checksum(memoryview(into)[: _BLOCK.size], number))


def payload_bytes(block: Block, record_bytes: int) -> int:
    """How long the payload is."""
    return block.n * (ENTRY_BYTES if block.flags & INSTRUMENTS else record_bytes)


def decode_block(data: memoryview, at: int, number: int) -> Block | None:
    """The block whose header begins at `at`; None if it is none of segment `number`.

    The payload is not looked at.
    """
    if len(data) - at < BLOCK_BYTES or bytes(data[at : at + 4]) != BLOCK_MAGIC:
        return None
    end = at + _BLOCK.size
    if _SUM.unpack_from(data, end)[0] != checksum(data[at:end], number):
        return None
    _, version, flags, n, *rest = _BLOCK.unpack_from(data, at)
    block = Block(flags, n, *rest)
    return block if version == VERSION and _is_consistent(block) else None


def _is_consistent(block: Block) -> bool:
    if block.n > MAX_BLOCK_RECORDS:
        return False
    if block.flags == 0:
        return block.n > 0 and block.last == block.first + block.n - 1
    if block.flags == INSTRUMENTS:
        return block.n > 0 and block.last == block.first - 1
    if block.flags == LAPPED:
        return block.n <= 1 and block.last >= block.first
    return False


def fault_of(data: memoryview, at: int, number: int) -> str:
    """Why there is no block at `at`, in words."""
    head = data[at : at + BLOCK_BYTES]
    if len(head) < BLOCK_BYTES:
        return "the segment ends in a block header"
    if not any(head):
        return "zeros where a block should begin"
    if bytes(head[:4]) != BLOCK_MAGIC:
        return "no block begins here"
    if _SUM.unpack_from(head, _BLOCK.size)[0] != checksum(head[: _BLOCK.size], number):
        return "the checksum of a block header is wrong"
    return "a block header contradicts itself"


def encode_entry(index: int, entry: tuple[object, ...]) -> bytes:
    """An instrument, as `ReaderCore.instrument_get` gives it, at its place in the ring's table."""
    *numbers, currency, venue, feed, symbol, vendor_symbol = entry
    texts = [str(t).encode() for t in (currency, venue, feed, symbol, vendor_symbol)]
    return _ENTRY.pack(index, *numbers, *texts)


def decode_entry(raw: bytes | memoryview) -> tuple[int, tuple[object, ...]]:
    """The inverse of `encode_entry`: place and entry."""
    index, *rest = _ENTRY.unpack(raw)
    return index, (*rest[:7], *(_text(t) for t in rest[7:]))


def lapped_record(first: int, last: int, wall_ns: int) -> npt.NDArray[np.void]:
    """The GAP tick, shape (1,), that stands for the records first..last which the ring lapped."""
    record = np.zeros(1, GAP)
    record["seq"] = last
    record["ts_event"] = record["ts_recv"] = wall_ns
    record["kind"] = Kind.GAP
    record["first_missing"] = first
    record["last_missing"] = last
    record["reason"] = GapReason.RING_LAPPED
    return record.view(TICK)
