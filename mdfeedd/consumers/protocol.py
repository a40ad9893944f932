"""What a consumer is: the contract between the worker process and whatever reads rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence


class Consumer(Protocol):
    """A reader of rings in a process of its own.

    `Options` is a frozen dataclass whose fields carry ``metadata={"help": ...}``; its ``__post_init__``
    raises `ValueError` ("key: reason"). Entry points of the group ``mdfeedd.consumers`` name such classes.
    """

    Options: ClassVar[type[Any]]

    def __init__(self, name: str, options: Any, rings: Sequence[str], directory: str) -> None:
        """Keep the plan. Nothing is opened before `run`."""

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set (then flush and return), or, with follow off, until all rings ended."""
