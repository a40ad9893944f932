"""One child process: ``python -m mdfeedd.daemon.worker feed|consumer NAME --plan-fd N [--control-fd M]``.

The plan of this one child comes as JSON through an inherited pipe, so that `ps` shows what runs and nothing of
how. What changes while it runs comes through an inherited socket (see `control`). A worker imports neither
pydantic nor YAML nor the exporter.

Ends with: 0 done or stopped; 65 what a feed reads is damaged, and the rest is published (one sentence); 69 something
outside is missing (one sentence); 70 a crash (a traceback, once); 78 a plan that cannot be used; whatever status the
feed or consumer asks for by `SystemExit`, which is how 77 (credentials) is said.

SIGTERM and SIGINT set the stop event; SIGHUP, which may be sent to the whole service, means nothing here. When the supervisor dies the kernel sends SIGTERM (PR_SET_PDEATHSIG):
the child flushes and ends. Two limits of that: it is the death of the *thread* that started the child which
counts, and a child that is stopped or hangs does not act on SIGTERM; systemd's ``KillMode=mixed`` covers both.
"""

from __future__ import annotations

import _thread
import argparse
import ctypes
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Final

from mdfeedd.daemon import log, plugins, scheduling
from mdfeedd.daemon.control import Control, LastWords
from mdfeedd.daemon.plan import KINDS, MAX_PLAN_BYTES, Assignment, ChildPlan, Exit, instance, revive
from mdfeedd.feeds.protocol import Damaged
from mdfeedd.options import OptionsError
from mdfeedd.ring._ring import survive_cuts
from mdfeedd.sinks.protocol import SinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from mdfeedd.consumers.protocol import Consumer
    from mdfeedd.feeds.protocol import Feed

logger: logging.Logger = logging.getLogger("mdfeedd.daemon.worker")

_PR_SET_PDEATHSIG: Final = 1
_AGAIN_S: Final = 0.1
_PR_SET_NAME: Final = 15


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one child and return its exit status."""
    if sys.flags.optimize:
        return _refuse("python -O removes the assertions that guard shared memory: run without it")
    faulthandler.enable()
    options = _arguments(arguments)
    stop = threading.Event()
    survive_cuts()  # after faulthandler, which takes SIGBUS, too, and gets what is not ours
    stop_on_signals(stop)
    try:
        assignment = Assignment.from_json(_read_plan(options.plan_fd))
    except (OSError, ValueError) as error:
        return _refuse(f"the plan of {options.kind} {options.name} cannot be used: {error}")
    child = assignment.child
    if (child.kind, child.name) != (options.kind, options.name):
        told = f"the plan is that of {child.label}, not of {options.kind} {options.name}"
        return _refuse(told)
    log.setup(assignment.log, child.label)
    if not _die_with(assignment.supervisor_pid):
        return Exit.DONE
    _prctl(_PR_SET_NAME, f"mdf:{child.name}".encode()[:15])
    sys.path.extend(entry for entry in assignment.path if entry not in sys.path)
    for refusal in scheduling.apply(child):
        logger.warning("%s", refusal)
    return run(child, stop, options.control_fd)


def run(child: ChildPlan, stop: threading.Event, control_fd: int | None = None) -> int:
    """Build the feed or consumer, run it until it returns, and say in one status how it ended."""
    words = LastWords.listen()
    connection = None if control_fd is None else socket.socket(fileno=control_fd)
    status = _run(child, stop, connection)
    logging.getLogger().removeHandler(words)
    if status and connection is not None:
        words.send(connection)
    return status


def _run(child: ChildPlan, stop: threading.Event, connection: socket.socket | None) -> int:
    try:
        made = _build(child)
        if connection is not None:
            Control(connection, child, made).start()
        made.run(stop)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else Exit.DONE if error.code is None else 1
    except (plugins.PluginError, OptionsError) as error:
        logger.error("%s", error)  # noqa: TRY400 - one sentence: the plan is wrong, not the program
        return Exit.CONFIG
    except Damaged as error:
        logger.error("%s", error)  # noqa: TRY400 - one sentence: the file is wrong, not the program
        return Exit.DAMAGED
    except (OSError, SinkError) as error:
        logger.error("%s", error)  # noqa: TRY400 - one sentence: the world is wrong, not the program
        logger.debug("where it happened", exc_info=True)
        return Exit.UNAVAILABLE
    except BaseException:
        logger.exception("crashed")
        return Exit.CRASH
    return Exit.DONE


def setter(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    """A signal's handler that sets the event, from whatever the main thread is doing.

    It runs between two instructions of the main thread, maybe inside ``stop.wait`` with the event's own lock
    held: setting the event here could wait for ever, so a thread does it.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        try:
            _thread.start_new_thread(stop.set, ())
        except RuntimeError:  # no memory for its stack, at the moment
            signal.signal(signal.SIGALRM, handle)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)

    return handle


def stop_on_signals(stop: threading.Event) -> None:
    """Set the event at SIGTERM and SIGINT."""
    handle = setter(stop)
    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def _build(child: ChildPlan) -> Feed | Consumer:
    cls = plugins.load(child.target)
    try:
        made: Feed | Consumer = instance(cls, child, revive(cls.Options, child.options))
    except (TypeError, ValueError) as error:
        raise plugins.PluginError(f"{child.target} does not take these options: {error}") from error
    return made


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mdfeedd.daemon.worker", description="Started by mdfeedd run."
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("name")
    parser.add_argument(
        "--plan-fd", type=int, required=True, metavar="N", help="pipe with the plan"
    )
    parser.add_argument("--control-fd", type=int, metavar="N", help="socket with what changes")
    return parser.parse_args(arguments)


def _read_plan(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as pipe:
        return pipe.read(MAX_PLAN_BYTES + 1)


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"mdfeedd worker: {sentence}\n")
    return Exit.CONFIG


def _die_with(supervisor_pid: int) -> bool:
    """Have the kernel send SIGTERM when the parent ends; False if it has ended already."""
    if not supervisor_pid:
        return True
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == supervisor_pid


def _prctl(option: int, value: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    argument = value if isinstance(value, bytes) else ctypes.c_ulong(value)
    if libc.prctl(option, argument, 0, 0, 0):
        error = ctypes.get_errno()
        logger.warning("prctl %d: %s", option, os.strerror(error))


if __name__ == "__main__":
    sys.exit(main())
