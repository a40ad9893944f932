"""The feed as it runs, against a gateway on 127.0.0.1: stages, encodings, recordings, slow readers, endings."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import databento_dbn as db
import pytest
import zstandard

from mdfeedd.feeds.databento.options import Subscription
from mdfeedd.feeds.databento.session import backoff
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.databento import KEY, STAGES, Fault, Habits, Market, Script
from mdfeedd.tick import GapReason, Kind

REPOSITORY = Path(__file__).resolve().parents[4]
STOP_S = 1.0
SECOND = 1_000_000_000
READY_TICKS = 100


def faults(*texts):
    return Script(tuple(Fault.parse(text) for text in texts))


def busy(one, ticks=READY_TICKS):
    return one.until(lambda: one.count() >= ticks, f"{ticks} ticks")


# a stop in every stage


def stopped_in_time(one):
    began_s = time.monotonic()
    one.stop_event.set()
    one._thread.join(30)
    took_s = time.monotonic() - began_s
    one.end()
    assert took_s < STOP_S


@pytest.mark.parametrize("stage", STAGES)
def test_stop_while_the_gateway_is_silent(life, stage):
    one = life(script=faults(f"silence:at={stage},seconds=600")).start()
    one.until(lambda: any("silence" in session.faults for session in one.core.sessions), stage)
    stopped_in_time(one)


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zstd"}, {"encoding": "json"}, {"ts_out": True}]
)
def test_stop_while_it_delivers(life, options):
    one = life(**options).start()
    busy(one)
    stopped_in_time(one)
    assert inspect(one.plan.name, one.plan.directory).state_text == "closed"


def test_stop_in_a_flood(life):
    one = life(habits=Habits(flood=True)).start()
    busy(one, 5000)
    stopped_in_time(one)


def test_stop_in_the_pause_before_the_next_session(life, feed_log):
    one = life(script=faults("refuse:session=0,count=1000")).start()
    one.until(lambda: "again in" in feed_log.text, "a pause")
    stopped_in_time(one)


def test_stop_while_an_address_is_mute(life):
    with contextlib.ExitStack() as stack:
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(mute.getsockname())
        one = life()
        one.feed.options = one.options = type(one.options)(
            "GLBX.MDP3",
            one.options.subscriptions,
            gateway=f"127.0.0.1:{mute.getsockname()[1]}",
            key_file=one.options.key_file,
        )
        one.start()
        beats = set()
        one.until(
            lambda: beats.add(heartbeat(one)) or len(beats) > 3, "heartbeats while connecting"
        )
        stopped_in_time(one)


def heartbeat(one):
    one.reader()
    info = inspect(one.plan.name, one.plan.directory)
    return (time.time_ns() - info.heartbeat_age_ns) // (50 * 10**6)


def test_stop_while_the_gateway_does_not_read(life, key_file):
    """More subscriptions than all the buffers between us hold."""
    many = tuple(
        Subscription("status", tuple(f"S{n:02}{'x' * 60}{i}" for i in range(60_000)))
        for n in range(4)
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one = life(subscriptions=many)
        one.feed.options = one.options = type(one.options)(
            "GLBX.MDP3", many, gateway=f"127.0.0.1:{listener.getsockname()[1]}", key_file=key_file
        )
        one.start()
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"lsg_version=1\ncram=abc\n")
            assert peer.recv(4096).startswith(b"auth=")
            peer.sendall(b"success=1|session_id=1\n")
            assert peer.recv(100).startswith(b"schema=")
            stopped_in_time(one)


# what comes is the same in every form

FORMS = {
    "plain": {},
    "zstd": {"compression": "zstd"},
    "json": {"encoding": "json"},
    "ts_out": {"ts_out": True},
    "record": {"record": True},
    "zstd and ts_out": {"compression": "zstd", "ts_out": True},
    "json and ts_out": {"encoding": "json", "ts_out": True},
    "json and zstd": {"encoding": "json", "compression": "zstd"},
    "record zstd ts_out": {"record": True, "compression": "zstd", "ts_out": True},
}


@pytest.mark.parametrize(
    "schemas", [("mbp-1", "status"), ("trades", "bbo-1s", "imbalance"), ("tbbo",)]
)
def test_every_form_brings_the_same_ticks(life, truth, tmp_path, schemas):
    """All of one past, asked for from its beginning, so that nothing depends on when a session began."""
    start_ns = time.time_ns() - 5 * SECOND
    asked = tuple(Subscription(s, ("ALL_SYMBOLS",), start=str(start_ns)) for s in schemas)
    lives = {}
    for number, (form, options) in enumerate(FORMS.items()):
        market = Market(7, schemas=schemas, rate=200.0, start_ns=start_ns, publishers=2)
        given = dict(options)
        if given.get("record"):
            given["record"] = str(tmp_path / f"{number}")
        lives[form] = life(schemas, market=market, subscriptions=asked, **given).start()
    for one in lives.values():
        busy(one, 500)
    told = {}
    for form, one in lives.items():
        one.end()
        held = truth(one)
        held.check()
        assert not held.holes
        told[form] = by_kind(held.rows)
        if one.options.record:
            check_recording(one)
    for kind in told["plain"]:  # between schemas, the order is that of their replays
        rows = [form[kind] for form in told.values()]
        least = min(len(one) for one in rows)
        assert least > 0
        assert len({tuple(one[:least]) for one in rows}) == 1


def by_kind(rows):
    kinds = {dict(row[:-1])["kind"] for row in rows}
    return {kind: [row for row in rows if dict(row[:-1])["kind"] == kind] for kind in kinds}


def check_recording(one):
    """What the vendor's decoder finds in the file is what the gateway sent, up to where we stopped."""
    (path,) = Path(one.options.record).iterdir()
    assert path.name.endswith(".dbn.zst")
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes()))
    decoder = db.DBNDecoder(upgrade_policy=db.VersionUpgradePolicy.AS_IS)
    control = (db.Metadata, db.SystemMsg, db.ErrorMsg, db.SymbolMappingMsg)
    found = [r for r in decoder.write_and_decode(reader.read()) if not isinstance(r, control)]
    tail = 8 if one.options.ts_out else 0
    raws = [bytes(record)[4:] for record in found]
    sent = [record.raw[4:] for record in one.core.sessions[0].sent]
    assert len(raws) >= 250
    assert [raw[: len(raw) - tail] if len(raw) > len(want) else raw for raw, want in zip(raws, sent, strict=False)] \
        == sent[: len(raws)]  # fmt: skip


def test_each_session_is_recorded_in_a_file_of_its_own(life, tmp_path, fast):
    one = life(
        script=faults("fin:after_records=50,part", "rst:session=1,after_records=50,part"),
        record=str(tmp_path / "r"),
    ).start()
    one.until(
        lambda: len(one.core.sessions) >= 3 and len(one.core.sessions[2].sent) > 50, "a third"
    )
    one.end()
    paths = sorted((tmp_path / "r").iterdir())
    assert len(paths) == 3
    assert all(path.name.endswith(".dbn.zst") for path in paths)
    for path in paths:  # also those of sessions that broke within a record
        decoder = db.DBNDecoder()
        plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes())).read()
        assert decoder.write_and_decode(plain)
        assert decoder.buffer() == b""
    numbers = [path.name.split("-")[-1].partition(".")[0] for path in paths]
    assert sorted(numbers) == [session.session_id for session in one.core.sessions]


def test_full_disk_ends_the_recording_and_not_the_feed(life, tmp_path, feed_log):
    (tmp_path / "r").write_text("a file where a folder should be")
    one = life(record=str(tmp_path / "r")).start()
    busy(one)
    one.end()
    errors = [r.getMessage() for r in feed_log.records if r.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "not recorded any further" in errors[0]


# slow readers

SLEEPER = """
import sys
from mdfeedd.ring import Reader
reader = Reader("db0", directory=sys.argv[1])
print(len(reader.read(10, timeout=20)), flush=True)
while True:
    reader.read(10, timeout=20)
"""


def test_stopped_reader_never_slows_the_session(life, shm_dir):
    """A ring of 4,096 laps a reader that was stopped many times over; the gateway's every record is received."""
    total = 40_000
    one = life(habits=Habits(flood=True, limit_records=total, heartbeat_s=0.3))
    object.__setattr__(one.plan, "capacity", 4096)
    one.start()
    reader = one.until(one._attach, "a ring")
    child = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, shm_dir], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    with child, reader:
        try:
            assert child.stdout.readline().strip().isdigit()
            child.send_signal(signal.SIGSTOP)
            info = one.until(
                lambda: (i := inspect("db0", shm_dir)).counters["received_records"] >= total and i,
                "all records",
            )
            one.until(lambda: len(one.core.sessions[0].sent) == total, "the account")
            one.end()
            assert len(one.core.sessions) == 1
            assert info.counters["gaps"] == info.counters["disconnects"] == 0
            batch = reader.read(1, timeout=0)
            assert batch.lost > 4096
        finally:
            child.kill()


# endings


@pytest.mark.parametrize(
    ("script", "given", "status", "words"),
    [
        ("bad_key", {}, 77, "refused: Authentication failed.: check the key at databento.com"),
        ("bad_key:text=No license for GLBX.MDP3", {}, 77, "check the account's live data licences"),
        ("error:code=1,at=described", {}, 77, "error 1: User authentication failed: check the key"),
        ("error:code=2,after_records=3", {}, 77, "error 2: API key was deactivated"),
        ("error:code=5,at=described", {}, 78, "error 5: Invalid subscription: see `subscriptions`"),
        ("version:code=4", {}, 78, "sends DBN version 4, and 1 to 3 are known: upgrade mdfeedd"),
        ("bad_key:text=Unknown dataset: GLBX.MDP3", {}, 78, "see `dataset`"),
        ("heartbeat", {"keys": ["x" * 32]}, 77, "refused: Authentication failed."),
    ],
)
def test_what_no_retry_can_mend_ends_the_process(life, feed_log, script, given, status, words):
    one = life(
        script=faults(script.replace("text=Unknown dataset: ", "text=Unknown dataset ")), **given
    )
    one.start()
    one.until(lambda: not one.is_running, "the end")
    one.end(status)
    errors = [r.getMessage() for r in feed_log.records if r.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith("db0: ")
    assert words in errors[0]
    assert len(one.core.sessions) == 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("fin:after_records=40", GapReason.DISCONNECT),
        ("fin:after_records=40,part", GapReason.DISCONNECT),
        ("rst:after_records=40", GapReason.DISCONNECT),
        ("rst:after_records=40,part", GapReason.DISCONNECT),
        ("half_close:after_records=40", GapReason.DISCONNECT),
        ("silence:after_records=40,seconds=600", GapReason.DISCONNECT),
        ("silence:at=described,seconds=600", GapReason.DISCONNECT),
        ("zero_length:after_records=40", GapReason.CORRUPT),
        ("garbage:after_records=40", GapReason.CORRUPT),
        ("error:code=6,after_records=40", GapReason.DISCONNECT),
        ("error:code=77,after_records=40,fatal", GapReason.DISCONNECT),
        ("weekly_restart:after_records=40,seconds=1", GapReason.DISCONNECT),
    ],
)
@pytest.mark.parametrize("recovery", ["natural", "replay"])
@pytest.mark.usefixtures("fast")
def test_every_other_end_is_a_disconnect(life, truth, script, reason, recovery):
    habits = Habits(heartbeat_s=0.3, max_connects_per_s=1000)
    one = life(script=faults(script), recovery=recovery, habits=habits).start()
    one.until(
        lambda: one.core.sessions and len(one.core.sessions[-1].sent) > 100, "another session"
    )
    busy(one, 120)
    one.end()
    holes = one.holes()
    assert [(line, why) for line, why, _, _ in holes] == [(1, reason)]
    held = truth(one)
    held.check()
    recovered = [(line, first, last) for line, _, first, last in one.holes(Kind.RECOVERED)]
    assert recovered == ([(1, *holes[0][2:])] if recovery == "replay" else [])
    assert len(one.core.sessions) >= 2


@pytest.mark.parametrize("ack", [[], ["no_ack:session=all"]], ids=["ack", "no_ack"])
@pytest.mark.parametrize("mute", ["silence:session=1,at=described", "late_open:session=1"])
@pytest.mark.parametrize("recovery", ["natural", "replay"])
@pytest.mark.usefixtures("fast")
def test_mute_between_metadata_and_flow(life, truth, mute, ack, recovery):
    script = faults("fin:after_records=40", f"{mute},seconds=0.4", *ack)
    habits = Habits(heartbeat_s=0.3, max_connects_per_s=1000)
    one = life(script=script, recovery=recovery, habits=habits).start()
    one.until(
        lambda: len(one.core.sessions) > 1 and len(one.core.sessions[-1].sent) > 200, "a flow"
    )
    one.end()
    truth(one).check()
    (hole,) = one.holes()
    second = one.core.sessions[1]
    if len(one.core.sessions) == 2:  # else this machine was slower than our patience
        assert hole[3] >= second.connected_ns + 4 * SECOND // 10
    assert len(one.holes(Kind.RECOVERED)) == (recovery == "replay")


def test_gateway_that_is_not_there_yet(life, feed_log, fast):
    one = life()
    one.gateway.refuse()
    one.start()
    one.until(lambda: "Connection refused" in feed_log.text, "a refusal")
    one.gateway.listen()
    busy(one)
    one.end()
    assert one.holes() == []  # nothing was promised before the first session


def test_no_more_than_a_session_a_second(life):
    """A gateway that ends every session at once sees pauses that grow."""
    assert backoff.FIRST_S >= 1.0
    one = life(script=Script((Fault("error", session=None, code=6, at="described"),))).start()
    one.until(lambda: len(one.core.sessions) >= 3, "three sessions")
    one.end()
    times = [session.connected_ns for session in one.core.sessions]
    pauses = [(b - a) / SECOND for a, b in itertools.pairwise(times)]
    assert pauses[0] >= 0.99
    assert pauses[1] >= 1.99


# the key


def test_key_is_nowhere(life, shm_dir, tmp_path, feed_log, key_file, fast):
    one = life(
        script=faults("rst:after_records=50", "bad_key:session=2"), record=str(tmp_path / "r"),
        recovery="replay", habits=Habits(heartbeat_s=0.3, max_connects_per_s=1000),
    ).start()  # fmt: skip
    one.until(
        lambda: len(one.core.sessions) >= 2 and len(one.core.sessions[1].sent) > 50, "a second"
    )
    one.end()
    assert len(feed_log.records) > 1, "there is something to look through"
    shown = feed_log.text + repr(one.options) + repr(one.feed.__dict__)
    assert KEY not in shown
    folders = [Path(shm_dir), tmp_path / "r"]
    files = [path for folder in folders for path in folder.iterdir()]
    assert len(files) >= 4  # ring, positions, two recordings
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
    lines = [line for session in one.core.sessions for line in session.lines]
    assert KEY not in repr(lines)


def test_key_that_is_missing(life, feed_log, tmp_path):
    one = life(key_file=str(tmp_path / "none")).start()
    one.until(lambda: not one.is_running, "the end")
    one.end(77)
    assert "the API key cannot be read from" in feed_log.text
    assert os.listdir(one.plan.directory) == []  # nothing is made before the key is there
