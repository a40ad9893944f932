"""The decoder of `codec` with the state of C, so that a kernel can take what is ordinary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdfeedd.feeds.bloomberg.codec import decode
from mdfeedd.feeds.bloomberg.native._codec import Kernel, Staging, Touch, Touches

if TYPE_CHECKING:
    from mdfeedd.feeds.bloomberg.codec import touch

__all__ = ["Decoder", "Staging", "Touch"]


class Decoder(decode.Decoder):
    """As its parent, with counts that it shares with `kernel`."""

    def __init__(
        self, staging: Staging, *, statistics: bool = False, refuse_delayed: bool = False
    ) -> None:
        touches = Touches()
        self.kernel: Kernel = Kernel(staging, touches, refuse_delayed=refuse_delayed)
        super().__init__(staging, statistics=statistics, refuse_delayed=refuse_delayed)
        self.touches: dict[int, touch.Touch] = touches

    def decode(
        self, cid: int, recap: int, fragment: int, message: dict[str, Any], recv_ns: int
    ) -> None:
        """One message. Raises `ValueUnreadable`."""
        if not self.kernel.take(cid, recap, message, recv_ns):
            super().decode(cid, recap, fragment, message, recv_ns)

    @property
    def messages(self) -> int:
        """Messages so far."""
        return self.kernel.messages

    @messages.setter
    def messages(self, n: int) -> None:
        self.kernel.messages = n

    @property
    def skipped(self) -> int:
        """Known, but no tick came of them."""
        return self.kernel.skipped

    @skipped.setter
    def skipped(self, n: int) -> None:
        self.kernel.skipped = n

    @property
    def last_ns(self) -> int:
        """When the last message came."""
        return self.kernel.last_ns

    @last_ns.setter
    def last_ns(self, ns: int) -> None:
        self.kernel.last_ns = ns

    @property
    def latency_ns(self) -> int | None:
        """How long the last message that tells it was under way from Bloomberg, by two clocks."""
        if self.kernel.last_message is not None:
            return super().latency_ns
        sent_ns = self.kernel.sent_ns
        return max(0, self.last_ns - sent_ns) if sent_ns else None

    @property
    def _last(self) -> dict[str, Any]:
        return self.kernel.last_message or {}

    @_last.setter
    def _last(self, message: dict[str, Any]) -> None:
        self.kernel.last_message = message
