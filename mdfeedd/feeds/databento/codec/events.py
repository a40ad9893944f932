"""What a DBN stream says beside ticks, and how it can be broken."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BookOverflow",
    "DbnError",
    "ErrorMessage",
    "Event",
    "RecordHeld",
    "ReplayReachedPresent",
    "ShortRecord",
    "SystemMessage",
    "UnknownRecord",
]


class DbnError(Exception):
    """The stream cannot be read on. `offset` is the byte of the stream where that showed.

    Raised by `decode` only after everything before it has been returned, so by the call after the one
    whose bytes held the fault; `decode_into` publishes first and raises at once.
    """

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} (byte {offset} of the stream)")
        self.reason = reason
        self.offset = offset


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """The gateway's word: heartbeat (0), subscription acknowledged (1), slow reader (2) ..."""

    ts_event_ns: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """The gateway's refusal. `code` is 255 where the version has none."""

    ts_event_ns: int
    code: int
    text: str
    is_last: bool


@dataclass(frozen=True, slots=True)
class UnknownRecord:
    """The first record of a type that is not known. All of them are skipped and counted."""

    rtype: int
    length: int


@dataclass(frozen=True, slots=True)
class ShortRecord:
    """The first record of its type that is shorter than its struct. All are skipped and counted."""

    rtype: int
    length: int


@dataclass(frozen=True, slots=True)
class BookOverflow:
    """An order book grew past its limit: its quotes are STALE until its next clear. Told once."""

    rtype: int


@dataclass(frozen=True, slots=True)
class ReplayReachedPresent:
    """The first record of its type that is not of the past comes next: the replay of this type is over."""

    rtype: int


@dataclass(frozen=True, slots=True)
class RecordHeld:
    """The next record is of a type that was held (`DbnDecoder.hold`); it comes when decoding goes on."""

    rtype: int


Event = (
    SystemMessage
    | ErrorMessage
    | UnknownRecord
    | ShortRecord
    | BookOverflow
    | ReplayReachedPresent
    | RecordHeld
)
