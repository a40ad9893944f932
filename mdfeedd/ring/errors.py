"""What can be wrong with a ring. Each error is one sentence that says what to do."""

from __future__ import annotations

__all__ = [
    "RingBusy",
    "RingCorrupt",
    "RingDenied",
    "RingError",
    "RingMismatch",
    "RingMissing",
    "RingOverrun",
    "RingSpace",
]


class RingError(OSError):
    """A system call failed, or one of the cases below."""


class RingMissing(RingError):
    """No ring of this name exists (yet)."""


class RingDenied(RingError):
    """The ring belongs to another user, and this one is not in its group."""


class RingMismatch(RingError):
    """The ring has another ABI, record layout or slot size."""


class RingCorrupt(RingError):
    """The file is not a ring, or its header contradicts itself."""


class RingBusy(RingError):
    """Another writer, or a consumer of the same name, is alive."""


class RingSpace(RingError):
    """The file system or a table is full."""


class RingOverrun(RingError):
    """With ``on_overrun="raise"``: the writer lapped the reader. `lost` records are gone."""

    def __init__(self, lost: int) -> None:
        super().__init__(f"lapped by the writer: {lost} records lost")
        self.lost = lost
