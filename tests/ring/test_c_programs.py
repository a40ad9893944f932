"""C11 and C++17 programs and Python read each other's rings through `mdfeedd.h` alone."""

from __future__ import annotations

import itertools
import subprocess

import numpy as np
import pytest

from mdfeedd import Reader, Writer
from mdfeedd.ring.segment import ring_path
from mdfeedd.tick import BAR, QUOTE, TRADE, Kind, Side

COUNT = 700  # of the 1,024 slots: read from the oldest, nothing is lost
CAPACITY = 1024
C11 = {"compiler": "cc", "flags": ("-std=c11", "-O2", "-Wpedantic", "-Wconversion")}
CPP17 = {"compiler": "c++", "flags": ("-std=c++17", "-O2", "-Wpedantic", "-Wconversion")}
LANGUAGES = {"c": C11, "cpp": CPP17}
PROGRAMS = pytest.mark.parametrize("language", LANGUAGES)


def expected_line(i: int, id_of: dict[str, int]) -> str:
    """Tick i of ``writer.c`` as ``reader.c`` prints it."""
    symbol = ("ESZ5", "NQZ5")[i % 2]
    scale = 10**9
    if i % 3:
        kind, side = Kind.QUOTE, Side.NONE
        tail = (i * scale, i * scale + scale // 4, 10 + i, 20 + i)
    else:
        kind, side = Kind.TRADE, (Side.BID if i % 2 else Side.ASK)
        tail = (-i * scale, 2**63 | i, i + 1, 0)
    head = (i + 1, 1000 + i, 2000 + i, id_of[symbol], symbol, int(kind), int(side))
    return " ".join(map(str, (*head, 1 | 1 << 9, i, i % 7, *tail)))


def publish_like_c(writer: Writer, count: int) -> None:
    ids = [writer.instruments.add(symbol, tick_size=250_000_000) for symbol in ("ESZ5", "NQZ5")]
    for i in range(count):
        row = np.zeros(1, QUOTE if i % 3 else TRADE)
        row["ts_event"], row["ts_recv"] = 1000 + i, 2000 + i
        row["instrument_id"] = ids[i % 2]
        row["flags"], row["venue_seq"], row["count"] = 1 | 1 << 9, i, i % 7
        if i % 3:
            row["kind"] = Kind.QUOTE
            row["bid_price"], row["ask_price"] = i * 10**9, i * 10**9 + 250_000_000
            row["bid_size"], row["ask_size"] = 10 + i, 20 + i
        else:
            row["kind"], row["side"] = Kind.TRADE, (Side.BID if i % 2 else Side.ASK)
            row["price"], row["trade_id"], row["size"] = -i * 10**9, 2**63 | i, i + 1
        writer.publish(row)


@PROGRAMS
def test_program_reads_what_python_writes(compile_c, shm_dir, spawn, language):
    program = compile_c(f"reader.{language}", **LANGUAGES[language])
    with Writer("r", CAPACITY, feed="py", feed_index=3, directory=shm_dir) as writer:
        reader = spawn(
            [program, ring_path("r", shm_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        publish_like_c(writer, COUNT)
        ids = {s: writer.instruments.add(s, tick_size=250_000_000) for s in ("ESZ5", "NQZ5")}
    # closed by the context manager: the program drains the ring and ends
    out, err = reader.communicate(timeout=60)
    assert (reader.returncode, err) == (0, "lost 0\n")
    assert out.splitlines() == [expected_line(i, ids) for i in range(COUNT)]


@PROGRAMS
def test_python_reads_what_the_program_writes(compile_c, shm_dir, language):
    program = compile_c(f"writer.{language}", **LANGUAGES[language])
    subprocess.run([program, ring_path("r", shm_dir), str(COUNT)], check=True, timeout=60)
    with Reader("r", "oldest", follow=False, directory=shm_dir) as reader:
        batches = list(reader)
        symbols = [reader.instruments.symbol(3 << 24 | i) for i in (1, 2)]
        assert reader.instruments[3 << 24 | 1].tick_size == 250_000_000
        assert (reader.lost, reader.feed, reader.ended) == (0, "c-feed", True)
    assert symbols == ["ESZ5", "NQZ5"]
    records = np.concatenate([b.records for b in batches])
    assert records["seq"].tolist() == list(range(1, COUNT + 1))
    ids = {"ESZ5": 3 << 24 | 1, "NQZ5": 3 << 24 | 2}
    lines = []
    for record in records:
        full = record.view(QUOTE if record["kind"] == Kind.QUOTE else TRADE)
        names = ("bid_price", "ask_price", "bid_size", "ask_size")
        if record["kind"] == Kind.TRADE:
            names = ("price", "trade_id", "size", "reserved")
        symbol = symbols[int(record["instrument_id"] & 0xFFFFFF) - 1]
        head = [full[n] for n in ("seq", "ts_event", "ts_recv", "instrument_id")]
        middle = [full[n] for n in ("kind", "side", "flags", "venue_seq", "count")]
        lines.append(" ".join(map(str, (*head, symbol, *middle, *(full[n] for n in names)))))
    assert lines == [expected_line(i, ids) for i in range(COUNT)]


@pytest.mark.parametrize(("writes", "reads"), list(itertools.product(LANGUAGES, LANGUAGES)))
def test_program_reads_what_a_program_writes(compile_c, shm_dir, writes, reads):
    writer = compile_c(f"writer.{writes}", **LANGUAGES[writes])
    reader = compile_c(f"reader.{reads}", **LANGUAGES[reads])
    path = ring_path("r", shm_dir)
    subprocess.run([writer, path, str(COUNT)], check=True, timeout=60)
    done = subprocess.run([reader, path], check=True, timeout=60, capture_output=True, text=True)
    ids = {"ESZ5": 3 << 24 | 1, "NQZ5": 3 << 24 | 2}
    assert done.stderr == "lost 0\n"
    assert done.stdout.splitlines() == [expected_line(i, ids) for i in range(COUNT)]


@PROGRAMS
def test_python_goes_on_where_the_program_stopped(compile_c, shm_dir, language):
    """One sequence over two languages, and the instruments' ids keep their meaning."""
    program = compile_c(f"writer.{language}", **LANGUAGES[language])
    subprocess.run([program, ring_path("r", shm_dir), "50"], check=True, timeout=60)
    options = {"feed": "c-feed", "feed_index": 3, "instruments_capacity": 1000}
    with Writer("r", CAPACITY, directory=shm_dir, **options) as writer:
        assert (writer.next_seq, writer.epoch) == (51, 2)
        assert len(writer.instruments) == 2


@PROGRAMS
def test_program_refuses_a_missing_ring_and_another_layout(compile_c, shm_dir, language):
    program = compile_c(f"reader.{language}", **LANGUAGES[language])
    for name, sentence in (("missing", "No such file"), ("bars", "another layout")):
        if name == "bars":
            Writer(name, CAPACITY, dtype=BAR, directory=shm_dir).close()
        done = subprocess.run(
            [program, ring_path(name, shm_dir)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("compiler", "standard", "source"),
    [
        ("gcc", "c11", "reader.c"),
        ("clang", "c11", "reader.c"),
        ("gcc", "c2x", "writer.c"),
        ("g++", "c++17", "reader.cpp"),
        ("clang++", "c++17", "reader.cpp"),
        ("g++", "c++20", "writer.cpp"),
    ],
)
def test_header_compiles_without_a_warning(compile_c, compiler, standard, source):
    flags = (f"-std={standard}", "-O2", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wcast-align")
    assert compile_c(source, flags=flags, compiler=compiler).exists()
