"""Numbers of instruments become those of the ring here."""

from __future__ import annotations

import numpy as np
import pytest

from mdfeedd.feeds.kafka.codec import Translator, WireError, translate
from mdfeedd.feeds.shard import Shard
from mdfeedd.ring.instruments import Instrument
from mdfeedd.sinks.kafka.wire import DefinitionKey, encode_instrument
from mdfeedd.tick import TICK

A, B = "a" * 32, "b" * 32


class Table:
    """An instruments table that remembers whom it gave which number."""

    def __init__(self):
        self.symbols = []

    def add(self, instrument):
        if instrument.symbol not in self.symbols:
            self.symbols.append(instrument.symbol)
        return 1000 + self.symbols.index(instrument.symbol)


def instrument(number, symbol):
    return Instrument(number, 7, 8, 1, 25, 0, 0, "EUR", "XEUR", "feed", symbol, symbol)


def define(translator, ring_id, epoch, number, symbol):
    key = DefinitionKey(ring_id, epoch, number).encode()
    translator.define(key, encode_instrument(instrument(number, symbol)))


def ticks(*numbers):
    records = np.zeros(len(numbers), TICK)
    records["instrument_id"] = numbers
    return records


def test_numbers_are_those_of_their_writer():
    table = Table()
    translator = Translator(table.add)
    define(translator, A, 1, 1, "ΑΒΓ")
    define(translator, A, 1, 2, "ESZ6")
    define(translator, A, 2, 1, "ESZ6")  # another writer of the ring numbers otherwise
    define(translator, B, 1, 1, "株式")
    for ring_id, epoch, numbers, symbols in [
        (A, 1, (1, 2, 0, 1), ["ΑΒΓ", "ESZ6", "", "ΑΒΓ"]),
        (A, 2, (1, 1), ["ESZ6", "ESZ6"]),
        (B, 1, (1, 0), ["株式", ""]),
        (A, 1, (2,), ["ESZ6"]),
    ]:
        records = ticks(*numbers)
        assert translator.unknown(ring_id, epoch, records) == []
        translator.translate(ring_id, epoch, records)
        ids = records["instrument_id"].tolist()
        assert [table.symbols[i - 1000] if i else "" for i in ids] == symbols


def test_number_that_nobody_named():
    table = Table()
    translator = Translator(table.add)
    records = ticks(5, 0, 6)
    assert translator.unknown(A, 1, records) == [5, 6]
    define(translator, A, 1, 6, "S")
    assert translator.unknown(A, 1, records) == [5]
    translator.translate(A, 1, records)
    assert table.symbols == ["#5", "S"]
    assert translator.unnamed == 1
    assert translator.unknown(A, 1, ticks(5, 6)) == []  # it is not waited for a second time
    define(translator, A, 1, 5, "late")
    again = ticks(5)
    translator.translate(A, 1, again)
    assert table.symbols[-1] == "late"
    assert again["instrument_id"][0] == 1002


def test_changed_instrument_is_entered_again_and_a_removed_one_is_unknown():
    table = Table()
    translator = Translator(table.add)
    define(translator, A, 1, 1, "#1")
    translator.translate(A, 1, ticks(1))
    define(translator, A, 1, 1, "ESZ6")
    records = ticks(1)
    translator.translate(A, 1, records)
    assert table.symbols == ["#1", "ESZ6"]
    assert records["instrument_id"][0] == 1001
    translator.define(DefinitionKey(A, 1, 1).encode(), None)
    assert translator.unknown(A, 1, ticks(1)) == [1]


@pytest.mark.parametrize(
    ("key", "value"), [(None, b"{}"), (b"a:b:c", b"{}"), (b"a:1:1", b"no json"), (b"a:1:1", b"{}")]
)
def test_definition_that_cannot_be_read(key, value):
    with pytest.raises(WireError):
        Translator(Table().add).define(key, value)


def test_oldest_writers_are_forgotten_beyond_the_limit(monkeypatch):
    monkeypatch.setattr(translate, "MAX_DEFINITIONS", 5)
    translator = Translator(Table().add)
    for epoch in (1, 2):
        for number in (1, 2, 3):
            define(translator, A, epoch, number, f"S{number}")
    assert translator.unknown(A, 1, ticks(1, 2, 3)) == [1, 2, 3]
    assert translator.unknown(A, 2, ticks(1, 2, 3)) == []


def test_records_of_other_shards_are_left_out_and_counted():
    """By the name that an instrument has at the time; ticks of the whole feed are in each shard."""
    symbols = [f"S{i}" for i in range(9)]
    told = []
    for shard in (None, Shard(1, 2), Shard(2, 2)):
        table = Table()
        translator = Translator(table.add, shard)
        for number, symbol in enumerate(symbols, 1):
            define(translator, A, 1, number, symbol)
        first = translator.translate(A, 1, ticks(*range(10), *range(10)))
        for number, symbol in enumerate(reversed(symbols), 1):
            define(translator, A, 1, number, symbol)
        again = translator.translate(A, 1, ticks(*range(10)))
        assert translator.skipped == 30 - len(first) - len(again)
        ids = [*first["instrument_id"].tolist(), *again["instrument_id"].tolist()]
        told.append([table.symbols[i - 1000] if i else "" for i in ids])
        assert all(shard is None or shard.has(symbol) for symbol in table.symbols)
    assert len(told[0]) == 30
    for shard, ours in zip((Shard(1, 2), Shard(2, 2)), told[1:], strict=True):
        assert ours == [symbol for symbol in told[0] if not symbol or shard.has(symbol)]
        assert 3 < len(ours) < 30
