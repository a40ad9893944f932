"""SQL over stored files and the journal, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from mdfeedd.cli import main
from mdfeedd.journal import JournalWriter, WriterOptions, folder_of
from mdfeedd.journal.segment import list_segments
from mdfeedd.ring import Reader, Writer
from mdfeedd.sinks import SinkBatch
from mdfeedd.sinks.parquet import ParquetOptions, ParquetSink
from mdfeedd.tick import BAR, ORDER, TICK, TRADE, BarFlag, Kind, layout_of

pytest.importorskip("duckdb")
WHEN = 1_790_000_000_123_456_789


def trades(n, instrument_id, first=1):
    records = np.zeros(n, TRADE)
    records["seq"] = np.arange(first, first + n)
    records["kind"] = Kind.TRADE
    records["ts_event"] = WHEN + np.arange(n)
    records["ts_recv"] = WHEN + 1000
    records["instrument_id"] = instrument_id
    records["price"] = -1 - np.arange(n)  # a billionth is the smallest there is
    records["size"] = 2**32 - 1
    return records


@pytest.fixture
def ring(shm_dir):
    with Writer("cme", 256, directory=shm_dir, feed="cme") as writer:
        yield writer


@pytest.fixture
def stored(tmp_path, ring, shm_dir):
    """Three trades of one instrument."""
    own_id = ring.instruments.add("ÉTF 6", vendor_symbol="x")
    out = tmp_path / "stored"
    sink = ParquetSink(ParquetOptions(str(out)))
    with Reader("cme", directory=shm_dir) as reader:
        records = trades(3, own_id).view(reader.read(timeout=0).records.dtype)
        sink.write(SinkBatch("cme", "a" * 32, "cme", 1, records, reader.instruments))
        sink.close()
    return out


@pytest.fixture
def journal(tmp_path):
    """Five trades of the same."""
    path = tmp_path / "journal"
    writer = JournalWriter(folder_of(path, "cme"), "cme", WriterOptions(1 << 16, "none"))
    records = trades(5, 1)
    writer.begin("b" * 32, feed="cme", layout=layout_of(TICK), record_bytes=64, next_seq=1, epoch=1)
    writer.put_instruments([(0, (1, 0, 0, 0, 0, 0, 0, "", "", "cme", "ÉTF 6", "x"))])
    writer.append(records.view(TICK), 1)
    writer.close()
    return path


def query(capfdbinary, *arguments):
    status = main(["query", *map(str, arguments)])
    out, err = capfdbinary.readouterr()
    return status, out.decode(), err.decode()


def test_values_are_exact(stored, capfdbinary):
    sql = "SELECT symbol, feed, price, size, ts_event_ns, side FROM trades ORDER BY seq"
    status, out, err = query(capfdbinary, "-d", stored, "--format", "json", sql)
    assert (status, err) == (0, "")
    rows = [json.loads(line, parse_float=str) for line in out.splitlines()]
    assert rows[0] == {
        "symbol": "ÉTF 6",
        "feed": "cme",
        "price": "-0.000000001",
        "size": 2**32 - 1,
        "ts_event_ns": WHEN,
        "side": "none",
    }
    assert [row["ts_event_ns"] for row in rows] == [WHEN, WHEN + 1, WHEN + 2]


def test_forms(stored, tmp_path, capfdbinary):
    sql = "SELECT seq FROM trades ORDER BY seq"
    assert query(capfdbinary, "-d", stored, "--format", "csv", sql)[1] == "seq\n1\n2\n3\n"
    assert "│" in query(capfdbinary, "-d", stored, sql)[1]
    target = tmp_path / "it's.parquet"
    assert query(capfdbinary, "-d", stored, "--format", "parquet", "-o", target, sql)[0] == 0
    again = query(
        capfdbinary,
        "-d",
        stored,
        "--format",
        "csv",
        f"SELECT count(*) FROM '{tmp_path}/it*.parquet'",
    )
    assert again[1].splitlines()[1] == "3"
    target = tmp_path / "it's.json"
    query(capfdbinary, "-d", stored, "--format", "json", "-o", target, sql)
    assert [json.loads(line)["seq"] for line in target.read_text().splitlines()] == [1, 2, 3]


def lines_of(capfdbinary, stored, sql):
    """What `--format json` prints, by a parser that takes nothing but JSON."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    told = query(capfdbinary, "-d", stored, "--format", "json", sql)
    assert told[0] == 0, told
    return [json.loads(line, parse_constant=refuse) for line in told[1].splitlines()]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("'nan'::DOUBLE", None),
        ("'-inf'::FLOAT", None),
        ("1.5::DOUBLE", 1.5),
        ("NULL::DOUBLE", None),
        ("'NaN'", "NaN"),
        ("['nan'::DOUBLE, 1.5]", [None, 1.5]),
        ("[['inf'::FLOAT], NULL]::FLOAT[][]", [[None], None]),
        ("['nan'::FLOAT, 2]::FLOAT[2]", [None, 2]),
        ("[]::DOUBLE[]", []),
        ("""{'a "b': 'nan'::DOUBLE, 'c': [{'d': 'inf'::DOUBLE}]}""", {'a "b': None, "c": [{"d": None}]}),
        ("NULL::STRUCT(a DOUBLE)", None),
        ("MAP {'k': 'nan'::DOUBLE, 'l': 1.0}", {"k": None, "l": 1.0}),
        ("NULL::MAP(VARCHAR, DOUBLE)", None),
    ],
)  # fmt: skip
def test_json_has_null_for_numbers_that_it_does_not_have(stored, capfdbinary, value, shown):
    assert lines_of(capfdbinary, stored, f"SELECT {value} AS x, 1 AS n") == [{"x": shown, "n": 1}]


def test_json_of_columns_with_one_name_and_of_no_rows(stored, capfdbinary):
    (line,) = lines_of(capfdbinary, stored, "SELECT 1.5::DOUBLE AS a, 'nan'::DOUBLE AS a")
    assert list(line.values()) == [1.5, None]
    assert lines_of(capfdbinary, stored, "SELECT 1.5::DOUBLE AS a WHERE false") == []


def test_of_several_statements_the_last_is_shown(stored, capfdbinary):
    sql = "CREATE TABLE t AS SELECT 1 AS n; INSERT INTO t VALUES (2); SELECT 7; SELECT sum(n) AS n FROM t"
    assert lines_of(capfdbinary, stored, sql) == [{"n": 3}]


def test_tables_without_files_are_empty_and_have_their_columns(stored, capfdbinary):
    sql = "SELECT count(*), count(bid_price), min(date), min(ts_event_ns) FROM quotes"
    out = query(capfdbinary, "-d", stored, "--format", "csv", sql)[1]
    assert out.splitlines()[1] == "0,0,,"


def test_journal_beside_the_files(stored, journal, capfdbinary):
    sql = (
        "SELECT (SELECT count(*) FROM trades), count(*), min(symbol), min(ts_event_ns) "
        "FROM journal.trades"
    )
    out = query(capfdbinary, "-d", stored, "--journal", journal, "--format", "csv", sql)[1]
    assert out.splitlines()[1] == f"3,5,ÉTF 6,{WHEN}"
    one_ring = query(
        capfdbinary, "--journal", journal / "cme", "--format", "csv",
        "SELECT count(*) FROM journal.trades",
    )  # fmt: skip
    assert one_ring[1].splitlines()[1] == "5"


def test_folders_of_a_configuration(stored, journal, tmp_path, capfdbinary):
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(
        f"""
feeds: [{{name: cme, vendor: synthetic}}]
consumers:
  - {{name: keep, type: journal, rings: [cme], options: {{path: {journal}}}}}
  - name: store
    type: batch
    rings: [cme]
    options: {{journal: {journal}, sink: {{type: parquet, path: {stored}}}}}
"""
    )
    sql = "SELECT (SELECT count(*) FROM trades) + count(*) FROM journal.trades"
    out = query(capfdbinary, "-c", file, "--format", "csv", sql)[1]
    assert out.splitlines()[1] == "8"


def test_configuration_that_is_wrong_or_stores_no_files(tmp_path, capfdbinary, monkeypatch):
    file = tmp_path / "mdfeedd.yaml"
    file.write_text("feeds: [{name: cme, vendor: synthetik}]\n")
    status, out, err = query(capfdbinary, "-c", file, "FROM trades")
    assert (status, out) == (78, "")
    assert f"{file}:1:" in err
    file.write_text("feeds: [{name: cme, vendor: synthetic}]\n")
    monkeypatch.chdir(tmp_path)
    status, out, err = query(capfdbinary, "-c", file, "FROM trades")
    assert (status, out) == (1, "")
    assert "(--data names another one)" in err


def test_what_a_journal_lacks_and_a_ring_without_a_table_are_told(tmp_path, journal, capfdbinary):
    writer = JournalWriter(folder_of(journal, "l3"), "l3", WriterOptions(1 << 16, "none"))
    writer.begin("c" * 32, feed="l3", layout=layout_of(ORDER), record_bytes=64, next_seq=1, epoch=1)
    writer.append(np.zeros(1, ORDER), 1)
    writer.close()
    writer = JournalWriter(folder_of(journal, "cut"), "cut", WriterOptions(1 << 16, "none"))
    writer.begin("d" * 32, feed="cut", layout=layout_of(TICK), record_bytes=64, next_seq=1, epoch=1)
    records = trades(6, 1).view(TICK)
    for at in (0, 2, 4):
        writer.append(records[at : at + 2], 1)
        writer.commit()
    writer.close()
    (segment,) = list_segments(folder_of(journal, "cut"))
    whole, bad = segment.path.read_bytes(), records[2:4].tobytes()
    assert whole.count(bad) == 1
    segment.path.write_bytes(whole.replace(bad, bytes(len(bad))))
    sql = "SELECT list(seq ORDER BY seq) AS seqs FROM journal.trades WHERE feed = 'cut'"
    status, out, err = query(capfdbinary, "--journal", journal, "--format", "csv", sql)
    assert (status, out.splitlines()[1]) == (0, '"[1, 2, 5, 6]"')
    assert err.splitlines() == [
        "mdfeedd query: the journal of 'cut' lacks 2 records",
        "mdfeedd query: the ring 'l3' has no table: left out",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["SELEC"], 'syntax error at or near "SELEC"'),
        (["SELECT nope FROM trades"], 'Referenced column "nope" not found'),
        (["--format", "parquet", "FROM trades"], "--format parquet needs --output FILE"),
        (
            ["-d", "/nowhere", "FROM trades"],
            "there is no folder /nowhere (--data names another one)",
        ),
        (["--journal", "/proc", "FROM trades"], "/proc holds no journal"),
    ],
)
def test_mistakes_are_one_sentence(stored, capfdbinary, arguments, sentence):
    given = arguments if "-d" in arguments else ["-d", stored, *arguments]
    status, out, err = query(capfdbinary, *given)
    assert status != 0
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


def test_output_goes_where_the_shell_says(stored, tmp_path, spawn):
    """Into a file that has something already, and into a pipe that is closed early."""
    file = tmp_path / "out"
    command = [sys.executable, "-m", "mdfeedd", "query", "-d", str(stored), "--format", "csv"]
    with file.open("w") as out:
        out.write("before\n")
        out.flush()
        subprocess.run([*command, "SELECT 1 AS x"], stdout=out, check=True, timeout=60)
    assert file.read_text() == "before\nx\n1\n"
    many = spawn(
        [*command, "SELECT range FROM range(20000000)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert many.stdout.readline() == b"range\n"
    many.stdout.close()
    assert many.wait(60) == 0
    assert many.stderr.read() == b""
    many.stderr.close()


def test_table_that_cannot_be_read_does_not_disturb_the_others(stored, capfdbinary):
    folder = stored / "quotes" / "feed=cme" / "date=2026-09-21"
    folder.mkdir(parents=True)
    (folder / "000001-1-2-aa.parquet").write_bytes(b"no Parquet file")
    status, out, err = query(
        capfdbinary, "-d", stored, "--format", "csv", "SELECT count(*) FROM trades"
    )
    assert (status, out.split()[1]) == (0, "3")
    assert "mdfeedd query: main.quotes cannot be read: " in err
    status, _, err = query(capfdbinary, "-d", stored, "FROM quotes")
    assert status == 1
    assert "main.quotes cannot be read" in err
    assert "Traceback" not in err


def test_output_that_cannot_be_written_is_one_sentence(stored, tmp_path, capfdbinary):
    for form in ("table", "csv", "json"):
        nowhere = tmp_path / "nowhere" / "x"
        given = ["-d", stored, "--format", form, "-o", nowhere, "FROM trades"]
        status, _, err = query(capfdbinary, *given)
        assert status == 1
        assert str(nowhere) in err
        assert "Traceback" not in err


def test_journal_that_needs_more_room_than_there_is(stored, journal, capfdbinary, monkeypatch):
    import errno
    import os

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mdfeedd.sinks.parquet.os.pwrite", full)
    status, _, err = query(capfdbinary, "-d", stored, "--journal", journal, "FROM journal.trades")
    assert status == 1
    assert "No space left on device (TMPDIR names another place" in err
    assert len(err.splitlines()) == 1


def test_bar_that_was_made_again_is_shown_once_as_it_was_last(tmp_path, shm_dir, capfdbinary):
    """A restart within its minute makes it anew from the ring, and late trades correct it: each is a row.

    The vendor's bar of the same minute stays beside ours.
    """
    out, start_ns = tmp_path / "out", 1_790_000_000_000_000_000
    bars = np.zeros(5, BAR)
    bars["seq"], bars["interval_s"], bars["instrument_id"] = (1, 2, 3, 4, 5), 60, 1
    bars["ts_open"] = start_ns + np.array([0, 0, 60, 60, 60]) * 1_000_000_000
    bars["count"], bars["volume"] = (2, 5, 7, 7, 0), (20, 50, 70, 70, 99)
    bars["flags"] = (2, 3, 0, 4, BarFlag.VENDOR)
    with Writer("bars", 256, dtype=BAR, directory=shm_dir, feed="cme") as writer:
        writer.instruments.add("ESZ6")
        with Reader("bars", dtype=BAR, directory=shm_dir) as reader:
            for epoch, rows in ((1, bars[:1]), (2, bars[1:])):
                sink = ParquetSink(ParquetOptions(str(out)))
                sink.write(SinkBatch("bars", "a" * 32, "cme", epoch, rows, reader.instruments))
                sink.close()
    sql = "SELECT volume, flags FROM bars ORDER BY ts_open, volume"
    assert main(["query", "-d", str(out), "--format", "csv", sql]) == 0
    assert capfdbinary.readouterr().out.split() == [b"volume,flags", b"50,3", b"70,4", b"99,16"]
    assert main(["query", "-d", str(out), "--format", "csv", "FROM bars LIMIT 0"]) == 0
    columns = capfdbinary.readouterr().out.decode().strip().split(",")
    assert "filename" not in columns
    assert set(columns[-3:]) == {"feed", "date", "ts_open_ns"}


def test_folder_above_the_one_with_the_files_is_told(stored, capfdbinary):
    assert main(["query", "-d", str(stored.parent), "SELECT count(*) FROM trades"]) == 0
    assert f"{stored.parent} has none of trades/, quotes/" in capfdbinary.readouterr().err.decode()


def test_journal_of_a_configuration_that_is_not_made_yet(stored, tmp_path, capfdbinary):
    path = tmp_path / "mdfeedd.yaml"
    path.write_text(
        "feeds: [{name: demo, vendor: synthetic}]\n"
        "consumers:\n"
        f"  - {{name: j, type: journal, rings: [demo], options: {{path: {tmp_path}/none}}}}\n"
        f"  - {{name: s, type: batch, rings: [demo], options: {{sink: {{type: parquet, path: {stored}}}}}}}\n"
    )
    assert main(["query", "-c", str(path), "--format", "csv", "SELECT count(*) FROM trades"]) == 0
    assert capfdbinary.readouterr().out.split()[-1] == b"3"
