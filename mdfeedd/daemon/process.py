"""A child process as asyncio sees it: spawned in the calling thread, its end told by a pidfd.

The thread matters: the kernel signals a child when the *thread* that made it ends (see `worker`), so nothing
here may run in an executor, and asyncio's own child watchers, which differ from loop to loop, are not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon import blas, notify
from mdfeedd.daemon.control import MAX_ANSWER_BYTES, last_words
from mdfeedd.daemon.plan import MAX_PLAN_BYTES, Assignment, Exit

if TYPE_CHECKING:
    from collections.abc import Mapping

HELD_BACK: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Blocked in a new worker until it has its handlers: a stop that comes early is neither lost nor a kill."""


class Unheard(Exception):
    """The worker did not answer, or has ended. One sentence; it is told nothing more."""


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """Of a worker: it runs this very code, whatever lies in the folder that the daemon was started in."""
    kept = {key: value for key, value in env.items() if key not in notify.VARIABLES}
    places = [str(Path(__file__).resolve().parents[2]), kept.get("PYTHONPATH", "")]
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    kept["PYTHONSAFEPATH"] = "1"
    blas.hold_to_one_thread(kept)
    return kept


class Process:
    """One running worker. Use it in the thread and loop that made it."""

    def __init__(self, popen: subprocess.Popen[bytes], pidfd: int, control: socket.socket) -> None:
        self._popen = popen
        self._pidfd = pidfd
        self._control = control
        self.last_words: str = ""
        """Of one that has ended badly: the last error that it logged."""
        self._telling = False
        self._sending: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(pidfd, self._reap)

    @classmethod
    def spawn(cls, assignment: Assignment, env: Mapping[str, str]) -> Process:
        """Start a worker in a session of its own, so that Ctrl-C reaches the supervisor alone.

        Raises `OSError` where the system has no process, memory or descriptor left.
        """
        child = assignment.child
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            reading, writing = os.pipe()
            theirs.callback(os.close, reading)
            ours.callback(os.close, writing)
            control, control_of_worker = socket.socketpair()
            ours.callback(control.close)
            theirs.callback(control_of_worker.close)
            control.setblocking(False)
            command = [sys.executable, "-m", "mdfeedd.daemon.worker", child.kind, child.name]
            fds = (reading, control_of_worker.fileno())
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
            try:
                popen = subprocess.Popen(
                    [*command, "--plan-fd", str(fds[0]), "--control-fd", str(fds[1])],
                    stdin=subprocess.DEVNULL,
                    pass_fds=fds,
                    env=_environment(env),
                    start_new_session=True,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            try:
                process = cls(popen, os.pidfd_open(popen.pid), control)
            except BaseException:
                popen.kill()
                popen.wait()
                raise
            ours.pop_all()
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

    async def tell(self, message: dict[str, Any], limit_s: float) -> str:
        """Have a running worker take a change (see `control`); why it does not, or nothing.

        One at a time. Raises `Unheard`.
        """
        data = json.dumps(message).encode() + b"\n"
        if len(data) > MAX_PLAN_BYTES:
            raise Unheard(f"that would be more than {MAX_PLAN_BYTES} bytes at once")
        if not self.alive or self._control.fileno() < 0:
            raise Unheard("it cannot be told anything more")
        assert not self._telling
        self._telling, answered = True, False
        try:
            async with asyncio.timeout(limit_s):
                refused = await self._ask(data)
            answered = True
        except TimeoutError:
            raise Unheard(f"no answer within {limit_s:.0f} s") from None
        except OSError as error:
            raise Unheard(f"it does not listen: {error.strerror or error}") from None
        finally:
            self._telling = False
            if not (
                answered and self.alive
            ):  # an answer that comes late must not be taken for the next
                self._control.close()
        return refused

    async def _ask(self, data: bytes) -> str:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._control, data)
        answer = b""
        while not answer.endswith(b"\n"):
            part = await loop.sock_recv(self._control, MAX_ANSWER_BYTES)
            answer += part
            if not part or len(answer) > MAX_ANSWER_BYTES:
                raise ConnectionError("it hung up")
        said = json.loads(answer.splitlines()[0])
        if "refused" not in said:  # it is about to end, and says why
            raise ConnectionError("it hung up")
        return str(said["refused"])

    def _reap(self) -> None:
        code = self._popen.poll()
        if code is None or not self.alive:
            return
        self._ended.get_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        if not self._telling:  # who is telling closes it
            self.last_words = last_words(self._control) if self._control.fileno() >= 0 else ""
            self._control.close()
        self._ended.set_result(code)

    def kill(self) -> None:
        """SIGKILL, and wait for the end: where the event loop is gone and nobody else will."""
        self._popen.kill()
        self._popen.wait()
        if not self._ended.get_loop().is_closed():
            self._reap()
        elif self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
            self._control.close()


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
