"""Events: what nextEvent returns."""
# ruff: noqa: N802 - the names are those that were published

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.sim.bloomberg.events import Occurrence


class Event:
    """Messages of one type."""

    UNKNOWN: Final = -1
    ADMIN: Final = 1
    SESSION_STATUS: Final = 2
    SUBSCRIPTION_STATUS: Final = 3
    REQUEST_STATUS: Final = 4
    RESPONSE: Final = 5
    PARTIAL_RESPONSE: Final = 6
    SUBSCRIPTION_DATA: Final = 8
    SERVICE_STATUS: Final = 9
    TIMEOUT: Final = 10
    AUTHORIZATION_STATUS: Final = 11
    RESOLUTION_STATUS: Final = 12
    TOPIC_STATUS: Final = 13
    TOKEN_STATUS: Final = 14
    REQUEST: Final = 15

    __slots__ = ("_occurrence",)

    def __init__(self, occurrence: Occurrence) -> None:
        self._occurrence = occurrence

    def eventType(self) -> int:
        """One of the numbers above."""
        return self._occurrence.kind

    def __iter__(self) -> Iterator[Message]:
        return map(Message, self._occurrence.items)
