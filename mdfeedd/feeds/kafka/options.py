"""What the configuration says of a Kafka feed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from mdfeedd.feeds.kafka.codec.resume import MAX_PARTITIONS
from mdfeedd.feeds.readers import MIN_CONSUMERS_HELP
from mdfeedd.options import refuse, values
from mdfeedd.ring._ring import CONSUMER_SLOTS
from mdfeedd.sinks.kafka.options import KafkaConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KafkaOptions"]

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "kind": ("ticks", "bars"),
    "start": ("latest", "earliest"),
}
_RANGES: Final[dict[str, tuple[int, int]]] = {
    "max_wait_records": (1 << 16, 1 << 26),
    "definitions_wait_s": (0, 3600),
    "min_consumers": (0, CONSUMER_SLOTS),
    "min_consumers_limit_s": (0, 3600),
    "wait_for_consumers_s": (0, 3600),
    "receive_buffer_bytes": (1 << 20, 1 << 31),
}


def _key(help: str, default: Any) -> Any:  # noqa: A002 - the name that the metadata has
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class KafkaOptions(KafkaConnection):
    """Which ring of another host to follow, and from where on."""

    ring: str = _key("the ring's name there; empty: as the feed is called here", "")
    kind: Literal["ticks", "bars"] = _key("what that ring holds: ticks or bars", "ticks")
    start: Literal["latest", "earliest"] = _key(
        "where a ring begins that is new here: latest, or earliest: all that brokers keep", "latest"
    )
    partitions: tuple[int, ...] = _key("read these only; empty: all, in the ring's own order", ())
    max_wait_records: int = _key(
        "records that may wait here for those of a partition that is behind", 1_048_576
    )
    definitions_wait_s: float = _key(
        "how long records wait for the name of an instrument before it is #NUMBER", 10.0
    )
    min_consumers: int | None = _key(MIN_CONSUMERS_HELP, None)
    min_consumers_limit_s: float = _key("for so long; then it goes on without, and says so", 30.0)
    wait_for_consumers_s: float = _key(
        "how long a consumer here that stands still holds the feed back; then it loses", 5.0
    )
    receive_buffer_bytes: int = _key("fetched ahead, at most", 67_108_864)

    def __post_init__(self) -> None:
        refuse(
            *KafkaConnection.checks(self),
            self._check_choices(),
            self._check_partitions(),
            self._check_ranges(),
        )

    def _check_choices(self) -> Iterator[str]:
        for key, value in values(self, _CHOICES):
            if value not in _CHOICES[key]:
                yield f"{key}: must be {' or '.join(_CHOICES[key])}, not {value!r}"

    def _check_partitions(self) -> Iterator[str]:
        given = self.partitions
        right = all(isinstance(p, int) and 0 <= p < MAX_PARTITIONS for p in given)
        if not right or len(set(given)) != len(given):
            yield f"partitions: must be different numbers from 0 to {MAX_PARTITIONS - 1}"

    def _check_ranges(self) -> Iterator[str]:
        for key, value in values(self, _RANGES):
            low, high = _RANGES[key]
            if value is not None and not low <= value <= high:
                yield f"{key}: must be {low} to {high}, not {value!r}"
