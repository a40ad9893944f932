"""Types of elements."""

from __future__ import annotations

from typing import Final


class DataType:
    """Their published numbers."""

    BOOL: Final = 1
    CHAR: Final = 2
    BYTE: Final = 3
    INT32: Final = 4
    INT64: Final = 5
    FLOAT32: Final = 6
    FLOAT64: Final = 7
    STRING: Final = 8
    BYTEARRAY: Final = 9
    DATE: Final = 10
    TIME: Final = 11
    DECIMAL: Final = 12
    DATETIME: Final = 13
    ENUMERATION: Final = 14
    SEQUENCE: Final = 15
    CHOICE: Final = 16
    CORRELATION_ID: Final = 17
