"""How market data get from the SDK's events into the ring's staging: by Python, or by something faster.

A data plane takes a SUBSCRIPTION_DATA event whole, or says that it does not. The feed asks each of its planes
in turn; `PythonPlane`, which takes everything, is the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from mdfeedd.feeds.bloomberg.codec import Lost
from mdfeedd.feeds.bloomberg.codec.fields import DELAYED, OF_INTEREST, SUBTYPE, TYPE
from mdfeedd.tick import GapReason

if TYPE_CHECKING:
    from mdfeedd.feeds.bloomberg.codec import Decoder
    from mdfeedd.feeds.bloomberg.moment import Now, Tell

__all__ = ["DataPlane", "PythonPlane"]

_FRAGMENT_NONE: Final = 0
_NEEDED: Final = frozenset({TYPE, SUBTYPE, DELAYED})


class DataPlane(Protocol):
    """What turns events of market data into ticks. It shares instruments and staging with the decoder."""

    def use(self, event: Any, now: Now) -> bool:
        """Whether all messages of the event were taken; if not, none was."""


class PythonPlane:
    """One dictionary per message. `unreadable` counts messages that could be used in no way."""

    def __init__(self, decoder: Decoder, tell: Tell) -> None:
        self.unreadable: int = 0
        self._decoder = decoder
        self._tell = tell

    def use(self, event: Any, now: Now) -> bool:
        """Take the event."""
        for message in event:
            self.take(message, now)
        return True

    def take(self, message: Any, now: Now) -> None:
        """One message."""
        try:
            body = message.toPy()
        except Exception as error:  # noqa: BLE001 - an element of type DECIMAL, anywhere in it
            body = self._by_field(message, error, now)
        if body is not None:
            self.decode(message, body, now)

    def decode(self, message: Any, body: dict[str, Any], now: Now) -> None:
        """One message that is there as a dictionary."""
        try:
            recap = message.recapType()
            fragment = message.fragmentType() if recap else _FRAGMENT_NONE
            cid = message.correlationId().value()
            self._decoder.decode(cid, recap, fragment, body, now.wall_ns)
        except Exception as error:  # noqa: BLE001 - one message stops no other; it is told and counted
            self._lose(message, error, now)

    def _by_field(self, message: Any, why: Exception, now: Now) -> dict[str, Any] | None:
        """A message that cannot be had as a dictionary, read one field after the other."""
        try:
            return fields_of(message)
        except Exception as error:  # noqa: BLE001 - the SDK raises what it likes
            error.add_note(str(why))
            self._lose(message, error, now)
            return None

    def _lose(self, message: Any, error: Exception, now: Now) -> None:
        """What the message would have changed is not known to be right any more."""
        self.unreadable += 1
        cid = _cid(message)
        notes = "; ".join((str(error), *getattr(error, "__notes__", ())))
        self._tell("unreadable", f"a message cannot be read: {type(error).__name__}: {notes}", now)
        touch = self._decoder.touches.get(cid)
        if touch is not None:
            self._decoder.lost(touch, now.wall_ns, GapReason.CORRUPT)
            self._decoder.events.append(Lost(cid, GapReason.CORRUPT))


def _cid(message: Any) -> int:
    try:
        value = message.correlationId().value()
    except Exception:  # noqa: BLE001 - nobody's message then, which is counted as such
        return 0
    return value if isinstance(value, int) else 0


def fields_of(message: Any) -> dict[str, Any]:
    """What the decoder looks at. A value that cannot be had is the reason why: unreadable, if it is looked at."""
    found: dict[str, Any] = {}
    for name in OF_INTEREST:
        try:
            if message.hasElement(name):
                element = message.getElement(name)
                found[name] = None if element.isNull() else element.getValue()
        except Exception as error:
            if name in _NEEDED or TYPE not in found:
                raise
            found[name] = error
    return found
