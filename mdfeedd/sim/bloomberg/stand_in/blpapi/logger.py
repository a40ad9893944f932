"""The SDK's log."""
# ruff: noqa: N802, N803 - the names are those that were published

from __future__ import annotations

import datetime as dt  # noqa: TC003 - in signatures that are looked at
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Callback = Callable[[int, int, dt.datetime, str, str], None]


class Logger:
    """Its callback comes on a thread that is not yours."""

    SEVERITY_OFF: Final = 0
    SEVERITY_FATAL: Final = 1
    SEVERITY_ERROR: Final = 2
    SEVERITY_WARN: Final = 3
    SEVERITY_INFO: Final = 4
    SEVERITY_DEBUG: Final = 5
    SEVERITY_TRACE: Final = 6

    @staticmethod
    def registerCallback(callback: Callback | None, thresholdSeverity: int = SEVERITY_INFO) -> None:
        """Before the first session; None for no more."""
        _registered[:] = [] if callback is None else [(callback, thresholdSeverity)]


_registered: list[tuple[Callback, int]] = []


def log(severity: int, now: dt.datetime, text: str) -> None:
    """A line for whoever wants that severity."""
    for callback, threshold in _registered:
        if severity <= threshold:
            arguments = (threading.get_native_id(), severity, now, "blpapi_session", text)
            thread = threading.Thread(target=callback, args=arguments, daemon=True)
            thread.start()
            thread.join()
