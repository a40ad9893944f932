"""Ticks of a CSV file as a vendor of mdfeedd: ``vendor: csv`` in a configuration.

    time,symbol,bid_price,bid_size,ask_price,ask_size,price,size
    2026-03-02T14:30:00.000000001Z,ESZ6,6871.25,12,6871.50,9,,
    2026-03-02T14:30:00.000750000Z,ESZ6,,,,,6871.50,3

A row with a price is a trade, any other the best bid and ask. The entry point ``csv`` of the group
``mdfeedd.feeds`` names `CsvFeed`; that, and what this file shows, is all that a vendor takes:

  Options    a frozen dataclass: the keys of ``options:``, each with its help. It refuses what it cannot use.
  __init__   keeps what it is given and opens nothing: `mdfeedd check` makes a feed, too.
  run        makes the ring, publishes until `stop` is set or the source has ended, and returns.
  probe      tries the source for `mdfeedd check --connect`. May be left out.

A feed runs in a process of its own. What it raises says what became of it: `OSError`, and it is started again
after a while; ``SystemExit(77)`` or ``SystemExit(78)``, and it is not, because credentials or configuration are wrong.
"""

from __future__ import annotations

import csv
import itertools
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mdfeedd.feeds.protocol import ProbeLine, Severity
from mdfeedd.ring import Reader
from mdfeedd.tick import PRICE_UNDEF, QUOTE, TICK, TRADE, Kind, to_fixed

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from mdfeedd.feeds.protocol import RingPlan
    from mdfeedd.ring import Writer

logger = logging.getLogger("mdfeedd_csv")

COLUMNS = ("time", "symbol", "bid_price", "bid_size", "ask_price", "ask_size", "price", "size")
BATCH = 256  # rows published at a time
LONGEST_PAUSE_S = 0.2  # so that a stop is noticed, and the feed is seen to be alive


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """The keys of ``options:``. What is wrong is told as "key: reason", and shown at its line of the file."""

    path: str = field(metadata={"help": "the CSV file"})
    symbols: tuple[str, ...] = field(default=(), metadata={"help": "only these; none: all"})
    rows_per_s: float = field(default=0.0, metadata={"help": "pace; 0: as fast as possible"})

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path: must name a file")
        if self.rows_per_s < 0:
            raise ValueError(f"rows_per_s: must not be negative, not {self.rows_per_s}")


class CsvFeed:
    """Publishes the rows of a file in their order, each once, also if the process dies in between."""

    Options: ClassVar[type] = CsvOptions

    def __init__(self, name: str, options: CsvOptions, ring: RingPlan) -> None:
        self.name = name
        self.options = options
        self.ring = ring

    @classmethod
    def probe(cls, name: str, options: CsvOptions) -> Iterator[ProbeLine]:
        """A line for each thing found out. An `OSError` counts as unavailable by itself."""
        with open(options.path, newline="", encoding="utf-8") as file:
            columns = next(csv.reader(file), [])
        if missing := [column for column in COLUMNS if column not in columns]:
            text = f"{options.path}: the columns {', '.join(missing)} are missing"
            yield ProbeLine(False, text, Severity.CONFIG)
        else:
            yield ProbeLine(True, f"{options.path}: all columns are there")

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop` is set or the file ends. Raises `OSError` and `SystemExit` (78)."""
        for line in self.probe(self.name, self.options):
            if not line.ok:
                logger.error("%s", line.text)
                raise SystemExit(78)
        with self.ring.writer(self.name, TICK) as writer:
            done = self._published(writer)
            began_s = time.monotonic()
            with open(self.options.path, newline="", encoding="utf-8") as file:
                table = csv.DictReader(file, restval="?")  # a row that ends early: no number
                rows = itertools.islice(enumerate(table, 1), done, None)
                published = 0
                while not stop.is_set() and (batch := list(itertools.islice(rows, self._most()))):
                    self._publish(writer, batch)
                    published += len(batch)
                    self._wait(writer, stop, began_s, published)

    def _published(self, writer: Writer) -> int:
        """Rows that are in the ring already. A ring outlives its writer, and tells how far that one was."""
        last_seq = writer.next_seq - 1
        if not last_seq:
            return 0
        with Reader(self.name, last_seq, directory=self.ring.directory, follow=False) as reader:
            done = int(reader.read(1, timeout=0).records["venue_seq"][0])
        logger.info("going on after row %d, where an earlier process was", done)
        return done

    def _most(self) -> int:
        """Rows of a batch: at a slow pace those of one pause."""
        pace = self.options.rows_per_s
        return min(BATCH, max(1, int(pace * LONGEST_PAUSE_S))) if pace else BATCH

    def _publish(self, writer: Writer, batch: list[tuple[int, dict[str, str]]]) -> None:
        """All rows of a batch at once. The views give the payload its names; the memory is the same."""
        ticks = np.zeros(len(batch), TICK)
        quotes, trades = ticks.view(QUOTE), ticks.view(TRADE)
        n = 0
        for number, row in batch:
            if not self._is_ours(row["symbol"]):
                continue
            try:
                if row["price"]:
                    _fill_trade(trades[n], row)
                else:
                    _fill_quote(quotes[n], row)
                instrument_id = writer.instruments.add(_symbol(row))
            except (ValueError, OverflowError) as error:  # no number, no symbol; or too large
                logger.warning("row %d is left out: %s", number, error)
                writer.counters.add("malformed_records")
                ticks[n] = np.zeros((), TICK)
                continue
            ticks[n]["instrument_id"] = instrument_id
            ticks[n]["venue_seq"] = number
            n += 1
        ticks = ticks[:n]
        ticks["ts_recv"] = time.time_ns()
        writer.publish(ticks)
        count = int(np.sum(ticks["kind"] == Kind.TRADE))
        writer.counters.add("received_records", len(batch))
        writer.counters.add("published_trades", count)
        writer.counters.add("published_quotes", n - count)

    def _is_ours(self, symbol: str) -> bool:
        """By the options, and where several hosts share a feed (``shard: 2/4``) by its part."""
        wanted = not self.options.symbols or symbol in self.options.symbols
        return wanted and (self.ring.shard is None or self.ring.shard.has(symbol))

    def _wait(self, writer: Writer, stop: threading.Event, began_s: float, published: int) -> None:
        """Keep the pace, and say meanwhile that the feed is alive."""
        due_s = began_s + (published / self.options.rows_per_s if self.options.rows_per_s else 0)
        writer.beat()
        while not stop.is_set() and (left_s := due_s - time.monotonic()) > 0:
            stop.wait(min(left_s, LONGEST_PAUSE_S))
            writer.beat()


def _fill_quote(quote: np.void, row: dict[str, str]) -> None:
    for side in ("bid", "ask"):
        price = row[f"{side}_price"]
        quote[f"{side}_price"] = to_fixed(price) if price else PRICE_UNDEF
        quote[f"{side}_size"] = int(row[f"{side}_size"] or 0)
    quote["kind"], quote["ts_event"] = Kind.QUOTE, _time_ns(row["time"])


def _fill_trade(trade: np.void, row: dict[str, str]) -> None:
    trade["price"], trade["size"] = to_fixed(row["price"]), int(row["size"])
    trade["kind"], trade["ts_event"] = Kind.TRADE, _time_ns(row["time"])


def _symbol(row: dict[str, str]) -> str:
    if not row["symbol"]:
        raise ValueError("it has no symbol")
    return row["symbol"]


def _time_ns(text: str) -> int:
    """UNIX ns. Raises `ValueError`, also where there is none."""
    when = np.datetime64(text.removesuffix("Z"), "ns")
    if np.isnat(when):
        raise ValueError("it has no time")
    return int(when.astype(np.int64))
