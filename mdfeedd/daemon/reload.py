"""Another configuration for a running daemon: read the file again, find what differs, and go over to it.

    file ─► config ─► problems? ─► each logged, the old configuration goes on, nothing was touched
               │
               ▼       same               untouched
             Plan ──►  gone               stopped; its consumers after it, when they have read its end
          (indexes     new                started, feeds before consumers
           kept)       options of a feed  told to the running feed if its class says that it can (`live`) ...
                       anything else      ... else stopped and started anew

Feeds keep their index (the high bits of their instrument ids) while the daemon runs, wherever they stand in the
file; a new one gets an index that none has had, while there is one. `shm_dir` cannot change in a running daemon.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon import config, log, plugins
from mdfeedd.daemon.child import StartError, State
from mdfeedd.daemon.plan import ChildPlan, Plan, revive

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mdfeedd.daemon.supervisor import Supervisor

logger: logging.Logger = logging.getLogger("mdfeedd.daemon.reload")

_MAX_NAMED: Final = 8
"""Changed keys that a log line names."""


class Reloader:
    """Reloads one file, one reload after the other. Use it in the loop of its supervisor."""

    def __init__(self, supervisor: Supervisor, path: str | Path) -> None:
        self.number: int = 0
        """Of reloads that were begun."""
        self.last_ok: bool | None = None
        """Was the file of the last reload taken? None before the first."""
        self._supervisor = supervisor
        self._path = path
        self._indexes = indexes_of(supervisor.plan)
        self._wanted = asyncio.Event()

    def request(self) -> None:
        """Reload once, after a reload that runs; however often it is asked for meanwhile."""
        self._wanted.set()

    async def run(self) -> None:
        """Do what `request` asks for, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.reload()

    async def reload(self) -> bool:
        """Read the file again and go over to it; False if the old configuration goes on."""
        self.number += 1
        head = f"reload {self.number}"
        self._supervisor.notifier.reloading()
        try:
            self.last_ok = await self._reload(head)
        except config.ConfigError as error:
            for problem in error.problems:
                logger.error("%s: %s", head, problem)  # noqa: TRY400 - the file is wrong, not the program
            found = len(error.problems)
            told = f"{found} problem{'s' if found > 1 else ''}"
            logger.error("%s: %s, the old configuration goes on", head, told)  # noqa: TRY400
            self.last_ok = False
        except StartError as error:
            logger.error("%s: %s; the old configuration goes on", head, error)  # noqa: TRY400 - a sentence
            self.last_ok = False
        except Exception:
            logger.exception("%s: failed", head)
            self.last_ok = False
        self._supervisor.tell_reloaded(well=self.last_ok)
        return self.last_ok

    async def _reload(self, head: str) -> bool:
        supervisor = self._supervisor
        old = supervisor.plan
        logger.info("%s: reading %s", head, self._path)
        plan, changes = await asyncio.to_thread(self._read, old, head)
        if plan.shm_dir != old.shm_dir:
            told = "%s: shm_dir is %s until the daemon is restarted, not %s"
            logger.warning(told, head, old.shm_dir, plan.shm_dir)
            plan = plan.at(old.shm_dir)
        live = {change.name for change in changes if change.live}
        untold = await supervisor.apply(dataclasses.replace(plan, metrics=old.metrics), live)
        self._indexes |= indexes_of(plan)
        if plan.log != old.log:
            log.setup(plan.log, "supervisor")
        for change in changes:
            self._tell(head, change, untold.get(change.name, ""))
        if plan.metrics != old.metrics:
            self._serve_metrics(head, plan)
        logger.info("%s: done", head)
        return True

    def _read(self, old: Plan, head: str) -> tuple[Plan, list[Change]]:
        """The plan of the file and what it changes. Runs in a thread: plugins are imported and asked."""
        plan = keep_indexes(config.load(self._path), self._indexes)
        compared = plan.at(old.shm_dir)
        return plan, list(changes(old, compared, head))

    def _tell(self, head: str, change: Change, refusal: str) -> None:
        """One line of what was done with a child."""
        if change.new is None:
            logger.info("%s: %s: stopped, it is no longer in the file", head, change.label)
            return
        if change.old is None:
            logger.info("%s: %s: started, it is new in the file", head, change.label)
        elif refusal:
            told = "%s: %s: restarted, changed: %s; could not take it running: %s"
            logger.warning(told, head, change.label, change.named, refusal)
        elif change.live:
            logger.info("%s: %s: told of %s, goes on", head, change.label, change.named)
        elif change.old != change.new:
            logger.info("%s: %s: restarted, changed: %s", head, change.label, change.named)
        else:
            child = self._supervisor.find(change.name)
            given_up = f", still given up: {child.last_exit}"
            state = given_up if child.state is State.FAILED else ""
            logger.info("%s: %s: unchanged%s", head, change.label, state)

    def _serve_metrics(self, head: str, plan: Plan) -> None:
        try:
            self._supervisor.serve_metrics(plan.metrics)
        except StartError as error:
            logger.error("%s: %s; metrics stay where they were", head, error)  # noqa: TRY400 - a sentence
        else:
            where = "nowhere" if plan.metrics is None else f"on {plan.metrics.host}"
            exporter = self._supervisor.exporter
            port = "" if exporter is None else f" port {exporter.port}"
            logger.info("%s: metrics are served %s%s", head, where, port)


# --------------------------------------------------------------------------------------- what differs


@dataclass(frozen=True, slots=True)
class Change:
    """One child before and after; None: it is not there. `live`: the running feed can take it."""

    old: ChildPlan | None
    new: ChildPlan | None
    live: bool = False

    @property
    def name(self) -> str:
        """The child's, which is what makes it the same."""
        return self._either.name

    @property
    def label(self) -> str:
        """As log lines call it."""
        return self._either.label

    @property
    def named(self) -> str:
        """The keys that differ, without their values: some are secret."""
        assert self.old is not None
        assert self.new is not None
        keys = _differing(_fields(self.old), _fields(self.new))
        more = f" and {len(keys) - _MAX_NAMED} more" if len(keys) > _MAX_NAMED else ""
        return ", ".join(keys[:_MAX_NAMED]) + more

    @property
    def _either(self) -> ChildPlan:
        child = self.old if self.new is None else self.new
        assert child is not None
        return child


def changes(old: Plan, new: Plan, head: str) -> Iterable[Change]:
    """Every child of both plans once, those that are gone first. `head` begins what is logged."""
    before = {child.name: child for child in old.order()}
    after = {child.name: child for child in new.order()}
    for name, child in before.items():
        if name not in after:
            yield Change(child, None)
    for name, child in after.items():
        known = before.get(name)
        live = known is not None and known != child and _takes(known, child, head)
        yield Change(known, child, live)


def _takes(old: ChildPlan, new: ChildPlan, head: str) -> bool:
    """Does the class of a feed say that a running one can take this change?"""
    if new.kind != "feed" or dataclasses.replace(old, options=new.options) != new:
        return False
    cls: Any = plugins.load(new.target)
    if not callable(getattr(cls, "live", None)) or not callable(getattr(cls, "reconfigure", None)):
        return False
    try:
        return bool(cls.live(revive(cls.Options, old.options), revive(cls.Options, new.options)))
    except (Exception, SystemExit):  # whatever a plugin does: a restart is always right
        logger.exception("%s: %s: %s.live failed", head, new.label, new.target)
        return False


def _fields(plan: ChildPlan) -> dict[str, Any]:
    fields = {
        f.name: getattr(plan, f.name)
        for f in dataclasses.fields(plan)
        if f.compare and f.name != "options"
    }
    return fields | {f"options.{key}": value for key, value in plan.options.items()}


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    missing = object()
    return [
        key for key in dict.fromkeys((*old, *new)) if old.get(key, missing) != new.get(key, missing)
    ]


# ---------------------------------------------------------------------------------------- feed indexes


def indexes_of(plan: Plan) -> dict[str, int]:
    """The index of each feed by its name."""
    return {feed.name: feed.feed_index for feed in plan.feeds}


def keep_indexes(plan: Plan, known: Mapping[str, int]) -> Plan:
    """The plan with each known feed at its index, and the others at one that is free, if possible since ever."""
    taken = {known[feed.name] for feed in plan.feeds if feed.name in known}
    ever = set(known.values())
    feeds = []
    for feed in plan.feeds:
        index = known.get(feed.name)
        if index is None:
            index = _free(feed.feed_index, taken, ever)
            taken.add(index)
        feeds.append(dataclasses.replace(feed, feed_index=index))
    return dataclasses.replace(plan, feeds=tuple(feeds))


def _free(wanted: int, taken: set[int], ever: set[int]) -> int:
    candidates = (wanted, *range(1, config.MAX_FEEDS + 1))
    unused = (index for index in candidates if index not in taken and index not in ever)
    again = (index for index in candidates if index not in taken)
    found: int | None = next(unused, None) or next(again, None)
    assert found is not None, "more feeds than a configuration may have"
    return found
