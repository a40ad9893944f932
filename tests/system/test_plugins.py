"""The two example packages, installed and run by the real command line; their page; and plugins with mistakes."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest

from mdfeedd import Reader
from mdfeedd.daemon import plugins
from mdfeedd.tick import QUOTE, TRADE, Kind, from_fixed

TESTS = Path(__file__).resolve().parents[1]
REPOSITORY = TESTS.parent
PACKAGES = (TESTS / "plugin_vendor", TESTS / "plugin_sink")
PAGE = (REPOSITORY / "mdfeedd/docs/plugins.md").read_text()
LIMIT_S = 120
ROWS = 3000
SYMBOLS = ("ESZ6", "NQZ6", "CLF7")


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """A folder with both packages, as pip installs them."""
    pytest.importorskip("setuptools", reason="the packages are built by setuptools")
    target = tmp_path_factory.mktemp("installed")
    sources = tmp_path_factory.mktemp("sources")
    copies = [shutil.copytree(package, sources / package.name) for package in PACKAGES]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-build-isolation", "--no-deps", "--no-index", "--target", target, *copies],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    if "No module named pip" in done.stderr:
        pytest.skip("there is no pip here")
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def cli(installed, tmp_path):
    """Runs mdfeedd in a folder of its own, with the packages on the path and whatever lies in that folder."""
    path = os.pathsep.join(map(str, (installed, tmp_path, REPOSITORY)))
    env = os.environ | {"PYTHONPATH": path, "COLUMNS": "100"}

    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mdfeedd", *map(str, arguments)],
            cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        process = start(*arguments)
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    run.start = start
    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def config(tmp_path, shm_dir) -> Path:
    """The configuration of the page, with rings in a folder of this test."""
    (text,) = blocks("yaml")
    path = tmp_path / "mdfeedd.yaml"
    path.write_text(f"{text}shm_dir: {shm_dir}\nmetrics: null\n")
    return path


@pytest.fixture
def rows(tmp_path) -> list[dict[str, str]]:
    """What is in the file ticks.csv: quotes, some with an empty side, and trades."""
    chance = random.Random(5)
    made = []
    for number in range(ROWS):
        price = 687_000 + 25 * chance.randrange(-40, 40)
        time_ns = 1_772_461_800_000_000_000 + number * 1_000_003
        row = dict.fromkeys(("bid_price", "bid_size", "ask_price", "ask_size", "price", "size"), "")
        if number % 7 == 3:
            row |= {"price": f"{price / 100:.2f}", "size": str(chance.randrange(1, 9))}
        else:
            row |= {"bid_price": f"{price / 100:.2f}", "bid_size": str(chance.randrange(1, 99))}
            if number % 50:
                row |= {"ask_price": f"{price / 100 + 0.25:.2f}", "ask_size": "4"}
        seconds, ns = divmod(time_ns, 10**9)
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ns:09d}Z"
        made.append({"time": stamp, "symbol": chance.choice(SYMBOLS)} | row)
    with (tmp_path / "ticks.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    return made


def stored(folder: Path) -> list[dict[str, object]]:
    """The objects of all files of the sink; a line that is being written is not there yet."""
    texts = (path.read_text() for path in sorted((folder / "out").glob("recorded-*.jsonl")))
    lines = (line for text in texts for line in text.rpartition("\n")[0].splitlines())
    return [json.loads(line) for line in lines]


def until(condition, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if process.poll() is not None:
            pytest.fail("".join(process.communicate()))
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop(process: subprocess.Popen[str]) -> str:
    """SIGTERM, and the log."""
    process.terminate()
    try:
        _, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return err


def same(row: dict[str, str], found: dict[str, object]) -> bool:
    """Is the stored object that row of the file?"""
    keys = ("price", "size") if row["price"] else ("bid_price", "bid_size", "ask_price", "ask_size")

    def number(text: object) -> float | None:
        return None if text in {"", None} else float(str(text))

    return (found["symbol"], found["ts_event"], found["kind"]) == (
        row["symbol"], row["time"], "TRADE" if row["price"] else "QUOTE"
    ) and all((number(row[key]) or 0) == (number(found[key]) or 0) for key in keys)  # fmt: skip


def test_vendor_and_sink_from_the_file_to_the_lines(cli, config, rows, tmp_path, shm_dir):
    checked = cli("check", "-c", config)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "feed     recorded (csv)" in checked.stdout
    keys = json.loads(cli("config", "schema").stdout)
    assert "rows_per_s" in json.dumps(keys)
    shown = cli("config", "show", "-c", config)
    assert "vendor: csv" in shown.stdout
    assert "sync: true" in shown.stdout
    running = cli.start("run", "-c", config)
    until(lambda: len(stored(tmp_path)) >= ROWS, running)
    log = stop(running)
    assert "restart" not in log
    lines = stored(tmp_path)
    assert len(lines) == ROWS
    assert all(itertools.starmap(same, zip(rows, lines, strict=True)))
    with Reader("recorded", "oldest", follow=False, directory=shm_dir) as reader:
        batch = reader.read(ROWS + 1, timeout=0)
        assert len(batch) == ROWS
        ticks = batch.records
        symbols = [reader.instruments.symbol(number) for number in ticks["instrument_id"].tolist()]
    assert symbols == [row["symbol"] for row in rows]
    assert ticks["seq"].tolist() == [line["seq"] for line in lines]
    trades = ticks[ticks["kind"] == Kind.TRADE].view(TRADE)
    wanted = [row for row in rows if row["price"]]
    assert [from_fixed(price) for price in trades["price"].tolist()] == [
        Decimal(row["price"]) for row in wanted
    ]
    assert len(ticks[ticks["kind"] == Kind.QUOTE].view(QUOTE)) == ROWS - len(wanted)


def children(daemon: int) -> dict[str, int]:
    """``{"feed recorded": pid}`` of the daemon's processes."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"\nPPid:\t{daemon}\n" in (process / "status").read_text()
            words = (process / "cmdline").read_text().split("\0") if ours else []
        except OSError:
            continue  # ended meanwhile
        if "--plan-fd" in words:
            at = words.index("--plan-fd")
            found[f"{words[at - 2]} {words[at - 1]}"] = int(process.name)
    return found


@pytest.mark.slow
def test_killed_again_and_again_every_row_is_stored_once(cli, config, rows, tmp_path):
    """The feed and the sink die in turn while rows flow; half a line is left by the sink's last death."""
    config.write_text(config.read_text().replace("rows_per_s: 2000", "rows_per_s: 500"))
    running = cli.start("run", "-c", config)
    for seen, victim in ((200, "feed recorded"), (500, "consumer lines"), (900, "feed recorded")):
        until(lambda n=seen: len(stored(tmp_path)) >= n, running)
        until(lambda name=victim: name in children(running.pid), running)
        os.kill(children(running.pid)[victim], signal.SIGKILL)
    until(lambda: len(stored(tmp_path)) >= 1200, running)
    stop(running)
    (file,) = (tmp_path / "out").glob("*.jsonl")
    before = len(stored(tmp_path))
    assert before < ROWS, "the stop came too late to be in the middle"
    with file.open("a") as torn:
        torn.write('{"kind":"QUOTE","symbol":"ES')
    running = cli.start("run", "-c", config)
    until(lambda: len(stored(tmp_path)) >= ROWS, running)
    log = stop(running)
    assert "going on after row" in log
    lines = stored(tmp_path)
    assert len(lines) == ROWS
    assert all(itertools.starmap(same, zip(rows, lines, strict=True)))


def test_only_some_symbols_and_a_row_that_cannot_be_read(cli, config, rows, tmp_path, shm_dir):
    table = (tmp_path / "ticks.csv").read_text().splitlines()
    table[5] = "2026-03-02T14:30:00,ESZ6,,,,,many,3"
    (tmp_path / "ticks.csv").write_text("\n".join(table) + "\n")
    options = "      symbols: [ESZ6, CLF7]\n      rows_per_s: 0\n"
    config.write_text(config.read_text().replace("      rows_per_s: 2000\n", options))
    wanted = [row for number, row in enumerate(rows) if row["symbol"] != "NQZ6" and number != 4]
    running = cli.start("run", "-c", config)
    until(lambda: len(stored(tmp_path)) >= len(wanted), running)
    log = stop(running)
    assert "row 5 is left out: " in log
    lines = stored(tmp_path)
    assert len(lines) == len(wanted)
    assert all(itertools.starmap(same, zip(wanted, lines, strict=True)))


def module_of(package: Path, name: str):
    """The one module of a package that is not installed."""
    sys.path.insert(0, str(package))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(package))


def test_rows_that_cannot_be_read_leave_nothing_behind(tmp_path, shm_dir):
    from mdfeedd.feeds.protocol import RingPlan

    module = module_of(PACKAGES[0], "mdfeedd_csv")
    whole = ("2026-03-02T14:30:00Z,A,1,2,3,4,,", "2026-03-02T14:30:01Z,A,,,,,5,6")
    broken = (
        "2026-03-02T14:30:00Z",
        ",A,1,2,3,4,,",
        "2026-03-02T14:30:00Z,A,1,2,3,-4,,",
        f"2026-03-02T14:30:00Z,A,,,,,5,{1 << 32}",
        "yesterday,A,1,2,3,4,,",
        "2026-03-02T14:30:00Z,,1,2,3,4,,",
        f"2026-03-02T14:30:00Z,{'A' * 200},1,2,3,4,,",
    )
    lines = [",".join(module.COLUMNS)]
    for row in broken:
        lines += [row, whole[1], row, whole[0]]
    (tmp_path / "ticks.csv").write_text("\n".join(lines))
    options = module.CsvOptions(str(tmp_path / "ticks.csv"))
    module.CsvFeed("f", options, RingPlan("f", directory=shm_dir)).run(threading.Event())
    with Reader("f", "oldest", follow=False, directory=shm_dir) as reader:
        batch = reader.read(timeout=0)
        assert len(batch) == 2 * len(broken)
        assert batch.records["venue_seq"].tolist() == list(range(2, 4 * len(broken) + 1, 2))
        for tick in batch.trades:
            assert (tick["price"], tick["size"], tick["trade_id"]) == (5 * 10**9, 6, 0)
        assert set(batch.quotes["ask_size"].tolist()) == {4}


def test_sink_cuts_off_whatever_a_crash_has_left(tmp_path):
    module = module_of(PACKAGES[1], "mdfeedd_jsonlines")
    file = tmp_path / f"r-{'0' * 32}.jsonl"
    sink = module.JsonLinesSink(module.JsonLinesOptions(str(tmp_path)), "s")
    for torn in ("", '{"seq":', "\0" * 200_000):
        file.write_text('{"seq":7}\n' + torn)
        assert sink.position("r").seq == 7
        assert file.read_text() == '{"seq":7}\n'
    file.write_text("\0" * 200_000)
    assert sink.position("r") is None
    assert not file.stat().st_size
    sink.close()


def test_sink_takes_up_its_work_when_there_is_room_again(tmp_path):
    """A file that may not grow any more, as on a full disk, and later may."""
    from mdfeedd.sinks import SinkError

    module = module_of(PACKAGES[1], "mdfeedd_jsonlines")
    options = module.JsonLinesOptions(str(tmp_path / "full"))
    sink = module.JsonLinesSink(options, "s")
    batch = one_batch()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(SinkError, match="File too large") as refused:
            sink.write(batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.retriable
    assert sink.progress(batch.ring_id).pending_records == 0
    assert sink.position("r") is None
    sink.write(batch)
    assert sink.progress(batch.ring_id).pending_records == 3
    sink.flush()
    assert sink.progress(batch.ring_id).safe_seq == 3
    sink.close()
    again = module.JsonLinesSink(options, "s")
    assert again.position("r").seq == 3
    again.close()


def one_batch():
    import numpy as np

    from mdfeedd.ring import Instruments
    from mdfeedd.sinks import SinkBatch
    from mdfeedd.tick import TICK

    class Table:
        closed, instruments_version, instruments_count = False, 0, 0

        def instrument_get(self, index):
            return None

    ticks = np.zeros(3, TICK)
    ticks["seq"] = [1, 2, 3]
    ticks["kind"] = Kind.QUOTE
    table = Table()
    return SinkBatch("r", "0" * 32, "f", 1, ticks, Instruments(table, "f"))


def test_probe_of_the_vendor(cli, config, rows, tmp_path):
    tried = cli("check", "--connect", "-c", config)
    assert tried.returncode == 0
    assert "feed recorded: ticks.csv: all columns are there" in tried.stdout
    (tmp_path / "ticks.csv").write_text("time,symbol,price\n")
    tried = cli("check", "--connect", "-c", config)
    assert tried.returncode == 78
    assert "the columns bid_price, bid_size, ask_price, ask_size, size are missing" in tried.stdout
    (tmp_path / "ticks.csv").unlink()
    tried = cli("check", "--connect", "-c", config)
    assert tried.returncode == 69
    assert "No such file or directory: 'ticks.csv'" in tried.stdout


def test_plugin_vendor_from_the_command_line_alone(cli, rows, shm_dir):
    """`live` knows every vendor that is installed; this one's file has to come from a configuration."""
    done = cli("live", "--vendors", "csv", "--symbols", "ESZ6", "--shm-dir", shm_dir)
    assert done.returncode == 78
    assert "the key 'path' is missing (the CSV file)" in done.stderr


def test_mistake_in_the_options_has_its_line_and_column(cli, config):
    """The message of the page is that of the program."""
    config.write_text(config.read_text().replace("rows_per_s: 2000", "row_per_s: 2000"))
    for command in ("check", "run"):
        done = cli(command, "-c", "mdfeedd.yaml")
        assert done.returncode == 78
        (message,) = blocks("")
        assert message in done.stderr, done.stderr
    config.write_text(config.read_text().replace("path: out", "path: out\n        sink: yes"))
    done = cli("check", "-c", "mdfeedd.yaml")
    assert "mdfeedd.yaml:15:9: error: consumers[0].options.sink: unknown key 'sink'" in done.stderr


def test_value_that_the_plugin_refuses_is_told_at_its_key(cli, config):
    config.write_text(config.read_text().replace("rows_per_s: 2000", "rows_per_s: -1"))
    done = cli("check", "-c", "mdfeedd.yaml")
    assert done.returncode == 78
    assert (
        "mdfeedd.yaml:6:19: error: feeds[0].options: rows_per_s: must not be negative, not -1.0"
        in done.stderr
    )


# --------------------------------------------------------------------------------------------- mistakes

BROKEN = """
from __future__ import annotations
import dataclasses

@dataclasses.dataclass(frozen=True)
class Good:
    x: int = 1

@dataclasses.dataclass
class Warm:
    x: int = 1

@dataclasses.dataclass(frozen=True)
class Wrong:
    x: Lisst[int] = ()

@dataclasses.dataclass(frozen=True)
class Crashing:
    x: int = 1
    def __post_init__(self):
        raise KeyError("x")

class Base:
    Options = Good
    def __init__(self, name, options, ring): pass
    def run(self, stop): pass

class Bare(Base):
    Options = dict
class Thawed(Base):
    Options = Warm
class Untyped(Base):
    Options = Wrong
class Idle(Base):
    run = None
class Deaf(Base):
    def run(self): pass
class Nameless(Base):
    def __init__(self, options): pass
class Falling(Base):
    Options = Crashing
class Opening(Base):
    def __init__(self, name, options, ring): open("/nowhere/at all")
class Leaving(Base):
    def __init__(self, name, options, ring): raise SystemExit(4)
class Choosy(Base):
    @dataclasses.dataclass(frozen=True)
    class Options:
        def __post_init__(self): raise SystemExit("no")

class Sink:
    Options = Good
    keeps_positions = False
    def __init__(self, options, name): pass
    def position(self, ring): return None
    def write(self, batch): pass
    def housekeep(self): pass
    def progress(self, ring_id): pass
    def close(self): pass
class Leaky(Sink):
    pass
class Silent(Sink):
    keeps_positions = None
    def flush(self): pass
class Swapped(Sink):
    def flush(self): pass
    def write(self): pass
class Whole(Sink):
    def flush(self): pass
"""
CLASSES = {
    "no class of that name": "Feeed",
    "no `Options`, or not a dataclass": "Bare",
    "`Options` that can be changed": "Thawed",
    "a type that does not exist": "Untyped",
    "no `run`": "Idle",
    "another `run`": "Deaf",
    "another constructor": "Nameless",
    "`__post_init__` that crashes": "Falling",
}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A module on the path with one class for each mistake; `raising` is the text of one that raises."""

    def write(text: str = BROKEN) -> None:
        (tmp_path / "broken.py").write_text(text)
        sys.modules.pop("broken", None)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write()
    yield write
    sys.modules.pop("broken", None)


def problems(vendor: str, sink: str = "") -> list[str]:
    """What the check of a configuration says of it."""
    from mdfeedd.daemon import config

    text = f"feeds:\n  - {{name: f, vendor: '{vendor}'}}\n"
    if sink:
        text += f"consumers:\n  - {{name: c, type: batch, rings: [f], options: {{sink: {{type: '{sink}'}}}}}}\n"
    found: list[config.Problem] = []
    try:
        config.parse(text, "x.yaml")
    except config.ConfigError as error:
        found = error.problems
    assert all(problem.mark.line for problem in found)
    return [problem.sentence for problem in found]


def table() -> dict[str, str]:
    rows_of_table = re.findall(
        r"^\| (.+?) \| `(.+)` \|$", PAGE.partition("| sentence |")[2], re.MULTILINE
    )
    return dict(rows_of_table)


def test_each_mistake_of_the_page_is_told_so(broken):
    told = table()
    assert len(told) == len(CLASSES) + 3
    for mistake, name in CLASSES.items():
        (sentence,) = problems(f"broken:{name}")
        assert told[mistake] in sentence
    (sentence,) = problems("synthetic", "broken:Leaky")
    assert told["a sink without `flush`"] in sentence
    broken("raise RuntimeError('no licence')\n")
    (sentence,) = problems("broken:Feed")
    assert told["its module raises while it is imported"] in sentence
    broken("import sys\nsys.exit()\n")
    (sentence,) = problems("broken:Feed")
    assert told["its module calls `sys.exit` while it is imported"] in sentence


def test_mistakes_that_the_page_leaves_out(broken):
    assert problems("broken:Base") == []
    assert problems("synthetic", "broken:Whole") == []
    (sentence,) = problems("broken:Opening")
    assert "broken:Opening cannot be made: FileNotFoundError" in sentence
    (sentence,) = problems("broken:Leaving")
    assert "broken:Leaving cannot be made: it ends the interpreter, with status 4" in sentence
    (sentence,) = problems("broken:Choosy")
    assert "check of its options crashed: it ends the interpreter, with status 1: no" in sentence
    (sentence,) = problems("synthetic", "broken:Silent")
    assert "keeps_positions = False, or True" in sentence
    (sentence,) = problems("synthetic", "broken:Swapped")
    assert "its write cannot be called as write(self, batch)" in sentence
    (sentence,) = problems("missing_package.feeds:Feed")
    assert "there is no module missing_package" in sentence


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BROKEN, "broken:Idle is no feed: it has no"),
        ("import sys\nsys.exit(0)\n", "broken:Idle cannot be imported: it ends the interpreter"),
    ],
)
def test_mistake_of_a_plugin_is_one_sentence_and_status_78(cli, tmp_path, shm_dir, text, told):
    (tmp_path / "broken.py").write_text(text)
    (tmp_path / "x.yaml").write_text(
        f"shm_dir: {shm_dir}\nfeeds:\n  - {{name: f, vendor: 'broken:Idle'}}\n"
    )
    for command in ("check", "run"):
        done = cli(command, "-c", "x.yaml")
        assert done.returncode == 78
        assert f"x.yaml:3:23: error: feeds[0].vendor: {told}" in done.stderr
        assert "Traceback" not in done.stderr


def test_schema_for_editors_is_there_in_spite_of_a_plugin_with_mistakes(broken):
    from mdfeedd.daemon.json_schema import json_schema

    names = {"fine": "broken:Base", "untyped": "broken:Untyped", "missing": "nowhere:Feed"}
    text = json.dumps(json_schema(dict.fromkeys(plugins.BUILTIN, names)))
    assert '"fine"' in text
    assert "Lisst" not in text


@pytest.mark.parametrize(
    ("group", "name"),
    [(group, name) for group, found in plugins.BUILTIN.items() for name in found],
)
def test_our_own_plugins_have_no_mistakes(group, name):
    extra = {
        "redis": "redis",
        "kafka": "confluent_kafka",
        "postgres": "psycopg",
        "fanout": "websockets",
    }
    if name in extra:
        pytest.importorskip(extra[name])
    assert plugins.load(plugins.BUILTIN[group][name], group).__name__


CONFORMING = """
from mdfeedd.feeds.protocol import ProbedFeed
from mdfeedd.sinks import Sink
from mdfeedd_csv import CsvFeed
from mdfeedd_jsonlines import JsonLinesSink

feed: type[ProbedFeed] = CsvFeed
sink: type[Sink] = JsonLinesSink
"""


def test_packages_keep_the_contracts_as_a_type_checker_sees_them(tmp_path):
    mypy = Path(sys.executable).with_name("mypy")
    if not mypy.exists():
        pytest.skip("mypy is not installed")
    (tmp_path / "conforming.py").write_text(CONFORMING)
    modules = [path for package in PACKAGES for path in package.glob("*.py")]
    done = subprocess.run(
        [mypy, "--strict", tmp_path / "conforming.py", *modules],
        cwd=REPOSITORY, env=os.environ | {"MYPYPATH": os.pathsep.join(map(str, PACKAGES))},
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------- page


def test_code_of_the_page_is_that_of_the_files():
    files = [path.read_text() for package in PACKAGES for path in package.glob("*.*")]
    shown = [*blocks("python"), *blocks("toml")]
    assert len(shown) >= 8
    for block in shown:
        assert any(block in text for text in files), block


def test_files_that_the_page_links_to_exist():
    for path in re.findall(r"\]\(([\w./-]+)\)", PAGE):
        assert (REPOSITORY / "mdfeedd/docs" / path).exists(), path
