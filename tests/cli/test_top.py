"""``mdfeedd top``: the view of snapshots of real rings, the screen at two sizes, and the command itself."""

from __future__ import annotations

import copy
import io
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from mdfeedd.cli import main
from mdfeedd.cli.top_draw import draw, shares, spark
from mdfeedd.cli.top_view import TREND, History, View, percentiles
from mdfeedd.daemon.status import snapshot
from mdfeedd.ring import Reader, Writer
from mdfeedd.ring.lines import LineKey, WriterLines
from mdfeedd.tick import TICK
from tests.cli.conftest import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Run, Start

    Shown = dict[str, Any]


@pytest.fixture
def shown(shm_dir: str) -> Iterator[Shown]:
    """One feed that has published ten ticks, of which its reader has read four."""
    with (
        Writer("cme", 256, directory=shm_dir) as writer,
        Reader("cme", "oldest", "store", directory=shm_dir) as reader,
    ):
        writer.publish(np.zeros(10, TICK))
        reader.read(4)
        yield snapshot(shm_dir)


def later(shown: Shown, seconds: float = 1.0, **grown: int) -> Shown:
    """The same so much later: feed and reader have gone on by `ticks`, counters by their names."""
    new = copy.deepcopy(shown)
    new["time_s"] += seconds
    feed, reader = new["feeds"][0], new["consumers"][0]
    feed["published"] += grown.pop("ticks", 0)
    reader["read"] += grown.pop("read", 0)
    reader["lost"] += grown.pop("lost", 0)
    for name, n in grown.items():
        counters = feed["counters"] if name in feed["counters"] else reader["counters"]
        counters[name] += n
    return new


def screen(view: View, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(draw(view, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


# ------------------------------------------------------------------------------------------- the view


def test_first_look_has_no_rates(shown: Shown) -> None:
    view = History().take(shown, answered=False)
    (feed,), (reader,) = view.feeds, view.readers
    assert (feed.rate, feed.trend, feed.published) == (None, (), 10)
    assert (reader.rate, reader.lag, reader.ring) == (None, 6, "cme")
    assert view.source == f"no daemon answers: from shared memory in {shown['shm_dir']}"


def test_rates_are_over_the_time_that_has_passed(shown: Shown) -> None:
    history = History()
    history.take(shown, answered=False)
    view = history.take(later(shown, 2.0, ticks=300, read=100, received_packets=50), answered=False)
    assert (view.feeds[0].rate, view.readers[0].rate) == (150, 50)
    assert view.feeds[0].packets_rate == 25
    assert view.feeds[0].trend == (150,)


def test_ring_that_began_anew_has_no_rate(shown: Shown) -> None:
    history = History()
    history.take(later(shown, ticks=1000), answered=False)
    assert history.take(later(shown, 2.0), answered=False).feeds[0].rate is None


def test_trend_has_its_limit_and_ends_with_its_feed(shown: Shown) -> None:
    history = History()
    for second in range(TREND + 20):
        view = history.take(later(shown, second, ticks=second * 7), answered=False)
    assert view.feeds[0].trend == (7,) * TREND
    without = later(shown, TREND + 20.0)
    without["feeds"] = []
    assert history.take(without, answered=False).feeds == ()
    assert history.take(later(shown, TREND + 21.0), answered=False).feeds[0].trend == ()


def test_lines_a_and_b(shown: Shown) -> None:
    history = History()
    assert history.take(shown, answered=False).feeds[0].duplicate_share is None
    both = later(shown, received_packets=100, duplicate_packets=50, lost_packets=2, late_packets=1)
    feed = history.take(both, answered=False).feeds[0]
    assert (feed.duplicate_share, feed.lost_packets, feed.late_packets) == (0.5, 2, 1)
    one = later(both, received_packets=50)
    assert history.take(one, answered=False).feeds[0].duplicate_share == 0, "B has fallen silent"
    none = later(one)
    assert history.take(none, answered=False).feeds[0].duplicate_share is None


LINE_NAMES = ("A", "B")


@pytest.fixture
def lined(shm_dir: str) -> Iterator[Shown]:
    """A feed with lines A and B of a channel, and one for recovery."""
    with Writer("cme", 256, directory=shm_dir) as writer:
        keys = [LineKey(310, "incremental", side) for side in LINE_NAMES]
        lines = WriterLines(writer, [*keys, LineKey(310, "snapshot", "A")])
        for key in keys:
            lines.set(key, {"received_packets": 1000, "last_packet_ns": time.monotonic_ns()})
        yield snapshot(shm_dir)


def gone_on(shown: Shown, a: dict[str, int], b: dict[str, int]) -> Shown:
    new = copy.deepcopy(shown)
    new["time_s"] += 2.0
    for line, grown in zip(new["feeds"][0]["lines"], (a, b, {}), strict=True):
        for name, n in grown.items():
            line[name] += n
    return new


def test_health_of_each_line(lined: Shown) -> None:
    history = History()
    first = history.take(lined, answered=False).lines
    assert [row.line for row in first] == [
        "310 incremental A",
        "310 incremental B",
        "310 snapshot A",
    ]
    assert {row.rate for row in first} == {row.first_share for row in first} == {None}
    a = {"received_packets": 100, "duplicate_packets": 25}
    b = {"received_packets": 90, "duplicate_packets": 70, "lost_packets": 10, "dropped_packets": 3}
    rows = history.take(gone_on(lined, a, b), answered=False).lines
    assert [row.rate for row in rows] == [50, 45, 0]
    assert rows[0].first_share == 0.75
    assert rows[1].first_share == pytest.approx(2 / 9)
    assert (rows[0].lost_share, rows[1].lost_share) == (0, 0.1)
    assert (rows[1].lost, rows[1].dropped) == (10, 3)
    assert [row.shown for row in rows] == [True, True, False], (
        "a line of recovery only while it brings something"
    )


def test_feed_that_began_anew_says_nothing_of_its_lines(lined: Shown) -> None:
    history = History()
    history.take(gone_on(lined, {"received_packets": 10}, {}), answered=False)
    row = history.take(gone_on(lined, {}, {}), answered=False).lines[0]
    assert (row.rate, row.first_share) == (None, None)


@pytest.mark.parametrize("width", [80, 160])
def test_lines_are_a_table_of_their_own(lined: Shown, width: int) -> None:
    history = History()
    history.take(lined, answered=False)
    later_on = gone_on(lined, {"received_packets": 100}, {"lost_packets": 100})
    later_on["feeds"][0]["lines"][1]["silent_s"] = 45.0
    text = "\n".join(screen(history.take(later_on, answered=False), width, 40))
    assert "310 incremental A" in text
    assert "100.00%" in text, "all that B should have brought is lost"
    assert "45.0 s" in text
    assert "snapshot" not in text


def test_cpu_is_that_of_the_same_process(shown: Shown) -> None:
    history = History()
    first, second = later(shown), later(shown, 3.0)
    (process,) = first["processes"]
    process["cpu_s"] = 1.0
    second["processes"][0]["cpu_s"] = 2.0
    history.take(first, answered=False)
    assert history.take(second, answered=False).processes[0].cpu_share == 0.5
    third = later(second)
    third["processes"][0]["pid"] += 1
    assert history.take(third, answered=False).processes[0].cpu_share is None


def test_loss_and_refusal_are_told_for_a_while(shown: Shown) -> None:
    history = History()
    history.take(shown, answered=False)
    lost = later(shown, 1.0, lost=5)
    assert "has just lost 5 records" in history.take(lost, answered=False).troubles[0]
    assert history.take(later(lost, 5.0), answered=False).troubles
    assert not history.take(later(lost, 12.0), answered=False).troubles


def test_bottleneck_is_the_sink_that_refuses_before_the_slowest_reader(shown: Shown) -> None:
    history = History()
    shown["consumers"][0]["lag_share"] = 0.001
    assert history.take(shown, answered=False).bottleneck == ""
    slow = later(shown)
    slow["consumers"].append({**slow["consumers"][0], "name": "slow", "lag": 64, "lag_share": 0.25})
    told = history.take(slow, answered=False).bottleneck
    assert told == "the slowest reader is slow on cme: 64 records behind, 25% of the ring"
    refusing = later(slow)
    refusing["consumers"][0]["counters"] |= {"failed_flushes": 1, "pending_records": 900}
    told = history.take(refusing, answered=False).bottleneck
    assert told == "the sink of store on cme refuses: 900 records wait for it"


def test_parked_or_dead_readers_are_no_bottleneck(shown: Shown) -> None:
    shown["consumers"][0] |= {"lag_share": 1.0, "parked": True}
    assert History().take(shown, answered=False).bottleneck == ""
    shown["consumers"][0] |= {"parked": False, "alive": False}
    assert History().take(shown, answered=False).bottleneck == ""


def test_percentiles_are_those_of_what_is_new(shown: Shown) -> None:
    buckets = shown["rings"][0]["arrival_latency"]["buckets"]
    before = {"buckets": [1000, *buckets[1:]]}
    after = {"buckets": [1000, 0, 0, 0, 10, *buckets[5:]]}
    assert percentiles(after, None)["p50"] < 256e-9
    assert 2e-6 < percentiles(after, before)["p50"] <= 4.1e-6
    assert percentiles(before, before) == {}
    assert percentiles(None, before) == {}


def test_view_is_json(shown: Shown) -> None:
    told = json.loads(json.dumps(History().take(shown, answered=False).as_json()))
    assert told["feeds"][0]["name"] == "cme"


# ----------------------------------------------------------------------------------------- the screen


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60)])
def test_screen_fits_and_shows_all_tables(shown: Shown, width: int, height: int) -> None:
    history = History()
    history.take(shown, answered=False)
    lines = screen(history.take(later(shown, ticks=1234), answered=False), width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for word in ("all is well", "feed ", "reader ", "process ", "cme", "store", "1,234", "█"):
        assert word in text, word
    assert "refused" in text
    assert ("venue" in text) == (width == 200)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60)])
def test_many_of_all_and_long_names_still_fit(shown: Shown, width: int, height: int) -> None:
    for kind in ("feeds", "consumers", "processes"):
        (row,) = shown[kind]
        shown[kind] = [{**row, "name": f"{i:02}-{'x' * 28}", "pid": i} for i in range(50)]
    for feed in shown["feeds"][:9]:
        feed["counters"] = {**feed["counters"], "unproven_books": 1}
    lines = screen(History().take(shown, answered=False), width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "... and 6 more troubles" in text
    assert "of 50)" in text


def test_dead_feed_and_no_data(shm_dir: str) -> None:
    nothing = screen(History().take(snapshot(shm_dir), answered=False), 80, 24)
    assert "no daemon answers" in nothing[0]
    Writer("cme", 256, directory=shm_dir).close()
    closed = "\n".join(screen(History().take(snapshot(shm_dir), answered=False), 80, 24))
    assert "closed" in closed
    assert "no daemon runs, and nobody writes or reads a ring" in closed
    assert "all is well" not in closed


def test_names_neither_command_the_terminal_nor_are_markup(shown: Shown) -> None:
    shown["feeds"][0]["name"] = "[red]\x1b[2J"
    text = "\n".join(screen(History().take(shown, answered=False), 120, 24))
    assert "[red]\N{REPLACEMENT CHARACTER}[2J" in text
    assert "\x1b" not in text


def test_sparkline() -> None:
    assert spark((), 3) == "   "
    assert spark((0.0, 0.0), 3) == " ▁▁"
    assert spark((900.0, 0.0, 50.0, 100.0), 3) == "▁▅█"


def test_shares_cut_the_longest_first() -> None:
    assert shares([1, 2, 3], 10) == [1, 2, 3]
    assert sum(shares([50, 2, 3], 10)) == 10
    assert shares([50, 50, 50], 0) == [2, 2, 2]
    assert shares([0, 0, 0], 5) == [0, 0, 0]


# ---------------------------------------------------------------------------------------- the command


def test_once_on_shared_memory_alone(shm_dir: str, run: Run) -> None:
    with (
        Writer("cme", 256, directory=shm_dir),
        Reader("cme", "oldest", "store", directory=shm_dir),
    ):
        ran = run("top", "--once", "--interval", "0.05", "--shm-dir", shm_dir)
    assert ran.status == 0
    assert "from shared memory" in ran.out
    assert "store" in ran.out


@pytest.mark.parametrize("form", ["--once", "--json"])
def test_a_folder_that_is_not_there(form: str, run: Run, shm_dir: str) -> None:
    ran = run("top", form, "--shm-dir", f"{shm_dir}/none")
    assert (ran.status, ran.out) == (1, "")
    assert ran.sentence() == f"mdfeedd top: cannot list {shm_dir}/none: No such file or directory"


def test_json_lines_until_interrupted(shm_dir: str, start: Start) -> None:
    with Writer("cme", 256, directory=shm_dir):
        process = start("top", "--json", "--interval", "0.05", "--shm-dir", shm_dir)
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    assert first["feeds"][0]["rate"] is None
    assert second["feeds"][0]["rate"] == 0


def test_without_rich_a_sentence(shm_dir: str) -> None:
    code = (
        "import sys; sys.modules['rich'] = sys.modules['rich.console'] = None; "
        "from mdfeedd.cli import main; "
        f"sys.exit(main(['top', '--once', '--interval', '0.01', '--shm-dir', {shm_dir!r}]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr == (
        "mdfeedd top: the table needs rich: pip install 'mdfeedd[cli]' (or use --json)\n"
    )


def test_interval_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["top", "--interval", "0"])
    assert ended.value.code == 2
    assert "above 0" in capsys.readouterr().err
