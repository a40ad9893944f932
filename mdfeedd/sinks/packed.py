"""Packed messages: a header of 64 bytes, then records as they lie in the ring.

     0 4s magic "MDFP"    4 u16 version   6 u16 record_bytes   8 u32 records    12 u32 epoch
    16 u64 first          24 u64 last     32 u64 prev          40 16s ring_id   56 u64 reserved

Little-endian, as the records are, which have the dtype `TICK` (64 bytes) or `BAR` (128). `first` and
`last` are the sequence numbers of the first and the last record; `prev` is the `last` of the message
before it in the same sequence space (`ring_id`), 0 at its begin: who did not see `prev` has missed
messages, and who has seen `last` sees this one again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mdfeedd.tick import BAR, TICK

__all__ = ["HEADER_BYTES", "PACKED_VERSION", "PackedHeader", "pack_header", "unpack"]

PACKED_VERSION: Final = 1
_MAGIC: Final = b"MDFP"
_HEADER: Final = struct.Struct("<4sHHIIQQQ16sQ")
HEADER_BYTES: Final = _HEADER.size
assert HEADER_BYTES == 64
_DTYPES: Final = {dtype.itemsize: dtype for dtype in (TICK, BAR)}


@dataclass(frozen=True, slots=True)
class PackedHeader:
    """What a packed message says of its records. `ring_id` is hex, as elsewhere."""

    ring_id: str
    epoch: int
    first: int
    last: int
    prev: int
    records: int
    record_bytes: int


def pack_header(ring_id: str, epoch: int, prev: int, records: npt.NDArray[np.void]) -> bytes:
    """The header of a message that holds `records` (dtype `TICK` or `BAR`, at least one)."""
    seq = records["seq"]
    return _HEADER.pack(
        _MAGIC,
        PACKED_VERSION,
        records.dtype.itemsize,
        len(records),
        epoch,
        int(seq[0]),
        int(seq[-1]),
        prev,
        bytes.fromhex(ring_id),
        0,
    )


def unpack(message: bytes) -> tuple[PackedHeader, npt.NDArray[np.void]]:
    """Header and records of a message, the records without a copy. Raises `ValueError`."""
    if len(message) < HEADER_BYTES or message[:4] != _MAGIC:
        raise ValueError("not a packed message")
    _, version, record_bytes, n, epoch, first, last, prev, ring_id, _ = _HEADER.unpack_from(message)
    if version != PACKED_VERSION:
        raise ValueError(f"a packed message of version {version}, this reads {PACKED_VERSION}")
    if record_bytes not in _DTYPES or len(message) != HEADER_BYTES + n * record_bytes:
        raise ValueError(f"a packed message of {len(message)} bytes for {n} x {record_bytes}")
    header = PackedHeader(ring_id.hex(), epoch, first, last, prev, n, record_bytes)
    return header, np.frombuffer(message, _DTYPES[record_bytes], offset=HEADER_BYTES)
