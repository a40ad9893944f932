"""A gateway in another process: it starts, tells, and ends with whoever started it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import databento
import pytest

from mdfeedd.sim.databento import KEY, GatewayError
from mdfeedd.sim.databento.child import GatewayProcess
from mdfeedd.sim.databento.play import GatewayOptions

LIMIT_S = 30.0


def until(what):
    limit_s = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < limit_s
        time.sleep(0.02)


def test_real_client_streams_from_another_process_and_the_report_counts_it():
    options = GatewayOptions(
        instruments=("ESZ6", "NQZ6"), schemas=("mbp-1",), faults=("fin:after_records=50",)
    )
    with GatewayProcess(options) as process:
        assert process.alive
        assert KEY not in Path(f"/proc/{process.pid}/cmdline").read_text()
        got = []
        live = databento.Live(key=KEY, gateway="127.0.0.1", port=process.port)
        live.subscribe("GLBX.MDP3", "mbp-1")
        live.add_callback(got.append)
        live.start()
        live.block_for_close(LIMIT_S)
    assert not process.alive
    report = process.report
    assert (report.connects, report.sessions, report.records, report.faults) == (1, 1, 50, 1)
    assert len([r for r in got if bytes(r)[1] == 1]) == 50


def test_report_comes_while_it_plays():
    with GatewayProcess(GatewayOptions()) as process:
        with socket.create_connection(("127.0.0.1", process.port)):
            until(lambda: process.report.connects == 1)
        assert process.ending == ""


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (GatewayOptions(file="/nowhere.dbn"), "No such file"),
        (GatewayOptions(key="short"), "key: must have 32 characters"),
        (GatewayOptions(faults=("nonsense",)), "a fault is one of"),
        (GatewayOptions(host="192.0.2.1"), "cannot listen on 192.0.2.1:0"),
    ],
)
def test_gateway_that_cannot_start_says_why(options, why):
    process = GatewayProcess(options)
    with pytest.raises(GatewayError, match=why):
        process.start()
    assert not process.alive


def test_killed_gateway_says_so():
    with GatewayProcess(GatewayOptions()) as process:
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: process.ending)
        assert process.ending == "killed by SIGKILL"


def test_it_ends_with_its_parent():
    code = (
        "import os, signal\n"
        "from mdfeedd.sim.databento.child import GatewayProcess\n"
        "from mdfeedd.sim.databento.play import GatewayOptions\n"
        "process = GatewayProcess(GatewayOptions()); process.start()\n"
        "print(process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    program = [sys.executable, "-c", code]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    pid = int(done.stdout)
    until(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid))


def _is_zombie(pid):
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
