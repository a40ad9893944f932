"""Where a manager's rings come from: feed processes of its own, or those of a running daemon.

    OwnFeeds   Home ─► plan ─► Supervisor in the caller's loop ─► feeds, bars consumers ─► rings in a private folder
    Attached   the rings that are there; nothing is started, nothing is stopped

Both are used in one event loop. `start` raises, whatever is wrong; `abandon` is for when the loop is gone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from mdfeedd.manager.config import KEY_VARIABLE, Vendor, brings_bars, child_variables
from mdfeedd.manager.events import FeedFailed, FeedStatus
from mdfeedd.manager.home import Home
from mdfeedd.ring import RingError, RingMissing, list_rings, remove
from mdfeedd.ring.inspect import inspect
from mdfeedd.ring.segment import DEFAULT_DIRECTORY
from mdfeedd.tick import BAR, TICK, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mdfeedd.daemon.child import Child
    from mdfeedd.daemon.plan import Plan
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.manager.config import FeedConfig
    from mdfeedd.manager.delivery import Delivery
    from mdfeedd.manager.planning import BarGroup
    from mdfeedd.ring.reader import Start
    from mdfeedd.secret import Secret
    from mdfeedd.tick import Bar

    OnBar = Callable[[Bar], object]

__all__ = ["Aggregations", "Attached", "Engine", "OwnFeeds", "is_finite"]

logger: logging.Logger = logging.getLogger("mdfeedd.manager")

MAX_REASON: Final = 500
FIRST: Final = 1  # of a new ring: what is overwritten before we come is lost, and told


class Aggregations:
    """Which bars are wanted, in groups, and who is told of them."""

    def __init__(self) -> None:
        self.wanted: list[list[tuple[int, OnBar]]] = [[]]
        """Of each group: length of the bars in seconds, function."""

    def add(self, timeframe_s: int, on_bar: OnBar, *, later: bool) -> None:
        """One more; `later`: the processes of the other groups run already."""
        if later and self.wanted[-1]:
            self.wanted.append([])
        self.wanted[-1].append((timeframe_s, on_bar))

    def copy(self) -> Aggregations:
        """The same, to be changed."""
        other = Aggregations()
        other.wanted = [list(group) for group in self.wanted]
        return other

    def merged(self) -> Aggregations:
        """All in one group: for a new start."""
        one = Aggregations()
        one.wanted = [[item for group in self.wanted for item in group]]
        return one

    def groups(self) -> list[BarGroup]:
        """What the processes are to make."""
        from mdfeedd.manager.planning import MAX_INTERVALS, BarGroup  # noqa: PLC0415 - imports the daemon

        made: list[BarGroup] = []
        for group in self.wanted:
            known = {length for one in made for length in one.intervals_s}
            lengths = sorted({timeframe_s for timeframe_s, _ in group} - known)
            for at in range(0, len(lengths), MAX_INTERVALS):
                made.append(BarGroup(len(made) + 1, tuple(lengths[at : at + MAX_INTERVALS])))
        return made

    def functions(self) -> dict[int, list[OnBar]]:
        """By length of the bars."""
        found: dict[int, list[OnBar]] = {}
        for group in self.wanted:
            for timeframe_s, on_bar in group:
                found.setdefault(timeframe_s, []).append(on_bar)
        return found

    def __bool__(self) -> bool:
        return any(self.wanted)


class Engine(Protocol):
    """What a manager needs."""

    drains: bool
    """Do the rings come to an end after `stop`?"""

    async def start(self, delivery: Delivery) -> None:
        """Have the rings, and `delivery` follow them. Raises."""

    def statuses(self) -> list[FeedStatus]:
        """Each feed now."""

    def is_over(self) -> bool:
        """Will nothing more come, ever?"""

    def failure(self) -> FeedFailed | None:
        """Of a feed that was given up."""

    async def stop(self) -> None:
        """In order."""

    def abandon(self) -> None:
        """At once, without the loop."""

    def clean(self) -> None:
        """Remove what is left when nothing runs any more."""


def is_finite(feeds: Iterable[FeedConfig]) -> bool:
    """Whether all of them are recordings."""
    return all(feed.vendor == Vendor.REPLAY for feed in feeds)


class OwnFeeds:
    """Feeds in processes that this one starts."""

    drains = True

    def __init__(self, shm_dir: str, log_level: str) -> None:
        self.feeds: dict[str, FeedConfig] = {}
        self.aggregations: Aggregations = Aggregations()
        self._shm_dir = shm_dir
        self._log_level = log_level
        self._home: Home | None = None
        self._supervisor: Supervisor | None = None
        self._secrets: dict[str, dict[str, Secret]] = {}
        self._indexes: dict[str, int] = {}
        self._delivery: Delivery | None = None

    @property
    def directory(self) -> str:
        """Where the rings are; "" while there are none."""
        return "" if self._home is None else self._home.path

    @property
    def finite(self) -> bool:
        """Does it end by itself, and takes no changes?"""
        return self._supervisor is not None and self._supervisor.until_done

    def plan(self, feeds: dict[str, FeedConfig], aggregations: Aggregations) -> Plan:
        """The plan of these. Raises `ValueError`."""
        from mdfeedd.manager.planning import plan_of  # noqa: PLC0415 - imports the daemon

        directory = self.directory or self._shm_dir
        return plan_of(feeds, aggregations.groups(), directory, self._log_level)

    async def start(self, delivery: Delivery) -> None:
        """Start the processes. Raises `FeedFailed`, `RuntimeError`, `OSError`, `ValueError`."""
        from mdfeedd.daemon.notify import Notifier  # noqa: PLC0415 - see plan
        from mdfeedd.daemon.reload import indexes_of  # noqa: PLC0415
        from mdfeedd.daemon.room import check_room  # noqa: PLC0415
        from mdfeedd.daemon.supervisor import StartError, Supervisor  # noqa: PLC0415

        self._home = Home.make(self._shm_dir, self.abandon)
        plan = self.plan(self.feeds, self.aggregations)
        check_room(plan, self._home.path)
        self._indexes = indexes_of(plan)
        self._set_secrets()
        self._supervisor = Supervisor(
            plan,
            until_done=is_finite(self.feeds.values()),
            secrets=self._secrets,
            notifier=Notifier(),  # systemd is told by whoever it started
        )
        self._delivery = delivery
        self._follow(delivery)
        try:
            await self._supervisor.start()
        except StartError as error:
            raise RuntimeError(str(error)) from None
        failed = self.failure()
        if failed is not None:
            raise failed

    def _set_secrets(self) -> None:
        self._secrets.clear()
        self._secrets.update({name: child_variables(feed) for name, feed in self.feeds.items()})

    def _follow(self, delivery: Delivery) -> None:
        """Read the ring of each feed, and those of its bars."""
        from mdfeedd.feeds.protocol import BARS_SUFFIX  # noqa: PLC0415 - see plan

        functions, groups = self.aggregations.functions(), self.aggregations.groups()
        for name, feed in self.feeds.items():
            delivery.follow(name, name, self.directory, FIRST)
            rings = {group.ring(name): group.intervals_s for group in groups}
            if brings_bars(feed):
                rings = {name + BARS_SUFFIX: tuple(functions)} if functions else {}
            for ring, lengths_s in rings.items():
                delivery.follow(ring, name, self.directory, FIRST, bars=True)
                for timeframe_s in lengths_s:
                    delivery.callbacks.on_bar[ring, timeframe_s] = functions[timeframe_s]

    async def apply(self) -> None:
        """Go over to `feeds` and `aggregations` as they are now. Raises `RuntimeError`, `ValueError`."""
        from mdfeedd.daemon.reload import changes, indexes_of, keep_indexes  # noqa: PLC0415 - see plan
        from mdfeedd.daemon.room import check_room  # noqa: PLC0415
        from mdfeedd.daemon.supervisor import StartError  # noqa: PLC0415

        supervisor, delivery = self._supervisor, self._delivery
        assert supervisor is not None
        assert delivery is not None
        if supervisor.stopping:
            return
        plan = keep_indexes(self.plan(self.feeds, self.aggregations), self._indexes)
        self._set_secrets()
        self._follow(delivery)
        changed = list(changes(supervisor.plan, plan, "change"))
        live = {change.name for change in changed if change.live}
        try:
            check_room(plan, self.directory)
            untold = await supervisor.apply(plan, live)
        except (StartError, OSError) as error:
            raise RuntimeError(str(error)) from None
        for name, why in untold.items():
            logger.warning("feed %s was restarted for its new symbols: %s", name, why)
        self._indexes |= indexes_of(plan)
        for change in changed:
            if change.old is not None and change.new is None:
                for ring in change.old.may_write:
                    delivery.leave(ring)
                self._remove(change.old.may_write)

    def _remove(self, rings: Sequence[str]) -> None:
        """Rings without a writer; who reads one keeps it until it is read."""
        for ring in rings:
            try:
                remove(ring, self.directory)
            except RingMissing:
                continue
            except RingError as error:
                logger.warning("%s", error)

    def statuses(self) -> list[FeedStatus]:
        """Each feed now."""
        return [
            FeedStatus(child.name, child.state.value, _reason(child), child.restarts)
            for child in self._children()
        ]

    def _children(self) -> list[Child]:
        children = () if self._supervisor is None else self._supervisor.children
        return [child for child in children if child.kind == "feed"]

    def is_over(self) -> bool:
        """Every feed has ended for good."""
        children = self._children()
        return bool(children) and all(child.ended.is_set() for child in children)

    def failure(self) -> FeedFailed | None:
        """Of the first feed that was given up."""
        for child in self._children():
            if child.state.value == "failed":
                return FeedFailed(child.name, _reason(child), child.last_code)
        return None

    async def stop(self) -> None:
        """Feeds, then the processes of the bars, which read everything and close what is open."""
        if self._supervisor is not None and not self._is_forked():
            await self._supervisor.stop()

    def abandon(self) -> None:
        """Kill the processes."""
        if self._supervisor is not None and not self._is_forked():
            self._supervisor.abandon()

    def _is_forked(self) -> bool:
        """Are we a child of the process whose feeds these are? It leaves them alone."""
        return self._home is not None and not self._home.is_ours

    def clean(self) -> None:
        """Remove the rings."""
        if self._home is not None:
            self._home.remove()
            self._home = None


def _reason(child: Child) -> str:
    """Why a feed does not run, in its own words if it had some."""
    if child.state.value not in ("backoff", "failed"):
        return ""
    said = child.last_words.removeprefix(f"{child.name}: ")
    said = said.replace(f"the environment variable {KEY_VARIABLE}", "api_key")
    return (said or child.last_exit)[:MAX_REASON]


class Attached:
    """The rings of a daemon, or of any other writer. rings: all in the folder if empty."""

    drains = False

    def __init__(self, rings: Sequence[str], directory: str, start: Start | int) -> None:
        self.aggregations: Aggregations = Aggregations()
        self.directory: str = directory or DEFAULT_DIRECTORY
        self._rings = list(rings)
        self._start = start
        self._feeds: list[str] = []

    async def start(self, delivery: Delivery) -> None:
        """Find the rings. Raises `RingMissing` and other `RingError`, `ValueError`."""
        kinds = {layout_of(TICK): False, layout_of(BAR): True}
        names = self._rings or list_rings(self.directory)
        functions = self.aggregations.functions()
        self._feeds = []
        bars = 0
        for name in names:
            try:
                is_bars = kinds.get(inspect(name, self.directory).layout)
            except RingError as error:
                if self._rings:
                    raise
                logger.warning("left out: %s", error)  # nobody has asked for this one
                continue
            if is_bars is None and not self._rings:
                continue  # depth, orders: nobody is told of them here
            if is_bars is None:
                raise ValueError(f"rings: {name} holds neither ticks nor bars")
            if not is_bars:
                self._feeds.append(name)
            elif not functions:
                continue
            bars += is_bars
            delivery.follow(name, name, self.directory, self._start, bars=is_bars)
            for timeframe_s, on_bar in functions.items():
                delivery.callbacks.on_bar[name, timeframe_s] = on_bar
        if not delivery.sources:
            raise RingMissing(f"no ring of ticks in {self.directory}: is the daemon running?")
        if functions and not bars:
            raise ValueError(
                f"no ring of bars in {self.directory}: the daemon needs a consumer of type bars"
            )

    def statuses(self) -> list[FeedStatus]:
        """Each ring of ticks now."""
        return [
            FeedStatus(name, "running" if self._is_written(name) else "stopped")
            for name in self._feeds
        ]

    def _is_written(self, ring: str) -> bool:
        try:
            return inspect(ring, self.directory).writer_alive
        except RingError:
            return False

    def is_over(self) -> bool:
        """The daemon may be started again."""
        return False

    def failure(self) -> FeedFailed | None:
        """Not ours."""
        return None

    async def stop(self) -> None:
        """Not ours."""

    def abandon(self) -> None:
        """Not ours."""

    def clean(self) -> None:
        """Not ours."""
