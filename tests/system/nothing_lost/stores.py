"""The servers and folders that the records end in: how to hurt them, and what is in them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tests.sinks.servers.kafka import ApacheBroker
from tests.sinks.servers.postgres import PostgresServer
from tests.sinks.servers.redis import RedisServer

Stored = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.uint32]]
"""seq in the order of the store (or sorted, where it has none), price, size."""
MAXLEN = 10_000_000


def _columns(rows) -> Stored:
    seq = np.array([row[0] for row in rows], np.uint64)
    price = np.array([int(row[1]) for row in rows], np.int64)
    return seq, price, np.array([row[2] for row in rows], np.uint32)


class ParquetStore:
    """Files; there is no server to kill."""

    name = "parquet"
    victim = False

    def __init__(self, folder):
        self.folder = folder / "parquet"
        self.sink = {"type": "parquet", "path": str(self.folder), "roll_s": 0.3}

    def read(self) -> Stored:
        import duckdb

        sql = " UNION ALL ".join(
            f"SELECT seq, {price} * 1000000000, {size} FROM '{self.folder}/{table}/**/*.parquet'"
            for table, price, size in (
                ("trades", "price", "size"),
                ("quotes", "bid_price", "bid_size"),
            )
        )
        return _columns(duckdb.connect().execute(f"FROM ({sql}) ORDER BY 1").fetchall())

    def stored(self) -> int:
        return 0 if not list(self.folder.rglob("*.parquet")) else len(self.read()[0])

    def remove(self):
        """Nothing: the test's folder."""


class PostgresStore:
    name = "postgres"
    victim = True

    def __init__(self, folder):
        self.server = PostgresServer()
        self.server.start()
        self.sink = {"type": "postgres", "dsn": self.server.dsn(), "connections": 2}

    def kill(self):
        self.server.kill()

    def start(self):
        self.server.start()

    def read(self) -> Stored:
        return _columns(
            self.server.execute(
                "select seq, price, size from mdfeedd.trade union all "
                "select seq, bid_price, bid_size from mdfeedd.quote order by 1"
            )
        )

    def stored(self) -> int:
        sql = "select (select count(*) from mdfeedd.trade) + (select count(*) from mdfeedd.quote)"
        return self.server.execute(sql)[0][0]

    def remove(self):
        self.server.remove()


class RedisStore:
    name = "redis"
    victim = True

    def __init__(self, folder):
        self.server = RedisServer(appendonly="yes", appendfsync="always")
        self.server.start()
        self.sink = {
            "type": "redis",
            "modes": ["stream"],
            "stream_maxlen": MAXLEN,
            "port": self.server.port,
        }

    def kill(self):
        self.server.kill()

    def start(self):
        self.server.start()

    def _records(self):
        from tests.sinks.redis.conftest import stored

        return stored(self.server, "truth").records

    def read(self) -> Stored:
        return _of_ticks(self._records())

    def stored(self) -> int:
        return len(self._records())

    def remove(self):
        self.server.remove()


class KafkaStore:
    name = "kafka"
    victim = True

    def __init__(self, folder):
        self.broker = ApacheBroker(folder / "kafka")
        self.sink = {"type": "kafka", "bootstrap_servers": self.broker.address, "partitions": 2}

    def kill(self):
        self.broker.kill()

    def start(self):
        self.broker.start()

    def _records(self):
        from tests.sinks.kafka.conftest import Read

        reader = Read(self.broker, "truth")
        try:
            return reader.records()
        finally:
            reader.close()

    def read(self) -> Stored:
        return _of_ticks(self._records())

    def stored(self) -> int:
        return len(self._records())

    def remove(self):
        self.broker.stop()


def _of_ticks(ticks) -> Stored:
    """Trades and quotes have price and bid, size and bid size at different places."""
    from mdfeedd.tick import QUOTE, TRADE, Kind

    trade = ticks["kind"] == Kind.TRADE
    trades, quotes = ticks.view(TRADE), ticks.view(QUOTE)
    price = np.where(trade, trades["price"], quotes["bid_price"])
    return ticks["seq"], price, np.where(trade, trades["size"], quotes["bid_size"])
