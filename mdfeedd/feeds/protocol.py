"""What a feed is: the contract between the worker process and a vendor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import threading


@dataclass(frozen=True, slots=True)
class RingPlan:
    """The ring that a feed writes."""

    name: str
    capacity: int = 65_536
    feed_index: int = 0
    instruments_capacity: int = 65_536
    directory: str = "/dev/shm"  # noqa: S108 - the POSIX shared-memory file system


class Feed(Protocol):
    """A vendor's feed: one instance in one process, the only writer of its ring.

    `Options` is a frozen dataclass whose fields carry ``metadata={"help": ...}``; its ``__post_init__``
    raises `ValueError` ("key: reason"). Entry points of the group ``mdfeedd.feeds`` name such classes.
    """

    Options: ClassVar[type[Any]]

    def __init__(self, name: str, options: Any, ring: RingPlan) -> None:
        """Keep the plan. Nothing is opened before `run`."""

    def run(self, stop: threading.Event) -> None:
        """Write the ring until `stop` is set or the source has ended; returning means exit status 0."""
