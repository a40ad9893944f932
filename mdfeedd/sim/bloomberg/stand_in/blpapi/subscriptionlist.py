"""Lists of subscriptions."""
# ruff: noqa: N802, N803, N806 - the names are those that were published

from __future__ import annotations

from typing import TYPE_CHECKING

from .correlationid import CorrelationId, generated
from .exception import INDEX_OUT_OF_RANGE, IndexOutOfRangeException

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Fields = str | Sequence[str] | None
    Choices = str | Sequence[str] | Mapping[str, object] | None


class SubscriptionList:
    """Topics and correlation ids; whether they make sense, subscribe says."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, CorrelationId]] = []

    def add(
        self,
        topic: str,
        fields: Fields = None,
        options: Choices = None,
        correlationId: CorrelationId | None = None,
    ) -> int:
        """Append one; 0."""
        if correlationId is None:
            correlationId = generated()
        elif not isinstance(correlationId, CorrelationId):
            raise TypeError(f"Invalid type of correlationId: {correlationId!r}")
        query = [f"fields={_joined(fields, ',')}"] if fields else []
        if options:
            query.append(_options(options))
        text = topic
        if query:
            text += ("&" if "?" in topic else "?") + "&".join(query)
        self._entries.append((text, correlationId))
        return 0

    def append(self, other: SubscriptionList) -> int:
        """All of another list; 0."""
        self._entries.extend(other._entries)
        return 0

    def clear(self) -> int:
        """Empty it; 0."""
        self._entries.clear()
        return 0

    def size(self) -> int:
        """How many."""
        return len(self._entries)

    def correlationIdAt(self, index: int) -> CorrelationId:
        """Of one; raises IndexOutOfRange."""
        return self._at(index)[1]

    def topicStringAt(self, index: int) -> str:
        """Topic, fields and options of one; raises IndexOutOfRange."""
        return self._at(index)[0]

    def _at(self, index: int) -> tuple[str, CorrelationId]:
        if not 0 <= index < len(self._entries):
            raise IndexOutOfRangeException(f"no subscription {index}", INDEX_OUT_OF_RANGE)
        return self._entries[index]


def _joined(items: str | Sequence[str], by: str) -> str:
    return items if isinstance(items, str) else by.join(items)


def _options(options: str | Sequence[str] | Mapping[str, object]) -> str:
    if isinstance(options, str):
        return options
    if hasattr(options, "items"):
        return "&".join(k if v is None else f"{k}={v}" for k, v in options.items())
    return "&".join(options)
