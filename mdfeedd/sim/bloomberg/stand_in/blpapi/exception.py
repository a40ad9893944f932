"""Errors with a published code; they print as ``text (0x0006000d)``."""
# ruff: noqa: N803 - the names are those that were published

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from mdfeedd.sim.bloomberg import Misuse

_StandardException = Exception


class Exception(_StandardException):  # noqa: A001 - its published name
    """Base of all."""

    def __init__(self, description: str, errorCode: int) -> None:
        super().__init__(description, errorCode)

    def __str__(self) -> str:
        return f"{self.args[0]} (0x{self.args[1]:08x})"


class DuplicateCorrelationIdException(Exception):
    """The correlation id is in use."""


class InvalidStateException(Exception):
    """Not now."""


class InvalidArgumentException(Exception):
    """Not with that."""


class InvalidConversionException(Exception):
    """A value cannot be read as that."""


class IndexOutOfRangeException(Exception):
    """There are not so many."""


class FieldNotFoundException(Exception):
    """No such field."""


class NotFoundException(Exception):
    """No such thing."""


class UnknownErrorException(Exception):
    """Anything else."""


class UnsupportedOperationException(Exception):
    """Not this object."""


NOT_STARTED: Final = 0x0001_0009
INVALID_ARGUMENT: Final = 0x0002_0002
DUPLICATE_CORRELATION_ID: Final = 0x0002_0005
INVALID_CONVERSION: Final = 0x0004_000C
INDEX_OUT_OF_RANGE: Final = 0x0005_000B
ITEM_NOT_FOUND: Final = 0x0006_000D
SERVICE_NOT_OPENED: Final = 0x0006_0010
UNSUPPORTED: Final = 0x0008_0001

_KINDS: Final[dict[str, type[Exception]]] = {
    "InvalidState": InvalidStateException,
    "InvalidArgument": InvalidArgumentException,
    "DuplicateCorrelationId": DuplicateCorrelationIdException,
}


def raise_misuse(misuse: Misuse) -> NoReturn:
    """What the core refused, in the published words."""
    raise _KINDS[misuse.kind](misuse.text, misuse.code) from None
