"""What the configuration says of a live Databento feed."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from mdfeedd.feeds.databento.schemas import (
    INTERVAL_TOUCH,
    MBO,
    RTYPES,
    SCHEMAS,
    WITH_TRADES,
)
from mdfeedd.options import nearest, refuse, told, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ALL_SYMBOLS",
    "MAX_SUBSCRIPTIONS",
    "MAX_SYMBOLS",
    "PORT",
    "DatabentoOptions",
    "Recovery",
    "Subscription",
]

ALL_SYMBOLS: Final = "ALL_SYMBOLS"
PORT: Final = 13_000
MAX_SUBSCRIPTIONS: Final = 64
MAX_SYMBOLS: Final = 100_000
"""Of one subscription."""
MAX_SYMBOL_CHARACTERS: Final = 70

Recovery = Literal["natural", "replay", "snapshot"]
SType = Literal["raw_symbol", "parent", "continuous", "instrument_id"]

_DATASET: Final = re.compile(r"[A-Z0-9]{2,8}\.[A-Z0-9]{2,8}")
_HOST: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>\d{1,5}))?")
_MAX_PORT: Final = 65_535
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_MAX_NS: Final = 2**63 - 1
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_RANGES: Final[dict[str, tuple[int, int]]] = {
    "heartbeat_s": (5, 1800),
    "receive_buffer_bytes": (65_536, 1 << 30),
    "spin_us": (0, 1_000_000),
    "replay_reach_s": (0, 3600),
    "replay_limit_s": (0, 7 * 86_400),
    "max_orders": (16, 1 << 26),
}


def _key(help: str, default: Any) -> Any:  # noqa: A002 - the name that the metadata has
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Subscription:
    """What to ask the gateway for. Raises `ValueError` ("key: reason")."""

    schema: str = field(metadata={"help": "mbp-1, trades, tbbo, mbp-10, bbo-1s, mbo, ohlcv-1s ..."})
    symbols: tuple[str, ...] = field(metadata={"help": "such as [ESZ6, NQZ6], or [ALL_SYMBOLS]"})
    stype: SType = field(
        default="raw_symbol",
        metadata={"help": "raw_symbol, parent (ES.FUT), continuous (ES.c.0) or instrument_id"},
    )
    recovery: Recovery | Literal["auto"] = field(
        default="auto",
        metadata={
            "help": "after a disconnect: natural, replay, snapshot (mbo); auto: snapshot for mbo"
        },
    )
    start: str = field(
        default="",
        metadata={
            "help": "begin in the past: ISO 8601 (UTC), or 0: all the gateway keeps; empty: live"
        },
    )

    def __post_init__(self) -> None:
        refuse(
            self._check_stype(),
            told(self._check_symbols),
            self._check_recovery(),
            told(self._check_start),
        )

    def _check_stype(self) -> Iterator[str]:
        if self.stype not in get_args(SType):
            yield f"stype: must be one of {', '.join(get_args(SType))}, not {self.stype!r}"

    def _check_symbols(self) -> None:
        if not 1 <= len(self.symbols) <= MAX_SYMBOLS:
            raise ValueError(f"symbols: must be 1 to {MAX_SYMBOLS}, not {len(self.symbols)}")
        for symbol in self.symbols:
            _check_symbol(symbol)

    def _check_recovery(self) -> Iterator[str]:
        if self.schema not in RTYPES:
            meant = nearest(self.schema, SCHEMAS)
            yield f"schema: must be one of {', '.join(SCHEMAS)}, not {self.schema!r}{meant}"
            return
        if self.policy == "snapshot" and self.schema != MBO:
            yield f"recovery: snapshot is for mbo only, not for {self.schema}"
        if self.policy == "replay" and self.schema == MBO:
            yield "recovery: an mbo book cannot be had by replay: use snapshot or natural"

    def _check_start(self) -> None:
        if self.start_ns is not None and self.policy == "snapshot":
            raise ValueError("start: and a snapshot exclude each other")

    @property
    def policy(self) -> Recovery:
        """How it recovers."""
        if self.recovery == "auto":
            return "snapshot" if self.schema == MBO else "natural"
        return self.recovery

    @property
    def rtype(self) -> int:
        """The type of its records."""
        return RTYPES[self.schema]

    @property
    def start_ns(self) -> int | None:
        """`start` as UNIX ns. Raises `ValueError`."""
        if not self.start:
            return None
        if self.start.isascii() and self.start.isdigit():
            start_ns = int(self.start)
        else:
            try:
                when = dt.datetime.fromisoformat(self.start)
            except ValueError:
                raise ValueError(f"start: is no ISO 8601 time: {self.start!r}") from None
            if when.tzinfo is None:
                when = when.replace(tzinfo=dt.UTC)
            start_ns = (when - _EPOCH) // _MICROSECOND * 1000
        if not 0 <= start_ns <= _MAX_NS:
            raise ValueError(f"start: must be in 1970 to 2262, not {self.start!r}")
        return start_ns


def are_named(subscriptions: Iterable[Subscription]) -> bool:
    """Whether all that is asked for is asked for by the names that it will have, one by one."""
    return all(
        one.stype == "raw_symbol" and ALL_SYMBOLS not in one.symbols for one in subscriptions
    )


def _check_symbol(symbol: str) -> None:
    if not 1 <= len(symbol) <= MAX_SYMBOL_CHARACTERS or not symbol.isprintable():
        raise ValueError(
            f"symbols: must be of 1 to {MAX_SYMBOL_CHARACTERS} printable characters, not {symbol!r}"
        )
    if set(symbol) & {"|", ",", "\n", "="}:
        raise ValueError(f"symbols: must not hold | , or =: {symbol!r}")


@dataclass(frozen=True, slots=True)
class DatabentoOptions:
    """One live session: a dataset and what to take of it. Raises `ValueError` ("key: reason")."""

    dataset: str = field(metadata={"help": "such as GLBX.MDP3, XNAS.ITCH, OPRA.PILLAR"})
    subscriptions: tuple[Subscription, ...] = field(metadata={"help": "what to ask for"})

    key_env: str = _key("environment variable with the API key", "DATABENTO_API_KEY")
    key_file: str = _key("file with the API key, in place of the variable", "")
    key_credential: str = _key("systemd credential with the API key, in place of both", "")
    gateway: str = _key("host, or host:port; empty: Databento's own for the dataset", "")

    encoding: Literal["dbn", "json"] = _key("dbn, or json to look at what comes (slow)", "dbn")
    compression: Literal["none", "zstd"] = _key(
        "none, or zstd: a fifth of the bytes, five times the work", "none"
    )
    ts_out: bool = _key("have the gateway's sending time with each record", False)
    heartbeat_s: int = _key("silence of so long and 5 s more ends a session", 30)
    slow_reader: Literal["auto", "warn", "skip"] = _key(
        "what the gateway does if we are too slow; auto: warn, but skip where only bbo or cbbo is asked for",
        "auto",
    )
    receive_buffer_bytes: int = _key("of the socket", 8 << 20)
    spin_us: int = _key(
        "ask the socket again and again for so long before sleeping; costs a processor", 0
    )
    max_orders: int = _key("in all mbo books, 40 bytes each", 1 << 22)
    accept_newer_dbn: bool = _key("read records of a DBN version above 3 as those of 3", False)

    replay_reach_s: float = _key(
        "a replay begins so much before what is known, for late venue times", 60.0
    )
    replay_limit_s: float = _key("a hole longer than this is not replayed", 86_400.0)
    renew_at: str = _key(
        'HH:MM (UTC), daily: a new session, to roll continuous symbols; "": never', ""
    )

    record: str = _key('folder for the sessions as they come, as .dbn.zst; "": none', "")

    def __post_init__(self) -> None:
        refuse(
            self._check_ranges(),
            self._check_paths(),
            self._check_key(),
            self._check_renewal(),
            self._check_encoding(),
            self._check_dataset(),
            told(self.address),
            self._check_subscriptions(),
        )

    def _check_dataset(self) -> Iterator[str]:
        if not _DATASET.fullmatch(self.dataset):
            yield f"dataset: must be like GLBX.MDP3, not {self.dataset!r}"

    def _check_ranges(self) -> Iterator[str]:
        for key, value in values(self, _RANGES):
            least, most = _RANGES[key]
            if not least <= value <= most:
                yield f"{key}: must be {least} to {most}, not {value}"

    def _check_paths(self) -> Iterator[str]:
        for key, path in values(self, ("record", "key_file")):
            if path and not path.startswith("/"):
                yield f"{key}: must be an absolute path, not {path!r}"

    def _check_key(self) -> Iterator[str]:
        if "/" in self.key_credential:
            yield f"key_credential: is a name, not a path: {self.key_credential!r}"

    def _check_renewal(self) -> Iterator[str]:
        if self.renew_at and not _TIME.fullmatch(self.renew_at):
            yield f"renew_at: must be HH:MM, not {self.renew_at!r}"

    def _check_encoding(self) -> Iterator[str]:
        if self.encoding == "json" and self.record:
            yield "record: holds DBN, so it cannot be had with encoding json"
        slow = {
            "encoding json": self.encoding == "json",
            "compression zstd": self.compression == "zstd",
            "record": bool(self.record),
        }
        if self.spin_us and any(slow.values()):
            named = " and ".join(name for name, is_so in slow.items() if is_so)
            yield f"spin_us: is for plain DBN, and does nothing with {named}"

    def _check_subscriptions(self) -> Iterator[str]:
        if not 1 <= len(self.subscriptions) <= MAX_SUBSCRIPTIONS:
            yield f"subscriptions: must be 1 to {MAX_SUBSCRIPTIONS}, not {len(self.subscriptions)}"
            return
        yield from told(self._check_twice)
        policies: dict[str, Recovery] = {}
        for one in self.subscriptions:
            if policies.setdefault(one.schema, one.policy) != one.policy:
                yield (
                    f"subscriptions: {one.schema} has two recoveries, {policies[one.schema]} and {one.policy}:"
                    " a replay is of a whole schema; use two feeds"
                )
                return

    def address(self) -> tuple[str, int]:
        """Host and port of the gateway. Raises `ValueError`."""
        if not self.gateway:
            return f"{self.dataset.lower().replace('.', '-')}.lsg.databento.com", PORT
        found = _HOST.fullmatch(self.gateway)
        port = int(found["port"] or PORT) if found else 0
        if found is None or not 1 <= port <= _MAX_PORT:
            raise ValueError(f"gateway: must be host or host:port, not {self.gateway!r}")
        return found["host"].strip("[]"), port

    @property
    def slow_reader_behavior(self) -> Literal["warn", "skip"]:
        """What to ask for: skipping loses trades for ever, and records that a replay would need."""
        if self.slow_reader != "auto":
            return self.slow_reader
        harmless = all(
            one.schema in INTERVAL_TOUCH and one.policy == "natural" for one in self.subscriptions
        )
        return "skip" if harmless else "warn"

    @property
    def tbbo(self) -> bool:
        """Records of type 1 are tbbo, not mbp-1."""
        return any(one.schema == "tbbo" for one in self.subscriptions)

    def _check_twice(self) -> None:
        """No record may come twice, and no trade be told twice."""
        schemas = {one.schema for one in self.subscriptions}
        if {"mbp-1", "tbbo"} <= schemas:
            raise ValueError(
                "subscriptions: tbbo and mbp-1 cannot be told apart in one session: use two feeds"
            )
        asked: dict[tuple[str, str], str] = {}
        for one in self.subscriptions:
            kind = "trades" if one.schema in WITH_TRADES else one.schema
            for symbol in one.symbols:
                other = asked.get((kind, symbol))
                if other is not None:
                    both = one.schema if one.schema == other else f"{other} and {one.schema}"
                    raise ValueError(
                        f"subscriptions: {symbol} is asked for twice, in {both}: each record would come twice"
                        if one.schema == other
                        else f"subscriptions: {symbol} is asked for in {both}: each trade would be told twice"
                    )
                asked[(kind, symbol)] = one.schema
        for (kind, symbol), schema in asked.items():
            if symbol != ALL_SYMBOLS and (kind, ALL_SYMBOLS) in asked:
                raise ValueError(
                    f"subscriptions: {symbol} in {schema} is one of {ALL_SYMBOLS} in"
                    f" {asked[(kind, ALL_SYMBOLS)]}: its records or trades would come twice"
                )
