"""A manager as the whole of a script: signals in, an orderly end out."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["run_until_signal"]


async def run_until_signal(
    start: Callable[[], Awaitable[None]],
    wait: Callable[[], Awaitable[None]],
    request_stop: Callable[[], None],
) -> None:
    """Start and wait; SIGINT, SIGTERM and SIGHUP request the stop, a second SIGINT cancels.

    Signals are handled in the main thread only; in another one nothing but `request_stop` ends it. A SIGHUP that
    was ignored, as under nohup, or had a handler keeps its meaning. Afterwards all do what they did before.
    Raises `KeyboardInterrupt` at the second SIGINT.
    """
    main = asyncio.current_task()
    assert main is not None
    loop = asyncio.get_running_loop()
    interrupts = 0

    def stop(number: int) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        request_stop()
        if interrupts > 1:
            main.cancel()

    starting = asyncio.ensure_future(start())  # from its first step on a stop can be requested
    await asyncio.sleep(0)
    handled = threading.current_thread() is threading.main_thread()
    numbers = [signal.SIGINT, signal.SIGTERM] if handled else []
    if handled and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        await starting
        await wait()
    except asyncio.CancelledError:
        if interrupts > 1:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # one that Python does not know
                signal.signal(number, handler)
