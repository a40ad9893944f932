"""Messages of an event."""
# ruff: noqa: N802, N803 - the names are those that were published

from __future__ import annotations

import datetime as dt  # noqa: TC003 - in signatures that are looked at
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.bloomberg.content import UTC, as_python, datetime_of

from .correlationid import UNSET, CorrelationId
from .element import Element
from .name import Name, intern_name
from .service import Service

if TYPE_CHECKING:
    from mdfeedd.sim.bloomberg.events import Item


class Message:
    """Made by iterating an `Event`."""

    FRAGMENT_NONE: Final = 0
    FRAGMENT_START: Final = 1
    FRAGMENT_INTERMEDIATE: Final = 2
    FRAGMENT_END: Final = 3
    RECAPTYPE_NONE: Final = 0
    RECAPTYPE_SOLICITED: Final = 1
    RECAPTYPE_UNSOLICITED: Final = 2

    __slots__ = ("_item",)

    def __init__(self, item: Item) -> None:
        self._item = item

    def messageType(self) -> Name:
        """Its kind."""
        return intern_name(self._item.kind)

    def fragmentType(self) -> int:
        """Which piece of an image."""
        return self._item.fragment

    def recapType(self) -> int:
        """Whether it is an image, and who asked for it."""
        return self._item.recap

    def correlationId(self) -> CorrelationId:
        """Whose it is; unset if nobody's."""
        cid = self._item.cid
        return cid if isinstance(cid, CorrelationId) else UNSET

    def correlationIds(self) -> list[CorrelationId]:
        """All of them: one."""
        return [self.correlationId()]

    def asElement(self) -> Element:
        """The content."""
        return Element(self._item.kind, self._item.content)

    def toPy(self) -> dict[str, Any]:
        """The content as Python."""
        made: dict[str, Any] = as_python(self._item.content)
        return made

    def toString(self, level: int = 0, spacesPerLevel: int = 4) -> str:
        """The content as text."""
        return self.asElement().toString(level, spacesPerLevel)

    def __str__(self) -> str:
        return self.toString()

    def getRequestId(self) -> str | None:
        """What to tell support."""
        return self._item.request_id

    def service(self) -> Service | None:
        """Which sent it; None for the session's own messages."""
        return Service(self._item.service) if self._item.service else None

    def topicName(self) -> str:
        """Deprecated."""
        return self._item.topic

    def timeReceived(self, tzinfo: dt.tzinfo = UTC) -> dt.datetime:
        """When it came; ValueError unless the session records that."""
        if self._item.received_ns is None:
            raise ValueError("Message has no timestamp")
        return datetime_of(self._item.received_ns).astimezone(tzinfo)

    def hasElement(self, name: Name | str, excludeNullElements: bool = False) -> bool:
        """Whether the content has it."""
        return self.asElement().hasElement(name, excludeNullElements)

    def numElements(self) -> int:
        """How many the content has."""
        return len(self._item.content)

    def getElement(self, name: Name | str) -> Element:
        """One of the content; raises NotFound."""
        return self.asElement().getElement(name)

    def getElementAsBool(self, name: Name | str) -> bool:
        """Its value."""
        return self.getElement(name).getValueAsBool()

    def getElementAsString(self, name: Name | str) -> str:
        """Its value."""
        return self.getElement(name).getValueAsString()

    def getElementAsBytes(self, name: Name | str) -> bytes:
        """Its value."""
        value = self.getElement(name).getValue()
        return value if isinstance(value, bytes) else self.getElementAsString(name).encode()

    def getElementAsInteger(self, name: Name | str) -> int:
        """Its value."""
        return self.getElement(name).getValueAsInteger()

    def getElementAsFloat(self, name: Name | str) -> float:
        """Its value."""
        return self.getElement(name).getValueAsFloat()

    def getElementAsDatetime(self, name: Name | str) -> dt.datetime | dt.date | dt.time:
        """Its value."""
        return self.getElement(name).getValueAsDatetime()
