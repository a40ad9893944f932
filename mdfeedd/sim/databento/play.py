"""A gateway out of plain options, as a command line or another process has them, and what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from mdfeedd.sim.databento.core import KEY, GatewayCore, Habits
from mdfeedd.sim.databento.file_market import FileMarket
from mdfeedd.sim.databento.gateway import Gateway
from mdfeedd.sim.databento.layouts import ALL_SCHEMAS
from mdfeedd.sim.databento.market import Market
from mdfeedd.sim.databento.script import Fault, Script

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GatewayOptions", "Report", "playing"]

DATASET: Final = "GLBX.MDP3"
KEEP_S: Final = 600.0  # that a made-up market can replay
_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """file: play it instead of a made-up market. faults: as `Fault.parse` reads them. history_s: there already.

    dataset: if it is not given, the file's, or CME's.
    """

    host: str = "127.0.0.1"
    port: int = 0
    key: str = field(default=KEY, repr=False)
    dataset: str = ""
    instruments: int | Sequence[str] = 4
    schemas: tuple[str, ...] = ALL_SCHEMAS
    rate: float = 100.0
    seed: int = 1
    publishers: int = 1
    backward: bool = False
    history_s: float = 0.0
    file: str = ""
    faults: tuple[str, ...] = ()
    flood: bool = False
    limit_records: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Numbers of all sessions together; records are market records."""

    connects: int = 0
    sessions: int = 0
    records: int = 0
    replayed: int = 0
    skipped: int = 0
    bytes_sent: int = 0
    faults: int = 0

    @classmethod
    def of(cls, gateway: Gateway) -> Self:
        """So far."""
        with gateway.lock:
            accounts = gateway.core.sessions
            return cls(
                connects=len(accounts),
                sessions=sum(account.authenticated for account in accounts),
                records=sum(account.records for account in accounts),
                replayed=sum(account.replayed for account in accounts),
                skipped=sum(len(account.skipped) for account in accounts),
                bytes_sent=sum(account.bytes_sent for account in accounts),
                faults=sum(len(account.faults) for account in accounts),
            )


def playing(options: GatewayOptions) -> Gateway:
    """A gateway that is not started yet. ValueError, DbnFileError for options; OSError for a file."""
    now_ns = time.time_ns()
    market: FileMarket | Market
    if options.file:
        market = FileMarket(options.file, start_ns=now_ns)
    else:
        market = Market(
            options.seed,
            instruments=options.instruments,
            schemas=options.schemas,
            rate=options.rate,
            start_ns=now_ns - int(options.history_s * _NS_PER_S),
            publishers=options.publishers,
            backward=options.backward,
            keep_ns=int(max(KEEP_S, options.history_s) * _NS_PER_S),
        )
    core = GatewayCore(
        market,
        Script(tuple(Fault.parse(text) for text in options.faults)),
        (options.key,),
        options.dataset or (market.dataset if isinstance(market, FileMarket) else DATASET),
        habits=Habits(flood=options.flood, limit_records=options.limit_records, keep_sent=False),
        seed=options.seed,
    )
    return Gateway(core, options.host, options.port)
