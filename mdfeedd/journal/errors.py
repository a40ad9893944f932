"""What can be wrong with a journal. Each error is one sentence that says what to do."""

from __future__ import annotations

__all__ = [
    "JournalBusy",
    "JournalCorrupt",
    "JournalError",
    "JournalMismatch",
    "JournalMissing",
]


class JournalError(OSError):
    """A journal cannot be used (on), or one of the cases below. It has no errno: none is retriable."""


class JournalMissing(JournalError):
    """There is no journal of this ring (yet)."""


class JournalCorrupt(JournalError):
    """No segment of the journal can be read."""


class JournalMismatch(JournalError):
    """A segment was written by a newer version."""


class JournalBusy(JournalError):
    """Another writer of this journal is alive."""
