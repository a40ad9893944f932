"""Correlation ids: an integer, an object, or nothing yet."""
# ruff: noqa: N802 - the names are those that were published

from __future__ import annotations

import itertools
from typing import Any, Final

_UINT64: Final = 2**64 - 1
_autogen = itertools.count(1)


class CorrelationId:
    """``CorrelationId(7)``, ``CorrelationId(7, 1)`` with a class, ``CorrelationId(anything)``, ``CorrelationId()``."""

    UNSET_TYPE: Final = 0
    INT_TYPE: Final = 1
    OBJECT_TYPE: Final = 2
    AUTOGEN_TYPE: Final = 3
    MAX_CLASS_ID: Final = 65_535

    __slots__ = ("_class_id", "_hash", "_type", "_value")

    def __init__(self, *argv: Any, **_kwargs: Any) -> None:
        self._class_id = 0
        self._value: Any = None
        self._type: int = self.UNSET_TYPE
        if len(argv) > 2:
            raise TypeError(f"CorrelationId takes at most 2 arguments, not {len(argv)}")
        if argv:
            self._value = argv[0]
            self._type = self.OBJECT_TYPE
            if isinstance(argv[0], int):
                self._value = int(argv[0]) & _UINT64
                self._type = self.INT_TYPE
            if len(argv) == 2:
                self._class_id = int(argv[1])
        if not 0 <= self._class_id <= self.MAX_CLASS_ID:
            raise ValueError(f"class id: 0 to {self.MAX_CLASS_ID}, not {self._class_id}")
        key = id(self._value) if self._type == self.OBJECT_TYPE else self._value
        self._hash = hash((self._type, key, self._class_id))

    @classmethod
    def _generated(cls) -> CorrelationId:
        made = cls(next(_autogen))
        made._type = cls.AUTOGEN_TYPE
        return made

    def type(self) -> int:
        """UNSET_TYPE, INT_TYPE, OBJECT_TYPE or AUTOGEN_TYPE."""
        return self._type

    def classId(self) -> int:
        """The second argument, or 0."""
        return self._class_id

    def value(self) -> Any:
        """The integer, modulo 2**64, or the object; None if unset."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CorrelationId):
            return NotImplemented
        if self._type != other._type or self._class_id != other._class_id:
            return False
        if self._type == self.OBJECT_TYPE:
            return self._value is other._value
        return bool(self._value == other._value)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        names = ("UNSET", "INT", "OBJECT", "AUTOGEN")
        return f"CorrelationId({names[self._type]}: {self._value!r}, class {self._class_id})"


UNSET: Final = CorrelationId()


def generated() -> CorrelationId:
    """One that nobody chose."""
    return CorrelationId._generated()  # noqa: SLF001 - the user has no way to make one
