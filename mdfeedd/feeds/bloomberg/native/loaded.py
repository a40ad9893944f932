"""The data plane over the SDK's C interface, where the process has the library for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.feeds.bloomberg.native._plane import Library, Unusable, Walker

if TYPE_CHECKING:
    from mdfeedd.feeds.bloomberg.moment import Now, Tell
    from mdfeedd.feeds.bloomberg.native.decoder import Decoder
    from mdfeedd.feeds.bloomberg.plane import PythonPlane
    from mdfeedd.ring._ring import WriterCore

__all__ = ["NativePlane", "Unusable", "find_library", "native_plane", "open_library"]

_LIBRARY: Final = "libblpapi3"
_MAPS: Final = Path("/proc/self/maps")
_KIND: Final = "native"


class NativePlane:
    """Takes events by `walker` until it finds that it cannot; says so once, and leaves them to the next plane.

    `off`: why it does not any more, or "".
    """

    def __init__(self, walker: Walker, tell: Tell) -> None:
        self.off: str = ""
        self._proven = not any(walker.proofs)
        self._walker = walker
        self._tell = tell

    def use(self, event: Any, now: Now) -> bool:
        """Whether the event was taken."""
        if self.off:
            return False
        try:
            if not self._walker.use(event, now):
                told_otherwise = not self._walker.agrees
                why = (
                    "the SDK's library gives a message otherwise than its package"
                    if told_otherwise
                    else "an event of the SDK has no end"
                )
                self._stop(why, now)
            elif not self._proven and not any(self._walker.proofs):
                self._proven = True
                self._tell(
                    _KIND, "the native path reads messages as the package does", now, routine=True
                )
        except Unusable as why:
            self._stop(str(why), now)
            return False
        return True

    def _stop(self, why: str, now: Now) -> None:
        self.off = why
        self._tell(_KIND, f"market data take the Python path from now on: {why}", now)


def find_library() -> str:
    """Where the SDK's library is that this process has loaded. Raises `Unusable`."""
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError as error:
        raise Unusable(f"{_MAPS} cannot be read: {error.strerror}") from None
    found = {line.split(maxsplit=5)[-1] for line in lines if _LIBRARY in line.rpartition("/")[2]}
    if len(found) != 1:
        raise Unusable(f"{len(found)} libraries of the name {_LIBRARY} are loaded")
    return found.pop()


def open_library(blpapi: Any) -> Library:
    """That of the package, with every symbol that is needed. Raises `Unusable`."""
    if not callable(getattr(blpapi.Event, "_handle", None)):
        raise Unusable("the events of this blpapi give no handle")
    return Library(find_library())


def native_plane(
    blpapi: Any,
    decoder: Decoder,
    writer: WriterCore,
    plane: PythonPlane,
    *,
    tell: Tell,
    now: Now,
    required: bool = False,
) -> NativePlane | None:
    """The data plane, or None, told why. `plane` does what is not ordinary.

    `required`: raises `Unusable` in place of None.
    """
    try:
        library = open_library(blpapi)
    except Unusable as why:
        if required:
            raise
        tell(_KIND, f"market data take the Python path: {why}", now, routine=True)
        return None
    tell(_KIND, f"market data take the native path, by {library.path}", now, routine=True)
    return NativePlane(Walker(decoder.kernel, writer, library, plane), tell)
