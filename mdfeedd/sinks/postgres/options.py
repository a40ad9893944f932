"""The options of the PostgreSQL sink."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from mdfeedd.options import refuse, values

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PostgresOptions"]

MAX_CONNECTIONS: Final = 64
MAX_S: Final = 100 * 366 * 86_400
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")
#: In a URI, or as a keyword; what it is worth is never shown.
_PASSWORD: Final = re.compile(r"//[^/@:]*:[^@/]*@|\bpassword\s*=", re.IGNORECASE)


_RANGES: Final = {
    "port": (0, 65_535),
    "connections": (1, MAX_CONNECTIONS),
    "chunk_s": (60, 366 * 86_400),
    "compress_after_s": (0, MAX_S),
    "retain_s": (0, MAX_S),
    "retain_bars_s": (0, MAX_S),
}


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """Which database, and how what is stored there is laid out."""

    dsn: str = field(
        default="",
        metadata={"help": "libpq's connection string or URI (sslmode ...), without a password"},
    )
    host: str = field(
        default="", metadata={"help": "name, address or socket folder; over the dsn's"}
    )
    port: int = field(default=0, metadata={"help": "0: the dsn's, or 5432"})
    dbname: str = field(default="", metadata={"help": "database; over the dsn's"})
    user: str = field(default="", metadata={"help": "role; over the dsn's"})
    password_env: str = field(
        default="", metadata={"help": "environment variable with the password"}
    )
    password_file: str = field(default="", metadata={"help": "file with the password"})
    password_credential: str = field(
        default="", metadata={"help": "systemd credential with the password"}
    )
    schema: str = field(
        default="mdfeedd", metadata={"help": "schema for the tables; made if need be"}
    )
    connections: int = field(
        default=1,
        metadata={
            "help": "connections that store at the same time, instruments shared among them; "
            "twice as many where batches are large"
        },
    )
    index: Literal["none", "time", "instrument"] = field(
        default="none",
        metadata={
            "help": "of quotes and trades in partitions: none, time (COPY costs a quarter more), "
            "or instrument (twice)"
        },
    )
    timescaledb: Literal["auto", "require", "off"] = field(
        default="auto",
        metadata={"help": "hypertables: auto (where the extension is), require, off (partitions)"},
    )
    chunk_s: int = field(
        default=3600, metadata={"help": "time in a chunk of quotes or trades (TimescaleDB)"}
    )
    compress_after_s: int = field(
        default=7200, metadata={"help": "chunks are compressed at this age (TimescaleDB); 0: never"}
    )
    retain_s: int = field(
        default=0, metadata={"help": "all but bars is dropped at this age; 0: never"}
    )
    retain_bars_s: int = field(
        default=0, metadata={"help": "bars are dropped at this age; 0: never"}
    )
    timeout_s: float = field(
        default=60.0, metadata={"help": "a batch that takes the server longer is tried again"}
    )
    lock_timeout_s: float = field(
        default=10.0, metadata={"help": "longest wait for a lock that somebody else holds"}
    )

    def __post_init__(self) -> None:
        refuse(
            self._check_login(),
            self._check_schema(),
            self._check_layout(),
            self._check_ranges(),
            self._check_timeouts(),
        )

    def _check_login(self) -> Iterator[str]:
        for key, value in values(self, ("dsn", "host", "dbname", "user")):
            if not isinstance(value, str) or "\0" in value:
                yield f"{key}: must be text"
            elif _PASSWORD.search(value):
                yield f"{key}: must not hold a password: say where it is by the option password"

    def _check_schema(self) -> Iterator[str]:
        if not isinstance(self.schema, str) or not _SCHEMA.fullmatch(self.schema):
            yield f"schema: must be a lower-case name of letters, digits and _, not {self.schema!r}"
        elif self.schema.startswith("pg_"):
            yield f"schema: names with pg_ are PostgreSQL's own, not {self.schema!r}"

    def _check_layout(self) -> Iterator[str]:
        if self.timescaledb not in ("auto", "require", "off"):
            yield f"timescaledb: must be auto, require or off, not {self.timescaledb!r}"
        if self.index not in ("none", "time", "instrument"):
            yield f"index: must be none, time or instrument, not {self.index!r}"

    def _check_ranges(self) -> Iterator[str]:
        for key, number in values(self, _RANGES):
            low, high = _RANGES[key]
            if type(number) is not int or not low <= number <= high:
                yield f"{key}: must be a whole number from {low} to {high}, not {number!r}"

    def _check_timeouts(self) -> Iterator[str]:
        right = True
        for key, seconds in values(self, ("timeout_s", "lock_timeout_s")):
            if not isinstance(seconds, (int, float)) or not 0.1 <= seconds <= 3600:
                right = False
                yield f"{key}: must be from 0.1 to 3600, not {seconds!r}"
        if right and self.lock_timeout_s > self.timeout_s:
            yield f"lock_timeout_s: must be at most timeout_s ({self.timeout_s:g})"
