"""Dispatchers: once threads for handlers, now only something to pass."""
# ruff: noqa: N803 - the names are those that were published

from __future__ import annotations

from typing import Any


class EventDispatcher:
    """Gives no parallel handlers, whatever the number."""

    def __init__(self, numDispatcherThreads: int = 1) -> None:
        self._threads = numDispatcherThreads
        self._is_started = False

    def start(self) -> int:
        """0."""
        self._is_started = True
        return 0

    def stop(self, async_: bool = False, **kwargs: Any) -> int:
        """0."""
        del async_, kwargs
        self._is_started = False
        return 0
