"""Shards of a stream: disjoint, in order, and together what one decoder makes of all of it."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from mdfeedd.feeds.databento.codec import DbnDecoder, JsonLines, LocalInstruments, Symbology
from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.feeds.databento.codec.symbology import MappingMessage
from mdfeedd.feeds.databento.session.names import SessionNames
from mdfeedd.feeds.shard import Shard
from mdfeedd.ring import Reader, Writer
from mdfeedd.tick import TICK, Kind

T0 = 1_700_000_000_000_000_000
DTYPE = record_dtype(0x01, 3)
NAMES = {7 + i: f"SYM{i}" for i in range(40)}


class Told(Symbology):
    """All instruments have a name."""

    def __init__(self, table, shard=None):
        super().__init__(table, shard)
        for number, name in NAMES.items():
            self.mapping(MappingMessage(number, name, name))


def rows(n, seed=1):
    dice = np.random.default_rng(seed)
    made = np.zeros(n, DTYPE)
    made["length"], made["rtype"], made["publisher_id"] = DTYPE.itemsize // 4, 1, 1
    made["instrument_id"] = dice.choice(list(NAMES), n)
    made["ts_event"] = T0 + np.arange(n)
    made["ts_recv"] = made["ts_event"] + 5
    made["sequence"], made["price"], made["size"] = np.arange(n), 10**9, 3
    made["action"] = dice.choice([b"A", b"C", b"T", b"R", b"F"], n, p=[0.6, 0.2, 0.17, 0.02, 0.01])
    made["side"] = dice.choice([b"A", b"B", b"N"], n)
    made["bid_px_00"], made["ask_px_00"] = 10**9, 2 * 10**9
    return made


def into_ring(data, size, directory, name, shard):
    """Ticks with names in place of ids, and the counters, of the bytes in pieces of so many."""
    table = LocalInstruments()
    decoder = DbnDecoder(Told(table, shard), version=3)
    with (
        Writer(name, dtype=TICK, capacity=1 << 13, directory=directory) as writer,
        Reader(name, start="oldest", directory=directory) as reader,
    ):
        for at in range(0, len(data), size):
            decoder.decode_into(writer, data[at : at + size], ts_recv_ns=1)
        ticks = reader.read(1 << 13, timeout=0).records.copy()
    ticks["seq"] = 0
    symbols = [table.symbols[i] for i in ticks.view(TICK)["instrument_id"].tolist()]
    ticks["instrument_id"] = 0
    return [(s, t.tobytes()) for s, t in zip(symbols, ticks, strict=True)], decoder.counts


@pytest.mark.parametrize("of", [2, 3, 16])
@pytest.mark.parametrize("size", [1 << 30, 10 * DTYPE.itemsize - 3])
def test_shards_of_runs_are_together_the_whole(of, size, shm_dir):
    data = rows(5_000).tobytes()
    whole, counts = into_ring(data, size, shm_dir, "whole", None)
    assert len(whole) > 4_000
    for index in range(1, of + 1):
        shard = Shard(index, of)
        ours, counted = into_ring(data, size, shm_dir, f"s{index}", shard)
        assert ours == [tick for tick in whole if shard.has(tick[0])]
        others = sum(not shard.has(NAMES[i]) for i in rows(5_000)["instrument_id"].tolist())
        assert counted["records"] == counts["records"] == 5_000
        assert counted["skipped"] >= others > 0
        assert counted["quotes"] + counted["trades"] + counted["others"] == len(ours)


def test_a_shard_of_nothing_makes_nothing_and_goes_on(shm_dir):
    nowhere = next(
        Shard(i, 4096) for i in range(1, 4097) if not any(map(Shard(i, 4096).has, NAMES.values()))
    )
    data = rows(3_000).tobytes()
    ours, counts = into_ring(data, 1 << 30, shm_dir, "none", nowhere)
    assert ours == []
    assert counts["skipped"] == counts["records"] == 3_000


@pytest.mark.parametrize("of", [2, 5])
def test_shards_of_recordings_are_together_the_whole(sample, tools, of):
    raw = tools.plain(sample.path)
    if sample.path.name.removesuffix(".zst").endswith((".json", ".jsonl")):
        pytest.skip("not DBN")

    def decode(shard):
        table = tools.Table()
        decoder = DbnDecoder(Symbology(table, shard), version=sample.version)
        ticks, bars = decoder.decode(raw)
        return tools.told(ticks, table), tools.told_bars(bars, table), decoder.counts, table

    ticks, bars, counts, _ = decode(None)
    for index in range(1, of + 1):
        shard = Shard(index, of)
        ours, our_bars, counted, table = decode(shard)
        assert ours == [tick for tick in ticks if shard.has(tick["symbol"])]
        assert our_bars == [bar for bar in bars if shard.has(bar["symbol"])]
        assert all(shard.has(symbol) for symbol, _, _ in table.of.values())
        assert counted["records"] == counts["records"]
        assert counted["quotes"] + counted["trades"] + counted["others"] == len(ours)


def mapping(number, name):
    head = {"ts_event": T0, "rtype": 22, "publisher_id": 0, "instrument_id": number}
    fields = {"stype_in": 1, "stype_in_symbol": name, "stype_out": 1, "stype_out_symbol": name}
    return json.dumps({"hd": head, **fields, "start_ts": 0, "end_ts": 0}) + "\n"


def trade(at, number, symbol=""):
    head = {"ts_event": T0 + at, "rtype": 0, "publisher_id": 1, "instrument_id": number}
    fields = {
        "ts_recv": T0 + at, "action": "T", "side": "B", "depth": 0, "price": 10**9, "size": 3,
        "flags": 128, "ts_in_delta": 0, "sequence": at, "symbol": symbol,
    }  # fmt: skip
    return json.dumps({"hd": head, **fields}) + "\n"


@pytest.mark.parametrize("of", [2, 3])
def test_the_shard_follows_the_name_that_an_instrument_has_at_the_time(of):
    """A number first and a name later, and another name after that; written as JSON lines."""
    text = "".join(
        [trade(at, 7 + at % 5) for at in range(20)]
        + [mapping(7 + i, f"A{i}") for i in range(5)]
        + [trade(at, 7 + at % 5) for at in range(20, 40)]
        + [trade(at, 7 + at % 5, f"B{at % 5}") for at in range(40, 60)]
    )
    data = JsonLines().feed(text.encode())

    def decode(shard):
        table = LocalInstruments()
        ticks = DbnDecoder(Symbology(table, shard), version=3).decode(data).ticks
        symbols = [table.symbols[i] for i in ticks["instrument_id"].tolist()]
        return list(zip(symbols, ticks["venue_seq"].tolist(), strict=True))

    whole = decode(None)
    assert {symbol for symbol, _ in whole} == {
        *map(str, range(7, 12)),
        *(f"{letter}{i}" for letter in "AB" for i in range(5)),
    }
    for index in range(1, of + 1):
        shard = Shard(index, of)
        assert decode(shard) == [tick for tick in whole if shard.has(tick[0])]


def test_who_gets_an_instrument_by_its_new_name_tells_that(shm_dir):
    """The DEFINITION tick of a renamed instrument comes from the shard that has the new name."""
    numbers = range(7, 27)
    told = {}
    for name, shard in {"all": None, **{str(i): Shard(i, 3) for i in (1, 2, 3)}}.items():
        with (
            Writer(name, dtype=TICK, capacity=256, directory=shm_dir) as writer,
            Reader(name, start="oldest", directory=shm_dir) as reader,
        ):
            names = SessionNames(writer, logging.getLogger("test"), shard)
            for number in numbers:
                names.resolve(1, number, T0)
                assert names.mapping(MappingMessage(number, f"N{number}", f"N{number}"))
            ticks = reader.read(256, timeout=0).records
            assert set(ticks["kind"].tolist()) == {Kind.DEFINITION}
            reader.instruments.refresh()
            told[name] = [reader.instruments.symbol(i) for i in ticks["instrument_id"].tolist()]
    assert told["all"] == [f"N{number}" for number in numbers]
    for index in (1, 2, 3):
        shard = Shard(index, 3)
        assert told[str(index)] == [symbol for symbol in told["all"] if shard.has(symbol)]
