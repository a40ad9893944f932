"""A publisher in a process of its own, for whoever wants a venue beside itself: a demo, a test.

VenueProcess(options) ─► python -m mdfeedd.sim.cme.child {options} ─► Publisher
   │ start: until the lines are open and the config.xml is written
   └ stop: SIGTERM, and SIGKILL if it does not heed. It ends with its parent, too.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Self

from mdfeedd.sim.cme.publisher import Publisher, PublisherError, PublisherOptions

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["VenueProcess"]

READY: Final = "ready"
START_S: Final = 15.0
STOP_S: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1


class VenueProcess:
    """Started by `start` or `with`; `options.config` is there when it has started."""

    def __init__(self, options: PublisherOptions) -> None:
        self.options = options
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Raises `PublisherError` with what the child said if it cannot begin."""
        assert self._process is None
        text = json.dumps(self.options.as_dict())
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "mdfeedd.sim.cme.child", text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        timer = threading.Timer(START_S, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            first = process.stdout.readline().strip()
        finally:
            timer.cancel()
        if first != READY:
            _, said = process.communicate()
            self._process = None
            lines = said.strip().splitlines()
            why = lines[-1] if lines else f"not ready after {START_S:.0f} s"
            raise PublisherError(f"the simulated venue did not start: {why}")

    def stop(self) -> None:
        """The process has ended when this returns; harmless if it had before."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it plays."""
        return self._process is not None and self._process.poll() is None

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


def options_of(text: str) -> PublisherOptions:
    """Options out of their JSON."""
    values: dict[str, Any] = json.loads(text)
    for key in ("loss", "cuts"):
        values[key] = tuple(tuple(item) for item in values[key])
    values["skew_ns"] = tuple(values["skew_ns"])
    return PublisherOptions(**values)


def main(text: str) -> int:
    """The child's life."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    try:
        publisher = Publisher(options_of(text))
    except (PublisherError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the parent reads it
        return 1
    print(READY, flush=True)  # noqa: T201 - the parent waits for it
    publisher.run(stop)
    publisher.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
