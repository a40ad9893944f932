"""``mdfeedd sim databento`` as its users see it."""

from __future__ import annotations

import re
import signal
import socket
from typing import TYPE_CHECKING

import databento
import pytest
import yaml

from mdfeedd.sim.databento import KEY, Market
from mdfeedd.sim.databento.layouts import metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start

OTHER_KEY = "db-another000000000000000000000k"


def begun(process, line="playing\n"):
    """What it says up to then."""
    said = []
    while not said or said[-1] != line:
        assert process.poll() is None, process.stderr.read()
        said.append(process.stdout.readline())
    return "".join(said)


def port_of(said):
    return int(re.search(r"listening on 127\.0\.0\.1:(\d+), key", said)[1])


def stream(port, key, schema, symbols):
    got = []
    live = databento.Live(key=key, gateway="127.0.0.1", port=port)
    live.subscribe("GLBX.MDP3", schema, symbols)
    live.add_callback(got.append)
    live.start()
    live.block_for_close(30)
    return [bytes(r) for r in got]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_real_client_uses_what_is_printed_and_the_end_is_an_account(
    start: Start, number: signal.Signals
) -> None:
    process = start(
        "sim", "databento", "--port", 0, "--instruments", "ESZ6,NQZ6", "--schemas", "mbp-1,trades",
        "--rate", 500, "--key", OTHER_KEY, "--fault", "fin:after_records=100",
    )  # fmt: skip
    said = begun(process)
    assert f"export DATABENTO_API_KEY={OTHER_KEY}" in said
    (feed,) = yaml.safe_load(said[said.index("feeds:") : said.index("playing")])["feeds"]
    assert feed["vendor"] == "databento"
    options = feed["options"]
    (asked,) = options["subscriptions"]
    assert options["gateway"] == f"127.0.0.1:{port_of(said)}"
    assert (options["dataset"], asked["symbols"]) == ("GLBX.MDP3", ["ESZ6", "NQZ6"])
    got = stream(port_of(said), OTHER_KEY, asked["schema"], asked["symbols"])
    assert len([r for r in got if r[1] == 1]) == 100
    begun(process, "session 0: closed, after 100 market records\n")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == ""
    assert "1 session, 100 market records (" in out
    assert "  session 0: 100 market records, faults fin, closed\n" in out


def test_feed_accepts_the_configuration_that_is_printed(
    start: Start, run: Run, tmp_path: Path
) -> None:
    process = start("sim", "databento", "--port", 0)
    try:
        said = begun(process)
        config = tmp_path / "mdfeedd.yaml"
        config.write_text(said[said.index("feeds:") : said.index("playing")])
        ran = run("check", "-c", config)
        assert ran.status == 0, ran
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_session_that_is_not_admitted_is_told(start: Start) -> None:
    process = start("sim", "databento", "--port", 0)
    said = begun(process)
    assert f"key {KEY}\n" in said
    with socket.create_connection(("127.0.0.1", port_of(said))) as connection:
        connection.sendall(b"auth=nonsense|dataset=GLBX.MDP3\n")
        while connection.recv(1_000):
            pass
    ended = begun(
        process, "session 0: not admitted: Authentication failed., after 0 market records\n"
    )
    assert "Traceback" not in ended
    process.terminate()
    assert process.communicate(timeout=60)[1] == ""


def test_plays_a_file(start: Start, tmp_path: Path) -> None:
    market = Market(1, instruments=["ESZ6"], rate=100, schemas=["trades", "definition"])
    market.run_until(market.start_ns + 60 * 10**9)
    records = [market.timeline("definition")[0], *market.records("trades", 0, market.now_ns)]
    path = tmp_path / "es.dbn"
    path.write_bytes(metadata("XNAS.ITCH") + b"".join(r.raw for r in records))
    process = start("sim", "databento", "--port", 0, "--file", path, "--seconds", 0.1)
    said = begun(process)
    out, err = process.communicate(timeout=60)
    assert said.startswith(f"XNAS.ITCH: 1 instrument (ESZ6), {path}\n")
    assert "schema: definition" in said
    assert (process.returncode, err) == (0, "")
    assert out == "0 sessions, 0 market records (0 B in all)\n"


def test_kinds_of_faults_are_listed(run: Run) -> None:
    ran = run("sim", "databento", "--fault", "list")
    assert ran.status == 0
    assert re.search(r"^rst +the connection is reset", ran.out, re.MULTILINE)
    assert re.search(r"^  authenticating ", ran.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--key", "short"], "--key: must have 32 characters, not 5"),
        (["--fault", "nonsense"], "--fault: a fault is one of"),
        (["--fault", "fin:at=lunch"], "--fault: fin: at: one of connected"),
        (["--schemas", "mbp-7"], "schemas: must be of"),
        (["--instruments", "0"], "instruments: must be 1 to"),
        (["--instruments", "A,A"], "'A' is named twice"),
        (["--rate", "0"], "--rate"),
        (["--publishers", "0"], "--publishers"),
    ],
)
def test_option_that_makes_no_sense(run: Run, arguments: list[str], sentence: str) -> None:
    ran = run("sim", "databento", "--port", 0, "--seconds", 0.1, *arguments)
    assert ran.status == 2
    assert sentence in ran.err.strip().splitlines()[-1]


def test_file_that_is_not_there_or_no_dbn(run: Run, tmp_path: Path) -> None:
    ran = run("sim", "databento", "--file", tmp_path / "none.dbn")
    assert ran.status == 1
    assert "none.dbn: No such file" in ran.sentence()
    (tmp_path / "bad.dbn").write_bytes(b"nonsense")
    ran = run("sim", "databento", "--file", tmp_path / "bad.dbn")
    assert ran.status == 1
    assert "bad.dbn: is not DBN" in ran.sentence()


def test_port_that_is_taken(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = run("sim", "databento", "--port", taken.getsockname()[1])
    assert ran.status == 1
    assert "cannot listen on 127.0.0.1" in ran.sentence()
