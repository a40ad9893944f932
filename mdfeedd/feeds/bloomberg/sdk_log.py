"""The SDK's own log, from warnings on: kept by whichever thread of the SDK speaks, told by the feed's."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mdfeedd.feeds.bloomberg.moment import Now, Tell

__all__ = ["MAX_LINES", "SdkLog"]

MAX_LINES: Final = 256
"""That wait to be told; older ones give way, which is told."""
MAX_CHARACTERS: Final = 500


class SdkLog:
    """Begins before the first session and lasts as long as the process: there is no way to end it.

    Where it cannot begin, `failure` says why, and the SDK goes on writing to standard error by itself.
    """

    def __init__(self, blpapi: Any) -> None:
        self.failure: str = ""
        self._lines: deque[tuple[int, Any, Any]] = deque(maxlen=MAX_LINES)
        self._numbers = itertools.count()
        self._next = 0
        try:
            warn = blpapi.Logger.SEVERITY_WARN
            blpapi.Logger.registerCallback(self._keep, thresholdSeverity=warn)
        except Exception as error:  # noqa: BLE001 - the SDK raises what it likes; it is told
            self.failure = f"{type(error).__name__}: {error}"

    def _keep(self, _thread: Any, _severity: Any, _when: Any, category: Any, text: Any) -> None:
        """In a thread of the SDK, so as little as can be."""
        self._lines.append((next(self._numbers), category, text))

    def tell(self, tell: Tell, now: Now, *, routine: bool = False) -> None:
        """Hand on what was kept since the last time. In the feed's thread. `routine`: for it has to be so."""
        while self._lines:
            number, category, text = self._lines.popleft()
            if number > self._next:
                tell("sdk", f"the SDK: {number - self._next} lines of its log came too fast", now)
            self._next = number + 1
            said = " ".join(f"{category}: {text}".split())[:MAX_CHARACTERS]
            tell("sdk", f"the SDK: {said}", now, routine=routine)
