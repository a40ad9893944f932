"""Services."""

from __future__ import annotations


class Service:
    """An open one."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        """Such as //blp/mktdata."""
        return self._name
