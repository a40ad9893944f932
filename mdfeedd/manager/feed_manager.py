"""The manager: feeds and callbacks in, an orderly life out.

    NEW ──start──► STARTING ──► RUNNING ──stop, a callback's exception, all feeds at their end──► STOPPING ──► ENDED
                      └── a feed that cannot run: `start` raises ─────────────────────────────────►┘   │
                   ▲                                                                                   │
                   └────────────────────────────────── start ──────────────────────────────────────────┘

One task of the caller's loop, `_live`, goes through all of it and cleans up; if it is cancelled, which is how an
event loop ends, it kills the processes and removes the rings before it lets go.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from typing import TYPE_CHECKING, Any, Final, Self

from mdfeedd.consumers.event_loop import loop_factory
from mdfeedd.manager.delivery import Callbacks, Delivery, Handling
from mdfeedd.manager.engines import Aggregations, Attached, OwnFeeds, is_finite
from mdfeedd.manager.events import FeedStats, FeedStatus, Stats
from mdfeedd.manager.script import run_until_signal
from mdfeedd.manager.stall import Stall
from mdfeedd.ring.segment import DEFAULT_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from mdfeedd.manager.config import FeedConfig
    from mdfeedd.manager.delivery import Backpressure, OnError
    from mdfeedd.manager.events import Gap
    from mdfeedd.ring import TickBatch
    from mdfeedd.ring.reader import Start
    from mdfeedd.tick import Bar, Tick

    Returned = Awaitable[object] | object

__all__ = ["FeedManager"]

logger: logging.Logger = logging.getLogger("mdfeedd.manager")

WATCH_S: Final = 0.05
"""Between looks at the feeds, and at whether the loop turns."""
DRAIN_S: Final = 10.0
"""For callbacks to take what the rings still hold after the feeds have stopped."""
CANCEL_S: Final = 1.0
"""For a callback that did not return by then to take its cancellation."""
MAX_TIMEFRAME_S: Final = 604_800


class FeedManager:
    """Runs vendors' feeds in processes of their own and calls you with what comes.

    ::

        manager = FeedManager(on_batch=on_batch)
        manager.add_feed(FeedConfig(vendor=Vendor.DATABENTO, symbols=["ESZ4"], dataset="GLBX.MDP3"))
        await manager.start()
        ...
        await manager.stop()

    ``async with manager:`` does the same, and `run` for a script without a loop of its own. What ends a manager
    early cancels the body of its ``async with``, which then raises it, as a task group does. Making a manager
    starts nothing; it may be started again after a stop.

    The callbacks may be plain functions or async ones. One runs at a time, in the loop that called `start`:

    on_batch(ticks): a `TickBatch` of one feed, 1 to `batch_size` ticks in ring order: a sequence of `Tick`, made
        when looked at; ``ticks.records`` is the numpy array that it is, dtype `TICK`, 64 bytes each, yours.
    on_tick(tick): each `Tick`, after on_batch has had its batch. All kinds come, see ``tick.kind``.
    on_gap(gap): a `Gap`, before the batch that it is in or before. Without it gaps are still ticks of the batch.
    on_status(status): a `FeedStatus`, when a feed's process gets another state.

    batch_size: at most, 1 to 1,000,000. batch_delay_s: how long a batch may wait to become full, 0 to 60 s; 0: a
        batch is what is there.
    backpressure: callbacks slower than the feed. The feed never waits; its ring holds `FeedConfig.capacity` ticks.
        "drop": if more than half of them wait, all but the newest batch are left out. "wait": nothing is left
        out as long as the ring holds it; when it is full the oldest are overwritten. Either way what is missing is
        told by on_gap (`GapReason.RING_LAPPED`), logged once per episode and counted in `stats`. Recordings do
        wait for the callbacks.
    on_error: an exception in a callback is logged with its traceback and counted. "stop": nothing more is called,
        everything is stopped, and whoever is first of `wait`, `run`, `stop` and the end of ``async with`` raises
        it. "continue": the next call comes; repetitions from the same line are counted, not logged.
    spin_s: how long the loop goes on without a sleep after the last tick: it costs a processor for so long, and
        saves what waking up takes (tens of µs); inf: always. Other tasks of the loop have their turns meanwhile.
    shm_dir: where the private folder for the rings is made, removed at the end; a shared-memory file system.
    log_level: of the feeds' processes, which log to standard error: debug, info, warning or error.

    A callback that blocks stops the loop, and everything in it; the feeds go on, and what they published meanwhile
    waits in the rings. After a quarter of a second that is logged, once per episode, with the callback's name.

    Raises `ValueError` and `TypeError`. All methods belong to the thread of the loop.
    """

    def __init__(
        self,
        on_batch: Callable[[TickBatch], Returned] | None = None,
        on_tick: Callable[[Tick], Returned] | None = None,
        on_gap: Callable[[Gap], Returned] | None = None,
        on_status: Callable[[FeedStatus], Returned] | None = None,
        *,
        batch_size: int = 1000,
        batch_delay_s: float = 0.0,
        backpressure: Backpressure = "drop",
        on_error: OnError = "stop",
        spin_s: float = 0.0,
        shm_dir: str = DEFAULT_DIRECTORY,
        log_level: str = "warning",
    ) -> None:
        callbacks = {
            "on_batch": on_batch,
            "on_tick": on_tick,
            "on_gap": on_gap,
            "on_status": on_status,
        }
        for name, function in callbacks.items():
            if function is not None and not callable(function):
                raise TypeError(f"{name}: must be a function, not {function!r}")
        self._functions: dict[str, Any] = callbacks
        self._handling = Handling(batch_size, batch_delay_s, backpressure, on_error, spin_s)
        self._make_own: Callable[[], OwnFeeds] = lambda: OwnFeeds(shm_dir, log_level)
        self._engine: OwnFeeds | Attached = self._make_own()
        self._delivery = Delivery(Callbacks(), self._handling)
        self._life: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._ready: asyncio.Future[None] | None = None
        self._wanted = asyncio.Event()  # of the end
        self._applying: asyncio.Task[None] | None = None
        self._delivering: asyncio.Task[None] | None = None
        self._statuses: dict[str, FeedStatus] = {}
        self._error: BaseException | None = None
        self._body: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._stalls = 0
        self._longest_stall_s = 0.0

    @classmethod
    def attach(
        cls,
        rings: str | Iterable[str] = (),
        *,
        directory: str = DEFAULT_DIRECTORY,
        start: Start | int = "now",
        on_batch: Callable[[TickBatch], Returned] | None = None,
        on_tick: Callable[[Tick], Returned] | None = None,
        on_gap: Callable[[Gap], Returned] | None = None,
        on_status: Callable[[FeedStatus], Returned] | None = None,
        **options: Any,
    ) -> Self:
        """A manager of the rings of a running daemon: it starts no feed and stops none.

        rings: their names; none: all rings of ticks in `directory`, which is the daemon's `shm_dir`. start: as
        of `Reader`. options: `batch_size`, `batch_delay_s`, `backpressure`, `on_error`, `spin_s`. `enable_aggregation` has
        its bars from the daemon's rings of bars, which must make that length. `start` raises `RingMissing` where
        there is no ring; a daemon that is restarted is followed. Feeds cannot be added or removed.
        """
        for key in ("shm_dir", "log_level"):
            if key in options:
                raise TypeError(
                    f"{key}: is for feeds of one's own; the daemon's rings are in `directory`"
                )
        manager = cls(on_batch, on_tick, on_gap, on_status, **options)
        named = [rings] if isinstance(rings, str) else list(rings)
        manager._engine = Attached(named, directory, start)
        return manager

    # ------------------------------------------------------------------------------------ what to follow

    @property
    def feeds(self) -> dict[str, FeedConfig]:
        """The feeds by name: a copy. None of an attached manager."""
        return dict(self._engine.feeds) if isinstance(self._engine, OwnFeeds) else {}

    def add_feed(self, config: FeedConfig) -> str:
        """Add a feed; its name is returned. While running it is started at once (see `applied`).

        Raises `ValueError` with a sentence for each mistake that can be seen without the vendor: an unknown vendor
        or option, a data set that is none. A symbol that the vendor does not know is no error: the feed logs it,
        the others go on.
        """
        from mdfeedd.manager.planning import check_feed  # noqa: PLC0415 - imports the daemon

        own = self._changeable()
        name = config.name or self._free_name(config)
        if name in own.feeds:
            raise ValueError(f"name: there is a feed {name} already")
        check_feed(name, config)
        self._change(own.feeds | {name: config}, own.aggregations)
        return name

    def remove_feed(self, name: str) -> None:
        """Stop and forget a feed; what it has published until then is still delivered. Raises `KeyError`."""
        own = self._changeable()
        self._named(own, name)
        feeds = {other: config for other, config in own.feeds.items() if other != name}
        if self.running and not feeds:
            raise ValueError(f"name: {name} is the last feed; stop the manager instead")
        self._change(feeds, own.aggregations)

    def add_symbols(self, name: str, symbols: Iterable[str]) -> None:
        """More symbols for a feed; those that it has already are no mistake. Raises `KeyError`, `ValueError`.

        A running Databento or Bloomberg feed takes them within its session; others are restarted, which is
        told by a gap.
        """
        own = self._changeable()
        config = self._named(own, name)
        self._set_symbols(own, name, dict.fromkeys([*config.symbols, *_listed(symbols)]))

    def remove_symbols(self, name: str, symbols: Iterable[str]) -> None:
        """Fewer symbols for a feed. Raises `KeyError`, and `ValueError` for a symbol that it has not, or the last."""
        own = self._changeable()
        config = self._named(own, name)
        gone = set(_listed(symbols))
        if unknown := sorted(gone - set(config.symbols)):
            raise ValueError(f"symbols: feed {name} does not have {', '.join(unknown)}")
        left = [symbol for symbol in config.symbols if symbol not in gone]
        if not left:
            raise ValueError(f"symbols: these are all of feed {name}; remove the feed instead")
        self._set_symbols(own, name, left)

    def enable_aggregation(
        self, timeframe_seconds: int = 60, on_bar: Callable[[Bar], Returned] | None = None
    ) -> None:
        """Have bars made of the trades of all feeds, and `on_bar` called with each `Bar`. Several times if wanted.

        timeframe_seconds: 1 to 604,800, aligned to UNIX time, by venue time. A process of each feed makes them,
        whatever the callbacks do; a feed of its vendor's bars (see `FeedConfig.schema`) gives those of that length.
        A bar comes when it is closed: by the first tick after its end. `stop` closes what is open, flagged
        `BarFlag.PARTIAL`. Prices are integers in units of 1e-9 (`from_fixed`).
        Raises `ValueError`, `TypeError`.
        """
        if on_bar is None or not callable(on_bar):
            raise TypeError(f"on_bar: must be a function, not {on_bar!r}")
        if isinstance(timeframe_seconds, bool) or not isinstance(timeframe_seconds, int):
            raise TypeError(f"timeframe_seconds: must be whole, not {timeframe_seconds!r}")
        if not 1 <= timeframe_seconds <= MAX_TIMEFRAME_S:
            raise ValueError(
                f"timeframe_seconds: must be 1 to {MAX_TIMEFRAME_S}, not {timeframe_seconds}"
            )
        if isinstance(self._engine, Attached):
            if self.running:
                raise RuntimeError("an attached manager takes aggregations before start only")
            self._engine.aggregations.add(timeframe_seconds, on_bar, later=False)
            return
        own = self._changeable()
        aggregations = own.aggregations.copy()
        aggregations.add(timeframe_seconds, on_bar, later=self.running)
        self._change(own.feeds, aggregations)

    async def applied(self) -> None:
        """Until all changes of feeds, symbols and aggregations so far are in force. Raises `RuntimeError`."""
        if self._applying is not None:
            self._check_loop()
            await asyncio.shield(self._applying)

    def _changeable(self) -> OwnFeeds:
        if isinstance(self._engine, Attached):
            raise RuntimeError("an attached manager has the daemon's feeds; its configuration adds")  # noqa: TRY004
        if self.running:
            self._check_loop()
            if self._engine.finite:
                raise RuntimeError("recordings are played from start to end: add before start")
        return self._engine

    def _named(self, own: OwnFeeds, name: str) -> FeedConfig:
        if name not in own.feeds:
            known = ", ".join(own.feeds) or "none"
            raise KeyError(f"there is no feed {name!r} (known: {known})")
        return own.feeds[name]

    def _free_name(self, config: FeedConfig) -> str:
        from mdfeedd.manager.config import feed_section  # noqa: PLC0415 - beside its only use

        base: str = feed_section(config)["name"]
        number, name = 1, base
        while name in self.feeds:
            number += 1
            name = f"{base[:20]}-{number}"
        return name

    def _set_symbols(self, own: OwnFeeds, name: str, symbols: Iterable[str]) -> None:
        from mdfeedd.manager.planning import check_feed  # noqa: PLC0415 - imports the daemon

        config = dataclasses.replace(own.feeds[name], symbols=tuple(symbols))
        check_feed(name, config)
        self._change(own.feeds | {name: config}, own.aggregations)

    def _change(self, feeds: dict[str, FeedConfig], aggregations: Aggregations) -> None:
        """Take it, and have it applied if we run. Raises `ValueError` with everything as it was."""
        assert isinstance(self._engine, OwnFeeds)
        if self.running:
            self._engine.plan(feeds, aggregations)
        self._engine.feeds, self._engine.aggregations = feeds, aggregations
        if self.running:
            self._applying = asyncio.create_task(self._apply(self._applying))
            self._applying.add_done_callback(_note)

    async def _apply(self, before: asyncio.Task[None] | None) -> None:
        assert isinstance(self._engine, OwnFeeds)
        assert self._ready is not None
        await asyncio.wait([self._ready])
        if before is not None:
            await asyncio.wait([before])
        if not self._wanted.is_set():
            await self._engine.apply()

    # ---------------------------------------------------------------------------------------------- life

    @property
    def running(self) -> bool:
        """Between `start` and the end, whether that was asked for or not."""
        if self._life is None or self._life.done() or self._is_forked():
            return False
        return not self._is_forsaken()

    @property
    def directory(self) -> str:
        """Where the rings are, for `Reader(name, directory=...)` and ``mdfeedd tail --shm-dir``; "" while there are none."""
        return self._engine.directory

    async def start(self) -> None:
        """Start the feeds; returns when each has had its chance to come up, at most ten seconds each.

        Raises `FeedFailed` for a feed that was given up by then: no key, credentials that cannot be read, a
        package that is missing; nothing runs then. Raises `ValueError` without a feed, `RuntimeError` if it runs
        already, `OSError` where there is no room for the rings, and what an attached manager says
        (see `attach`). A vendor that cannot be reached is no error: the feed tries again and again.
        """
        if self.running:
            raise RuntimeError("the manager runs already: stop it first")
        if isinstance(self._engine, OwnFeeds) and not self._engine.feeds:
            raise ValueError("there is no feed: add_feed comes before start")
        if self._is_forsaken():
            self._forsake()
        self._begin_anew()
        loop = self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        ready = self._ready = loop.create_future()
        life = self._life = loop.create_task(self._live(), name="mdfeedd manager")
        try:
            await asyncio.shield(ready)
        except asyncio.CancelledError:
            life.cancel()
            await asyncio.wait([life])
            raise
        except BaseException:
            await asyncio.wait([life])
            raise

    def _begin_anew(self) -> None:
        if isinstance(self._engine, OwnFeeds):
            engine = self._make_own()
            engine.feeds = self._engine.feeds
            engine.aggregations = self._engine.aggregations.merged()
            self._engine = engine
        handling = self._handling
        if isinstance(self._engine, OwnFeeds) and is_finite(self._engine.feeds.values()):
            handling = dataclasses.replace(handling, backpressure="wait")  # they wait for us
        self._delivery = Delivery(Callbacks(**self._functions), handling)
        self._wanted = asyncio.Event()
        self._applying = self._delivering = None
        self._statuses, self._error = {}, None
        self._body, self._interrupted = None, False
        self._stalls, self._longest_stall_s = 0, 0.0

    async def stop(self) -> None:
        """Stop in order: feeds, then bars, then the callbacks, when they have had what is left.

        What is left is given for ten seconds at most. Does nothing before `start` and after another stop. Called
        from a callback it returns at once, nothing more is called, and the rest happens afterwards. Raises the
        exception of a callback, if nobody has been told of it yet. After the event loop was closed, it
        kills what is left. A forked child's copy stops nothing.
        """
        life = self._life
        if life is None or self._is_forked():
            return
        if self._is_forsaken():
            self._forsake()
            return
        if life.done():
            self._raise_error()
            return
        self._check_loop()
        self._wanted.set()
        if self._is_in_callback():
            self._delivery.halt()
            return
        await asyncio.wait([life])
        self._raise_error()

    def request_stop(self) -> None:
        """Have it stopped, and return at once: from a callback or a signal's handler. `wait` waits for it."""
        self._wanted.set()

    async def wait(self) -> None:
        """Until it has ended: by `stop`, by all feeds at their end, or by an exception, which is raised.

        That is what a callback raised (see `on_error`), or `FeedFailed` when all feeds have ended and one was
        given up. Raises `RuntimeError` before `start`, and in a callback.
        """
        if self._life is None:
            raise RuntimeError("the manager was not started")
        if not self._life.done():
            self._check_loop()
            if self._is_in_callback():
                raise RuntimeError("a callback cannot wait for the end: it would wait for itself")
            await asyncio.wait([self._life])
        self._raise_error()

    def run(self) -> None:
        """Start, wait and stop, for a script: returns after Ctrl-C, SIGTERM, SIGHUP, or when all feeds have ended.

        The loop is uvloop's where that is installed. A second Ctrl-C kills the feeds and raises
        `KeyboardInterrupt`. Raises what `start` and `wait` raise, and `RuntimeError` where a loop runs already,
        as in a notebook: ``await manager.start()`` there.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError("an event loop runs here already: use 'await manager.start()'")
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run_until_signal(self.start, self.wait, self.request_stop))

    async def __aenter__(self) -> Self:
        await self.start()
        self._body = asyncio.current_task()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        body, self._body = self._body, None
        cancelled_by_others = bool(body.uncancel()) if self._interrupted and body else False
        if self._interrupted and kind is asyncio.CancelledError:
            if cancelled_by_others:
                self._error = None
        elif error is not None:
            self._error = None  # it was logged; what the body raised goes on
        await self.stop()

    def stats(self) -> Stats:
        """What has been done since the last `start`; also after the end."""
        delivery = self._delivery
        sources = [*delivery.left, *delivery.sources.values()]
        feeds: dict[str, FeedStats] = {}
        for status in self._engine.statuses():
            of_feed = [s for s in sources if s.feed == status.feed and not s.bars]
            feeds[status.feed] = FeedStats(
                status.state,
                status.restarts,
                published=sum(s.published for s in of_feed),
                delivered=sum(s.delivered for s in of_feed),
                dropped=sum(s.dropped for s in of_feed),
                lost=sum(s.lost for s in of_feed),
                behind=sum(s.behind for s in of_feed),
                gaps=sum(s.gaps for s in of_feed),
            )
        return Stats(
            feeds,
            delivery.batches,
            delivery.ticks,
            delivery.bars,
            delivery.errors,
            self._stalls,
            self._longest_stall_s,
        )

    def __repr__(self) -> str:
        feeds = ", ".join(self.feeds) or "no feeds"
        return f"<FeedManager: {feeds}, {'running' if self.running else 'not running'}>"

    # ----------------------------------------------------------------------------------------- one life

    async def _live(self) -> None:
        """All of it, cleaned up at the end. Errors are kept for whoever waits."""
        assert self._ready is not None
        self._delivering = asyncio.create_task(self._delivery.run(), name="mdfeedd callbacks")
        try:
            await self._begin_and_watch()
            self._wanted.set()
            await self._end()
        except asyncio.CancelledError:
            self._abandon()
            raise
        finally:
            self._wanted.set()
            self._engine.clean()
        if self._error is not None and self._body is not None:
            self._interrupted = True
            self._body.cancel()

    async def _begin_and_watch(self) -> None:
        """Until the end is wanted or has come. Raises nothing but `CancelledError`."""
        assert self._ready is not None
        starting = asyncio.create_task(self._engine.start(self._delivery), name="mdfeedd start")
        watching = asyncio.create_task(self._watch(), name="mdfeedd watch")
        try:
            await asyncio.wait([starting, watching], return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                await self._engine.stop()  # has it return before all have come up
            await starting
            if not self._ready.done():
                self._ready.set_result(None)
            await watching
        except BaseException as error:
            self._delivery.halt()
            if not self._ready.done():
                self._fail_start(error)
            elif isinstance(error, Exception):
                self._error = error
                logger.exception("the manager failed")
            if not isinstance(error, Exception):
                raise
        finally:
            starting.cancel()
            watching.cancel()

    def _fail_start(self, error: BaseException) -> None:
        assert self._ready is not None
        if isinstance(error, Exception):
            self._ready.set_exception(error)
        else:
            self._ready.cancel()

    async def _watch(self) -> None:
        """Until the end is wanted or has come: tell of states, and of a loop that stood still."""
        assert self._delivering is not None
        assert self._ready is not None
        ending = asyncio.create_task(self._wanted.wait())
        try:
            stall = Stall(WATCH_S)
            while not (self._wanted.is_set() or self._delivering.done()):
                self._tell_statuses()
                if self._ready.done() and self._engine.is_over():
                    self._error = self._engine.failure()
                    return
                stood_s = stall.look()
                self._note_stall(stood_s, stall)
                await asyncio.wait(
                    [ending, self._delivering],
                    timeout=WATCH_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            ending.cancel()

    def _tell_statuses(self) -> None:
        for status in self._engine.statuses():
            if self._statuses.get(status.feed) != status:
                self._statuses[status.feed] = status
                self._delivery.tell(status)

    async def _end(self) -> None:
        """Stop the processes, give the callbacks the rest, and take their exception."""
        delivering, delivery = self._delivering, self._delivery
        assert delivering is not None
        await self._engine.stop()
        if self._applying is not None:
            await asyncio.wait([self._applying])
        self._tell_statuses()
        if not self._engine.drains:
            delivery.halt()
        delivery.finish()
        await asyncio.wait([delivering], timeout=DRAIN_S)
        if not delivering.done():
            logger.error("%s did not take what was left within %g s", delivery.calling, DRAIN_S)
            delivery.halt()
            delivering.cancel()
            await asyncio.wait([delivering], timeout=CANCEL_S)
        if delivering.done() and not delivering.cancelled():
            self._error = delivering.exception() or self._error

    def _note_stall(self, stood_s: float, stall: Stall) -> None:
        if stood_s <= 0:
            return
        self._stalls += 1
        self._longest_stall_s = max(self._longest_stall_s, stood_s)
        if stall.is_first:
            called = self._delivery.calling or "something else"
            told = "the event loop stood still for %.2f s, %s was called last: a callback must not block"
            logger.warning(told, stood_s, called)

    def _abandon(self) -> None:
        """The loop ends: kill what runs, without it."""
        self._delivery.halt()
        if self._delivering is not None:
            self._delivering.cancel()
        self._engine.abandon()

    # ---------------------------------------------------------------------------------- loops and errors

    def _check_loop(self) -> None:
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not self._loop:
            raise RuntimeError("the manager runs in another event loop")

    def _is_forsaken(self) -> bool:
        """The loop was closed while we ran in it."""
        return (
            self._loop is not None
            and self._loop.is_closed()
            and self._life is not None
            and not self._life.done()
        )

    def _is_forked(self) -> bool:
        """Another process has started it: we are a child that was forked meanwhile."""
        return os.getpid() != self._pid

    def _forsake(self) -> None:
        self._engine.abandon()
        self._engine.clean()
        for source in self._delivery.sources.values():
            source.close()
        self._life = None

    def _is_in_callback(self) -> bool:
        return asyncio.current_task() is self._delivering

    def _raise_error(self) -> None:
        """What went wrong, to the first who asks."""
        error, self._error = self._error, None
        if error is not None:
            raise error


def _listed(symbols: Iterable[str]) -> tuple[str, ...]:
    if isinstance(symbols, str):
        raise TypeError(f'symbols: must be a list, such as ["{symbols}"]')
    return tuple(symbols)


def _note(task: asyncio.Task[None]) -> None:
    """A change that could not be applied is logged, if nobody waits for it, too."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the change could not be applied: %s", error)
