"""`mdfeedd live`, by a command and by the bare options: against simulators, and what is said when it cannot be."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mdfeedd.cli import live, main
from mdfeedd.cli.trouble import Trouble
from mdfeedd.sim.bloomberg import VARIABLE, World, path
from mdfeedd.sim.databento import KEY, Gateway, GatewayCore, Market
from tests.cli.conftest import REPOSITORY, environment

LIMIT_S = 120
SYMBOLS = ("ESZ4", "NQZ4")
NO_KEY = {"DATABENTO_API_KEY": "", "MDFEEDD_DATABENTO_GATEWAY": "127.0.0.1:1"}


@pytest.fixture
def vendors():
    """The environment in which both vendors are played."""
    market = Market(1, instruments=SYMBOLS, rate=300.0, start_ns=time.time_ns())
    gateway = Gateway(GatewayCore(market))
    gateway.start()
    world = World(7, [f"{symbol} Index" for symbol in SYMBOLS], rate=300.0)
    yield {
        "DATABENTO_API_KEY": KEY,
        "MDFEEDD_DATABENTO_GATEWAY": f"127.0.0.1:{gateway.port}",
        "MDFEEDD_BLPAPI_PATH": path(),
        VARIABLE: world.to_json(),
    }
    gateway.stop()


class Live:
    """The command as a process whose lines are collected as they come."""

    def __init__(self, arguments: list[str], env: dict[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mdfeedd", *arguments],
            cwd=cwd, env=environment() | env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.out: list[str] = []
        self.err: list[str] = []
        self.readers = [
            threading.Thread(target=self._collect, args=pair)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _collect(stream, lines: list[str]) -> None:
        with stream:
            lines.extend(iter(stream.readline, ""))

    def until(self, *patterns: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while missing := [p for p in patterns if not re.search(p, "".join(self.out))]:
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < deadline, (missing, self.told())
            time.sleep(0.05)

    def told(self) -> str:
        return "".join(self.out) + "".join(self.err)

    def wait(self) -> int:
        status = self.process.wait(LIMIT_S)
        for reader in self.readers:
            reader.join()
        return status

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait()


@pytest.fixture
def begin(tmp_path, shm_dir):
    started = []

    def start(*arguments: object, env: dict[str, str]) -> Live:
        words = [*map(str, arguments), "--shm-dir", shm_dir]
        started.append(Live(words, env, tmp_path))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.wait()


def rings(shm_dir: str) -> list[str]:
    return sorted(name for name in os.listdir(shm_dir) if name.startswith("mdfeedd."))


def commands_of_the_document() -> list[str]:
    """The lines of its block of shell, without comments."""
    data = Path(os.environ.get("MDFEEDD_TESTDATA", REPOSITORY.parent / "shared" / "data"))
    document = data.parent / "seed.txt"
    if not document.is_file():
        pytest.skip(f"the document of the design is not at {document} (set MDFEEDD_TESTDATA)")
    blocks = re.findall(r"```bash\n(.*?)```", document.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("python main.py ")]


def words_of(line: str) -> list[str]:
    """A command of the document, with ``-m mdfeedd`` in the place of ``main.py``."""
    python, main_py, *words = shlex.split(line, comments=True)
    assert (python, main_py) == ("python", "main.py")
    return words


@pytest.mark.slow
def test_demo_commands_of_the_document(tmp_path, shm_dir):
    demos = [line for line in commands_of_the_document() if "--demo" in line]
    assert len(demos) == 2
    for line in demos:
        done = subprocess.run(
            [sys.executable, "-m", "mdfeedd", *words_of(line), "--shm-dir", shm_dir, "--seconds", "3"],
            cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout, done.stderr)
        bars_s = 300 if "--aggregation-timeframe 300" in line else 5
        assert f"of 1 s and {bars_s} s" in done.stdout


def test_vendors_command_of_the_document(begin, vendors, shm_dir):
    (line,) = [line for line in commands_of_the_document() if "--vendors" in line]
    running = begin(*words_of(line), env=vendors)
    running.until(
        r"databento +\d+ batch(es)?, \d[\d,]* ticks? \(.*\).*(ES|NQ)Z4 \d+\.\d+ \| \d+\.\d+",
        r"bloomberg +\d+ batch(es)?, \d[\d,]* ticks? \(.*\).*(ES|NQ)Z4 Index \d+\.\d+ \| ",
    )
    deadline = time.monotonic() + LIMIT_S
    while "mdfeedd.live-bars" not in rings(shm_dir):
        assert time.monotonic() < deadline, running.told()
        time.sleep(0.05)
    assert {"mdfeedd.live-bloomberg", "mdfeedd.live-databento"} <= set(rings(shm_dir))
    assert running.stop() == 130
    out, err = "".join(running.out), "".join(running.err)
    assert "interrupted by Ctrl-C" in out
    assert re.search(r"databento +bar of 60 s (ES|NQ)Z4: O=\d", out)
    assert re.search(r"^  databento +\d[\d,]* ticks", out, flags=re.MULTILINE)
    assert "ESZ4, NQZ4 are taken for ESZ4 Index, NQZ4 Index" in err
    assert KEY not in running.told()
    assert "Traceback" not in err
    assert rings(shm_dir) == []


def test_bars_as_they_close_and_the_time(begin, vendors, shm_dir):
    running = begin(
        "live", "--vendors", "databento", "--symbols", "ESZ4,NQZ4", "--bars", 1, "--seconds", 6,
        env=vendors,
    )  # fmt: skip
    assert running.wait() == 0, running.told()
    out = "".join(running.out)
    assert (
        len(re.findall(r"databento +bar of 1 s (?:ES|NQ)Z4: O=\S+ H=\S+ L=\S+ C=\S+ V=\d+", out))
        > 3
    )
    assert "interrupted" not in out
    assert rings(shm_dir) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_ends_it_in_order(begin, vendors, shm_dir, number, status):
    running = begin("live", "--vendors", "databento", "--symbols", "ESZ4", env=vendors)
    running.until(r"databento +\d+ batch")
    assert running.stop(number) == status
    assert f"interrupted by {number.name}" in "".join(running.out)
    assert rings(shm_dir) == []


def test_second_one_on_the_same_rings_is_told_of_the_first(begin, vendors, shm_dir):
    first = begin("live", "--vendors", "databento", "--symbols", "ESZ4", env=vendors)
    first.until(r"databento +\d+ batch")
    second = begin("live", "--vendors", "databento", "--symbols", "NQZ4", env=vendors)
    assert second.wait() == 1
    assert "another 'mdfeedd live' writes the ring live-databento" in "".join(second.err)
    before = len(first.out)
    first.until(r"(?s)(databento.*){2}")
    assert len(first.out) >= before
    assert first.stop() == 130


def test_reader_of_the_output_that_has_had_enough(shm_dir, tmp_path):
    words = ["live", "--vendors", "synthetic", "--bars", "1", "--shm-dir", shm_dir]
    done = subprocess.run(
        f"{shlex.join([sys.executable, '-m', 'mdfeedd', *words])} | head -n 3; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash",
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert "Traceback" not in done.stderr
    assert rings(shm_dir) == []


def test_ring_that_cannot_be_read_is_a_sentence(shm_dir):
    from mdfeedd.cli.live_view import Lines
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.ring.segment import ring_path

    planned = live.plan(parsed("--vendors", "synthetic"), shm_dir)
    ring_path("live-synthetic", shm_dir).write_bytes(b"no ring" * 1000)
    with (
        Lines(planned, live.PREFIX, 60.0) as lines,
        pytest.raises(Trouble, match="live-synthetic"),
    ):
        asyncio.run(lines.show(Supervisor(planned)))


def test_key_that_the_gateway_refuses_is_status_77(begin, vendors, shm_dir):
    wrong = vendors | {"DATABENTO_API_KEY": "db-00000000000000000000000000000"}
    running = begin("live", "--vendors", "databento", "--symbols", "ESZ4", env=wrong)
    assert running.wait() == 77, running.told()
    assert "given up: feed live-databento" in running.err[-1]
    assert rings(shm_dir) == []


def test_no_key_is_told_before_anything_is_started(begin, shm_dir):
    running = begin("--vendors", "databento,synthetic", "--symbols", "ESZ4", env=NO_KEY)
    assert running.wait() == 77
    (sentence,) = running.err
    assert sentence.startswith("mdfeedd live: databento: there is no key")
    assert "DATABENTO_API_KEY" in sentence
    assert (running.out, rings(shm_dir)) == ([], [])


def test_channels_of_cme_are_those_of_a_configuration(begin, tmp_path, shm_dir):
    config = tmp_path / "mdfeedd.yaml"
    config.write_text(
        "feeds:\n"
        "  - name: futures\n"
        "    vendor: cme\n"
        "    options:\n"
        "      symbols: [NQ*]\n"
        "      silence_s: 7\n"
        "      lines:\n"
        "        - {channel: 310, feed: incremental, side: A, address: 127.0.0.1, port: 26123}\n"
        "        - {channel: 310, feed: incremental, side: B, address: 127.0.0.1, port: 26124}\n"
    )
    arguments = parsed("--vendors", "cme", "-c", config, "--symbols", "ES*")
    (feed,) = live.plan(arguments, shm_dir).feeds
    assert (feed.name, feed.options["symbols"]) == ("live-cme", ["ES*"])
    assert (feed.options["silence_s"], feed.options["cache_dir"]) == (7, "")
    assert [line["port"] for line in feed.options["lines"]] == [26123, 26124]
    (feed,) = live.plan(parsed("--vendors", "cme", "-c", config), shm_dir).feeds
    assert feed.options["symbols"] == ["NQ*"]


def parsed(*arguments: object):
    from mdfeedd.cli.main import parser

    return parser().parse_args(["live", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--vendors", "databneto"], "unknown vendor 'databneto' (did you mean 'databento'?)"),
        (["--vendors", "a:B"], "'a:B' is no registered vendor: use a configuration"),
        (["--vendors", "cme"], "cme: its channels are not said here: -c FILE takes them"),
        (["--vendors", "databento"], "databento: --symbols says what to follow"),
        (
            ["--vendors", "bloomberg", "--symbols", "ESZ4,IBM"],
            'bloomberg: IBM has no yellow key: write it as Bloomberg does, such as "ESZ4 Index"',
        ),
        (
            ["--vendors", "databento,bloomberg", "--symbols", "ESZ4 Index"],
            "databento: --symbols says what to follow, and none of them is for it",
        ),
        (
            ["--vendors", "databento", "--symbols", "ES|Z4"],
            "symbols: must not hold | , or =: 'ES|Z4'",
        ),
        (
            ["--vendors", "databento", "--symbols", "ESZ4", "--dataset", "glbx"],
            "dataset: ",
        ),
        (["--vendors", "synthetic", "-c", "{config}"], "there is no feed of synthetic"),
        (["--vendors", "replay"], "paths"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_status_78(arguments, told, tmp_path, shm_dir, capsys):
    config = tmp_path / "c.yaml"
    config.write_text("feeds: [{name: k, vendor: replay, options: {paths: [x.dbn]}}]\n")
    words = [word.format(config=config) for word in arguments]
    assert main(["live", *words, "--shm-dir", shm_dir]) == 78
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1
    assert rings(shm_dir) == []


@pytest.mark.parametrize(
    ("symbols", "key", "made"),
    [
        (["ESZ4", "CLF5"], None, ["ESZ4 Index", "CLF5 Comdty"]),
        (["SX5E", "UKX"], "Index", ["SX5E Index", "UKX Index"]),
        (["ESZ4", "NQZ4 Index"], None, ["NQZ4 Index"]),
        (["IBM", "IBM US Equity"], None, ["IBM US Equity"]),
        (["/isin/US0378331005"], None, ["/isin/US0378331005"]),
        (["EURUSD curncy"], "Index", ["EURUSD curncy"]),
        ([], None, []),
    ],
)
def test_topics_of_symbols(symbols, key, made, capsys):
    assert live.topics(symbols, key) == made
    taken = [topic for topic in made if topic not in symbols]
    assert ("taken for" in capsys.readouterr().err) == bool(taken and key is None)


def test_symbols_that_bloomberg_alone_would_pass_over_are_told(capsys, shm_dir):
    symbols = "ESZ4,IBM US Equity"
    (feed,) = live.plan(parsed("--vendors", "bloomberg", "--symbols", symbols), shm_dir).feeds
    assert [topic["topic"] for topic in feed.options["topics"]] == ["IBM US Equity"]
    assert "not followed, for they lack a yellow key: ESZ4" in capsys.readouterr().err


@pytest.mark.parametrize("symbol", ["YMZ4", "6EZ4", "AAPL", "ESZ", "ES"])
def test_symbol_that_is_called_otherwise_at_bloomberg_is_not_guessed(symbol):
    with pytest.raises(Trouble, match="has no yellow key") as refused:
        live.topics([symbol], None)
    assert refused.value.status == 78


@pytest.mark.parametrize(
    "arguments",
    [
        ["--vendors", "databento,,bloomberg"],
        ["--vendors", "databento", "--yellow-key", "Blue"],
        ["--vendors", "databento", "--bars", "0"],
        ["--symbols", "ESZ4"],
    ],
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("error:") == 1
