"""The readers' view of a table of instruments is what one gets by reading every entry, however it came about."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from mdfeedd.ring import Instruments, Reader, Writer
from mdfeedd.ring.instruments import ENTRY, Instrument

SYMBOLS = [
    *("A", "B", "ESZ6", "ΑΒΓ", "x" * 71, "x" * 70, "é" * 35 + "z", "", "a b", "#1"),
    *(f"LONGER THAN EIGHT {i}" for i in range(20)),
]


@pytest.fixture
def dice():
    """A generator whose seed is printed when the test fails and taken from MDFEEDD_SEED."""
    seed = int(os.environ.get("MDFEEDD_SEED", random.randrange(2**32)))
    print(f"MDFEEDD_SEED={seed}")
    return random.Random(seed)


class Table:
    """What `Instruments` asks of a table; entries that are None cannot be read."""

    closed = False

    def __init__(self):
        self.entries = []
        self.instruments_version = 0

    @property
    def instruments_count(self):
        return len(self.entries)

    def instrument_get(self, index):
        return self.entries[index]

    def change(self, place, entry):
        if place == len(self.entries):
            self.entries.append(None)
        self.entries[place] = entry
        self.instruments_version += 1


class RawTable(Table):
    """The same as a ring's reader gives it."""

    def instruments_read(self, first, out):
        rows = out.view(ENTRY)
        for at, entry in enumerate(self.entries[first : first + len(rows)]):
            if entry is None:
                rows["version"][at] = 1
            else:
                rows[at] = (2, *(e.encode() if isinstance(e, str) else e for e in entry))


def an_entry(dice, number):
    numbers = [dice.randrange(2**31) for _ in range(6)]
    return (number, *numbers, "USD", "V", "feed", dice.choice(SYMBOLS), dice.choice(SYMBOLS))


def last_of(entries):
    """By id, the place and the entry that count."""
    return {e[0]: (at, Instrument(*e)) for at, e in enumerate(entries) if e is not None}


def agrees(names, entries):
    known = last_of(entries)
    assert len(names) == len(known)
    assert {one.instrument_id: one for one in names} == {n: e for n, (_, e) in known.items()}
    for number, (_, entry) in known.items():
        assert names.get(number) == entry
    for symbol in [*SYMBOLS, "none of them", "x" * 72, "x" * 73, "A\0", "\ud800"]:
        places = sorted(at for at, e in known.values() if e.symbol == symbol)
        assert names.ids(symbol) == [entries[at][0] for at in places]
        assert (symbol in names) == bool(places)
    assert names.get(10**9) is None


@pytest.mark.parametrize("table", [Table, RawTable])
def test_view_is_that_of_all_entries(dice, table):
    for _ in range(20):
        there, kept = table(), []
        names = Instruments(there, "feed")
        names._looked_s = float("-inf")
        for _ in range(dice.randrange(1, 12)):
            for _ in range(dice.randrange(1, 30)):
                if there.entries and dice.random() < 0.2:
                    place = dice.randrange(len(there.entries))
                    there.change(place, an_entry(dice, kept[place]))
                else:  # an id may come again at another place, under another name
                    number = dice.choice(kept) if kept and dice.random() < 0.1 else 1 + len(kept)
                    kept.append(number)
                    there.change(len(there.entries), an_entry(dice, number))
            if dice.random() < 0.5:
                names.refresh()
                agrees(names, there.entries)
        names.freeze()
        there.closed = True
        agrees(names, there.entries)


@pytest.mark.parametrize("table", [Table, RawTable])
def test_entry_that_cannot_be_read_is_left_out_until_it_is_mended(dice, table):
    there = table()
    names = Instruments(there, "feed")
    there.change(0, an_entry(dice, 1))
    there.change(1, None)
    there.change(2, an_entry(dice, 3))
    agrees(names, there.entries)
    there.change(1, an_entry(dice, 2))
    there.instruments_version += 1
    agrees(names, there.entries)
    before = there.entries[0]
    there.change(0, None)
    names.refresh()
    assert names.get(1) == Instrument(*before), "what was known of it stays"


def test_many_symbols_that_come_after_the_first_question(shm_dir):
    count = 3 * 4096
    with (
        Writer("r", directory=shm_dir, instruments_capacity=count + 10) as writer,
        Reader("r", directory=shm_dir) as reader,
    ):
        names = reader.instruments
        assert names.ids("S0") == []
        for i in range(count):
            writer.instruments.add(f"S{i}")
            if i % 1000 == 0:
                assert names.id(f"S{i}") == names.ids(f"S{i}")[0]
        again = writer.instruments.add("S5", vendor_id=7)
        assert [names.symbol(names.id(f"S{i}")) for i in (0, 5, 4096, count - 1)] == [
            *("S0", "S5", "S4096", f"S{count - 1}"),
        ]
        assert names.ids("S5")[-1] == again
        assert names.ids(f"S{count}") == []


def test_entries_are_read_as_they_lie_in_the_table(shm_dir):
    with (
        Writer("r", directory=shm_dir) as writer,
        Reader("r", directory=shm_dir) as reader,
    ):
        own = [writer.instruments.add(s, vendor_id=2**63 + i) for i, s in enumerate(("A", "ΑΒΓ"))]
        rows = np.zeros(2, ENTRY)
        reader.instruments_read(0, rows.view(np.uint8))
        assert rows["instrument_id"].tolist() == own
        assert rows["vendor_id"].tolist() == [2**63, 2**63 + 1]
        assert rows["symbol"].tolist() == [b"A", "ΑΒΓ".encode()]
        assert (rows["version"] & 1 == 0).all()
        for first, count in ((1, 2), (3, 0), (2, 1)):
            with pytest.raises(IndexError):
                reader.instruments_read(first, np.zeros(count, ENTRY).view(np.uint8))
        with pytest.raises(IndexError):
            reader.instruments_read(0, np.zeros(255, np.uint8))
