"""The daemon with a live Databento feed: what a reload of its configuration does to the session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mdfeedd import Reader
from mdfeedd.ring import RingError
from mdfeedd.sim.databento import KEY, Fault, Gateway, GatewayCore, Market, Script
from mdfeedd.tick import Kind

LIMIT_S = 60.0
CONFIG = """
shm_dir: {shm_dir}
metrics: null
feeds:
  - name: db
    vendor: databento
    options:
      dataset: GLBX.MDP3
      gateway: 127.0.0.1:{port}
      key_file: {key_file}
      subscriptions: [{subscriptions}]
"""


def until(condition, what):
    deadline = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def asks(*symbols, schema="mbp-1", **more):
    fields = {"schema": schema, "symbols": f"[{', '.join(symbols)}]"} | more
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"


class Daemon:
    """`mdfeedd run` with one feed, and the gateway that it is connected to."""

    def __init__(self, gateway, shm_dir, folder, *subscriptions):
        self.core = gateway.core
        self.key_file = folder / "key"
        self.key_file.write_text(KEY)
        self.file = folder / "mdfeedd.yaml"
        self.values = {"shm_dir": shm_dir, "port": gateway.port, "key_file": self.key_file}
        self.shm_dir = shm_dir
        self.log = folder / "log"
        self.write(*subscriptions)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mdfeedd", "run", "-c", str(self.file)], stderr=log
            )

    def write(self, *subscriptions):
        self.file.write_text(CONFIG.format(subscriptions=", ".join(subscriptions), **self.values))

    def reload(self, *subscriptions):
        self.write(*subscriptions)
        self.process.send_signal(signal.SIGHUP)

    def said(self):
        return self.log.read_text()

    def seen(self):
        """Symbols with ticks in the ring."""
        try:
            with Reader("db", "oldest", follow=False, directory=self.shm_dir) as reader:
                batch = reader.read(1 << 16, timeout=0)
                ids = {int(number) for number in batch.records["instrument_id"] if number}
                return {reader.instruments.symbol(number) for number in ids}
        except RingError:
            return set()

    def end(self):
        self.process.terminate()
        try:
            return self.process.wait(LIMIT_S)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def daemon(shm_dir, tmp_path):
    """Start one with these subscriptions."""
    started = []

    def start(*subscriptions, faults=()):
        market = Market(1, instruments=4, rate=400.0, start_ns=time.time_ns())
        gateway = Gateway(GatewayCore(market, Script(faults)))
        gateway.start()
        started.append(gateway)
        started.append(Daemon(gateway, shm_dir, tmp_path, *subscriptions))
        return started[-1]

    yield start
    for one in reversed(started):
        one.end() if isinstance(one, Daemon) else one.stop()


def names():
    return [item.raw_symbol for item in Market(1, instruments=4).instruments]


def test_symbols_and_subscriptions_are_added_within_the_session(daemon):
    one, two, three, _ = names()
    running = daemon(asks(one))
    until(lambda: running.seen() == {one}, "the first symbol")
    running.reload(asks(one, two))
    until(lambda: running.seen() == {one, two}, "the symbol that was added")
    running.reload(asks(one, two), asks(three, schema="trades"))
    until(lambda: running.seen() == {one, two, three}, "the subscription that was added")
    assert len(running.core.sessions) == 1
    requests = running.core.sessions[0].requests
    assert [(r.schema, r.symbols) for r in requests] == [
        ("mbp-1", (one,)), ("mbp-1", (two,)), ("trades", (three,)),
    ]  # fmt: skip
    assert running.end() == 0
    with Reader("db", "oldest", follow=False, directory=running.shm_dir) as reader:
        batch = reader.read(1 << 16, timeout=0)
    assert Kind.GAP not in batch.records["kind"]
    assert 0 < len(batch.records) <= len(running.core.sessions[0].sent)


def test_symbols_that_were_added_are_asked_for_in_the_next_session(daemon):
    one, two, *_ = names()
    running = daemon(asks(one, recovery="replay"), faults=(Fault("fin", after_s=6.0),))
    until(lambda: running.seen() == {one}, "the first symbol")
    running.reload(asks(one, two, recovery="replay"))
    until(lambda: running.seen() == {one, two}, "the symbol that was added")
    until(
        lambda: len(running.core.sessions) == 2 and running.core.sessions[1].sent, "a new session"
    )
    (request,) = running.core.sessions[1].requests
    assert request.symbols == (one, two)
    assert request.start_ns is not None


def test_what_cannot_be_changed_within_a_session_is_asked_for_in_a_new_one(daemon):
    one, two, *_ = names()
    running = daemon(asks(one, two))
    until(lambda: running.seen() == {one, two}, "both symbols")
    running.reload(asks(two))
    until(
        lambda: len(running.core.sessions) == 2 and running.core.sessions[1].sent, "a new session"
    )
    (request,) = running.core.sessions[1].requests
    assert request.symbols == (two,)
    assert "a new session for the new subscriptions" in running.said()
    assert running.end() == 0


def test_a_bad_file_changes_nothing(daemon):
    one, two, *_ = names()
    running = daemon(asks(one))
    until(lambda: running.seen() == {one}, "the first symbol")
    running.reload(asks(one, schema="mbp-7"))
    until(lambda: "mbp-7" in running.said(), "the mistake")
    assert "schema: must be one of" in running.said()
    running.reload(asks(one, two))
    until(lambda: running.seen() == {one, two}, "the mended file")
    assert len(running.core.sessions) == 1


def test_a_refused_key_ends_the_feed_and_says_what_to_do(daemon):
    running = daemon(asks(names()[0]), faults=(Fault("bad_key", session=None),))
    until(lambda: "exit status 77" in running.said(), "the end")
    assert "check the key at databento.com/portal/keys" in running.said()
    assert KEY not in running.said()
    assert len(running.core.sessions) == 1, "a refused key is not tried again"
    os.kill(running.process.pid, 0)  # the daemon runs on
