"""The demo from start to summary: its numbers against the files, and its ends, good and bad."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from mdfeedd.cli import demo_terminal, demo_venue, demo_view, probe
from mdfeedd.cli.demo_plan import (
    BARS_RING,
    MOST_SESSION_RATE,
    MOST_TERMINAL_RATE,
    MOST_WIRE_RATE,
    RINGS,
    SESSION,
    TERMINAL,
    TICK_RINGS,
    TOPICS,
    VENUES,
    WIRED,
    capacity,
    needed_bytes,
    plan,
    rates,
)
from mdfeedd.ring import Reader, Writer, list_rings, remove
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.bloomberg import VARIABLE, World
from mdfeedd.sim.cme.lines import unicast_lines
from mdfeedd.tick import BAR, GAP, TICK, Flag, GapReason, Kind
from tests.cli.conftest import TIMEOUT_S, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.sim.cme.lines import Line
    from tests.cli.conftest import Run, Start


GENTLE = ("--rate", 500)  # where it does not matter: a demo at its own rate takes two processors


def said(out: str, name: str) -> int:
    """The number beside a name in the summary."""
    found = re.search(rf"^  {name} +([\d,]+)  ", out, re.MULTILINE)
    assert found, out
    return int(found[1].replace(",", ""))


def rows(out: Path, table: str) -> int:
    return sum(pq.read_metadata(path).num_rows for path in out.glob(f"{table}/**/*.parquet"))


def end_by(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Send a signal when the first second has been shown; the rest of its output."""
    assert process.stdout is not None
    assert "ticks/s" in process.stdout.readline()
    process.send_signal(number)
    return process.communicate(timeout=100)


def wait_until_nobody_writes(shm_dir: str) -> None:
    deadline = time.monotonic() + 60
    while any(inspect(ring, shm_dir).writer_alive for ring in list_rings(shm_dir)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def venue_of(demo: subprocess.Popen[str]) -> int:
    """The process that plays its venue."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # ended meanwhile
            ours = f"\nPPid:\t{demo.pid}\n" in status.read_text()
            if ours and b"mdfeedd.sim.cme.child" in (status.parent / "cmdline").read_bytes():
                return int(status.parent.name)
    pytest.fail("the demo has no venue")


def runs(pid: int) -> bool:
    """Whether a process is there, and more than its entry in the table."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@dataclass(frozen=True)
class Told:
    """A demo that nothing was done to: what it said, its files, and the rings that it left."""

    text: str
    out: Path
    rings: list[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One that goes on until each of its vendors has told its loss and made up for it."""
    out, shm_dir = tmp_path_factory.mktemp("demo"), tempfile.mkdtemp(dir="/dev/shm")
    options = ["--seconds", "4", "--rate", "10000", "--out", str(out), "--shm-dir", shm_dir]
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "mdfeedd", "demo", *options],
            capture_output=True, text=True, env=environment(), timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        rings = list_rings(shm_dir)
    finally:
        shutil.rmtree(shm_dir)
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    return Told(ran.stdout, out, rings)


def test_everything_published_is_in_the_files(whole: Told) -> None:
    out = whole.out
    quotes, trades = rows(out, "quotes"), rows(out, "trades")
    stored = said(whole.text, "ticks stored")
    assert said(whole.text, "ticks in") == stored == quotes + trades > 10_000
    assert said(whole.text, "bars") == rows(out, "bars") > 0
    assert sum(said(whole.text, ring) for ring in TICK_RINGS) == quotes + trades
    assert said(whole.text, "lost") == 0
    assert f"{quotes:,} quotes, {trades:,} trades" in whole.text
    assert "no account, no network" in whole.text
    assert whole.rings == [], "the rings are removed"
    feeds = {path.name for path in (out / "quotes").iterdir()}
    assert feeds == {f"feed={ring}" for ring in TICK_RINGS}
    symbols = set(pq.read_table(out / "quotes")["symbol"].to_pylist())
    assert len(symbols) == 28
    assert symbols >= set(TOPICS)
    futures = set(pq.read_table(out / "quotes" / f"feed={WIRED}")["symbol"].to_pylist())
    assert len(futures) == 8
    assert all(re.fullmatch(r"[A-Z]{2}[HMUZ]\d", str(symbol)) for symbol in futures), (
        "named at once"
    )
    table = pq.read_table(out / "quotes", filters=[("feed", "!=", WIRED)]).to_pydict()
    sides = zip(table["bid_price"], table["ask_price"], table["flags"], strict=True)
    right = [(bid, ask) for bid, ask, flags in sides if not flags & Flag.STALE]
    both = [(bid, ask) for bid, ask in right if bid is not None and ask is not None]
    assert all(bid < ask for bid, ask in both)
    assert len(both) > quotes // 4


def test_lost_packets_are_covered_or_told_and_recovered(whole: Told) -> None:
    assert said(whole.text, "lost on line A") > 0
    both = said(whole.text, "lost on both")
    told = re.search(r"packets: (\d+) gaps? told, (\d+) recovered", whole.text)
    assert told, whole.text
    gaps, recovered = map(int, told.groups())
    assert both >= gaps >= recovered >= 1
    assert re.search(r"lost 0 .* gaps \d+, \d+ recovered  ", whole.text)
    assert said(whole.text, "lost") == 0, "by readers"
    assert re.search(r"^  packet latency +p50 .*from kernel to read", whole.text, re.MULTILINE)


def test_a_cut_connection_is_told_and_replayed(whole: Told) -> None:
    assert said(whole.text, "replayed") > 0
    assert "records that a cut connection had cost: 1 gap told, 1 recovered" in whole.text
    assert "ticks of Databento: by a session with a gateway at 127.0.0.1" in whole.text
    table = pq.read_table(whole.out / "quotes" / f"feed={SESSION}")
    assert "AAPL" in set(table["symbol"].to_pylist())


def test_data_that_bloomberg_drops_are_told_and_come_anew(
    run: Run, shm_dir: str, tmp_path: Path
) -> None:
    """With another package blpapi on the path: that of the demo is the stand-in, whatever is installed."""
    installed = tmp_path / "installed" / "blpapi"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("raise RuntimeError('the installed one is imported')")
    code = (
        f"import os, sys; os.environ['PYTHONPATH'] += ':{installed.parent}'; "
        "from mdfeedd.cli import main; sys.exit(main())"
    )
    out = tmp_path / "ticks"
    options = ["--seconds", 3, "--rate", 10_000, "--out", out, "--shm-dir", shm_dir]
    ran = run("demo", *options, code=code)
    assert ran.status == 0, ran
    assert ran.err == ""
    assert re.search(
        r"^  in doubt +[\d.]+ m?s   .*: 1 gap told, 1 recovered$", ran.out, re.MULTILINE
    )
    assert "ticks of Bloomberg: by subscriptions, with a stand-in for blpapi" in ran.out
    stored = sum(rows(out, f"{table}/feed={TERMINAL}") for table in ("quotes", "trades"))
    assert said(ran.out, TERMINAL) == stored > 1000
    assert said(ran.out, "lost") == 0
    table = pq.read_table(out / "quotes" / f"feed={TERMINAL}").to_pydict()
    assert set(table["symbol"]) == set(TOPICS)
    images = [
        symbol
        for symbol, flags in zip(table["symbol"], table["flags"], strict=True)
        if flags & Flag.SNAPSHOT
    ]
    assert sorted(images) == sorted((*TOPICS, TOPICS[0])), "one each, and one after the loss"


def test_loss_that_did_not_come_in_time_is_a_row_that_says_so() -> None:
    ((name, value, remark),) = demo_terminal.Losses(0, 0, 0).rows()
    assert (name, value) == ("in doubt", "-")
    assert remark.startswith("0 gaps told, ")


def test_line_is_cut_at_the_terminals_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "0 s  " * 40
    assert demo_view.cut(text) == text  # no terminal: all of it
    master, slave = pty.openpty()
    try:
        termios.tcsetwinsize(slave, (24, 50))
        with open(slave, "w", encoding="utf-8", closefd=False) as terminal:
            monkeypatch.setattr("sys.stdout", terminal)
            assert demo_view.cut(text) == text[:50]
    finally:
        os.close(master)
        os.close(slave)


def test_world_of_the_terminal_is_in_the_environment_for_as_long_as_the_demo_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for before in (None, '{"seed": 7}'):
        monkeypatch.delenv(VARIABLE, raising=False)
        if before is not None:
            monkeypatch.setenv(VARIABLE, before)
        with demo_terminal.standing_in(20_000, 10):
            world = World.from_json(os.environ[VARIABLE])
        assert os.environ.get(VARIABLE) == before
        assert tuple(topic.name for topic in world.topics) == TOPICS
        assert world.rate == pytest.approx(MOST_TERMINAL_RATE / demo_terminal.TICKS_PER_EVENT)
        (fault,) = world.script.faults
        assert (fault.kind, fault.topic, fault.at_s) == ("data_loss", TOPICS[0], 4.0)


NO_TCP = """
import sys
import mdfeedd.cli.demo_gateway as gateway
def refused(options):
    raise PermissionError(1, "Operation not permitted")
gateway.GatewayProcess = refused
from mdfeedd.cli import main; sys.exit(main())
"""


def test_without_tcp_the_equities_are_synthetic(run: Run, shm_dir: str, tmp_path: Path) -> None:
    ran = run("demo", "--seconds", 1, *GENTLE, "--out", tmp_path, "--shm-dir", shm_dir, code=NO_TCP)
    assert ran.status == 0, ran
    assert "no TCP on 127.0.0.1 (Operation not permitted)" in ran.sentence()
    assert "Databento" not in ran.out
    assert said(ran.out, "ticks in") == said(ran.out, "ticks stored") > 0


NO_UDP = """
import socket, sys
class Sealed(socket.socket):
    def __init__(self, family=-1, type=-1, *more, **named):
        if type == socket.SOCK_DGRAM:
            raise PermissionError(1, "Operation not permitted")
        super().__init__(family, type, *more, **named)
socket.socket = Sealed
from mdfeedd.cli import main; sys.exit(main())
"""


def test_without_udp_the_futures_are_synthetic(run: Run, shm_dir: str, tmp_path: Path) -> None:
    ran = run("demo", "--seconds", 1, *GENTLE, "--out", tmp_path, "--shm-dir", shm_dir, code=NO_UDP)
    assert ran.status == 0, ran
    assert "no UDP to 127.0.0.1 (Operation not permitted)" in ran.sentence()
    assert "ESZ6 6" in ran.out
    assert "CME" not in ran.out
    assert "lost on" not in ran.out
    assert "packet latency" not in ran.out
    assert said(ran.out, "ticks in") == said(ran.out, "ticks stored") > 0


def test_ports_that_another_demo_has_are_left_to_it() -> None:
    with contextlib.ExitStack() as stack:
        firsts = [stack.enter_context(demo_venue.free_ports()) for _ in range(20)]
        assert len(set(firsts)) == 20
        assert all(first in demo_venue.PORTS for first in firsts)


def test_two_demos_at_once(start: Start, shm_dir: str, tmp_path: Path) -> None:
    demos = []
    for name in "ab":
        Path(shm_dir, name).mkdir()
        options = [*GENTLE, "--out", tmp_path / name, "--shm-dir", Path(shm_dir, name)]
        demos.append(start("demo", "--seconds", 2, *options))
    for demo in demos:
        out, err = demo.communicate(timeout=100)
        assert demo.returncode == 0, (out, err)
        assert err == ""
    for name in "ab":
        Path(shm_dir, name).rmdir()


def test_a_venue_that_dies_is_told_and_the_others_go_on(
    start: Start, shm_dir: str, tmp_path: Path
) -> None:
    process = start("demo", "--seconds", 3, *GENTLE, "--out", tmp_path, "--shm-dir", shm_dir)
    assert process.stdout is not None
    assert "ticks/s" in process.stdout.readline()
    os.kill(venue_of(process), signal.SIGKILL)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert err == ""
    told = f"trouble: the venue that {WIRED} listens to: killed by SIGKILL"
    assert out.count(told) == 2, "when it happens and in the summary"
    assert out.count("trouble:") == 2
    assert said(out, "ticks stored") == rows(tmp_path, "quotes") + rows(tmp_path, "trades") > 0
    assert list_rings(shm_dir) == []


def test_the_commands_that_the_summary_shows_work(
    run: Run, shm_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("demo", "--seconds", 1, "--shm-dir", shm_dir, "--bars", 1)
    assert ran.status == 0, ran
    assert (tmp_path / "mdfeedd-demo").is_dir(), "the folder of the default"
    commands = [line.strip() for line in ran.out.splitlines() if "read_parquet" in line]
    assert len(commands) == 2
    for command in commands:
        shown = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        assert "ESZ6" in shown.stdout or "AAPL" in shown.stdout


def test_demo_as_an_option_with_the_old_name_of_the_bars(
    run: Run, shm_dir: str, tmp_path: Path
) -> None:
    options = ["--seconds", 1, *GENTLE, "--out", tmp_path, "--shm-dir", shm_dir]
    ran = run("--demo", "--aggregation-timeframe", 300, *options)
    assert ran.status == 0, ran
    assert "of 1 s and 300 s" in ran.out


def test_without_pyarrow_it_runs_and_says_what_is_missing(
    run: Run, shm_dir: str, tmp_path: Path
) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None; from mdfeedd.cli import main; sys.exit(main())"
    )
    options = ["--seconds", 1, *GENTLE, "--out", tmp_path / "x", "--shm-dir", shm_dir]
    ran = run("demo", *options, code=code)
    assert ran.status == 0, ran
    assert "pip install 'mdfeedd[parquet]'" in ran.sentence()
    assert not (tmp_path / "x").exists()
    assert said(ran.out, "ticks in") > 0
    assert "nothing is stored" in ran.out


def test_without_a_terminal_there_are_lines(whole: Told) -> None:
    out = whole.text
    lines = [line for line in out.splitlines() if "ticks/s" in line]
    assert len(lines) >= 1
    assert re.search(r"p50 [\d.]+ .s  p99 .+  lag [\d,]+  lost 0  bars \d+  gaps \d+, ", out)
    assert re.search(r"  [A-Z0-9]{2,7} [\d.-]+/[\d.-]+$", out, re.MULTILINE)


def test_a_second_demo_is_told_of_the_first(start: Start, run: Run, shm_dir: str) -> None:
    with tempfile.TemporaryDirectory() as out:
        first = start("demo", "--seconds", 60, *GENTLE, "--out", out, "--shm-dir", shm_dir)
        assert first.stdout is not None
        assert first.stdout.readline()
        refused = Path(out, "refused")
        second = run("demo", "--seconds", 1, "--out", refused, "--shm-dir", shm_dir)
        assert second.status == 1
        assert not refused.exists()
        assert "another demo is running" in second.sentence()
        first.send_signal(signal.SIGTERM)
        rest, _ = first.communicate(timeout=100)
    assert first.returncode == 143
    assert "interrupted by SIGTERM" in rest
    assert "all of them" in rest


def test_a_ring_that_somebody_else_writes_is_left_to_him(run: Run, shm_dir: str) -> None:
    with Writer(BARS_RING, 1024, BAR, directory=shm_dir), tempfile.TemporaryDirectory() as out:
        ran = run("demo", "--seconds", 1, "--out", Path(out, "refused"), "--shm-dir", shm_dir)
        assert ran.status == 1
        assert f"process {os.getpid()}, " in ran.sentence()
        assert f"writes the ring {BARS_RING}: end it" in ran.sentence()
        assert not Path(out, "refused").exists()
        assert list_rings(shm_dir) == [BARS_RING]


def test_a_ring_that_a_stopped_daemon_goes_on_with_is_left_to_it(run: Run, shm_dir: str) -> None:
    """The example configuration has bars of the same name; without its ring they would be made again."""
    Writer(BARS_RING, 1024, BAR, directory=shm_dir).close()
    with tempfile.TemporaryDirectory() as out:
        ran = run("demo", "--seconds", 1, "--out", Path(out, "refused"), "--shm-dir", shm_dir)
        assert ran.status == 1
        assert f"there is a ring {BARS_RING} in {shm_dir} that is no demo's" in ran.sentence()
        assert list_rings(shm_dir) == [BARS_RING]


def test_ctrl_c_ends_it_early_with_everything_stored(
    start: Start, shm_dir: str, tmp_path: Path
) -> None:
    process = start("demo", "--seconds", 60, *GENTLE, "--out", tmp_path, "--shm-dir", shm_dir)
    assert process.stdout is not None
    assert "ticks/s" in process.stdout.readline()
    venue = venue_of(process)
    rest, err = end_by(process, signal.SIGINT)
    assert process.returncode == 130
    assert not runs(venue)
    assert "trouble" not in rest
    assert err == ""
    assert said(rest, "ticks stored") == rows(tmp_path, "quotes") + rows(tmp_path, "trades") > 0
    assert list_rings(shm_dir) == []


def test_feeds_that_are_killed_go_on_and_all_their_lives_are_counted(
    start: Start, shm_dir: str, tmp_path: Path
) -> None:
    feeds = ("demo-synthetic", TERMINAL, WIRED)
    process = start("demo", "--seconds", 6, "--out", tmp_path, "--shm-dir", shm_dir)
    assert process.stdout is not None
    assert "ticks/s" in process.stdout.readline()
    for feed in feeds:
        os.kill(inspect(feed, shm_dir).pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    for feed in feeds:
        while (ring := inspect(feed, shm_dir)).epoch < 2 or ring.tail < ring.epoch_first_seq + 500:
            assert time.monotonic() < deadline, f"{feed} is silent"
            time.sleep(0.05)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    for feed in feeds:
        assert f"trouble: feed {feed}: killed by SIGKILL; restarted once" in out
    assert "NOT ALL" not in out
    assert said(out, "ticks stored") == rows(tmp_path, "quotes") + rows(tmp_path, "trades")


def test_probes_stop_though_their_rings_never_come(shm_dir: str) -> None:
    probes = probe.Probes.start(["never"], "neither", shm_dir)
    probes.stop()  # not after WAIT_S only, with the error of a ring that is missing
    assert [p.error for p in (*probes.ticks, probes.bars)] == [None, None]


def test_out_that_is_a_file(run: Run, shm_dir: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("demo", "--out", tmp_path / "file", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "is a file, not a folder" in ran.sentence()


def test_a_killed_demo_is_cleared_away_by_the_next(
    start: Start, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    process = start("demo", "--seconds", 60, *GENTLE, "--out", tmp_path, "--shm-dir", shm_dir)
    assert process.stdout is not None
    assert "ticks/s" in process.stdout.readline()
    venue = venue_of(process)
    end_by(process, signal.SIGKILL)
    wait_until_nobody_writes(shm_dir)
    deadline = time.monotonic() + 60
    while runs(venue):
        assert time.monotonic() < deadline, "the venue has outlived the demo"
        time.sleep(0.05)
    assert list_rings(shm_dir) == sorted(RINGS)
    ran = run("demo", "--seconds", 1, *GENTLE, "--out", tmp_path / "b", "--shm-dir", shm_dir)
    assert ran.status == 0, ran
    assert list_rings(shm_dir) == []


def test_a_closed_pipe_ends_it_and_its_rings(start: Start, shm_dir: str, tmp_path: Path) -> None:
    process = start("demo", "--seconds", 60, *GENTLE, "--out", tmp_path, "--shm-dir", shm_dir)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=100) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert list_rings(shm_dir) == []


def test_a_folder_that_cannot_be_written(run: Run, shm_dir: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("demo", "--out", tmp_path / "file" / "ticks", "--shm-dir", shm_dir)
    assert ran.status == 1
    assert "cannot write to the folder" in ran.sentence()
    assert list_rings(shm_dir) == []


@pytest.fixture
def small_dir(tmp_path: Path) -> Iterator[Path]:
    """A shared-memory file system of four megabytes."""
    folder = tmp_path / "shm"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_shared_memory_that_is_too_small(run: Run, small_dir: Path, tmp_path: Path) -> None:
    ran = run("demo", "--out", tmp_path / "x", "--shm-dir", small_dir)
    assert ran.status == 1
    assert "4.19 MB free" in ran.sentence()
    assert "--shm-size" in ran.sentence()
    assert not (tmp_path / "x").exists()
    assert list_rings(str(small_dir)) == []


def test_no_such_shared_memory(run: Run, tmp_path: Path) -> None:
    ran = run("demo", "--out", tmp_path / "x", "--shm-dir", tmp_path / "nowhere")
    assert ran.status == 1
    assert "cannot use" in ran.sentence()


@pytest.mark.parametrize("gateway", ["", "127.0.0.1:13000"])
@pytest.mark.parametrize("lines", [None, unicast_lines()])
def test_the_plan_holds_seconds_of_ticks_at_any_rate(
    tmp_path: Path, lines: list[Line] | None, gateway: str
) -> None:
    for rate in (1, 20_000, 1_000_000):
        made = plan(rate, 5, "/x", tmp_path, viewers=1, lines=lines, gateway=gateway)
        each = rates(rate, wired=lines is not None, session=bool(gateway))
        assert sum(each.values()) == pytest.approx(rate)
        for feed in made.feeds:
            assert feed.capacity == capacity(each[feed.name])
            assert feed.capacity >= 2 * each[feed.name]
            assert feed.capacity & (feed.capacity - 1) == 0
            assert feed.options.get("wait_consumers", 3) == 3
        assert made.order()[-1].name == "parquet", "after the bars it stores"
        slots = 64 * sum(feed.capacity for feed in made.feeds)
        assert needed_bytes(rate) > slots


def test_the_simulators_are_not_asked_for_more_than_python_can() -> None:
    for rate in (1, 1_000, 20_000, 5_000_000):
        each = rates(rate, wired=True, session=True)
        assert 0 < each[WIRED] <= MOST_WIRE_RATE
        assert 0 < each[SESSION] <= MOST_SESSION_RATE
        assert 0 < each[TERMINAL] <= MOST_TERMINAL_RATE
    assert [venue.feed for venue in VENUES] == list(TICK_RINGS)


def test_holes_of_instruments_are_counted_apart_from_those_of_the_feed(shm_dir: str) -> None:
    told = [  # kind, instrument, reason, received
        (Kind.GAP, 1, GapReason.VENDOR_SKIPPED, 2_000),
        (Kind.GAP, 0, GapReason.DISCONNECT, 2_500),
        (Kind.GAP, 2, GapReason.VENDOR_SKIPPED, 2_600),
        (Kind.GAP, 0, GapReason.VENDOR_SKIPPED, 2_700),
        (Kind.GAP, 2, GapReason.RESTART, 2_800),
        (Kind.RECOVERED, 1, GapReason.VENDOR_SKIPPED, 3_000),
        (Kind.RECOVERED, 0, GapReason.DISCONNECT, 3_500),
    ]
    records = np.zeros(len(told), GAP)
    records["first_missing"] = 1_200
    for record, (kind, instrument, reason, recv_ns) in zip(records, told, strict=True):
        record["kind"], record["instrument_id"] = kind, instrument
        record["reason"], record["ts_recv"] = reason, recv_ns
    with Writer("told", 256, directory=shm_dir) as writer:
        writer.publish(records.view(TICK))
        with Reader("told", "oldest", directory=shm_dir) as reader:
            seen = probe.TickProbe("told", shm_dir, threading.Event())
            seen.use(reader.read(timeout=0))
    assert (seen.gaps, seen.recovered) == (1, 1)
    assert (seen.holes, seen.healed, seen.doubt_ns) == (2, 1, 1_800)
    remove("told", shm_dir)


def test_latencies_are_right_to_a_few_percent() -> None:
    latencies = probe.Latencies()
    assert np.isnan(latencies.percentile_ns(50))
    values = np.arange(1, 100_001, dtype=np.int64) * 1000
    latencies.add(values)
    before = latencies.copy()
    for percent in (1, 50, 99, 100):
        exact = np.percentile(values, percent)
        assert latencies.percentile_ns(percent) == pytest.approx(exact, rel=0.03)
    latencies.add(np.full(10, 7_000_000, np.int64))
    assert latencies.since(before).percentile_ns(50) == pytest.approx(7e6, rel=0.03)
    assert latencies.counts.sum() == 100_010


def test_latencies_of_a_clock_that_was_set() -> None:
    latencies = probe.Latencies()
    latencies.add(np.array([-5, 0, 2**62], np.int64))
    assert latencies.counts.sum() == 3
