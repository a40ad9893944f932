"""Part of growth.py: so many instruments in a decoder's tables, in the ring's, and in what is made of ticks."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from mdfeedd import Reader, Writer
from mdfeedd.consumers.bars import BarBuilder
from mdfeedd.feeds._packet import PacketTape
from mdfeedd.feeds.cme.codec import Feed, Handler
from mdfeedd.feeds.cme.definitions import Definition
from mdfeedd.feeds.databento.codec import DbnDecoder, Symbology
from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.ring import remove
from mdfeedd.tick import QUOTE, TICK, TRADE, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

CHANNEL = 310
T0 = 1_700_000_040_000_000_000
PIECE_BYTES = 1 << 18
FIRST_NUMBER = 1_000  # of the vendor's; it is the symbol as well, as long as nobody tells another
LOOK_UPS = 2000
_ENTRY = np.dtype([
    ("price", "<i8"), ("size", "<i4"), ("id", "<i4"), ("rpt", "<u4"), ("orders", "<i4"), ("level", "u1"),
    ("action", "u1"), ("type", "u1"), ("tradeable", "u1"), ("rest", "V4"),
])  # fmt: skip
_ENTRIES = 10
_PACKET = np.dtype([
    ("seq", "<u4"), ("sent", "<u8"), ("size", "<u2"), ("block", "<u2"), ("template", "<u2"), ("schema", "<u2"),
    ("version", "<u2"), ("time", "<u8"), ("indicator", "u1"), ("pad", "V2"), ("entry_bytes", "<u2"),
    ("entries", "u1"), ("entry", _ENTRY, (_ENTRIES,)), ("order_bytes", "<u2"), ("no_orders", "V6"),
])  # fmt: skip
"""A packet of one Book message (template 46) of ten entries."""


def _cpu_ns(run: Callable[[], object], rounds: int, records: int) -> float:
    """CPU time a record; the best of the rounds: other work on the machine only adds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time_ns()
        run()
        best = min(best, (time.process_time_ns() - begin) / records)
    return round(best, 1)


# --------------------------------------------------------------------------------------- Databento


def _quotes(vendor_ids: np.ndarray) -> memoryview:
    """mbp-1 of these instruments."""
    rows = np.zeros(len(vendor_ids), record_dtype(1, 3))
    i = np.arange(len(rows))
    rows["length"], rows["rtype"], rows["publisher_id"] = 20, 1, 1
    rows["instrument_id"] = vendor_ids
    rows["ts_event"] = T0 + 1_000 * i
    rows["ts_recv"] = rows["ts_event"] + 5_000
    rows["action"], rows["side"] = b"A", np.where(i % 2, b"B", b"A")
    rows["flags"], rows["sequence"], rows["price"], rows["size"] = 130, i, 10**12, 3
    rows["bid_px_00"], rows["ask_px_00"] = 10**12 - 10**9 * (i % 9), 10**12 + 10**9
    rows["bid_sz_00"], rows["ask_sz_00"], rows["bid_ct_00"], rows["ask_ct_00"] = 5, 6, 2, 3
    return memoryview(rows.view(np.uint8))


def _databento(count: int, writer: Writer, records: int, rounds: int) -> dict[str, float]:
    """Makes all of them known to the ring, too."""
    decoder = DbnDecoder(Symbology(writer.instruments), version=3)
    numbers = FIRST_NUMBER + np.arange(count)

    def decode(raw: memoryview) -> None:
        for at in range(0, len(raw), PIECE_BYTES):
            decoder.decode_into(writer, raw[at : at + PIECE_BYTES])

    new = _quotes(numbers)
    begin = time.process_time_ns()
    decode(new)
    new_us = (time.process_time_ns() - begin) / count / 1e3
    busy = _quotes(np.random.default_rng(1).choice(numbers, records))
    took = _cpu_ns(lambda: decode(busy), rounds, records)
    return {"databento_ns": took, "new_instrument_us": round(new_us, 2)}


# --------------------------------------------------------------------------------------------- CME


def _packets(ids: np.ndarray, rpt: np.ndarray, first_seq: int) -> list[bytes]:
    """Best bids of these instruments, ten a packet: New with RptSeq 1, Change later."""
    packets = np.zeros(len(ids) // _ENTRIES, _PACKET)
    packets["seq"] = first_seq + np.arange(len(packets))
    packets["sent"] = packets["time"] = T0 + 1_000 * packets["seq"].astype(np.uint64)
    packets["size"], packets["block"], packets["template"] = _PACKET.itemsize - 12, 11, 46
    packets["schema"], packets["version"], packets["indicator"] = 1, 13, 0x84
    packets["entry_bytes"], packets["entries"], packets["order_bytes"] = 32, _ENTRIES, 24
    entry = packets["entry"]
    entry["id"], entry["rpt"] = ids.reshape(-1, _ENTRIES), rpt.reshape(-1, _ENTRIES)
    entry["price"], entry["size"], entry["orders"] = 100 * 10**9, 1 + entry["rpt"] % 50, 1
    entry["level"], entry["type"] = 1, ord("0")
    entry["action"] = np.where(entry["rpt"] == 1, 0, 1)
    return [packet.tobytes() for packet in packets]


def _tape(packets: list[bytes], line: int) -> PacketTape:
    tape = PacketTape()
    for i, payload in enumerate(packets):
        tape.append(line, payload, T0 + 1_000 * i, T0 + 1_000 * i)
    return tape


def _cme(count: int, directory: str, records: int) -> dict[str, float]:
    handler = Handler(max_instruments=max(1024, count), recovery_entries=65_536)
    handler.add_channel(CHANNEL)
    line = handler.add_line(CHANNEL, Feed.INCREMENTAL, 0)
    ids = np.arange(1, count + 1)
    random = np.random.default_rng(1)
    busy = np.concatenate([random.permutation(ids) for _ in range(-(-records // count))])
    busy = busy[: max(records, count) // _ENTRIES * _ENTRIES]
    turn = np.arange(len(busy)) // count
    with Writer("cme", 65_536, directory=directory, instruments_capacity=2 * count) as writer:
        handler.attach(writer)
        for one in ids.tolist():
            handler.define(CHANNEL, Definition(CHANNEL, one, f"S{one}", depth=10))
        handler.prefault()
        first = _packets(ids, np.ones(count), 1)
        _tape(first, line).play(handler)
        tape = _tape(_packets(busy, turn + 2, 1 + len(first)), line)
        took = _cpu_ns(lambda: tape.play(handler), 1, len(busy))
        if handler.counts["quotes"] != count + len(busy):
            raise RuntimeError(f"{handler.counts['quotes']} quotes of {count + len(busy)}")
    remove("cme", directory)
    return {"cme_ns": took}


# ------------------------------------------------------------------------------- who reads the ring


def _attach(name: str, directory: str, symbols: list[str]) -> dict[str, float]:
    begin = time.process_time_ns()
    with Reader(name, directory=directory) as reader:
        attached = time.process_time_ns()
        reader.instruments.ids(symbols[0])
        knows = time.process_time_ns()
        for symbol in symbols:
            reader.instruments.ids(symbol)
        looked = time.process_time_ns()
    return {
        "attach_ms": round((attached - begin) / 1e6, 2),
        "first_look_up_ms": round((knows - attached) / 1e6, 2),
        "look_up_us": round((looked - knows) / len(symbols) / 1e3, 2),
    }


def _last(writer: Writer, directory: str, ids: np.ndarray, rounds: int) -> dict[str, float]:
    """Reading with last values kept, less reading without; and asking for one."""
    burst = 32_768
    quotes = np.zeros(burst, QUOTE)
    quotes["kind"], quotes["bid_price"], quotes["ask_price"] = Kind.QUOTE, 10**11, 10**11 + 10**9
    random = np.random.default_rng(2)
    took: dict[bool, list[int]] = {True: [], False: []}
    with (
        Reader(writer.name, directory=directory) as plain,
        Reader(writer.name, directory=directory) as kept,
    ):
        kept.last  # noqa: B018 - from now on it is kept up to date
        for _ in range(max(rounds, 3 * len(ids) // burst)):  # most rows are there in the end
            quotes["instrument_id"] = random.choice(ids, burst)
            writer.publish(quotes.view(TICK))
            for reader in (plain, kept):
                begin = time.process_time_ns()
                while len(reader.read(4096, timeout=0)):
                    pass
                took[reader is kept].append(time.process_time_ns() - begin)
        asked = random.choice(quotes["instrument_id"], LOOK_UPS).tolist()
        kept.last[asked[0]]
        begin = time.process_time_ns()
        for one in asked:
            kept.last[one]
        book_us = (time.process_time_ns() - begin) / LOOK_UPS / 1e3
    tail = len(took[True]) // 2
    best = {is_kept: min(found[tail:]) / burst for is_kept, found in took.items()}
    return {"last_ns": round(best[True] - best[False], 1), "book_us": round(book_us, 2)}


def _bars(count: int, records: int, rounds: int) -> dict[str, float]:
    builder = BarBuilder((60,), instruments_limit=count + 2, out_size=4096)
    random = np.random.default_rng(3)
    ticks = np.zeros(records, TRADE)
    ticks["kind"], ticks["price"], ticks["size"] = Kind.TRADE, 10**11, 3
    ticks["instrument_id"] = 1 + random.integers(0, count, records)
    ticks["ts_event"] = T0 + np.arange(records)  # of one minute, so that no bar ends

    def build() -> None:
        for at in range(0, records, 4096):
            for _ in builder.chunks(ticks[at : at + 4096]):
                pass

    build()
    return {"bars_ns": _cpu_ns(build, rounds, records)}


def measure(counts: tuple[int, ...], directory: str, *, quick: bool) -> list[dict[str, Any]]:
    """A row for each number of instruments."""
    records, rounds = (200_000, 2) if quick else (1_000_000, 4)
    rows = []
    for count in counts:
        name = f"symbols{count}"
        with Writer(name, directory=directory, instruments_capacity=2 * count) as writer:
            row: dict[str, Any] = {"instruments": count}
            row |= _databento(count, writer, records, rounds)
            row |= _cme(count, directory, records)
            ids = np.arange(1, count + 1)
            table_bytes = os.stat(writer.path).st_blocks * 512 - writer.capacity * TICK.itemsize
            row["table_bytes_each"] = round(table_bytes / count, 1)
            asked = np.random.default_rng(4).integers(0, count, LOOK_UPS) + FIRST_NUMBER
            row |= _attach(name, directory, [str(number) for number in asked])
            row |= _last(writer, directory, ids, rounds)
            row |= _bars(count, records, rounds)
        remove(name, directory)
        rows.append(row)
    return rows
