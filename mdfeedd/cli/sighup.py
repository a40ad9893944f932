"""SIGHUP for `mdfeedd run`: from the first moment on it asks for a reload and kills nobody.

One sense of it stays: when the terminal that the daemon was started on is gone, it stops, in order.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from mdfeedd.daemon.supervisor import Supervisor


STDERR: Final = 2


class Sighup:
    """Inside, a SIGHUP is noted until `listen` runs, which then reloads. The file is the daemon's.

    A handler, and not the signal mask: what is imported meanwhile has threads that do not block the signal.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._noted = False
        self._on_terminal = os.isatty(STDERR)
        self._before: Any = signal.SIG_DFL

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGHUP, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGHUP, self._before)

    def _note(self, *_: object) -> None:
        self._noted = True

    async def listen(self, supervisor: Supervisor) -> None:
        """Reload at each SIGHUP, until cancelled."""
        import asyncio

        from mdfeedd.daemon.reload import Reloader

        reloader = Reloader(supervisor, self._path)

        def act() -> None:
            if self._on_terminal and not os.isatty(STDERR):
                supervisor.request_stop()
            else:
                reloader.request()

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, act)
        if self._noted:
            act()
        await reloader.run()
