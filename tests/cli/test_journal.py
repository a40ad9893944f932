"""``mdfeedd journal``: what journals hold, whether they are whole, and their records."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mdfeedd.cli import main
from mdfeedd.journal import JournalWriter, SinkPositions, WriterOptions
from mdfeedd.journal.format import HEADER_BYTES, checksum
from mdfeedd.journal.segment import list_segments
from mdfeedd.ring import Position
from mdfeedd.tick import BAR, ORDER, TICK, TRADE, Kind, layout_of

if TYPE_CHECKING:
    from pathlib import Path

NS = 1_772_000_000 * 10**9  # 2026-02-25T06:13:20Z
RING = "cd" * 16


def instrument(own_id, symbol):
    return (own_id, 7, 1, 0, 10**7, 0, 0, "USD", "XCME", "cme", symbol, symbol)


def make(folder: Path, n: int, dtype=TICK, *, close: bool = True) -> JournalWriter:
    """n trades, one a second, of two instruments in turn."""
    writer = JournalWriter(folder, folder.name, WriterOptions(1 << 16, "batch"))
    writer.begin(RING, feed="cme", layout=layout_of(dtype), record_bytes=dtype.itemsize, next_seq=1)
    writer.put_instruments([(0, instrument(1, "ESZ6")), (1, instrument(2, "NQZ6"))])
    out = np.zeros(n, TRADE if dtype == TICK else dtype)
    out["seq"] = np.arange(1, n + 1)
    out["instrument_id"] = 1 + np.arange(n) % 2
    if dtype == TICK:
        out["kind"] = Kind.TRADE
        out["ts_recv"] = out["ts_event"] = NS + np.arange(n) * 10**9
        out["price"] = 4500 * 10**9 + np.arange(n)
        out["size"] = 2**32 - 1
    for at in range(0, n, 50):
        writer.append(out[at : at + 50].view(dtype), 1)
        writer.commit()
    if close:
        writer.close()
    return writer


@pytest.fixture
def run(capsys):
    def call(*arguments):
        status = main(["journal", *map(str, arguments)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


def spoil(folder, which=0, offset=4096 + 64 + 512 + 64 + 100):
    with list_segments(folder)[which].path.open("r+b") as file:
        file.seek(offset)
        file.write(b"damaged")


def test_ls_tells_rings_ranges_and_sinks(tmp_path, run):
    make(tmp_path / "es", 3000)
    writer = make(tmp_path / "nq", 10, close=False)
    positions = SinkPositions(tmp_path / "es")
    positions.save("warehouse", Position(RING, 1000))
    positions.save("new", None)
    status, out, _ = run("ls", tmp_path)
    assert status == 0
    assert "es: feed cme, tick records, " in out
    assert f"ring {RING}  1 to 3,000, from " in out
    assert "written 3,000 at " in out
    assert "durable 3,000" in out
    assert "sink warehouse: at 1,000, 2,000 records behind" in out
    assert "sink new: has read nothing yet" in out
    assert "not being written\n" in out.split("nq:")[0]
    assert ", being written" in out.split("nq:")[1]
    writer.close()
    status, out, _ = run("ls", "-l", tmp_path / "es")
    assert sum(name.path.name in out for name in list_segments(tmp_path / "es")) > 2
    spoil(tmp_path / "es", 1, 20)
    status, out, _ = run("ls", "-l", tmp_path)
    assert status == 65
    assert "DAMAGED HEADER" in out


def test_ls_goes_on_behind_a_journal_of_a_newer_version(tmp_path, run):
    make(tmp_path / "a", 5)
    make(tmp_path / "b", 5)
    path = list_segments(tmp_path / "a")[0].path
    data = bytearray(path.read_bytes())
    data[8:10] = (2).to_bytes(2, "little")
    end = HEADER_BYTES - 8
    data[end:HEADER_BYTES] = checksum(bytes(data[:end])).to_bytes(8, "little")
    path.write_bytes(data)
    status, out, err = run("ls", tmp_path)
    assert status == 65
    assert out.startswith("b: feed cme, ")
    assert err.startswith(f"mdfeedd journal: {path}")
    assert "version 2 of the format" in err


def test_verify_tells_what_is_damaged_and_where(tmp_path, run):
    make(tmp_path / "es", 3000)
    writer = make(tmp_path / "nq", 120, close=False)
    status, out, _ = run("verify", tmp_path)
    assert status == 0
    assert "es: whole; " in out
    assert "3,000 records" in out
    assert "nq: whole; 1 segment, 4 blocks, 120 records" in out
    writer.close()
    spoil(tmp_path / "es")
    status, out, _ = run("verify", tmp_path)
    assert status == 65
    first = list_segments(tmp_path / "es")[0].path
    assert f"{first}: damaged at offset 4672: the checksum of a block of 50 is wrong" in out
    assert "es: 1 fault; " in out
    list_segments(tmp_path / "es")[1].path.unlink()
    assert "segments 2 to 2 are missing" in run("verify", tmp_path)[1]


def test_verify_of_an_unfinished_tail(tmp_path, run):
    make(tmp_path / "es", 100)
    path = list_segments(tmp_path / "es")[0].path
    path.write_bytes(path.read_bytes()[:-10])
    status, out, _ = run("verify", tmp_path)
    assert status == 65
    assert "unfinished, or damaged at offset" in out


def test_cat_as_text_and_json(tmp_path, run):
    make(tmp_path / "es", 200)
    status, out, _ = run("cat", tmp_path, "-n", 3)
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "-- 2026-02-25"
    assert lines[1].split() == [
        "06:13:20.000000000",
        "TRADE",
        "ESZ6",
        "4294967295",
        "at",
        "4500.00",
        "#0",
    ]
    assert len(lines) == 4
    _, out, _ = run("cat", tmp_path / "es", "--json", "--symbol", "NQZ6")
    shown = [json.loads(line) for line in out.splitlines()]
    assert len(shown) == 100
    assert shown[0]["price"] == "4500.000000001"
    assert {one["symbol"] for one in shown} == {"NQZ6"}


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("10", "20", 10, 20),
        ("2026-02-25T06:13:25", "2026-02-25T06:13:30.5Z", 6, 11),
        ("195", None, 195, 200),
        (None, "2026-02-25T06:13:21", 1, 2),
        ("2026-02-25", "2026-02-26", 1, 200),
    ],
)
def test_cat_of_a_range(tmp_path, run, start, end, first, last):
    make(tmp_path / "es", 200)
    ends = [*(["--from", start] if start else []), *(["--to", end] if end else [])]
    _, out, _ = run("cat", tmp_path, "--json", *ends)
    assert [json.loads(line)["seq"] for line in out.splitlines()] == list(range(first, last + 1))


def test_cat_tells_what_damage_has_taken(tmp_path, run):
    make(tmp_path / "es", 200)
    spoil(tmp_path / "es")
    status, out, err = run("cat", tmp_path, "--json")
    assert status == 65
    assert json.loads(out.splitlines()[0]) == {"kind": "LOST", "count": 50}
    assert "the checksum of a block of 50 is wrong" in err
    assert len(out.splitlines()) == 151


def test_export_to_parquet_and_csv(tmp_path, run):
    pq = pytest.importorskip("pyarrow.parquet")
    make(tmp_path / "es", 3000)
    status, out, _ = run("export", tmp_path, "--out", tmp_path / "es.parquet", "--from", "11")
    assert (status, out) == (0, f"2,990 rows in {tmp_path / 'es.parquet'}\n")
    table = pq.read_table(tmp_path / "es.parquet")
    assert table["seq"].to_pylist() == list(range(11, 3001))
    assert str(table["price"][0]) == "4500.000000010"
    assert table["size"][0].as_py() == 2**32 - 1
    assert set(table["symbol"].to_pylist()) == {"ESZ6", "NQZ6"}
    run("export", tmp_path, "--out", tmp_path / "es.csv")
    rows = list(csv.DictReader((tmp_path / "es.csv").read_text().splitlines()))
    assert len(rows) == 3000
    assert rows[0]["symbol"] == "ESZ6"
    make(tmp_path / "b" / "bars", 5, BAR)
    run("export", tmp_path / "b", "--out", tmp_path / "bars.parquet")
    assert pq.read_table(tmp_path / "bars.parquet").num_rows == 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ls", "nothing"), "there is no folder nothing"),
        (("cat", "."), "there is no journal in ."),
        (("cat", "two"), "two holds the journals of several rings: say which of two/a, two/b"),
        (("export", "two/a", "--out", "x.txt"), "--out must end in .parquet or .csv"),
        (("export", "two/b", "--out", "x.csv"), "holds neither ticks nor bars"),
        (("export", "two/a", "--out", "no/x.csv"), "no/x.csv cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path, run, monkeypatch, arguments, sentence):
    pytest.importorskip("pyarrow")
    make(tmp_path / "two" / "a", 5)
    make(tmp_path / "two" / "b", 5, ORDER)
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert status == 1
    assert out == ""
    assert sentence in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "place", ["yesterday", "2026-13-01", "2026-02-25T06:13:20.1234567890", "-1"]
)
def test_place_that_is_none(tmp_path, run, place, capsys):
    with pytest.raises(SystemExit):
        run("cat", tmp_path, f"--from={place}")
    assert "must be a sequence number or a time in UTC" in capsys.readouterr().err


def test_replay_command_takes_a_journal(tmp_path, shm_dir, capsys):
    pytest.importorskip("pyarrow")
    make(tmp_path / "es", 200)
    out = tmp_path / "out"
    assert main(["replay", str(tmp_path / "es"), "--out", str(out), "--shm-dir", shm_dir]) == 0
    import pyarrow.parquet as pq

    rows = sum(pq.read_metadata(path).num_rows for path in out.rglob("*.parquet"))
    assert rows == 200


def test_replay_command_of_a_damaged_journal_ends_with_its_status(tmp_path, shm_dir, capsys):
    pytest.importorskip("pyarrow")
    make(tmp_path / "es", 200)
    with list_segments(tmp_path / "es")[0].path.open("r+b") as file:
        file.seek(HEADER_BYTES + 64 + 256 + (64 + 50 * 64) + 100)
        file.write(b"damaged")
    out = tmp_path / "out"
    assert main(["replay", str(tmp_path / "es"), "--out", str(out), "--shm-dir", shm_dir]) == 65
    told = capsys.readouterr().out
    assert (
        f"\ntrouble: damaged, the rest is replayed: {tmp_path}/es: 50 records are missing" in told
    )
    assert "NOT ALL" not in told


def test_replay_command_of_a_journal_of_which_nothing_can_be_read(tmp_path, shm_dir, capsys):
    make(tmp_path / "es", 200)
    with list_segments(tmp_path / "es")[0].path.open("r+b") as file:
        file.write(b"damaged")
    assert main(["replay", str(tmp_path / "es"), "--shm-dir", shm_dir]) == 65
    assert "has a header that is right" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["ls", "verify", "cat"])
def test_folder_of_another_user_is_one_sentence(tmp_path, run, monkeypatch, part):
    make(tmp_path / "cme", 5)

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("mdfeedd.journal.segment.os.listdir", denied)
    status, out, err = run(part, tmp_path)
    assert (status, out) == (1, "")
    assert err == f"mdfeedd journal: {tmp_path} cannot be read: Permission denied\n"


@pytest.mark.parametrize("at", [0, 100], ids=["between blocks", "in a block"])
def test_what_is_missing_at_the_end_is_told_by_every_part(tmp_path, run, at):
    make(tmp_path / "es", 500)
    with list_segments(tmp_path / "es")[0].path.open("r+b") as file:
        file.truncate(HEADER_BYTES + 64 + 512 + 3 * (64 + 50 * 64) + at)
    status, out, _ = run("verify", tmp_path)
    assert status == 65
    assert "the last 350 are gone: records 151 to 500 had been made durable" in out
    assert "150 records" in out
    status, out, _ = run("ls", "-l", tmp_path)
    assert status == 65
    assert f"ring {RING}  1 to 150, from " in out
    assert "DAMAGED " in out
    assert "records 151 to 500 had been made durable and are missing" in out
    status, out, err = run("cat", tmp_path)
    assert status == 65
    assert "350 records lost" in out
    assert "records 151 to 500 had been made durable and are missing at offset" in err
    pytest.importorskip("pyarrow")
    status, out, err = run("export", tmp_path, "--out", tmp_path / "x.csv")
    assert status == 65
    assert out.startswith("150 rows in ")
    assert "350 records missing: " in err
