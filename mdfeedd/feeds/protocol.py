"""What a feed is: the contract between the worker process and a vendor."""

from __future__ import annotations

import enum
import errno
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from mdfeedd.ring import Writer

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Mapping

    import numpy as np

    from mdfeedd.feeds.shard import Shard

logger: logging.Logger = logging.getLogger("mdfeedd.feed")

BARS_SUFFIX: Final = ".bars"
"""Bars that the vendor made: a ring that comes with the first of them."""
DEPTH_SUFFIX: Final = ".depth"
ORDERS_SUFFIX: Final = ".orders"
FEED_SUFFIXES: Final = (BARS_SUFFIX, DEPTH_SUFFIX, ORDERS_SUFFIX)
"""Of all rings that a feed may make besides its own."""


class Damaged(OSError):
    """What a feed reads is damaged, and what is whole of it is published: another attempt would not help (65)."""


def rings_of_feed(name: str) -> tuple[str, ...]:
    """All rings that a feed of this name may make, its own first."""
    return (name, *(name + suffix for suffix in FEED_SUFFIXES))


@dataclass(frozen=True, slots=True)
class RingPlan:
    """The ring that a feed writes."""

    name: str
    capacity: int = 65_536
    feed_index: int = 0
    instruments_capacity: int = 65_536
    directory: str = "/dev/shm"  # noqa: S108 - the POSIX shared-memory file system
    shard: Shard | None = None
    """The part of the instruments to publish: ticks of an instrument only if the shard `has` its symbol, ticks of
    the whole feed (instrument 0) always. None: all."""
    huge_pages: bool = False
    """Have the rings lie on huge pages; where that cannot be it is told, and they lie on ordinary ones."""
    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """By ring, this one or one beside it: the consumers of the same daemon that read it. A feed that can wait
    does so until they are registered."""

    def writer(self, feed: str, dtype: np.dtype[Any], suffix: str = "") -> Writer:
        """The ring itself, or one of `FEED_SUFFIXES` beside it. Raises `RingError`."""
        writer = Writer(
            self.name + suffix,
            self.capacity,
            dtype,
            feed=feed,
            feed_index=self.feed_index,
            instruments_capacity=self.instruments_capacity,
            directory=self.directory,
        )
        if self.huge_pages:
            self._use_huge_pages(writer)
        return writer

    @staticmethod
    def _use_huge_pages(writer: Writer) -> None:
        why = writer.use_huge_pages()
        if why:
            told = "huge_pages: ring %s lies on ordinary pages: %s"
            logger.warning(told, writer.name, _no_huge_pages(why))
        else:
            logger.info("ring %s lies on huge pages", writer.name)


def _no_huge_pages(why: int) -> str:
    """An errno of `Writer.use_huge_pages` in words."""
    if why == errno.ERANGE:
        return "it is smaller than one of 2 MiB"
    if why == errno.EINVAL:
        return (
            "the kernel does not offer them for this folder (Linux 6.1 or later does, with transparent "
            "huge pages, for a tmpfs)"
        )
    if why == errno.ENOMEM:
        return "no memory of 2 MiB in one piece is free"
    return os.strerror(why)


class Feed(Protocol):
    """A vendor's feed: one instance in one process, the only writer of its ring.

    A class that begins anew with each start, as a replay does, says ``once = True``: one that has published is not
    started again after a failure, as its records would come twice.

    `Options` is a frozen dataclass whose fields carry ``metadata={"help": ...}``; its ``__post_init__``
    raises `ValueError` ("key: reason"). Entry points of the group ``mdfeedd.feeds`` name such classes.
    """

    Options: ClassVar[type[Any]]

    def __init__(self, name: str, options: Any, ring: RingPlan) -> None:
        """Keep the plan. Nothing is opened before `run`."""

    def run(self, stop: threading.Event) -> None:
        """Write the ring until `stop` is set or the source has ended; returning means exit status 0."""


class LiveFeed(Feed, Protocol):
    """A feed that takes some changes of its options while it runs. Both members are optional for a feed."""

    @classmethod
    def live(cls, old: Any, new: Any) -> bool:
        """Can a running feed go from the one options to the other? Asked in the supervisor; opens nothing."""

    def reconfigure(self, options: Any) -> None:
        """Take new options, for which `live` was true.

        Called in a thread of its own while `run` runs, maybe just before: it hands over and returns, within
        a second or so. One that raises is restarted with the new options.
        """


class ProbedFeed(Feed, Protocol):
    """A feed that can try its source for ``mdfeedd check --connect``. The member is optional for a feed."""

    @classmethod
    def probe(cls, name: str, options: Any) -> Iterable[ProbeLine]:
        """Try what a start would need, writing no ring; a line as soon as it is known, an end within a minute.

        `OSError` counts as unavailable.
        """


class Severity(enum.IntEnum):
    """How bad a line of a probe is; the worst of all lines decides the exit status."""

    OK = 0
    WARNING = 1
    UNAVAILABLE = 2
    """Something outside is missing; it may come back (69)."""
    CREDENTIALS = 3
    """Refused, or not entitled (77)."""
    CONFIG = 4
    """The configuration asks for what there is not (78)."""


@dataclass(frozen=True, slots=True)
class ProbeLine:
    """One thing that a probe found out. `ok`: a start would get past it."""

    ok: bool
    text: str
    severity: Severity = Severity.OK

    def __post_init__(self) -> None:
        if self.ok != (self.severity <= Severity.WARNING):
            raise ValueError(f"ok={self.ok} does not go with the severity {self.severity.name}")
