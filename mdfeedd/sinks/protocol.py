"""What a sink is: the contract between a batch consumer and a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mdfeedd.ring import Instruments


class SinkError(Exception):
    """A sink could not take a batch. `retriable`: the same batch may succeed later."""

    def __init__(self, message: str, *, retriable: bool) -> None:
        super().__init__(message)
        self.retriable = retriable


@dataclass(frozen=True, slots=True)
class SinkBatch:
    """Records of one ring in ring order: `records` has dtype `TICK` or `BAR`, shape (n,)."""

    ring: str
    feed: str
    epoch: int
    records: npt.NDArray[np.void]
    instruments: Instruments


class Sink(Protocol):
    """A store of batches. Used by one thread of one process.

    `Options` is a frozen dataclass whose fields carry ``metadata={"help": ...}``. Entry points of the
    group ``mdfeedd.sinks`` name such classes.
    """

    Options: ClassVar[type[Any]]

    def __init__(self, options: Any) -> None:
        """Check that the store can be used; raises `SinkError` with one sentence."""

    def write(self, batch: SinkBatch) -> None:
        """Take a batch; it may lie in memory until `flush`. Raises `SinkError`."""

    def flush(self) -> None:
        """Return when everything written is safe. Raises `SinkError`."""

    def close(self) -> None:
        """Flush and let go. Raises `SinkError`."""
