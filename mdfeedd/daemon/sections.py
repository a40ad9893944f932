"""The sections of the configuration file: their keys, defaults, limits and what each key is for.

What is written here is what ``mdfeedd check`` checks, what it says of a key beside a mistake, and what editors
are told by the JSON Schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from mdfeedd.daemon import numa, scheduling
from mdfeedd.daemon.symbols import Names  # noqa: TC001 - annotations are read when it runs
from mdfeedd.daemon.yaml12 import Node
from mdfeedd.feeds.protocol import FEED_SUFFIXES
from mdfeedd.feeds.shard import Shard

__all__ = [
    "MAX_CONSUMERS",
    "MAX_FEEDS",
    "SINK_FIELDS",
    "SINK_KEY",
    "ConsumerSection",
    "FeedSection",
    "FileSection",
    "LogSection",
    "MetricsSection",
]

SINK_KEY: Final = "sink"
"""In the options of a consumer with the fields of `SINK_FIELDS`: a mapping of `type` and the sink's options."""
SINK_FIELDS: Final = ("sink_type", "sink_options")
MIN_CAPACITY: Final = 256
MAX_CAPACITY: Final = 1 << 28
MAX_INSTRUMENTS: Final = 1 << 24
MAX_FEEDS: Final = 255
"""One byte of an instrument id, and 0 is left for rings that are made by hand."""
MAX_CONSUMERS: Final = 128
FEED_HANG_S: Final = 30.0
"""A feed's loop turns many times a second, whatever the market does."""
CONSUMER_HANG_S: Final = 60.0
"""A function of yours may wait as long for whatever it likes; a call of a sink longer, see `batch.heart`."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,31}")
_RESERVED_ENDS: Final = (*FEED_SUFFIXES, ".readers", ".new")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"'{value}' must be 1 to 31 of A-Z a-z 0-9 . _ -")
    if value.endswith(_RESERVED_ENDS):
        raise ValueError(f"'{value}' must not end in {', '.join(_RESERVED_ENDS)}")
    return value


def _capacity(value: int) -> int:
    if not MIN_CAPACITY <= value <= MAX_CAPACITY:
        raise ValueError(f"must be {MIN_CAPACITY} to {MAX_CAPACITY}, found {value}")
    if value & (value - 1):
        below = 1 << (value.bit_length() - 1)
        raise ValueError(f"must be a power of two, found {value}: take {below} or {below * 2}")
    return value


def _shard(value: str) -> str:
    return str(Shard.parse(value))


def _directory(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"must be an absolute path, found '{value}'")
    return value


_Name = Annotated[str, AfterValidator(_name)]
_Cpus = Annotated[tuple[int, ...], AfterValidator(scheduling.check_cpus)]
_Priority = Annotated[str, AfterValidator(scheduling.check_priority)]
_NumaNode = Annotated[int, Field(ge=0, le=numa.MAX_NODE)] | None
_HangS = Annotated[float, Field(ge=0)]
_HANG_HELP: Final = "without a sign of life for so long it is ended and started again; 0: never"
_SINK_HANG_HELP: Final = f"{_HANG_HELP}; one call of a sink may take 5 min"  # see `batch.heart`
_NODE_HELP: Final = "node whose memory it takes first, and whose CPUs if cpus has none; null: any"
_Empty: Final = Node({})


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """Where metrics are served."""

    host: str = field(default="127.0.0.1", metadata={"help": "address to serve /metrics on"})
    port: Annotated[int, Field(ge=0, le=65_535)] | None = field(
        default=9464, metadata={"help": "0: any free port; null: no server"}
    )
    prices: bool = field(
        default=True,
        metadata={"help": "last prices and bars on the status page, for all who reach it"},
    )
    names: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "names it may be asked by, besides localhost, the machine's own and addresses"
        },
    )
    token_credential: str = field(
        default="",
        metadata={"help": "token that who asks must show, for all but /healthz, /readyz"},
    )
    token_file: str = field(default="", metadata={"help": "... or a file with nothing else in it"})
    token_env: str = field(default="", metadata={"help": "... or an environment variable"})

    def __post_init__(self) -> None:
        given = [k for k in ("token_credential", "token_file", "token_env") if getattr(self, k)]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: {given[0]} is given already")


@dataclass(frozen=True, slots=True)
class LogSection:
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata={"help": "what is logged, and all that is graver"}
    )
    json: bool = field(default=False, metadata={"help": "one JSON object a line in place of text"})


@dataclass(frozen=True, slots=True)
class FeedSection:
    """One feed. Its options are those of its vendor."""

    name: _Name = field(metadata={"help": "names the feed, its process and its ring"})
    vendor: str = field(metadata={"help": "a registered feed, or package.module:Class"})
    capacity: Annotated[int, AfterValidator(_capacity)] = field(
        default=65_536, metadata={"help": "ticks that the ring holds, 64 bytes each"}
    )
    instruments_capacity: Annotated[int, Field(ge=1, le=MAX_INSTRUMENTS)] = field(
        default=65_536, metadata={"help": "entries of its instruments table"}
    )
    shard: Annotated[str, AfterValidator(_shard)] | None = field(
        default=None,
        metadata={"help": "part of its instruments, by symbol: 2/4, the second of four; null: all"},
    )
    cpus: _Cpus = field(default=(), metadata={"help": "CPUs that it may run on; none: any"})
    numa_node: _NumaNode = field(default=None, metadata={"help": _NODE_HELP})
    huge_pages: bool = field(
        default=False, metadata={"help": "its rings lie on pages of 2 MiB, where the kernel can"}
    )
    priority: _Priority = field(
        default=scheduling.NORMAL, metadata={"help": "how urgently it runs"}
    )
    hang_s: _HangS = field(default=FEED_HANG_S, metadata={"help": _HANG_HELP})
    options: Node = field(
        default_factory=lambda: _Empty, metadata={"help": "what its vendor's feed can be told"}
    )


@dataclass(frozen=True, slots=True)
class ConsumerSection:
    """One consumer. Its options are those of its type."""

    name: _Name = field(metadata={"help": "names the consumer and its process"})
    type: str = field(metadata={"help": "a registered consumer, or package.module:Class"})
    rings: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_FEEDS)] = field(
        metadata={"help": "rings to read"}
    )
    cpus: _Cpus = field(default=(), metadata={"help": "CPUs that it may run on; none: any"})
    numa_node: _NumaNode = field(default=None, metadata={"help": _NODE_HELP})
    priority: _Priority = field(
        default=scheduling.NORMAL, metadata={"help": "how urgently it runs"}
    )
    hang_s: _HangS = field(default=CONSUMER_HANG_S, metadata={"help": _SINK_HANG_HELP})
    options: Node = field(
        default_factory=lambda: _Empty, metadata={"help": "what a consumer of its type can be told"}
    )


@dataclass(frozen=True, slots=True)
class FileSection:
    """The whole file, or a part that is included."""

    feeds: tuple[Node, ...] = field(metadata={"help": "what to run"})
    include: Node = field(
        default_factory=lambda: _Empty,
        metadata={"help": "files, folders or patterns: their feeds and consumers are appended"},
    )
    shm_dir: Annotated[str, AfterValidator(_directory)] = field(
        default="/dev/shm",  # noqa: S108 - the POSIX shared-memory file system
        metadata={"help": "folder of a shared-memory file system (tmpfs) for the rings"},
    )
    metrics: MetricsSection | None = field(
        default_factory=MetricsSection,
        metadata={"help": "where Prometheus metrics are served; null: nowhere"},
    )
    log: LogSection = field(
        default_factory=LogSection, metadata={"help": "what is logged, and how"}
    )
    consumers: tuple[Node, ...] = field(
        default=(), metadata={"help": "what reads the rings, one process each"}
    )
    symbols: Names = field(
        default_factory=dict,
        metadata={"help": "one name for what each feed calls differently: {NAME: {FEED: SYMBOL}}"},
    )
