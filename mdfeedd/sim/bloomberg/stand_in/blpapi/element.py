"""Elements: a named value, read by name, by index, or whole as Python."""
# ruff: noqa: N802, N803 - the names are those that were published

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.bloomberg.content import Special, as_python

from .datatype import DataType
from .exception import (
    INDEX_OUT_OF_RANGE,
    INVALID_CONVERSION,
    ITEM_NOT_FOUND,
    UNSUPPORTED,
    IndexOutOfRangeException,
    InvalidConversionException,
    NotFoundException,
    UnsupportedOperationException,
)
from .name import Name, intern_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_INT32: Final = 2**31
_ENUMERATIONS: Final = frozenset({"MKTDATA_EVENT_TYPE", "MKTDATA_EVENT_SUBTYPE"})
_TYPES: Final[dict[type, int]] = {
    bool: DataType.BOOL,
    float: DataType.FLOAT64,
    str: DataType.STRING,
    bytes: DataType.BYTEARRAY,
    dt.datetime: DataType.DATETIME,
    dt.date: DataType.DATE,
    dt.time: DataType.TIME,
    Decimal: DataType.DECIMAL,
    dict: DataType.SEQUENCE,
}
_TIMES: Final = (dt.datetime, dt.date, dt.time)


class Element:
    """Made by messages and by other elements."""

    __slots__ = ("_name", "_value")

    def __init__(self, name: str, value: Any) -> None:
        self._name = name
        self._value = value

    # ------------------------------------------------------------------------------------------- what it is

    def name(self) -> Name:
        """Its name."""
        return intern_name(self._name)

    def datatype(self) -> int:
        """A number out of `DataType`."""
        value = self._value
        if isinstance(value, list):
            value = value[0] if value else {}
        if value is Special.NULL_SEQUENCE:
            return DataType.SEQUENCE
        if value is Special.NO_PARTS:
            return DataType.DATETIME
        if self._name in _ENUMERATIONS:
            return DataType.ENUMERATION
        if type(value) is int:
            return DataType.INT32 if -_INT32 <= value < _INT32 else DataType.INT64
        return _TYPES.get(type(value), DataType.STRING)

    def isComplexType(self) -> bool:
        """Whether it has elements of its own, and is no array."""
        return isinstance(self._value, dict) or self._value is Special.NULL_SEQUENCE

    def isArray(self) -> bool:
        """Whether it has any number of values."""
        return isinstance(self._value, list)

    def isNull(self) -> bool:
        """Whether it has no value."""
        return self._value is None or self._value is Special.NULL_SEQUENCE

    def isNullValue(self, position: int = 0) -> bool:
        """Whether that value is null."""
        if position >= max(self.numValues(), 1) or position < 0:
            raise IndexOutOfRangeException(f"{self._name}: no value {position}", INDEX_OUT_OF_RANGE)
        return self._values()[position] is None if self.numValues() else True

    def numValues(self) -> int:
        """How many: those of an array; 0 if null."""
        return 0 if self.isNull() else len(self._values())

    def numElements(self) -> int:
        """How many it has of its own; 0 for scalars and arrays."""
        return len(self._value) if isinstance(self._value, dict) else 0

    def _values(self) -> list[Any]:
        return self._value if isinstance(self._value, list) else [self._value]

    # ------------------------------------------------------------------------------------------- whole

    def toPy(self) -> Any:
        """As Python: dict, list, scalar or None."""
        return as_python(self._value)

    def toString(self, level: int = 0, spacesPerLevel: int = 4) -> str:
        """As text, over several lines."""
        pad = " " * (level * spacesPerLevel)
        if self.isComplexType() or self.isArray():
            inner = [e.toString(level + 1, spacesPerLevel) for e in self._parts()]
            return f"{pad}{self._name} = {{\n{''.join(inner)}{pad}}}\n"
        text = "" if self._value is None else _text(self._value)
        return f"{pad}{self._name} = {text}\n"

    def __str__(self) -> str:
        return self.toString()

    def _parts(self) -> list[Element]:
        if isinstance(self._value, list):
            return [Element(self._name, value) for value in self._value]
        return [Element(*item) for item in self._value.items()] if self.numElements() else []

    # ------------------------------------------------------------------------------------------- elements

    def getElement(self, nameOrIndex: Name | str | int) -> Element:
        """One of its own; raises NotFound."""
        self._need_complex()
        if isinstance(nameOrIndex, int):
            parts = self._parts()
            if not 0 <= nameOrIndex < len(parts):
                raise IndexOutOfRangeException(f"no element {nameOrIndex}", INDEX_OUT_OF_RANGE)
            return parts[nameOrIndex]
        name = str(nameOrIndex)
        if self._value is Special.NULL_SEQUENCE or name not in self._value:
            raise NotFoundException(f"{self._name} has no element {name}", ITEM_NOT_FOUND)
        return Element(name, self._value[name])

    def elements(self) -> Iterator[Element]:
        """All of its own."""
        self._need_complex()
        return iter(self._parts())

    def hasElement(self, name: Name | str, excludeNullElements: bool = False) -> bool:
        """Whether there is one of that name."""
        if not isinstance(self._value, dict) or str(name) not in self._value:
            return False
        return not (excludeNullElements and Element(str(name), self._value[str(name)]).isNull())

    def _need_complex(self) -> None:
        if not self.isComplexType():
            raise UnsupportedOperationException(f"{self._name} has no elements", UNSUPPORTED)

    # ------------------------------------------------------------------------------------------- values

    def getValue(self, index: int = 0) -> Any:
        """A value as Python, or as an element if it is complex."""
        value = self._at(index)
        return Element(self._name, value) if isinstance(value, dict) else as_python(value)

    def values(self) -> Iterator[Any]:
        """All of them."""
        return iter([self.getValue(i) for i in range(self.numValues())])

    def _at(self, index: int) -> Any:
        if not 0 <= index < self.numValues():
            raise IndexOutOfRangeException(f"{self._name}: no value {index}", INDEX_OUT_OF_RANGE)
        return self._values()[index]

    def _refuse(self, value: Any, wanted: str) -> InvalidConversionException:
        return InvalidConversionException(
            f"{self._name}: {type(value).__name__} cannot be read as {wanted}", INVALID_CONVERSION
        )

    def getValueAsString(self, index: int = 0) -> str:
        """Any scalar."""
        value = self._at(index)
        if isinstance(value, dict):
            raise self._refuse(value, "string")
        return _text(value)

    def getValueAsFloat(self, index: int = 0) -> float:
        """Numbers."""
        value = self._at(index)
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise self._refuse(value, "float")
        return float(value)

    def getValueAsInteger(self, index: int = 0) -> int:
        """Integers and booleans."""
        value = self._at(index)
        if not isinstance(value, int):
            raise self._refuse(value, "integer")
        return int(value)

    def getValueAsBool(self, index: int = 0) -> bool:
        """Booleans."""
        value = self._at(index)
        if not isinstance(value, bool):
            raise self._refuse(value, "bool")
        return value

    def getValueAsDatetime(self, index: int = 0) -> dt.datetime | dt.date | dt.time:
        """Dates, times of day, and both."""
        value = self._at(index)
        if isinstance(value, _TIMES):
            return value
        raise self._refuse(value, "datetime")

    def getValueAsElement(self, index: int = 0) -> Element:
        """Complex values."""
        value = self._at(index)
        if not isinstance(value, dict):
            raise self._refuse(value, "element")
        return Element(self._name, value)

    # ------------------------------------------------------------------------------------------- both at once

    def getElementValue(self, name: Name | str) -> Any:
        """The value of one of its own."""
        return self.getElement(name).getValue()

    def getElementAsString(self, name: Name | str) -> str:
        """As `getValueAsString`."""
        return self.getElement(name).getValueAsString()

    def getElementAsFloat(self, name: Name | str) -> float:
        """As `getValueAsFloat`."""
        return self.getElement(name).getValueAsFloat()

    def getElementAsInteger(self, name: Name | str) -> int:
        """As `getValueAsInteger`."""
        return self.getElement(name).getValueAsInteger()

    def getElementAsBool(self, name: Name | str) -> bool:
        """As `getValueAsBool`."""
        return self.getElement(name).getValueAsBool()

    def getElementAsDatetime(self, name: Name | str) -> dt.datetime | dt.date | dt.time:
        """As `getValueAsDatetime`."""
        return self.getElement(name).getValueAsDatetime()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, _TIMES) else str(value)
