"""The gateway's half of a connection: lines, then records as DBN or JSON, perhaps compressed, in pieces.

What is handed over as `Send` is in the account at that moment, and not before: records that wait for a flush
of the compressor are not sent yet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import zstandard

from mdfeedd.sim.databento.json_text import json_line
from mdfeedd.sim.databento.layouts import MAX_WORDS, recode

if TYPE_CHECKING:
    import random

    from mdfeedd.sim.databento.account import Sent, SessionAccount

__all__ = ["Action", "Close", "HalfClose", "Reset", "Send", "Stall", "Wire"]

_TS_OUT: Final = struct.Struct("<Q")
MAX_PENDING_BYTES: Final = 1 << 20  # flushed whatever the rhythm is
MAX_WAITING: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes, all of them, in one write."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection in order (FIN)."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (RST)."""


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Close the sending half; go on reading."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing more will come for a while, or at all; keep the connection open."""


Action = Send | Close | Reset | HalfClose | Stall


class Wire:
    """Collects actions. `modes` are the faults that hold from the beginning, by kind."""

    def __init__(
        self,
        account: SessionAccount,
        modes: dict[str, int],
        rng: random.Random,
        *,
        keep: bool = True,
    ) -> None:
        self.actions: list[Action] = []
        self.ts_out = False
        self.version = 3
        self.pretty: tuple[bool, bool] = (False, False)
        self.is_json = False
        self.symbols: dict[int, str] = {}  # JSON: names to add to the lines
        self.longer_bytes: int = 0  # of the next market record
        self._account = account
        self._modes = modes
        self._rng = rng
        self._keep = keep
        self._compressor: zstandard.ZstdCompressionObj | None = None
        self._pending: list[bytes] = []
        self._pending_sent: list[Sent] = []
        self._pending_bytes = 0

    def text(self, line: str) -> None:
        """A control line, with the faults of handshakes."""
        if "unknown_key" in self._modes:
            line += "|simulated_key=1"
        if "trailing_bar" in self._modes:
            line += "|"
        data = line.encode() + b"\n"
        if "one_byte_writes" in self._modes:
            pieces = [data[i : i + 1] for i in range(len(data))]
        elif "separate_writes" in self._modes:
            middle = len(data) // 2
            pieces = [data[:middle], data[middle:]]
        else:
            pieces = [data]
        for piece in pieces:
            self._send(piece)

    def compress(self) -> None:
        """From now on everything is one zstd stream."""
        self._compressor = zstandard.ZstdCompressor(level=1).compressobj()

    def market(self, raw: bytes, sent: Sent, now_ns: int) -> None:
        """A market record of version 3; `sent` enters the account when it is handed over."""
        raw = recode(raw, self.version)
        longer, self.longer_bytes = self.longer_bytes, 0
        self._put(self._encoded(raw, now_ns, longer))
        self._pending_sent.append(sent if self.version == 3 else sent._replace(raw=raw))

    def control(self, raw: bytes, now_ns: int) -> None:
        """A record of the gateway itself, of this session's version; or a record that is none."""
        self._put(self._encoded(raw, now_ns, 0, is_plain="plain_control" in self._modes))

    def loose(self, data: bytes) -> None:
        """Bytes as they are."""
        self._put(data)

    def _encoded(self, raw: bytes, now_ns: int, longer: int, *, is_plain: bool = False) -> bytes:
        if self.is_json:
            return self._line(raw, now_ns)
        words = min(len(raw) // 4 + longer // 4, MAX_WORDS - 2)
        if longer:
            raw = bytes([words]) + raw[1:] + bytes(words * 4 - len(raw))
        if self.ts_out and not is_plain:
            raw = bytes([raw[0] + 2]) + raw[1:] + _TS_OUT.pack(now_ns)
        return raw

    def _line(self, raw: bytes, now_ns: int) -> bytes:
        return json_line(
            recode(raw, 3, self.version),
            ts_out_ns=now_ns if self.ts_out else None,
            pretty_px=self.pretty[0],
            pretty_ts=self.pretty[1],
            symbol=self.symbols.get(int.from_bytes(raw[4:8], "little"), ""),
        )

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)

    @property
    def is_compressed(self) -> bool:
        """Whether what is sent depends on flushes."""
        return self._compressor is not None

    @property
    def waiting(self) -> int:
        """Records that have not been flushed; very many if they should be by their size."""
        return MAX_WAITING if self._pending_bytes >= MAX_PENDING_BYTES else len(self._pending)

    def flush(self, *, is_end: bool = False) -> None:
        """Hand over all that waits; at the end of a compressed stream, its frame as well."""
        data = b"".join(self._pending)
        if self._compressor is not None and (data or is_end):
            data = self._compressor.compress(data)
            how = (
                zstandard.COMPRESSOBJ_FLUSH_FINISH if is_end else zstandard.COMPRESSOBJ_FLUSH_BLOCK
            )
            data += self._compressor.flush(how)
        limit = self._modes.get("cut_anywhere", 0)
        at = 0
        while limit and at < len(data):
            size = self._rng.randint(1, limit)
            self._send(data[at : at + size])
            at += size
        if data and not limit:
            self._send(data)
        self._account.records += len(self._pending_sent)
        self._account.replayed += sum(sent.replayed for sent in self._pending_sent)
        if self._keep:
            self._account.sent += self._pending_sent
        self._pending, self._pending_sent, self._pending_bytes = [], [], 0

    def part(self, data: bytes) -> None:
        """Some of the bytes of something, which the end of the connection cuts off."""
        cut = data[: self._rng.randint(1, max(1, len(data) - 1))]
        self._pending.append(cut)

    def _send(self, data: bytes) -> None:
        self.actions.append(Send(data))
        self._account.bytes_sent += len(data)

    def end(self, action: Action) -> None:
        """The last action but for silence."""
        self.flush(is_end=isinstance(action, Close | HalfClose))
        self.actions.append(action)
