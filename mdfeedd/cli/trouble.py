"""What a command ends with when it cannot do what it was asked."""

from __future__ import annotations


class Trouble(Exception):
    """One sentence for the user, and the exit status."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


def unreadable(error: OSError, path: object = "") -> Trouble:
    """Of a file or folder that the system keeps from us; `path` is for an error that does not name one."""
    return Trouble(f"{error.filename or path} cannot be read: {error.strerror or error}")
