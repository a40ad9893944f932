"""The four stores: servers of one's own, how each is hurt and mended, and what each holds of a ring."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mdfeedd.tick import BAR, PRICE_UNDEF, TICK, Kind
from tests.sinks.servers import kafka, postgres, redis
from tests.sinks.servers.kafka import ApacheBroker
from tests.sinks.servers.postgres import PostgresServer
from tests.sinks.servers.redis import RedisServer
from tests.system.chaos.books import PRICED, Holding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAXLEN: Final = 100_000_000
PARQUET_KINDS: Final = (Kind.QUOTE, Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION)


class Store(Protocol):
    """A store; `kill`, `start`, `freeze` and `thaw` are of its server, if it is a `victim`."""

    name: str
    victim: bool
    sink: dict[str, Any]

    def kill(self) -> None: ...
    def start(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def holding(self, ring: str) -> Holding: ...
    def bars(self, ring: str) -> Holding | None:
        """None: its bars have no numbers."""

    def forgeries(self, ring: str) -> list[Callable[[], object]]:
        """Ways to falsify what it holds of a ring, done one after the other."""

    def remove(self) -> None: ...


class Parquet:
    """Files, on the small disk; nobody to kill. Quotes, trades and their corrections only."""

    name = "parquet"
    victim = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk" / "parquet"
        self.sink = {"type": "parquet", "path": str(self.folder), "roll_s": 1.0}

    def kill(self) -> None: ...
    def start(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...

    def holding(self, ring: str) -> Holding:
        import duckdb

        parts = [
            f"SELECT seq, cast({price} * 1000000000 as bigint) AS price, {size} AS size "
            f"FROM read_parquet('{self.folder}/{table}/feed={ring}/*/*.parquet')"
            for table, price, size in (
                ("quotes", "bid_price", "bid_size"),
                ("trades", "price", "size"),
                ("corrections", "price", "size"),
            )
            if list(self.folder.glob(f"{table}/feed={ring}/*/*.parquet"))
        ]
        rows = duckdb.connect().execute(" UNION ALL ".join(parts)).fetchall() if parts else []
        return priced(rows, kinds=PARQUET_KINDS, tells=False)

    def bars(self, ring: str) -> None:
        return None

    def forgeries(self, ring: str) -> list[Callable[[], object]]:
        first, second, *_ = sorted(self.folder.glob(f"quotes/feed={ring}/*/*.parquet"))
        return [first.unlink, lambda: shutil.copy(second, second.with_name("twice.parquet"))]

    def remove(self) -> None: ...


def priced(rows: list[Any], *, all_priced: bool = True, **more: Any) -> Holding:
    """Rows of number, price and size (and whether it has these); null is an undefined price."""
    seq = np.array([row[0] for row in rows], np.uint64)
    price = np.array([PRICE_UNDEF if row[1] is None else row[1] for row in rows], np.int64)
    size = np.array([row[2] for row in rows], np.int64)
    if all_priced:
        has = np.ones(len(rows), bool)
    else:
        has = PRICED[np.array([row[3] for row in rows], np.intp)]
    return Holding(seq, price=price, size=size, priced=has, **more)


_POSTGRES: Final = """
select t.seq, {price}, {size}, {kind} from mdfeedd.{table} t join mdfeedd.source s using (source_id)
where s.ring = %s"""


class Postgres:
    name = "postgres"
    victim = True

    def __init__(self, folder: Path) -> None:
        self.server = PostgresServer()
        self.server.start()
        dsn = self.server.dsn(host="127.0.0.1")
        self.sink = {"type": "postgres", "dsn": dsn, "connections": 2}

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    def holding(self, ring: str) -> Holding:
        tables = [
            ("quote", "t.bid_price", "t.bid_size", str(int(Kind.QUOTE))),
            ("trade", "t.price", "t.size", "t.kind"),
            *(
                (table, "0", "0", str(int(kind)))
                for table, kind in (
                    ("status", Kind.STATUS), ("statistic", Kind.STATISTIC),
                    ("imbalance", Kind.IMBALANCE), ("definition", Kind.DEFINITION),
                )
            ),
            ("feed_event", "0", "0", "t.kind"),
        ]  # fmt: skip
        sql = " union all ".join(
            _POSTGRES.format(table=table, price=price, size=size, kind=kind)
            for table, price, size, kind in tables
        )
        rows = self.server.execute(sql, parameters=[ring] * len(tables))
        lapped = self.server.execute(
            "select t.seq, t.first_missing, t.last_missing from mdfeedd.feed_event t "
            "join mdfeedd.source s using (source_id) where s.ring = %s and t.kind = 7 and t.reason = 6",
            parameters=[ring],
        )
        return priced(rows, all_priced=False, lapped=[tuple(row) for row in lapped])

    def bars(self, ring: str) -> Holding:
        rows = self.server.execute(
            "select t.seq, 0, 0 from mdfeedd.bar t join mdfeedd.source s using (source_id) "
            "where s.ring = %s",
            parameters=[ring],
        )
        return Holding(np.array([row[0] for row in rows], np.uint64))

    def forgeries(self, ring: str) -> list[Callable[[], object]]:
        one = (
            "from mdfeedd.quote where (tableoid, ctid) = (select t.tableoid, t.ctid from mdfeedd.quote t "
            "join mdfeedd.source s using (source_id) where s.ring = %s limit 1)"
        )
        return [
            lambda: self.server.execute(f"delete {one}", parameters=[ring]),
            lambda: self.server.execute(
                f"insert into mdfeedd.quote select * {one}", parameters=[ring]
            ),
        ]

    def remove(self) -> None:
        self.server.remove()


class Redis:
    name = "redis"
    victim = True

    def __init__(self, folder: Path) -> None:
        self.server = RedisServer(appendonly="yes", appendfsync="always")
        self.server.start()
        port = self.server.port
        self.sink = {"type": "redis", "modes": ["stream"], "stream_maxlen": MAXLEN, "port": port}

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    def holding(self, ring: str) -> Holding:
        from tests.sinks.redis.conftest import stored

        return Holding.of(stored(self.server, ring).records)

    bars = holding

    def forgeries(self, ring: str) -> list[Callable[[], object]]:
        stream, client = f"md:{{{ring}}}:stream", self.server.client()
        (first, _), (_, second) = client.xrange(stream, count=2)
        return [lambda: client.xdel(stream, first), lambda: client.xadd(stream, second)]

    def remove(self) -> None:
        self.server.remove()


class Kafka:
    name = "kafka"
    victim = True

    def __init__(self, folder: Path) -> None:
        self.broker = ApacheBroker(folder / "kafka")
        address = self.broker.address
        self.sink = {"type": "kafka", "bootstrap_servers": address, "partitions": 2}

    def kill(self) -> None:
        self.broker.kill()

    def start(self) -> None:
        self.broker.start()

    def freeze(self) -> None:
        self.broker.freeze()

    def thaw(self) -> None:
        self.broker.thaw()

    def _read(self, ring: str, kind: str, nothing: np.dtype[Any]) -> Holding:
        from tests.sinks.kafka.conftest import Read

        reader = Read(self.broker, ring)
        try:
            chunks = reader.chunks(kind)
        finally:
            reader.close()
        return Holding.of(_once([np.concatenate([np.empty(0, nothing), *(r for _, r in part)])
                                 for part in chunks.values()]))  # fmt: skip

    def holding(self, ring: str) -> Holding:
        return self._read(ring, "ticks", TICK)

    def bars(self, ring: str) -> Holding:
        return self._read(ring, "bars", BAR)

    def forgeries(self, ring: str) -> list[Callable[[], object]]:
        return []  # a log: nothing is taken out of it

    def remove(self) -> None:
        self.broker.stop()


def _once(partitions: list[np.ndarray]) -> np.ndarray:
    """Whoever reads one partition is told of whole-feed records, too: they are in each, and one of them counts.

    A copy that is in one partition twice stays twice; one that is not in all partitions is as good as missing.
    """
    first, *others = partitions
    if "instrument_id" not in (first.dtype.names or ()):
        return np.concatenate(partitions)
    wide = [part[part["instrument_id"] == 0]["seq"] for part in partitions]
    everywhere = wide[0]
    for numbers in wide[1:]:
        everywhere = everywhere[np.isin(everywhere, numbers)]
    kept = [first[(first["instrument_id"] != 0) | np.isin(first["seq"], everywhere)]]
    for part, numbers in zip(others, wide[1:], strict=True):
        values, times = np.unique(numbers, return_counts=True)
        again = part[np.isin(part["seq"], values[times > 1])]
        kept += [part[part["instrument_id"] != 0], again[again["instrument_id"] == 0]]
    return np.concatenate(kept)


#: By name: the class, and why it cannot be had here (empty: it can).
STORES: Final[dict[str, tuple[Callable[[Path], Store], Callable[[], str]]]] = {
    "parquet": (Parquet, lambda: ""),
    "postgres": (Postgres, lambda: "" if postgres.binaries() else postgres.NOT_INSTALLED),
    "redis": (Redis, lambda: "" if redis.binary() else redis.NOT_INSTALLED),
    "kafka": (Kafka, lambda: "" if kafka.usable() else "no JDK, or no jars of Apache Kafka"),
}
