"""Bars from the same ticks by mdfeedd's kernel, polars, DuckDB and pandas; values compared, then time.

    python bench/bars.py [--ticks 4000000] [--instruments 500] [--minutes 60] [--quick] [--save]

The frames get ready columns in memory, the kernel 64-byte ticks, of which it reads all. DuckDB and polars may
use all cores; a second figure for each is from one thread. "resident" is the kernel on batches of 4096 ticks
that lie in the cache, as they do after a read from the ring. --save keeps it in bench/results/bars.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version

import machine
import numpy as np

from mdfeedd.consumers.bars import BarBuilder
from mdfeedd.tick import TRADE, Kind

S = 1_000_000_000
BASE = 1_700_000_040 * S
INTERVAL_S = 60
BATCH = 4096
ROUNDS = 5
COLUMNS = ("ts_open", "instrument_id", "open", "high", "low", "close", "volume", "count", "value")


def make_ticks(n, instruments, minutes):
    rng = np.random.default_rng(1)
    ticks = np.zeros(n, TRADE)
    ticks["seq"] = np.arange(1, n + 1)
    ticks["kind"] = Kind.TRADE
    ticks["ts_event"] = BASE + np.sort(rng.integers(0, minutes * 60 * S, n))
    ticks["instrument_id"] = rng.integers(1, instruments + 1, n)
    # small enough that the frames' 64-bit sums do not overflow: the kernel's are 128 bits
    ticks["price"] = rng.integers(90 * S, 110 * S, n)
    ticks["size"] = rng.integers(1, 100, n)
    return ticks


def kernel_bars(ticks):
    builder = BarBuilder((INTERVAL_S,), out_size=BATCH)
    return [*builder.chunks(ticks), builder.flush(partial=False)]


def kernel_batches(ticks):
    """As the consumer does it: batch by batch."""
    builder = BarBuilder((INTERVAL_S,), out_size=BATCH)
    out = [
        bars for i in range(0, len(ticks), BATCH) for bars in builder.chunks(ticks[i : i + BATCH])
    ]
    return [*out, builder.flush(partial=False)]


def by_polars(columns):
    import polars as pl

    frame = pl.DataFrame(columns)
    step = INTERVAL_S * S

    def run():
        return (
            frame.lazy()
            .with_columns(
                ts_open=pl.col("ts_event") // step * step, value=pl.col("price") * pl.col("size")
            )
            .group_by("ts_open", "instrument_id")
            .agg(
                open=pl.col("price").first(),
                high=pl.col("price").max(),
                low=pl.col("price").min(),
                close=pl.col("price").last(),
                volume=pl.col("size").sum(),
                count=pl.len(),
                value=pl.col("value").sum(),
            )
            .collect()
        )

    return run, lambda frame: frame.sort("ts_open", "instrument_id").to_dict(as_series=False)


def by_duckdb(columns):
    import duckdb
    import pyarrow as pa

    connection = duckdb.connect()
    if os.environ.get("BENCH_THREADS"):
        connection.execute(f"set threads = {int(os.environ['BENCH_THREADS'])}")
    connection.register("arrow", pa.table(columns))
    connection.execute("create table ticks as select * from arrow")
    step = INTERVAL_S * S
    query = f"""
        select ts_event // {step} * {step} as ts_open, instrument_id,
               arg_min(price, seq) as open, max(price) as high, min(price) as low,
               arg_max(price, seq) as close, sum(size)::bigint as volume, count(*) as count,
               sum(price * size)::bigint as value
        from ticks group by all"""

    def run():
        return connection.execute(query).to_arrow_table()

    def plain(table):
        return table.sort_by([("ts_open", "ascending"), ("instrument_id", "ascending")]).to_pydict()

    return run, plain


def by_pandas(columns):
    import pandas as pd

    frame = pd.DataFrame(columns)
    step = INTERVAL_S * S

    def run():
        keyed = frame.assign(
            ts_open=frame["ts_event"] // step * step, value=frame["price"] * frame["size"]
        )
        return keyed.groupby(["ts_open", "instrument_id"], as_index=False).agg(
            open=("price", "first"),
            high=("price", "max"),
            low=("price", "min"),
            close=("price", "last"),
            volume=("size", "sum"),
            count=("size", "size"),
            value=("value", "sum"),
        )

    return run, lambda frame: {name: frame[name].tolist() for name in frame.columns}


PEERS = {"polars": by_polars, "duckdb": by_duckdb, "pandas": by_pandas}


def seconds(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def best_s(*runs):
    """The best of some rounds for each; in turns, so that a busy moment hits all."""
    rounds = [[seconds(run) for run in runs] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def resident_s(ticks):
    """Seconds per tick of a batch that is used again and again within its bars."""
    builder = BarBuilder((INTERVAL_S,))
    batch = ticks[-BATCH:].copy()
    builder.update(ticks)
    batch["ts_event"] = ticks["ts_event"][-1]
    builder.update(batch)
    return best_s(lambda: [builder.update(batch) for _ in range(100)])[0] / (100 * BATCH)


def columns_of(ticks):
    """As int64, so that products and sums are, too."""
    names = ("ts_event", "instrument_id", "price", "size", "seq")
    return {name: np.ascontiguousarray(ticks[name].astype(np.int64)) for name in names}


def compare(bars, plain, name):
    """Every value of every bar; the vwap by the peer's own sums, rounded with integers."""
    for column in COLUMNS[:-1]:
        if bars[column].tolist() != list(plain[column]):
            raise SystemExit(f"{name}: column {column} differs")
    for vwap, value, volume in zip(
        bars["vwap"].tolist(), plain["value"], plain["volume"], strict=True
    ):
        quotient, rest = divmod(value, volume)
        up = 2 * rest > volume or (2 * rest == volume and quotient % 2)
        if vwap != quotient + bool(up):
            raise SystemExit(f"{name}: vwap differs")


def measure_peer(name, arguments):
    """Seconds of ours and of one peer, in a process of its own (thread pools are sized at import)."""
    ticks = make_ticks(arguments.ticks, arguments.instruments, arguments.minutes)
    run, plain = PEERS[name](columns_of(ticks))
    compare(np.concatenate(kernel_bars(ticks)), plain(run()), name)
    return best_s(lambda: kernel_batches(ticks), run)


def peer_figures(name, arguments, threads):
    environment = dict(os.environ)
    if threads:
        environment |= {"POLARS_MAX_THREADS": str(threads), "BENCH_THREADS": str(threads)}
    size = [arguments.ticks, arguments.instruments, arguments.minutes]
    command = [sys.executable, __file__, "--peer", name]
    for option, value in zip(("--ticks", "--instruments", "--minutes"), size, strict=True):
        command += [option, str(value)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [arguments.ticks / s / 1e6 for s in json.loads(done.stdout)]


def measure(arguments):
    """M ticks/s: ours, and of each peer [ours at that moment, the peer]."""
    ticks = make_ticks(arguments.ticks, arguments.instruments, arguments.minutes)
    batches_s, array_s = best_s(lambda: kernel_batches(ticks), lambda: kernel_bars(ticks))
    ours = {
        "resident batches of 4096": 1 / resident_s(ticks) / 1e6,
        "batches of 4096 from memory": len(ticks) / batches_s / 1e6,
        "one array from memory": len(ticks) / array_s / 1e6,
    }
    peers = {}
    for name in PEERS:
        peers[f"{name} {version(name)}"] = peer_figures(name, arguments, None)
        if name != "pandas":
            peers[f"{name} {version(name)}, 1 thread"] = peer_figures(name, arguments, 1)
    return ours, peers, sum(map(len, kernel_bars(ticks)))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ticks", type=int, default=4_000_000)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="a tenth of the ticks")
    parser.add_argument("--save", action="store_true", help="write results/bars.json")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.ticks //= 10
    if arguments.peer:
        print(json.dumps(measure_peer(arguments.peer, arguments)))
        return
    ours, peers, bars = measure(arguments)
    print(f"{arguments.ticks:,} trades, {arguments.instruments} instruments, {bars:,} equal bars")
    for name, rate in ours.items():
        print(f"mdfeedd, {name:30} {rate:8.1f} M ticks/s")
    for name, (mine, rate) in peers.items():
        print(
            f"{name:39} {rate:8.1f} M ticks/s, mdfeedd meanwhile {mine:6.1f}: {mine / rate:5.2f} x"
        )
    result = {
        "machine": machine.describe("numpy", *PEERS),
        "what": {
            "ticks": arguments.ticks,
            "instruments": arguments.instruments,
            "minutes": arguments.minutes,
        },
        "bars": bars,
        "values": "equal in all",
        "mdfeedd_m_ticks_per_s": {name: round(rate, 1) for name, rate in ours.items()},
        "peers": {
            name: {
                "m_ticks_per_s": round(rate, 1),
                "mdfeedd_in_turns_m_ticks_per_s": round(mine, 1),
                "ratio": round(mine / rate, 2),
            }
            for name, (mine, rate) in peers.items()
        },
    }
    if arguments.save:
        machine.save("bars", result)


if __name__ == "__main__":
    main()
