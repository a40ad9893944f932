"""A supervisor in this process: run with signals, an optional view beside it, and a clean end."""

from __future__ import annotations

import asyncio
import enum
import logging
import signal
from typing import TYPE_CHECKING, Final

from mdfeedd.cli.trouble import Trouble
from mdfeedd.daemon.supervisor import StartError, Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mdfeedd.cli.sighup import Sighup

    View = Callable[[Supervisor], Awaitable[None]]
    Before = Callable[[], Awaitable[None]]


TERMINATED: Final = 128 + signal.SIGTERM
HUNG_UP: Final = 128 + signal.SIGHUP


class Stopped(enum.Enum):
    """Why a supervised run came to its end."""

    BY_ITSELF = "by itself"
    BY_SIGNAL = "by SIGTERM"
    BY_HANGUP = "by SIGHUP"
    BY_INTERRUPT = "by Ctrl-C"


def supervise(
    supervisor: Supervisor,
    view: View | None = None,
    before_stop: Before | None = None,
    sighup: Sighup | None = None,
) -> Stopped:
    """Start, wait until all has ended, the view returns or a signal comes, and stop in order.

    `before_stop` is for what feeds the feeds: it ends that, so that they still get what was under way.
    Without `sighup` that signal, which comes when the terminal is closed, stops in order, too, unless it is
    ignored, as under nohup.
    A second Ctrl-C kills the children and raises `KeyboardInterrupt`. Raises `Trouble` if it cannot start.
    """
    try:
        return asyncio.run(_supervise(supervisor, view, before_stop, sighup))
    except StartError as error:
        raise Trouble(str(error), error.status) from None


def status_of(stopped: Stopped, status: int) -> int:
    """The exit status of a finite command: its own, unless a signal cut it short. Raises `KeyboardInterrupt`."""
    if stopped is Stopped.BY_INTERRUPT:
        raise KeyboardInterrupt
    cut_short = {Stopped.BY_SIGNAL: TERMINATED, Stopped.BY_HANGUP: HUNG_UP}
    return cut_short.get(stopped, status)


def status_of_failures(supervisor: Supervisor) -> int:
    """0 if all children ended well by themselves; else the gravest reason in `Trouble`."""
    failed = supervisor.failures
    if not failed:
        return 0
    codes = {child.last_code for child in failed}
    status = 77 if 77 in codes else 78 if 78 in codes else 1
    names = ", ".join(f"{child.label} ({child.last_exit})" for child in failed)
    raise Trouble(f"given up: {names}", status)


def tell_cut_short(stopped: Stopped) -> None:
    """Say so above the summary of what was done until then."""
    if stopped is not Stopped.BY_ITSELF:
        print(f"interrupted {stopped.value}; until then:\n")


def quiet() -> None:
    """Keep the supervisor's log for oneself: the command tells by other means how its children end."""
    logging.getLogger("mdfeedd.daemon.supervisor").setLevel(logging.CRITICAL)


async def _supervise(
    supervisor: Supervisor,
    view: View | None,
    before_stop: Before | None,
    sighup: Sighup | None,
) -> Stopped:
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()
    assert running is not None
    stopped = Stopped.BY_ITSELF
    ending = asyncio.Event()

    def stop(reason: Stopped) -> None:
        nonlocal stopped
        if stopped is Stopped.BY_ITSELF:
            stopped = reason
            ending.set()
        elif reason is Stopped.BY_INTERRUPT:
            running.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop, Stopped.BY_SIGNAL)
    loop.add_signal_handler(signal.SIGINT, stop, Stopped.BY_INTERRUPT)
    if sighup is None and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        loop.add_signal_handler(signal.SIGHUP, stop, Stopped.BY_HANGUP)
    work = asyncio.create_task(_work(supervisor, view))
    end = asyncio.create_task(ending.wait())
    tasks = [work, end]
    if sighup is not None:
        tasks.append(asyncio.create_task(sighup.listen(supervisor)))
    try:
        await asyncio.wait([work, end], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks[2:]:
            task.cancel()
        try:
            if before_stop is not None:
                await before_stop()
        finally:
            await supervisor.stop()
    except asyncio.CancelledError:  # the second Ctrl-C
        raise KeyboardInterrupt from None
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for failed in results:
        if isinstance(failed, BaseException) and not isinstance(failed, asyncio.CancelledError):
            raise failed
    return stopped


async def _work(supervisor: Supervisor, view: View | None) -> None:
    """Start and wait; with a view, for the view, which runs from the start on."""
    shown = None if view is None else asyncio.ensure_future(view(supervisor))
    try:
        await supervisor.start()
        await (supervisor.wait() if shown is None else shown)
    finally:
        if shown is not None:
            shown.cancel()
