"""The Python path with a kernel: dictionaries of the SDK's toPy, of which C takes what is ordinary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdfeedd.feeds.bloomberg.plane import PythonPlane

if TYPE_CHECKING:
    from mdfeedd.feeds.bloomberg.moment import Now, Tell
    from mdfeedd.feeds.bloomberg.native.decoder import Decoder

__all__ = ["QuickPlane"]


class QuickPlane(PythonPlane):
    """As its parent, and the same ticks."""

    def __init__(self, decoder: Decoder, tell: Tell) -> None:
        super().__init__(decoder, tell)
        self._kernel = decoder.kernel

    def use(self, event: Any, now: Now) -> bool:
        """Take the event. In Python: its interpreter calls methods of the SDK's package faster than C does."""
        take = self._kernel.take
        recv_ns = now.wall_ns
        for message in event:
            try:
                body = message.toPy()
                done = take(message.correlationId().value(), message.recapType(), body, recv_ns)
            except Exception:  # noqa: BLE001 - met again at once, and told there
                self.take(message, now)
                continue
            if not done:
                self.decode(message, body, now)
        return True
