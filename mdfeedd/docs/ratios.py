"""The ratios that come first on the page of measured numbers: ours beside a limit or a peer of the same run.

    results ─► RATIOS ─► rows of one table, each with the section that tells where it is from

A ratio that its benchmark has taken within each round is used as it is; else it is one median over another of one run.
What no result has is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.docs.results import at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.docs.results import Results

__all__ = ["RATIOS", "Ratio", "ratios"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One line. `path` leads to the ratio or, with `over`, to what is divided by the value there.

    `path` "lines:WHAT" and "targets:WHAT" lead to the entry of such a list, of the `peer` where there are several.
    is_time: less is better.
    """

    what: str
    beside: str
    result: str
    path: str
    over: str = ""
    peer: str = ""
    is_time: bool = False


_PYTHON: Final = "figures.python"
_MANY: Final = 10  # times: no digits behind the point are of use
RATIOS: Final = (
    Ratio("C: one record, spinning, p50", "one cache line to the other processor", "ring", "targets:C: spin p50, mdf_read_one", peer="ping-pong", is_time=True),
    Ratio("C: one record, spinning, p50", "a line and no protocol", "ring", "targets:C: spin p50, mdf_read_one", peer="bare", is_time=True),
    Ratio("C: single records, nothing lost", "Aeron's C driver", "ring", "targets:C: lossless, single", peer="Aeron"),
    Ratio("C: single records, nothing lost", "the Disruptor, in one JVM", "ring", "targets:C: lossless, single", peer="Disruptor"),
    Ratio("C: batches of 64, nothing lost", "the Disruptor, in one JVM", "ring", "targets:C: lossless, batches of 64", peer="Disruptor"),
    Ratio("Python: batches of 64", "memcpy of the same bytes", "ring", "targets:Python: batches of 64", peer="memcpy"),
    Ratio("Python: batches of 64", "iceoryx2", "ring", "targets:Python: batches of 64", peer="iceoryx2"),
    Ratio("Python: batches of 64", "faster-fifo", "ring", "targets:Python: batches of 64", peer="faster-fifo"),
    Ratio("Python: batches of 64", "multiprocessing.Queue", "ring", "targets:Python: batches of 64", peer="multiprocessing"),
    Ratio("Python: batches of 64", "pyzmq PUSH/PULL", "ring", f"{_PYTHON}.mdfeedd.batch", f"{_PYTHON}.pyzmq PUSH/PULL.batch"),
    Ratio("Python: single records", "iceoryx2", "ring", "targets:Python: single", peer="iceoryx2"),
    Ratio("Python: single records", "multiprocessing.Queue", "ring", "targets:Python: single", peer="multiprocessing"),
    Ratio("Python: a reader that sleeps, p50", "os.pipe", "ring", "targets:Python: blocking p50", is_time=True),
    Ratio("DBN bytes to ring", "a bare C loop over them", "dbn", r"million_records_per_s.bytes to ring (decode_into)", "million_records_per_s.bare C loop"),
    Ratio("DBN bytes to ring", "databento_dbn, ten fields read", "dbn", r"million_records_per_s.bytes to ring (decode_into)", r"million_records_per_s.databento_dbn\.DBNDecoder, 10 fields read"),
    Ratio("Databento live: CPU time a record", "recv and a C loop", "databento", "lines:CPU of the feed, of a C loop's", is_time=True),
    Ratio("Databento live: CPU time a record", "databento.Live", "databento", "figures.flood.feed.cpu_ns", r"figures.flood.databento\.Live.cpu_ns", is_time=True),
    Ratio("CME: a packet to the ring", "a bare walk over its bytes", "cme", "rounds.handler", "rounds.walk", is_time=True),
    Ratio("CME: a packet to the ring", "the least of a handler, in C", "cme", "rounds.handler", "rounds.bare", is_time=True),
    Ratio("CME: a packet to the ring", "sbedecoder, eight fields read", "cme", "rounds.handler", "rounds.sbedecoder_fields", is_time=True),
    Ratio("CME: CPU time a datagram, blocking", "recvmmsg alone", "cme_wire", "cost.backlog.blocking.of_recvmmsg", is_time=True),
    Ratio("Bloomberg: messages a second", "the SDK's nextEvent and toPy alone", "bloomberg", "lines:rate of the feed, of session and toPy"),
    Ratio("Bloomberg: the native data plane", "a C loop over the fields", "bloomberg", "lines:time of the native data plane, of a C loop's", is_time=True),
    Ratio("Journal: written to the page cache", "pwrite alone", "journal", "ratios.append 8192 / pwrite alone"),
    Ratio("Journal: written and synced", "pwrite and fdatasync alone", "journal", "ratios.sync 8192 / pwrite and fdatasync alone"),
    Ratio("PostgreSQL: rows a second, each once", "the server reading a ready file", "sinks_postgres", "ratios.sink 65536 : server file"),
    Ratio("PostgreSQL: rows a second, each once", "psql \\copy of a ready file", "sinks_postgres", "ratios.sink 65536 : psql"),
    Ratio("PostgreSQL: rows a second, each once", "asyncpg, from the same records", "sinks_postgres", "ratios.sink 65536 : asyncpg records"),
    Ratio("Redis: ticks a second, as streams", "redis-py, pipelined, ready texts", "sinks_redis", "rows.sink, stream.times_redis_py"),
    Ratio("Kafka: ticks a second, transactional", "ready messages", "sinks_kafka", "apache.ratios.sink / ready messages"),
    Ratio("WebSocket: 50 clients, as records", "a server that sends one ready message", "live", "rows.binary, 50.of_the_limit"),
    Ratio("FeedManager: callbacks a batch", "an asyncio queue of dataclass ticks", "manager", "ratios.per batch"),
    Ratio("End to end: wire to strategy, rate", "recv and a C loop", "end_to_end", "ratios.ticks a second, of a C loop's"),
    Ratio("End to end: wire to PostgreSQL, rate", "the sink alone", "end_to_end", "ratios.rows a second, of the sink's alone"),
)  # fmt: skip


def _found(ratio: Ratio, result: Any) -> float:
    """Raises `LookupError` or `TypeError` where the result does not have it."""
    kind, _, what = ratio.path.partition(":")
    if kind in {"lines", "targets"}:
        for line in result[kind]:
            if line["what"] == what and line.get("against", "").startswith(ratio.peer):
                value = line["ratio"] if kind == "targets" else line["value"]
                if value is not None:
                    return float(value)
        raise LookupError(ratio.path)
    value = at(result, ratio.path)
    return float(value / at(result, ratio.over) if ratio.over else value)


def _plain(times: float) -> str:
    return f"{times:,.0f}" if times >= _MANY else f"{times:.2f}"


def ratios(results: Results) -> Iterator[tuple[str, str, str, str, str]]:
    """What, beside what, how many times, which way is better, and the result that has it."""
    for ratio in RATIOS:
        if ratio.result not in results:
            continue
        try:
            times = _found(ratio, results[ratio.result])
        except (LookupError, TypeError, ZeroDivisionError):
            continue
        if ratio.is_time and times < 1 / _MANY:
            yield ratio.what, ratio.beside, f"1/{1 / times:,.0f}", "less", ratio.result
        else:
            yield (
                ratio.what,
                ratio.beside,
                _plain(times),
                "less" if ratio.is_time else "more",
                ratio.result,
            )
