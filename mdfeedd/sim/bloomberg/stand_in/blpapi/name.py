"""Interned names: equal to a string of the same letters, with another hash."""
# ruff: noqa: N802, N803 - the names are those that were published

from __future__ import annotations


class Name:
    """An immutable string of the schema."""

    __slots__ = ("_text",)

    def __init__(self, nameString: str, internalHandle: object = None) -> None:
        self._text = str(nameString) if internalHandle is None else str(internalHandle)
        _known.setdefault(self._text, self)

    @staticmethod
    def findName(nameString: str) -> Name | None:
        """The name, if it has been made already."""
        return _known.get(nameString)

    @staticmethod
    def hasName(nameString: str) -> bool:
        """Whether it has been made already."""
        return nameString in _known

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Name):
            return self._text == other._text
        return self._text == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(("Name", self._text))

    def __len__(self) -> int:
        return len(self._text)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Name({self._text})"


_known: dict[str, Name] = {}


def intern_name(text: str) -> Name:
    """The one of these letters."""
    return _known.get(text) or Name(text)
