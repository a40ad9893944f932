"""Captures of CME's multicast through the whole system, as a user types it."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from mdfeedd.ring import Reader, list_rings
from mdfeedd.tick import DEPTH

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

FOLDER = "cme/captures"
V6 = f"{FOLDER}/Mdp3.Sbe.v1.6_Cme.Mdp3.Sbe.v6.1.pcap"
V8 = f"{FOLDER}/Mdp3.Sbe.v1.8_MdIncrementalRefreshVolume.pcap"


def said(out: str, name: str) -> int:
    found = re.search(rf"^  {name} +([\d,]+)  ", out, re.MULTILINE)
    assert found, out
    return int(found[1].replace(",", ""))


def rows(out: Path, table: str) -> int:
    return sum(pq.read_metadata(path).num_rows for path in out.glob(f"{table}/**/*.parquet"))


def test_capture_into_files_and_bars(
    testdata: Path, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    ran = run("replay", testdata / V6, "--out", tmp_path, "--bars", 60, "--shm-dir", shm_dir)
    assert ran.status == 0, ran
    assert "lines, told from what they carry:" in ran.out
    assert re.search(r"  340 incremental A  224\.0\.31\.64:14340 +5,000 packets", ran.out)
    assert re.search(r"  340 incremental B  224\.0\.32\.64:15340 +5,000 packets", ran.out)
    assert "named by their SecurityID" in ran.out
    assert said(ran.out, "packets") == 10_000
    assert said(ran.out, "copies") == 5_000
    assert said(ran.out, "missing") == said(ran.out, "lost") == 0
    assert said(ran.out, "messages") == 10_273
    stored = rows(tmp_path, "quotes") + rows(tmp_path, "trades") + rows(tmp_path, "bars")
    assert said(ran.out, "stored") == stored
    assert said(ran.out, "bars") == rows(tmp_path, "bars") > 0
    assert f"{rows(tmp_path, 'quotes'):,} quotes, {rows(tmp_path, 'trades'):,} trades" in ran.out
    assert list_rings(shm_dir) == []


def test_compressed_capture_with_holes(
    testdata: Path, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.pcap.gz"
    path.write_bytes(gzip.compress((testdata / V8).read_bytes()))
    ran = run("replay", path, "--vendor", "cme", "--shm-dir", shm_dir)
    assert ran.status == 0, ran
    assert said(ran.out, "packets") == 112
    assert said(ran.out, "missing") == 4_017
    assert "in 55 gaps" in ran.out
    assert ran.err.count("are lost on all lines") <= 3, "told once per episode"
    assert "the ring is still there" in ran.out


def test_depth_stays_in_its_ring(testdata: Path, run: Run, shm_dir: str, tmp_path: Path) -> None:
    options = ("--out", tmp_path, "--depth", "--orders", "--shm-dir", shm_dir, "--feed", "x")
    ran = run("replay", testdata / V6, *options)
    assert ran.status == 0, ran
    assert list_rings(shm_dir) == ["x.depth", "x.orders"]
    with Reader("x.depth", "oldest", dtype=DEPTH, follow=False, directory=shm_dir) as reader:
        assert sum(len(batch) for batch in reader) == said(ran.out, "depth")
    ran = run("replay", testdata / V6, "--feed", "x", "--shm-dir", shm_dir)
    assert list_rings(shm_dir) == ["x"], "what an earlier replay left is cleared away"


def test_lines_by_hand(testdata: Path, run: Run, shm_dir: str) -> None:
    line = "340:I:A=224.0.31.64:14340"
    ran = run("replay", testdata / V6, "--line", line, "--shm-dir", shm_dir)
    assert ran.status == 0, ran
    assert "lines, as said:\n    340 incremental A  224.0.31.64:14340\n" in ran.out
    assert said(ran.out, "packets") == 5_000
    assert "copies" not in ran.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--channel", "7"), "channel 320 is not wanted"),
        (("--line", "340:I:A"), "is not CHANNEL:FEED:SIDE=GROUP:PORT"),
        (("--config-xml", "/none/config.xml"), "/none/config.xml: cannot be read"),
        (("--secdef", "/none/secdef.dat"), "/none/secdef.dat"),
        (("--vendor", "databento"), "is not DBN"),
    ],
)
def test_what_cannot_be_replayed(
    options: tuple[str, str], sentence: str, testdata: Path, run: Run, shm_dir: str
) -> None:
    ran = run("replay", testdata / V8, *options, "--shm-dir", shm_dir)
    assert ran.status == 1
    assert sentence in ran.err
    assert "Traceback" not in ran.err


def test_without_names_they_are_chosen_by_number_only(
    testdata: Path, run: Run, shm_dir: str
) -> None:
    ran = run("replay", testdata / V8, "--symbols", "6E*", "--shm-dir", shm_dir)
    assert ran.status == 0, ran
    assert "without names --symbols chooses them by SecurityID only" in ran.out
    ran = run("replay", testdata / V8, "--shm-dir", shm_dir)
    assert "--symbols" not in ran.out


def test_one_packet_is_one(testdata: Path, run: Run, shm_dir: str) -> None:
    path = testdata / FOLDER / "v5/Mdp3.Sbe.v1.5_MdIncrementalRefreshBook.pcap"
    ran = run("replay", path, "--shm-dir", shm_dir)
    assert re.search(r"310 incremental A  224\.0\.31\.1:14310 +1 packet\n", ran.out), ran.out


def test_options_of_captures_with_other_files(testdata: Path, run: Run, shm_dir: str) -> None:
    path = testdata / "dbn/databento__dbn/tests/data/test_data.mbp-1.dbn"
    ran = run("replay", path, "--channel", 310, "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "--channel is for captures" in ran.sentence()
    ran = run("replay", path, testdata / V8, "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "is a capture and" in ran.sentence()
    ran = run("replay", testdata / V8, "--dbn-version", 2, "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "--dbn-version is for DBN files" in ran.sentence()


def test_capture_that_is_cut(testdata: Path, run: Run, shm_dir: str, tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes((testdata / V6).read_bytes()[:500_000])
    ran = run("replay", path, "--out", tmp_path / "out", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "cut.pcap ends in the middle of a record" in ran.sentence()
    assert f"trouble: damaged, the rest is replayed: {path} ends in the middle" in ran.out
    stored = sum(rows(tmp_path / "out", table) for table in ("quotes", "trades"))
    assert said(ran.out, "stored") == stored > 1000
