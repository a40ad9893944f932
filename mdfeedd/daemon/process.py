"""A child process as asyncio sees it: spawned in the calling thread, its end told by a pidfd.

The thread matters: the kernel signals a child when the *thread* that made it ends (see `worker`), so nothing
here may run in an executor, and asyncio's own child watchers, which differ from loop to loop, are not used.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from mdfeedd.daemon.plan import Assignment, Exit

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_INHERITED: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd says to the supervisor alone; a child that answered would be taken for it."""

HELD_BACK: Final = frozenset({signal.SIGTERM, signal.SIGINT})
"""Blocked in a new worker until it has its handlers: a stop that comes early is neither lost nor a kill."""


class Process:
    """One running worker. Use it in the thread and loop that made it."""

    def __init__(self, popen: subprocess.Popen[bytes], pidfd: int) -> None:
        self._popen = popen
        self._pidfd = pidfd
        self._sending: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(pidfd, self._reap)

    @classmethod
    def spawn(cls, assignment: Assignment, env: Mapping[str, str]) -> Process:
        """Start a worker in a session of its own, so that Ctrl-C reaches the supervisor alone.

        Raises `OSError` where the system has no process, memory or descriptor left.
        """
        child = assignment.child
        reading, writing = os.pipe()
        ours = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        try:
            command = [sys.executable, "-m", "mdfeedd.daemon.worker", child.kind, child.name]
            popen = subprocess.Popen(
                [*command, "--plan-fd", str(reading)],
                stdin=subprocess.DEVNULL,
                pass_fds=(reading,),
                env={key: value for key, value in env.items() if key not in _NOT_INHERITED},
                start_new_session=True,
            )
        except BaseException:
            os.close(writing)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, ours)
            os.close(reading)
        try:
            process = cls(popen, os.pidfd_open(popen.pid))
        except BaseException:
            os.close(writing)
            popen.kill()
            popen.wait()
            raise
        process._sending = asyncio.create_task(  # in a thread: a pipe can be full
            asyncio.to_thread(_send, writing, assignment.to_json())
        )
        return process

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Its end has not been seen yet."""
        return not self._ended.done()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing if it has ended."""
        if self.alive:
            self._popen.send_signal(number)

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """The return code (negative: the signal that killed it); None if it still runs at the time-out."""
        await asyncio.wait([self._ended], timeout=timeout_s)
        return self._ended.result() if self._ended.done() else None

    def _reap(self) -> None:
        code = self._popen.poll()
        if code is None:
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._ended.set_result(code)


def _send(fd: int, data: bytes) -> None:
    """Write the plan; a child that is gone already tells so by its exit status."""
    try:
        with os.fdopen(fd, "wb") as pipe:
            pipe.write(data)
    except BrokenPipeError:
        pass


def reason(code: int) -> str:
    """A return code in words."""
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    try:
        return f"exit status {code} ({Exit(code).name.lower()})"
    except ValueError:
        return f"exit status {code}"
