"""The whole feed against the stand-in, in real time, and what its ring holds in the end."""

from __future__ import annotations

import datetime as dt
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any, Self

import pytest

from mdfeedd.feeds.bloomberg import feed, probe
from mdfeedd.feeds.bloomberg.failure import Flow
from mdfeedd.feeds.bloomberg.feed import BloombergFeed
from mdfeedd.feeds.bloomberg.options import BloombergOptions, Topic
from mdfeedd.feeds.protocol import RingPlan, Severity
from mdfeedd.feeds.shard import Shard
from mdfeedd.ring import Reader
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.bloomberg import Fault, Script, World, path, playing
from mdfeedd.tick import GAP, STATUS, TICK, Flag, GapReason, Kind

DEADLINE_S = 30.0
NAMES = ("ESZ6 Index", "SPY US Equity", "EURUSD Curncy")


def until(condition: Any, what: str) -> Any:
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError(f"not within {DEADLINE_S:g} s: {what}")


@pytest.fixture(autouse=True)
def package():
    """Nothing of the stand-in is left afterwards."""
    yield
    if path() in sys.path:
        sys.path.remove(path())
    for name in [n for n in sys.modules if n.partition(".")[0] == "blpapi"]:
        del sys.modules[name]


class Life:
    """A feed in a thread, its world, and all that it has published."""

    def __init__(self, directory: str, *faults: Any, names: Any = NAMES, rate: float = 300.0, **options: Any) -> None:  # fmt: skip
        self.world = World(5, NAMES, rate=rate, script=Script(faults))
        self.options = BloombergOptions(
            tuple(Topic(name) for name in names), blpapi_path=path(), **options
        )
        self.plan = RingPlan("blp", 1 << 16, 1, 64, directory)
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.feed = BloombergFeed("blp", self.options, self.plan)
        self.thread = threading.Thread(target=self._run, name="feed")

    def _run(self) -> None:
        try:
            self.feed.run(self.stop)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def __enter__(self) -> Self:
        self.playing = playing(self.world)
        self.playing.__enter__()
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()
        self.playing.__exit__(None, None, None)

    def end(self) -> float:
        """Stop; how long that took."""
        began_s = time.monotonic()
        self.stop.set()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()
        return time.monotonic() - began_s

    def ticks(self) -> Any:
        with Reader("blp", "oldest", directory=self.plan.directory) as reader:
            return reader.read(1 << 16, timeout=0).records.copy()

    def count(self, name: str) -> int:
        try:
            return inspect("blp", self.plan.directory).counters[name]
        except Exception:  # noqa: BLE001 - there is no ring yet
            return 0


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path)


def test_feed_publishes_what_the_world_trades_and_stops_within_a_second(directory):
    with Life(directory) as life:
        until(lambda: life.count("published_trades") > 20, "trades")
        assert life.end() < 1.0
        assert life.error is None
        ticks = life.ticks()
    sent = life.world.sessions[0].counts["delivered"]
    assert life.count("received_records") == sent
    assert life.count("sessions") == 1
    assert life.count("gaps") == 0
    assert life.count("published_quotes") == int((ticks["kind"] == Kind.QUOTE).sum())
    assert set(ticks["instrument_id"].tolist()) == {(1 << 24) | n for n in (1, 2, 3)}
    snapshots = ticks[(ticks["flags"] & Flag.SNAPSHOT) > 0]
    assert len(snapshots) == 3
    with Reader("blp", "oldest", directory=directory) as reader:
        assert sorted(i.symbol for i in reader.instruments) == sorted(NAMES)


def test_ordinary_stop_warns_of_nothing(directory, caplog):
    caplog.set_level(logging.INFO)
    with Life(directory) as life:
        until(lambda: life.count("published_quotes") > 20, "quotes")
    assert "the SDK: blpapi_session: SessionConnectionDown" in caplog.text  # as it has to be
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_every_session_is_summed_up_when_it_is_open(directory, caplog):
    caplog.set_level(logging.INFO)
    with Life(directory, Fault("terminated", at_s=1.5)):
        until(lambda: "3 topics are live in session 2" in caplog.text, "both summaries")
    told = [message for message in caplog.messages if "topics are live" in message]
    assert len(told) == 2
    assert all(message.startswith("blp: 3 of 3 topics are live") for message in told)


def test_feed_has_no_thread_of_its_own(directory):
    before = set(threading.enumerate())
    with Life(directory) as life:
        until(lambda: life.count("published_quotes") > 20, "quotes")
        assert set(threading.enumerate()) - before == {life.thread}


def test_sdk_is_given_no_event_handler(directory):
    import ast
    from pathlib import Path

    import mdfeedd.feeds.bloomberg as package

    folder = Path(package.__file__).parent
    sessions = 0
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                assert name not in {"start_new_thread", "Thread", "EventDispatcher"}, file
                if name == "Session":
                    sessions += 1
                    assert (len(node.args), node.keywords) == (1, []), file
    assert sessions == 1
    for kernel in [*folder.rglob("*.pyx"), *folder.rglob("*.h")]:
        for word in ("Session_create", "EventDispatcher", "pthread_create", "import threading"):
            assert word not in kernel.read_text(), (kernel, word)


def test_restart_is_told_and_healed(directory):
    with Life(directory) as life:
        until(lambda: life.count("published_quotes") > 20, "quotes")
    with Life(directory) as life:
        until(lambda: life.count("recovered_books") == 3, "recovery")
        life.end()
        ticks = life.ticks()
    gaps = ticks[ticks["kind"] == Kind.GAP].view(GAP)
    assert gaps["reason"].tolist() == [GapReason.RESTART]
    assert gaps["instrument_id"].tolist() == [0]
    recovered = ticks[ticks["kind"] == Kind.RECOVERED].view(GAP)
    assert len(recovered) == 4
    assert recovered["instrument_id"].tolist()[-1] == 0
    for name in ("first_missing", "reason"):
        assert set(recovered[name].tolist()) == {int(gaps[name][0])}
    ends = recovered["last_missing"].tolist()
    assert ends == [*recovered["ts_recv"].tolist()[:3], max(ends[:3])]
    assert life.count("gaps") == 1
    assert life.count("stale_books") == life.count("recovered_books") == 3
    with Reader("blp", "oldest", directory=directory) as reader:
        assert len(reader.instruments) == 3


def test_restart_before_the_one_before_had_recovered_is_one_hole(directory):
    with Life(directory) as life:
        until(lambda: life.count("published_quotes") > 20, "quotes")
    with Life(directory, Fault("refused", session=None)) as life:
        until(lambda: life.count("gaps") == 1, "the GAP of the first restart")
    with Life(directory) as life:
        until(lambda: life.count("recovered_books") == 3, "recovery")
        life.end()
        ticks = life.ticks()
    first = ticks[ticks["kind"] == Kind.GAP].view(GAP)["first_missing"].tolist()
    assert len(first) == 2
    assert first[0] == first[1]
    recovered = ticks[ticks["kind"] == Kind.RECOVERED].view(GAP)
    assert recovered["first_missing"].tolist() == [first[0]] * 4


def test_what_waited_for_a_process_that_was_behind_died_with_it(directory):
    with Life(directory) as life:
        until(lambda: life.count("published_quotes") > 20, "quotes")
    with life.plan.writer("blp", TICK) as writer:
        writer.counters.set("latency_ns", 5_000_000_000)
    left_ns = time.time_ns()
    with Life(directory) as life:
        until(lambda: life.count("recovered_books") == 3, "recovery")
        life.end()
        ticks = life.ticks()
    gap = ticks[ticks["kind"] == Kind.GAP].view(GAP)[0]
    assert gap["first_missing"] <= left_ns - 5_000_000_000


def test_disconnect_and_session_terminated_are_gaps_and_counted(directory):
    faults = (Fault("disconnect", at_s=0.2, seconds=0.2), Fault("terminated", at_s=1.0))
    with Life(directory, *faults) as life:
        until(lambda: life.count("sessions") == 2 and life.count("recovered_books") >= 6, "a second session")  # fmt: skip
        until(lambda: life.count("unproven_books") == 0, "all proven")
    assert life.count("gaps") == 2
    assert life.count("disconnects") == 1
    assert life.count("stale_books") == 6


def test_topics_are_added_and_removed_while_it_runs(directory):
    with Life(directory, names=NAMES[:2]) as life:
        until(lambda: life.count("published_quotes") > 20, "quotes")
        new = replace(life.options, topics=(Topic(NAMES[1]), Topic(NAMES[2], "EURUSD")))
        assert BloombergFeed.live(life.options, new)
        life.feed.reconfigure(new)
        until(lambda: len({*life.ticks()["instrument_id"].tolist()}) == 3, "the third instrument")
        life.end()
        ticks = life.ticks()
    assert life.count("sessions") == 1
    cleared = ticks[ticks["kind"] == Kind.CLEAR]
    assert cleared["instrument_id"].tolist() == [(1 << 24) | 1]
    after = ticks[ticks["seq"] > cleared["seq"][0]]
    assert set(after["instrument_id"].tolist()) == {(1 << 24) | 2, (1 << 24) | 3}


def test_more_topics_than_the_table_has_room_for(directory, caplog):
    with Life(directory) as life:
        life.end()
    life = Life(directory)
    life.plan = replace(life.plan, name="small", instruments_capacity=2)
    life.feed = BloombergFeed("small", life.options, life.plan)
    with life:
        until(lambda: any("is left out" in r.getMessage() for r in caplog.records), "the sentence")
    assert life.error is None
    assert "instruments_capacity" in caplog.text


def test_identity_refused_ends_with_77(directory, caplog):
    with Life(directory, Fault("auth_refused"), auth="app", app_name="firm:app") as life:
        life.thread.join(DEADLINE_S)
    assert isinstance(life.error, SystemExit)
    assert life.error.code == 77
    assert "identity" in caplog.text


def test_credentials_that_are_not_there_end_with_77(directory, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with Life(directory, auth="token", token_credential="token") as life:
        life.thread.join(DEADLINE_S)
    assert isinstance(life.error, SystemExit)
    assert life.error.code == 77
    assert life.world.sessions == []


def test_nobody_listens_and_the_feed_goes_on_trying(directory, caplog):
    caplog.set_level(logging.INFO)
    with Life(directory, Fault("refused", 0), Fault("closed", 1), start_attempts=1) as life:
        until(lambda: life.count("published_quotes") > 5, "quotes")
    assert len(life.world.sessions) >= 3
    assert "Connection failed" in caplog.text
    assert "logged in" in caplog.text
    assert life.count("disconnects") == 0
    assert life.count("gaps") == 0


def test_stop_while_it_waits_for_the_next_session(directory):
    with Life(directory, Fault("refused", None), start_attempts=1) as life:
        until(lambda: len(life.world.sessions) >= 1, "a session")
        assert life.end() < 1.0
    assert life.error is None


def test_exception_of_our_own_is_not_swallowed(directory, monkeypatch):
    from mdfeedd.feeds.bloomberg.topics import Topics

    def bug(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Topics, "handle", bug)
    with Life(directory) as life:
        life.thread.join(DEADLINE_S)
    assert isinstance(life.error, ZeroDivisionError)


def test_silence_is_told_once_and_its_end_too(directory, caplog):
    caplog.set_level(logging.INFO)
    fault = Fault("silence", at_s=0.1, seconds=2.5)
    with Life(directory, fault, silence_s=1.0) as life:
        until(lambda: "messages come again" in caplog.text, "the end of the silence")
    assert life.count("silences") == 1
    assert caplog.text.count("not a message for") == 1


def test_topics_that_fail_or_are_delayed_are_seen_in_counters_log_and_ring(directory, caplog):
    caplog.set_level(logging.INFO)
    faults = (
        Fault("delayed", topic=NAMES[0]),
        Fault("refuse", topic=NAMES[1], category="NOT_ENTITLED"),
    )
    fields = ("LAST_PRICE", "BID", "PX_BID")
    with Life(directory, *faults, names=(*NAMES, "NOPE Equity"), fields=fields) as life:
        until(lambda: life.count("failed_topics") == 2, "the failures")
        until(lambda: life.count("delayed_topics") == 1, "the delayed topic")
        until(lambda: life.count("last_record_ns") > time.time_ns() - 60 * 10**9, "a record's time")
        life.end()
        ticks = life.ticks()
    assert life.count("rejected_fields") == 2
    assert life.count("refused_symbols") == 1
    assert caplog.text.count(f"blp: {NAMES[1]}: NOT_ENTITLED") == 1
    assert caplog.text.count("blp: NOPE Equity: BAD_SEC") == 1
    told = ticks[ticks["kind"] == Kind.STATUS].view(STATUS)
    found = dict(zip(told["instrument_id"].tolist(), told["reason"].tolist(), strict=True))
    assert found == {(1 << 24) | 2: Flow.NOT_ENTITLED, (1 << 24) | 4: Flow.UNKNOWN}


def test_losses_and_slowness_that_bloomberg_tells_are_counted(directory):
    faults = (
        Fault("data_loss", topic=NAMES[0], after_messages=50, count=40),
        Fault("slow_consumer", after_messages=60, seconds=0.1),
    )
    with Life(directory, *faults) as life:
        until(lambda: life.count("dropped_records") > 0, "the loss")
        until(lambda: life.count("slow_warnings") == 1, "the warning")
        until(lambda: life.count("recovered_books") >= 1, "recovery")


def test_feed_sums_up_once_what_became_of_its_topics(directory, caplog):
    caplog.set_level(logging.INFO)
    faults = (Fault("delayed", topic=NAMES[0]),)
    with Life(directory, *faults, names=(*NAMES, "NOPE Equity")) as life:
        until(lambda: "topics are live" in caplog.text, "the summary")
        until(lambda: life.count("published_quotes") > 50, "quotes")
    assert caplog.text.count("topics are live") == 1
    told = "blp: 3 of 4 topics are live in session 1, 1 of them delayed; 1 have failed"
    assert told in caplog.text


def test_log_of_the_sdk_is_in_ours(directory, caplog):
    with Life(directory) as life:
        until(lambda: life.count("published_quotes") > 5, "quotes")
        package = sys.modules["blpapi"].logger
        package.log(3, dt.datetime.now(dt.UTC), "the wire is hot")
        package.log(4, dt.datetime.now(dt.UTC), "all is well")
        until(lambda: "the wire is hot" in caplog.text, "the line")
    assert "blp: the SDK: blpapi_session: the wire is hot" in caplog.text
    assert "all is well" not in caplog.text


# the native path


def test_native_path_that_is_off_is_not_looked_for(directory, caplog):
    caplog.set_level(logging.INFO)
    with Life(directory, native="off") as life:
        until(lambda: life.count("published_quotes") > 5, "quotes")
    assert "market data take" not in caplog.text


def test_native_path_is_told_where_it_cannot_be_had(directory, caplog):
    caplog.set_level(logging.INFO)
    with Life(directory) as life:
        until(lambda: life.count("published_quotes") > 5, "quotes")
    assert (
        "market data take the Python path: the events of this blpapi give no handle" in caplog.text
    )


def test_native_path_that_is_required_and_cannot_be_had_ends_with_78(directory, caplog):
    with Life(directory, native="require") as life:
        life.thread.join(DEADLINE_S)
    assert isinstance(life.error, SystemExit)
    assert life.error.code == 78
    assert "the native path cannot be used: the events of this blpapi give no handle" in caplog.text
    assert life.world.sessions == []


def test_native_path_that_is_required_and_gives_up_ends_with_78(directory, caplog, monkeypatch):
    class Plane:
        off = ""

        def use(self, *_: Any) -> bool:
            self.off = "an event of the SDK has no end"
            return False

    monkeypatch.setattr(feed, "native_plane", lambda *_, **__: Plane())
    with Life(directory, native="require") as life:
        life.thread.join(DEADLINE_S)
    assert isinstance(life.error, SystemExit)
    assert life.error.code == 78
    assert "an event of the SDK has no end: native: auto" in caplog.text


# secrets


def test_process_that_has_a_token_is_not_dumpable(directory, monkeypatch, tmp_path, dumpable):
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert dumpable() == 1
    with Life(directory, auth="token", token_credential="token") as life:
        until(lambda: life.count("published_quotes") > 5, "quotes")
        assert dumpable() == 0


def test_process_without_a_secret_stays_dumpable(directory, dumpable):
    with Life(directory) as life:
        until(lambda: life.count("published_quotes") > 5, "quotes")
        assert dumpable() == 1


# without the package


CHILD = """
import logging, sys, threading
sys.modules.pop("blpapi", None)
from mdfeedd.feeds.bloomberg.feed import BloombergFeed
from mdfeedd.feeds.bloomberg.options import BloombergOptions, Topic
from mdfeedd.feeds.protocol import RingPlan
assert "blpapi" not in sys.modules
logging.basicConfig()
BloombergFeed("b", BloombergOptions((Topic("IBM US Equity"),)), RingPlan("b", 256, directory=sys.argv[1])).run(threading.Event())
"""


def child(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != path()]
    code = "try:\n import blpapi\nexcept ImportError:\n raise SystemExit(5)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    there = subprocess.run([sys.executable, "-c", code], env=env, check=False, timeout=60)
    if there.returncode != 5:
        pytest.skip("Bloomberg's own package is installed here")
    return subprocess.run(
        [sys.executable, *arguments], env=env, check=False, timeout=60, capture_output=True, text=True
    )  # fmt: skip


def test_without_the_package_one_sentence_and_78(directory):
    done = child("-c", CHILD, directory)
    assert done.returncode == 78, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "there is no package blpapi" in line
    assert "pip install --index-url=https://blpapi.bloomberg.com" in line
    assert os.listdir(directory) == []  # and no ring


def test_without_the_package_every_vendor_can_be_loaded():
    code = (
        "import mdfeedd.daemon.plugins as p\n"
        "for name in p.BUILTIN[p.FEEDS]: p.load(p.resolve(p.FEEDS, name))\n"
        "import sys; assert 'blpapi' not in sys.modules"
    )
    done = child("-c", code)
    assert done.returncode == 0, done.stderr


# the probe


def lines(*faults: Any, names: Any = NAMES, **options: Any) -> list[Any]:
    world = World(5, NAMES, rate=100.0, script=Script(faults))
    topics = tuple(Topic(name) for name in names)
    with playing(world):
        made = BloombergOptions(topics, blpapi_path=path(), **options)
        return list(BloombergFeed.probe("b", made))


def test_probe_of_what_works():
    found = lines()
    assert all(line.ok for line in found)
    assert {line.severity for line in found} == {Severity.OK}
    assert found[-1].text == "3 of 3 topics are live"


def test_probe_tells_each_topic_that_does_not_work():
    faults = (
        Fault("delayed", topic=NAMES[0]),
        Fault("refuse", topic=NAMES[1], category="NOT_ENTITLED"),
    )
    found = lines(*faults, names=(*NAMES, "NOPE Equity"), fields=("LAST_PRICE", "BID", "PX_BID"))
    text = "\n".join(line.text for line in found)
    assert "2 of 4 topics are live" in text
    assert f"delayed, for want of an entitlement: {NAMES[0]}" in text
    assert f"failed: {NAMES[1]}: NOT_ENTITLED" in text
    assert "failed: NOPE Equity: BAD_SEC" in text
    assert "refused field: " in text
    assert max(line.severity for line in found) == Severity.WARNING


@pytest.mark.parametrize(
    ("category", "severity"),
    [
        ("NOT_ENTITLED", Severity.CREDENTIALS),
        ("LIMIT", Severity.UNAVAILABLE),
        ("BAD_SEC", Severity.UNAVAILABLE),
    ],
)
def test_probe_of_which_no_topic_is_live_has_failed(category, severity):
    found = lines(*(Fault("refuse", topic=name, category=category) for name in NAMES))
    (line,) = [line for line in found if line.text == "0 of 3 topics are live"]
    assert (line.ok, line.severity) == (False, severity)
    assert max(line.severity for line in found) == severity


def test_probe_tells_what_bloomberg_says_of_the_service(monkeypatch):
    monkeypatch.setattr(probe, "PROBE_S", 1.0)
    found = lines(Fault("service_refused"))
    said = [line for line in found if "cannot be opened" in line.text]
    assert len(said) == 1
    assert said[0].severity == Severity.WARNING
    assert "//blp/mktdata is not available" in said[0].text
    assert (found[-1].ok, found[-1].severity) == (False, Severity.UNAVAILABLE)


@pytest.mark.parametrize(
    ("fault", "options", "severity"),
    [
        ("refused", {"start_attempts": 1}, Severity.UNAVAILABLE),
        ("auth_refused", {"auth": "app", "app_name": "firm:app"}, Severity.CREDENTIALS),
        ("refused", {"auth": "token", "token_credential": "none"}, Severity.CREDENTIALS),
    ],
)
def test_probe_of_what_does_not_work(fault, options, severity, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    found = lines(Fault(fault), **options)
    assert (found[-1].ok, found[-1].severity) == (False, severity)
    assert sum(not line.ok for line in found) == 1


@pytest.mark.parametrize(
    ("source", "name", "times"),
    [("credential", "none", 1), ("env", "MDFEEDD_NO_SUCH", 0), ("file", "/no/such", 0)],
)
def test_probe_says_where_a_secret_should_be_and_of_no_other_place(source, name, times, monkeypatch):  # fmt: skip
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    found = lines(auth="token", **{f"token_{source}": name})
    assert name in found[-1].text
    assert found[-1].text.count("LoadCredential") == times
    assert "CREDENTIALS_DIRECTORY" not in found[-1].text


def test_probe_tells_by_which_path_data_would_come():
    (line,) = [line for line in lines() if " path" in line.text]
    assert line.text == "market data take the Python path: the events of this blpapi give no handle"
    assert not [line for line in lines(native="off") if " path" in line.text]
    *_, last = lines(native="require")
    assert (last.ok, last.severity) == (False, Severity.CONFIG)
    assert "the native path cannot be used" in last.text


def test_probe_says_what_may_be_wrong_with_a_name():
    text = "\n".join(line.text for line in lines(names=(*NAMES, "IBM", "NOPE Equity")))
    assert (
        "failed: IBM: BAD_SEC (11): IBM: BAD_SEC: not asked for again (a name has its market sector"
        in text
    )
    assert text.count("market sector") == 1


def test_probe_without_the_package_in_the_folder(tmp_path):
    child("-c", "pass")  # skips where the package is installed
    sys.modules.pop("blpapi", None)
    made = BloombergOptions((Topic("IBM US Equity"),), blpapi_path=str(tmp_path))
    try:
        (line,) = BloombergFeed.probe("b", made)
    finally:
        sys.path.remove(str(tmp_path))
    assert (line.ok, line.severity) == (False, Severity.CONFIG)
    assert f"there is no package blpapi, neither installed nor in {tmp_path}; " in line.text


def test_probe_without_the_package(tmp_path):
    (tmp_path / "blpapi.py").write_text("raise ImportError('libblpapi3_64.so is missing')\n")
    sys.modules.pop("blpapi", None)
    made = BloombergOptions((Topic("IBM US Equity"),), blpapi_path=str(tmp_path))
    try:
        (line,) = BloombergFeed.probe("b", made)
    finally:
        sys.path.remove(str(tmp_path))
    assert (line.ok, line.severity) == (False, Severity.CONFIG)
    assert "libblpapi3_64.so is missing" in line.text


def of_shard(directory, shard, names=NAMES):
    life = Life(directory, names=names)
    life.plan = replace(life.plan, shard=shard)
    life.feed = BloombergFeed("blp", life.options, life.plan)
    return life


@pytest.mark.parametrize("name", NAMES)
def test_only_topics_of_the_shard_are_subscribed_to(directory, name):
    """Those of the start and those of a reload."""
    shard = next(shard for shard in (Shard(i, 5) for i in range(1, 6)) if shard.has(name))
    ours = {name for name in NAMES if shard.has(name)}
    assert 0 < len(ours) < len(NAMES)
    with of_shard(directory, shard, names=[name]) as life:
        until(lambda: life.count("sessions") == 1, "a session")
        life.feed.reconfigure(replace(life.options, topics=tuple(map(Topic, NAMES))))
        until(lambda: life.count("published_quotes") > 20, "quotes")
        life.end()
        with Reader("blp", "oldest", directory=directory) as reader:
            assert {entry.symbol for entry in reader.instruments} == ours
    assert set(life.world.sessions[0].subscribed.values()) == ours


def test_a_shard_without_a_topic_runs_and_says_so_once(directory, caplog):
    nowhere = next(
        Shard(i, 4096) for i in range(1, 4097) if not any(map(Shard(i, 4096).has, NAMES))
    )
    with of_shard(directory, nowhere) as life:
        until(lambda: life.count("sessions") == 1, "a session")
        time.sleep(0.3)
        assert life.thread.is_alive()
        life.end()
    assert life.error is None
    told = [r for r in caplog.records if "none of its 3 topics is in the shard" in r.getMessage()]
    assert len(told) == 1
