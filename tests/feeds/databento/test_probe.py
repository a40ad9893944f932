"""``mdfeedd check --connect`` for Databento: what the gateway says, in lines, against the simulated gateway."""

from __future__ import annotations

import socket
import time

import pytest

from mdfeedd.feeds.databento.feed import DatabentoFeed
from mdfeedd.feeds.databento.options import DatabentoOptions, Subscription
from mdfeedd.feeds.databento.session import probe as probing
from mdfeedd.feeds.protocol import Severity
from mdfeedd.ring import list_rings
from mdfeedd.sim.databento import KEY, Fault, Gateway, GatewayCore, Market, Script


@pytest.fixture
def ask(tmp_path, shm_dir, monkeypatch):
    """Probe a gateway with these faults for these subscriptions; the lines."""
    monkeypatch.setattr(probing, "QUIET_S", 0.2)
    monkeypatch.setattr(probing, "PROBE_S", 5.0)
    key = tmp_path / "key"
    key.write_text(KEY)

    def probe(*subscriptions, faults=(), keys=(KEY,), rate=50.0, **options):
        wanted = subscriptions or (Subscription("mbp-1", ("ESZ6", "NQZ6")),)
        core = GatewayCore(Market(1, rate=rate, start_ns=time.time_ns()), Script(faults), keys=keys)
        with Gateway(core) as gateway:
            values = {"gateway": f"127.0.0.1:{gateway.port}", "key_file": str(key)} | options
            lines = list(DatabentoFeed.probe("db", DatabentoOptions("GLBX.MDP3", wanted, **values)))
        assert not list_rings(shm_dir)
        assert not any(KEY in line.text for line in lines)
        return lines

    return probe


def worst(lines):
    return max(line.severity for line in lines)


def told(lines):
    return "\n".join(line.text for line in lines)


def symbols():
    return [item.raw_symbol for item in Market(1).instruments]


def test_all_is_well(ask):
    names = symbols()
    lines = ask(Subscription("mbp-1", tuple(names[:2])), Subscription("status", tuple(names[:2])))
    assert worst(lines) is Severity.OK
    text = told(lines)
    assert "the key is accepted for GLBX.MDP3, session 1760000001" in text
    assert "all 2 subscriptions are accepted" in text
    assert f"2 instruments: {', '.join(sorted(names[:2]))}" in text


def test_one_symbol_is_not_resolved(ask):
    lines = ask(Subscription("mbp-1", (symbols()[0], "NOSUCH")))
    assert worst(lines) is Severity.WARNING
    assert any("NOSUCH" in line.text and line.severity is Severity.WARNING for line in lines)
    assert f"1 instrument: {symbols()[0]}" in told(lines)
    assert "the subscription is accepted" in told(lines)


def test_no_symbol_is_resolved(ask):
    lines = ask(Subscription("mbp-1", ("NOSUCH",)))
    assert worst(lines) is Severity.WARNING
    assert "no symbol was resolved" in told(lines)


def test_key_is_refused(ask):
    lines = ask(keys=("db-" + "x" * 29,))
    assert lines[-1].severity is Severity.CREDENTIALS
    assert not lines[-1].ok
    assert "check the key" in lines[-1].text


def test_there_is_no_key(ask, monkeypatch):
    monkeypatch.delenv("DATABENTO_API_KEY", raising=False)
    lines = ask(key_file="")
    assert [line.severity for line in lines] == [Severity.CREDENTIALS]
    assert "set the environment variable DATABENTO_API_KEY" in lines[0].text


def test_a_subscription_is_refused(ask):
    lines = ask(faults=(Fault("error", code=5, at="described", text="no such schema"),))
    assert lines[-1].severity is Severity.CONFIG
    assert "error 5" in lines[-1].text


def test_too_many_sessions_may_pass(ask):
    lines = ask(faults=(Fault("error", code=3, at="described"),))
    assert lines[-1].severity is Severity.UNAVAILABLE


@pytest.mark.parametrize("stage", ["connected", "greeted", "authenticating", "described"])
def test_the_gateway_closes(ask, stage):
    lines = ask(faults=(Fault("fin", at=stage),))
    assert lines[-1].severity is Severity.UNAVAILABLE
    assert "closed by the gateway" in lines[-1].text


@pytest.mark.parametrize("stage", ["connected", "challenged"])
def test_the_gateway_is_silent(ask, stage, monkeypatch):
    monkeypatch.setattr(probing, "PROBE_S", 0.5)
    lines = ask(faults=(Fault("silence", at=stage),))
    assert lines[-1].severity is Severity.UNAVAILABLE
    assert "does not answer" in lines[-1].text


def test_nobody_listens(ask):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        lines = ask(gateway=f"127.0.0.1:{taken.getsockname()[1]}")
    assert lines[-1].severity is Severity.UNAVAILABLE
    assert "cannot be reached" in lines[-1].text


def test_garbage_in_the_stream(ask):
    lines = ask(Subscription("mbp-1", tuple(symbols()[:1])), faults=(Fault("zero_length"),))
    assert lines[-1].severity is Severity.UNAVAILABLE
    assert "shorter than its own header" in lines[-1].text


def test_a_busy_stream_does_not_hold_the_answer(ask, monkeypatch):
    """It is there a moment after the last acknowledgement, long before the end of the patience."""
    monkeypatch.setattr(probing, "PROBE_S", 60.0)
    began_s = time.monotonic()
    lines = ask(Subscription("mbp-1", ("ALL_SYMBOLS",)), rate=2000.0)
    assert worst(lines) is Severity.OK
    assert not told(lines).endswith("\n0 ticks came meanwhile")
    assert time.monotonic() - began_s < 30
