"""Recorded sessions: files that the vendor's own tools read, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import databento
import databento_dbn as db
import pytest
import zstandard

from mdfeedd.feeds.databento.session import recording as recording_module
from mdfeedd.feeds.databento.session.recording import FLUSH_S, MAX_NAMES, Recording
from mdfeedd.ring import Writer
from mdfeedd.sim.databento import Market
from mdfeedd.sim.databento.market import START_NS
from mdfeedd.tick import TICK

logger = logging.getLogger("test.recording")
REPOSITORY = Path(__file__).resolve().parents[4]
METADATA = db.Metadata(
    dataset="GLBX.MDP3", start=0, stype_in=None, stype_out=db.SType.INSTRUMENT_ID, schema=None,
    symbols=[], version=3,
).encode()  # fmt: skip


@pytest.fixture
def writer(shm_dir):
    with Writer("rec", 256, TICK, directory=shm_dir) as made:
        yield made


@pytest.fixture(scope="module")
def stream():
    """Pieces of a session, the metadata first, as they come from a socket."""
    market = Market(11, instruments=3, schemas=("mbp-1", "trades"))
    raws = [
        r.raw
        for schema in market.schemas
        for r in market.records(schema, START_NS, START_NS + 4 * 10**9)
    ]
    assert len(raws) > 300
    whole = METADATA + b"".join(raws)
    return [whole[i : i + 777] for i in range(0, len(whole), 777)], raws


def a_record(byte, words=255):
    """One that is nothing but its length and noise, or a byte again and again."""
    size = words * 4 - 1
    return bytes([words]) + (os.urandom(size) if byte is None else bytes([byte]) * size)


def inflated(path):
    """As far as it goes: a file that was cut off is read to where it was."""
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes()))
    out = []
    with contextlib.suppress(zstandard.ZstdError):
        while piece := reader.read(1 << 16):
            out.append(piece)
    return b"".join(out)


def only(folder, pattern="*"):
    paths = sorted(folder.glob(pattern))
    assert len(paths) == 1, paths
    return paths[0]


@pytest.fixture
def record(writer):
    """Begin a recording; those that a test leaves open are closed after it."""
    made = []

    def begin(folder, pieces=(), session_id="1760000001"):
        made.append(Recording(str(folder), "es", session_id, writer, logger))
        for piece in pieces:
            made[-1].write(piece)
        return made[-1]

    yield begin
    for one in made:
        one.close()


def test_file_is_read_by_the_vendors_tools(tmp_path, writer, stream, record):
    pieces, raws = stream
    record(tmp_path, pieces).close()
    path = only(tmp_path)
    assert path.name.startswith("es-20")
    assert path.name.endswith("-1760000001.dbn.zst")
    assert inflated(path) == b"".join(pieces)
    store = databento.DBNStore.from_bytes(path.read_bytes())
    assert store.dataset == "GLBX.MDP3"
    told = []
    store.replay(lambda one: told.append(bytes(one)))
    assert told == raws
    decoder = db.DBNDecoder()
    decoder.write_and_decode(inflated(path))
    assert writer.counters.get("recorded_bytes") == len(b"".join(pieces))


@pytest.mark.parametrize("lost", [1, 40, 79])
@pytest.mark.parametrize("piece_bytes", [1, 7, 777, 1 << 20])
def test_session_that_breaks_within_a_record_is_a_whole_file(
    tmp_path, writer, stream, record, piece_bytes, lost
):
    pieces, raws = stream
    data = b"".join(pieces)
    cut = data[: len(METADATA) + sum(map(len, raws[:300])) - min(lost, len(raws[299]) - 1)]
    record(tmp_path, [cut[at : at + piece_bytes] for at in range(0, len(cut), piece_bytes)]).close()
    path = only(tmp_path)
    whole = METADATA + b"".join(raws[:299])
    assert inflated(path) == whole
    assert writer.counters.get("recorded_bytes") == len(whole)
    told = []
    databento.DBNStore.from_bytes(path.read_bytes()).replay(lambda one: told.append(bytes(one)))
    assert told == raws[:299]


def test_session_that_breaks_within_its_metadata_leaves_nothing(tmp_path, record):
    record(tmp_path, [METADATA[:5], METADATA[5:-1]]).close()
    assert list(tmp_path.iterdir()) == []


def test_behind_a_record_of_an_impossible_length_nothing_is_recorded(tmp_path, record):
    bad = bytes([3]) + bytes(11)
    record(tmp_path, [METADATA + a_record(1) + bad, a_record(2)]).close()
    assert inflated(only(tmp_path)) == METADATA + a_record(1)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_whatever_holds_bytes_is_recorded(tmp_path, kind, record):
    record(tmp_path, [kind(METADATA)]).close()
    assert inflated(only(tmp_path)) == METADATA


def test_nothing_came_and_nothing_is_left(tmp_path, record):
    made = record(tmp_path)
    assert only(tmp_path).name.endswith(".part")
    made.close()
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_name_is_final_only_when_it_is_closed(tmp_path, record):
    made = record(tmp_path, [METADATA])
    assert only(tmp_path) == Path(f"{made.path}.part")
    made.close()
    assert only(tmp_path) == made.path
    made.close()
    made.write(b"late")
    assert inflated(made.path) == METADATA


def test_folder_is_made(tmp_path, record):
    record(tmp_path / "a" / "b", [METADATA]).close()
    assert inflated(only(tmp_path / "a" / "b")) == METADATA


def test_sessions_of_the_same_second_and_number_keep_their_files(tmp_path, caplog, record):
    for turn in range(5):  # some are over, some are not when the next begins
        made = record(tmp_path, [METADATA, a_record(turn)])
        if turn % 2:
            made.close()
    contents = sorted(inflated(path)[len(METADATA) :] for path in tmp_path.iterdir())
    assert len(contents) == 5
    assert {a_record(1), a_record(3)} <= set(contents)
    assert not caplog.records


def test_all_names_are_taken(tmp_path, caplog, monkeypatch, record):
    monkeypatch.setattr(recording_module.time, "strftime", lambda *_: "SAME")
    for _ in range(MAX_NAMES):
        record(tmp_path, [METADATA]).close()
    made = record(tmp_path, [b"lost"])
    made.close()
    assert len(list(tmp_path.iterdir())) == MAX_NAMES
    assert all(inflated(path) == METADATA for path in tmp_path.iterdir())
    assert [r.getMessage() for r in caplog.records] == [
        f"the session is not recorded any further: {made.path}.part: File exists"
    ]


@pytest.mark.parametrize(
    ("given", "used"), [("17a-/../b", "17ab"), ("", "0"), ("x" * 99, "x" * 32), ("../..", "0")]
)
def test_session_id_makes_no_path(tmp_path, given, used, record):
    made = record(tmp_path, [METADATA], given)
    made.close()
    assert only(tmp_path).name.endswith(f"-{used}.dbn.zst")


def test_folder_that_cannot_be_made(tmp_path, writer, caplog, record):
    (tmp_path / "file").write_text("")
    made = record(tmp_path / "file" / "folder", [METADATA, b"more"])
    made.close()
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "not recorded any further" in caplog.text
    assert "Not a directory" in caplog.text
    assert writer.counters.get("recorded_bytes") == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folder_that_cannot_be_written(tmp_path, caplog, record):
    tmp_path.chmod(0o500)
    record(tmp_path, [METADATA]).close()
    assert "Permission denied" in caplog.text


@contextlib.contextmanager
def file_limit(size):
    """Files beyond that cannot be written, as on a full disk: a part of a write, then an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_is_full(tmp_path, stream, caplog, record):
    pieces, _ = stream
    made = record(tmp_path, pieces[:1])
    made.beat()
    size = only(tmp_path).stat().st_size
    noise = b"".join(a_record(None) for _ in range(1024))
    with file_limit(size + 1000):
        made.write(noise)
        made.write(noise)
        made.beat()
        made.close()
    assert len(caplog.records) == 1
    assert "not recorded any further" in caplog.text
    assert "File too large" in caplog.text
    path = only(tmp_path)
    assert path.name.endswith(".part")
    assert inflated(path).startswith(pieces[0])


def test_disk_is_full_at_the_end(tmp_path, caplog, record):
    made = record(tmp_path, [METADATA, a_record(None)])
    with file_limit(only(tmp_path).stat().st_size):
        made.close()
    assert len(caplog.records) == 1
    assert only(tmp_path).name.endswith(".part")


def test_file_that_somebody_took_away(tmp_path, caplog, record):
    made = record(tmp_path, [METADATA])
    only(tmp_path).unlink()
    made.close()
    assert "No such file" in caplog.text


KILLED = """
import logging, os, signal, sys
from mdfeedd.feeds.databento.session import recording
from mdfeedd.ring import Writer
from mdfeedd.tick import TICK
folder, shm, metadata, quiet = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), sys.argv[4]
made = recording.Recording(folder, "es", "1", Writer("k", 256, TICK, directory=shm), logging.getLogger())
made.write(metadata)
made.write(b"\\4abcdefghijklmno")
if quiet:
    made._flushed_s -= recording.FLUSH_S
    made.beat()
    made.write(b"\\4is held back ..")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("quiet", ["", "quiet"])
def test_kill_leaves_what_is_older_than_a_second(tmp_path, shm_dir, quiet):
    command = [sys.executable, "-c", KILLED, str(tmp_path), shm_dir, METADATA.hex(), quiet]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    path = only(tmp_path)
    assert path.name.endswith(".dbn.zst.part")
    assert inflated(path) == METADATA + (b"\4abcdefghijklmno" if quiet else b"")


def test_quiet_stream_is_written_after_a_second(tmp_path, monkeypatch, record):
    now = [1000.0]
    monkeypatch.setattr(recording_module.time, "monotonic", lambda: now[0])
    made = record(tmp_path, [METADATA])
    path = only(tmp_path)
    assert inflated(path) == METADATA
    made.write(a_record(1))
    made.beat()
    assert inflated(path) == METADATA
    now[0] += FLUSH_S
    made.beat()
    assert inflated(path) == METADATA + a_record(1)
    size = path.stat().st_size
    now[0] += FLUSH_S
    made.beat()  # nothing is held, so nothing is written
    assert path.stat().st_size == size
    made.close()
