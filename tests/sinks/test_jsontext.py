"""The JSON that is made by columns in C is that of `mdfeedd tail --json`, which is made one by one."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.cli.tail import _JsonLines
from mdfeedd.ring import Reader, Writer
from mdfeedd.sinks import _jsontext
from mdfeedd.sinks.jsontext import JsonText
from mdfeedd.tick import BAR, QUOTE, TICK, TIME_UNDEF, Flag, Kind

SOURCE = Path(__file__).parent / "c" / "jsontext_test.c"
SYMBOLS = ["ESZ6", "Ölpreis €/t", 'a"b\\c', "", "原油 🛢", "tab\tnew\nline", "S7", "S" * 60]
EXTREME_TIMES = [TIME_UNDEF, TIME_UNDEF + 1, -1, 0, 1, 10**9 - 1, 10**9, 2**63 - 1, -(10**18)]
LEAP_DAYS = [951_782_399, 951_782_400, 951_868_800, 1_709_164_800, 4_107_542_400, 4_107_542_399]


def split(text, lengths):
    """The lines."""
    ends = np.cumsum(lengths).tolist()
    assert ends[-1:] in ([len(text)], [])
    return [bytes(text[end - n : end]) for end, n in zip(ends, lengths.tolist(), strict=True)]


@pytest.fixture
def through_a_ring(shm_dir):
    """A batch of records, as a reader of a ring has it."""
    open_ones = []

    def publish(records):
        writer = Writer("cme", capacity=65_536, dtype=records.dtype, directory=shm_dir)
        for symbol in SYMBOLS:
            writer.instruments.add(symbol)
        reader = Reader("cme", "oldest", dtype=records.dtype, directory=shm_dir)
        open_ones.extend([reader, writer])
        writer.publish(records)
        writer.flush()
        batch = reader.read(len(records), timeout=10)
        assert len(batch) == len(records)
        return batch

    yield publish
    for one in open_ones:
        one.close()


def ticks_of(rng, make, n):
    """Ticks of all kinds with extremes everywhere, and instruments that are not in the table."""
    ticks = make.ticks(rng, n, instruments=len(SYMBOLS) + 2)
    times = np.array([*EXTREME_TIMES, *(day * 10**9 for day in LEAP_DAYS)])
    for name in ("ts_event", "ts_recv"):
        some = rng.random(n) < 0.3
        ticks[name][some] = rng.choice(times, some.sum())
    ticks["instrument_id"] |= 1 << 24
    ticks["instrument_id"][rng.random(n) < 0.05] = 0
    ticks["side"][rng.random(n) < 0.02] = 255
    ticks["flags"][rng.random(n) < 0.1] = sum(Flag)
    return ticks


@pytest.mark.parametrize("n", [1, 2, 100, 20_000])
def test_ticks_are_those_of_tail(rng, make, through_a_ring, n):
    batch = through_a_ring(ticks_of(rng, make, n))
    expected = list(_JsonLines().of(batch, set()))
    text, lengths = JsonText().lines(batch.records, batch.instruments)
    for ours, theirs in zip(split(text, lengths), expected, strict=True):
        assert json.loads(ours) == json.loads(theirs)
        assert list(json.loads(ours)) == list(json.loads(theirs))  # in the same order, too


def test_bars_are_those_of_tail(rng, make, through_a_ring):
    bars = make.bars(rng, 1000)
    bars["instrument_id"] |= 1 << 24
    batch = through_a_ring(bars)
    text, lengths = JsonText().lines(batch.records, batch.instruments)
    lines = [json.loads(line) for line in split(text, lengths)]
    assert lines == [json.loads(line) for line in _JsonLines().of(batch, set())]


def test_commands_are_those_that_redis_packs(rng, make, through_a_ring):
    redis = pytest.importorskip("redis")
    batch = through_a_ring(ticks_of(rng, make, 3000))
    plain = split(*JsonText().lines(batch.records, batch.instruments))
    names = []

    def channel(feed, symbol, kind):
        return f"md:{feed}:{symbol}:{kind}"

    text, lengths = JsonText(channel).lines(batch.records, batch.instruments)
    for row, line, command in zip(batch.records, plain, split(text, lengths), strict=True):
        kind = {1: "quote", 2: "trade", 3: "trade", 4: "trade"}.get(int(row["kind"]), "event")
        names.append(channel("cme", batch.instruments.symbol(int(row["instrument_id"])), kind))
        packed = redis.Connection().pack_command("PUBLISH", names[-1], line)
        assert b"".join(packed) == command


def test_instruments_that_no_table_has_are_those_of_their_feed():
    class Nobody:
        def __init__(self, feed):
            self.feed = feed

        def get(self, _number):
            return None

        def symbol(self, number):
            return f"#{number}"

    makes = JsonText(lambda feed, symbol, kind: f"md:{feed}:{symbol}:{kind}")
    quote = np.zeros(1, TICK)
    quote["kind"], quote["instrument_id"] = Kind.QUOTE, 5
    for feed in ("one", "two", "one"):
        assert f"md:{feed}:#5:quote".encode() in bytes(makes.lines(quote, Nobody(feed))[0])


def test_nothing_is_no_text(through_a_ring):
    batch = through_a_ring(np.zeros(1, TICK))
    text, lengths = JsonText().lines(batch.records[:0], batch.instruments)
    assert (len(text), len(lengths)) == (0, 0)


def test_buffer_is_used_again_and_not_read_after(rng, make, through_a_ring):
    batch = through_a_ring(ticks_of(rng, make, 500))
    makes = JsonText()
    once = split(*makes.lines(batch.records, batch.instruments))
    makes.lines(batch.records[::-1].copy(), batch.instruments)
    assert split(*makes.lines(batch.records, batch.instruments)) == once


def test_renamed_instrument_has_its_new_name(shm_dir):
    with Writer("cme", capacity=256, directory=shm_dir) as writer:
        number = writer.instruments.add("#77", vendor_symbol="x")
        with Reader("cme", "oldest", directory=shm_dir) as reader:
            quote = np.zeros(1, QUOTE)
            quote["kind"], quote["instrument_id"] = Kind.QUOTE, number
            writer.publish(quote.view(TICK))
            batch = reader.read(10, timeout=10)
            makes = JsonText()
            assert b'"symbol":"#77"' in bytes(makes.lines(batch.records, batch.instruments)[0])
            entry = list(writer.instrument_get(0))
            entry[-2] = "ESZ6"
            writer.instrument_put(0, tuple(entry))
            batch.instruments.refresh()
            assert b'"symbol":"ESZ6"' in bytes(makes.lines(batch.records, batch.instruments)[0])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"start": -1}, ValueError),
        ({"start": 4}, ValueError),
        ({"places": np.array([0, 0, 1])}, ValueError),
        ({"places": np.array([0, 0, -1])}, ValueError),
        ({"places": np.zeros(2, "i8")}, ValueError),
        ({"places": np.zeros(3, "i4")}, TypeError),
        ({"offsets": np.zeros(1, "i8")}, ValueError),
        ({"ticks": np.zeros(3, BAR)}, TypeError),
        ({"ticks": np.zeros(6, TICK)[::2]}, ValueError),
        ({"out": np.empty(3 * _jsontext.LINE_MAX - 1, "u1")}, ValueError),
        ({"lengths": np.zeros(2, "i8")}, ValueError),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, error):
    given = {
        "ticks": np.zeros(3, TICK),
        "start": 0,
        "places": np.zeros(3, "i8"),
        "texts": b"",
        "offsets": np.zeros(4, "i8"),
        "resp": False,
        "out": np.empty(3 * _jsontext.LINE_MAX, "u1"),
        "lengths": np.zeros(3, "i8"),
    }
    assert _jsontext.lines(*given.values()) == (0, 0)
    with pytest.raises(error):
        _jsontext.lines(*(given | change).values())


def test_text_of_an_instrument_is_not_read_beyond_its_end():
    """Offsets that point beyond the texts, or backwards."""
    for offsets in ([0, 0, 0, 5], [0, 3, 1, 4], [-1, 0, 0, 0]):
        with pytest.raises(ValueError, match="offsets"):
            _jsontext.lines(
                np.zeros(1, TICK), 0, np.zeros(1, "i8"), b"abcd", np.array(offsets), False,
                np.empty(2 * _jsontext.LINE_MAX, "u1"), np.zeros(1, "i8"),
            )  # fmt: skip


def test_kernel_stays_within_its_memory(sanitized):
    program = sanitized(SOURCE, "ring", "sinks")
    seed = random.randrange(2**32)
    done = subprocess.run([program, str(seed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program} {seed}: {done.stderr}"
