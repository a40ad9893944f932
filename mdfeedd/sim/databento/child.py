"""A gateway in a process of its own, for whoever wants one beside itself: a demo, a test, a benchmark.

GatewayProcess(options) ─► python -m mdfeedd.sim.databento.child {options} ─► Gateway
   │ start: until it listens; then `port`
   │ report: what became of it so far, told four times a second and at the end
   └ stop: SIGTERM, and SIGKILL if it does not heed

It is in a session of its own, so that Ctrl-C is for its parent alone, and ends with its parent, however that ends.
"""

from __future__ import annotations

import _thread
import collections
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Self

from mdfeedd.sim.databento.file_market import DbnFileError
from mdfeedd.sim.databento.gateway import GatewayError
from mdfeedd.sim.databento.play import GatewayOptions, Report, playing

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import IO

__all__ = ["GatewayProcess"]

START_S: Final = 15.0
STOP_S: Final = 5.0
REPORT_S: Final = 0.25
MAX_SAID: Final = 16  # last lines of its standard error that are kept
_PR_SET_PDEATHSIG: Final = 1


class GatewayProcess:
    """Started by `start` or `with`; `port` is known from then on."""

    def __init__(self, options: GatewayOptions) -> None:
        self.options = options
        self.port: int = 0
        self.report: Report = Report()
        self._process: subprocess.Popen[str] | None = None
        self._said: collections.deque[str] = collections.deque(maxlen=MAX_SAID)
        self._listeners: list[threading.Thread] = []
        self._first_line = threading.Event()

    def start(self) -> None:
        """Raises `GatewayError` with what the child said if it cannot begin."""
        assert self._process is None
        text = json.dumps(asdict(self.options))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mdfeedd.sim.databento.child", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self._listen(self._process)
            self._tell(self._process, text)
            self._first_line.wait(START_S)
        except BaseException:
            self.stop()
            raise
        if not self.port:
            self.stop()
            why = self._said[-1] if self._said else f"not ready after {START_S:.0f} s"
            raise GatewayError(f"the simulated gateway did not start: {why}")

    def stop(self) -> None:
        """The process has ended and its last report is there when this returns; harmless if it had before."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for listener in self._listeners:
            listener.join()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it plays."""
        return self._process is not None and self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended though nobody had stopped it, in words; "" while it has not."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return ""
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return self._said[-1] if self._said else f"exit status {code}"

    @staticmethod
    def _tell(process: subprocess.Popen[str], text: str) -> None:
        """The options by its standard input: a key has no business in `ps`."""
        assert process.stdin is not None
        try:
            with process.stdin as pipe:
                pipe.write(text)
        except BrokenPipeError:  # it has ended: what it said is told
            return

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """A thread for each of its outputs, until it ends."""
        assert process.stdout is not None
        assert process.stderr is not None
        for hear, pipe in ((self._hear_reports, process.stdout), (self._hear, process.stderr)):
            listener = threading.Thread(target=hear, args=(pipe,), name="gateway", daemon=True)
            listener.start()
            self._listeners.append(listener)

    def _hear_reports(self, pipe: IO[str]) -> None:
        line = pipe.readline().strip()
        self.port = int(line) if line.isdecimal() else 0
        self._first_line.set()
        for line in pipe:
            if line.endswith("\n"):  # else it was killed in the middle of it
                self.report = Report(**json.loads(line))

    def _hear(self, pipe: IO[str]) -> None:
        for line in pipe:
            self._said.append(line.strip())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def options_of(text: str) -> GatewayOptions:
    """Options out of their JSON."""
    values: dict[str, Any] = json.loads(text)
    for key in ("schemas", "faults"):
        values[key] = tuple(values[key])
    if not isinstance(values["instruments"], int):
        values["instruments"] = tuple(values["instruments"])
    return GatewayOptions(**values)


def main(parent: int) -> int:
    """The child's life: listening until told to stop."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it died before that was asked for
        return 0
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _setter(stop))
    try:
        with playing(options_of(sys.stdin.read())) as gateway:
            _say(str(gateway.port), stop)
            while not stop.wait(REPORT_S):
                _say(json.dumps(asdict(Report.of(gateway))), stop)
        _say(json.dumps(asdict(Report.of(gateway))), stop)
    except (GatewayError, DbnFileError, ValueError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the parent reads it
        return 1
    return 0


def _setter(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    """A signal's handler that sets the event, in a thread.

    Not in the handler itself: it interrupts the main thread, maybe inside ``stop.wait`` with the lock of the event held.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        _thread.start_new_thread(stop.set, ())

    return handle


def _say(line: str, stop: threading.Event) -> None:
    """To the parent; if there is none any more, this is the end."""
    try:
        print(line, flush=True)  # noqa: T201 - the parent reads it
    except BrokenPipeError:
        stop.set()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing at exit, either


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
