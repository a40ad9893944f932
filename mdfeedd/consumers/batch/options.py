"""The options of the batch consumer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from mdfeedd.consumers.batch.back_off import BACK_OFF_MIN_S
from mdfeedd.options import refuse, told, values
from mdfeedd.sinks import load_sink, sink_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["BatchOptions", "ReadLimit"]

MAX_BATCH: Final = 1_000_000  # records
ReadLimit = Literal["written", "durable"]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What goes where, how much at a time, and what happens when the sink does not keep up."""

    sink_type: str = field(metadata={"help": "which sink: parquet, ... (see mdfeedd.sinks)"})
    sink_options: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "the options of that sink"}
    )
    journal: str = field(
        default="",
        metadata={"help": "folder of the journal consumer to read; empty: straight from the rings"},
    )
    durable: bool | None = field(
        default=None,
        metadata={
            "help": "true: through the journal, which must be named; false: straight from the rings, "
            "which lose what the sink is too slow for; null: through the journal if one is named"
        },
    )
    read_limit: ReadLimit = field(
        default="written",
        metadata={"help": "of the journal: all that is written, or only what is durable (synced)"},
    )
    batch_size: int = field(default=5000, metadata={"help": "records handed over at a time"})
    catch_up_size: int = field(
        default=65_536,
        metadata={"help": "the same from a journal that has more: fewer, larger transactions"},
    )
    flush_interval_s: float = field(
        default=0.25, metadata={"help": "a smaller batch is handed over at this age, in seconds"}
    )
    max_pending: int = field(
        default=100_000, metadata={"help": "records held while the sink refuses them"}
    )
    overflow: Literal["block", "drop"] = field(
        default="block",
        metadata={"help": "at max_pending: block (stop reading) or drop (the newest batch)"},
    )
    back_off_max_s: float = field(
        default=5.0, metadata={"help": "longest pause between retries, in seconds"}
    )
    follow: bool = field(
        default=True, metadata={"help": "go on when writers are gone; false: return then"}
    )
    wait_s: float = field(
        default=10.0,
        metadata={"help": "with follow false: how long to wait for rings to appear, in seconds"},
    )

    @property
    def through_journal(self) -> bool:
        """Where the records come from."""
        return bool(self.journal) if self.durable is None else self.durable

    def __post_init__(self) -> None:
        refuse(
            self._check_sizes(),
            self._check_times(),
            self._check_choices(),
            self._check_journal(),
            told(lambda: sink_options(load_sink(self.sink_type), self.sink_options)),
        )

    def _check_sizes(self) -> Iterator[str]:
        for key, value in values(self, ("batch_size", "catch_up_size")):
            if not isinstance(value, int) or not 1 <= value <= MAX_BATCH:
                yield f"{key}: must be a whole number from 1 to {MAX_BATCH}, not {value!r}"
        if not isinstance(self.max_pending, int) or self.max_pending < self.batch_size:
            yield (
                f"max_pending: must be at least batch_size ({self.batch_size}), "
                f"not {self.max_pending!r}"
            )

    def _check_times(self) -> Iterator[str]:
        for key, seconds in values(self, ("flush_interval_s", "back_off_max_s", "wait_s")):
            if key == "flush_interval_s" and not 0 < seconds <= 3600:
                yield f"{key}: must be greater than 0 and at most 3600, not {seconds!r}"
            if key == "back_off_max_s" and not seconds >= BACK_OFF_MIN_S:
                yield f"{key}: must be at least {BACK_OFF_MIN_S}, not {seconds!r}"
            if key == "wait_s" and not seconds >= 0:
                yield f"{key}: must not be negative: {seconds!r}"

    def _check_choices(self) -> Iterator[str]:
        if self.overflow not in ("block", "drop"):
            yield f"overflow: must be block or drop, not {self.overflow!r}"
        if self.read_limit not in ("written", "durable"):
            yield f"read_limit: must be written or durable, not {self.read_limit!r}"

    def _check_journal(self) -> Iterator[str]:
        if self.durable and not self.journal:
            yield "durable: true needs `journal`, the folder that a journal consumer writes"
        if self.through_journal and self.overflow == "drop":
            yield "overflow: drop is for the ring; a journal keeps what the sink refuses"
