"""Bad configurations as a table: what stands in the file, where the mistake is told, in which words, and 78.

The sign § stands before the places at which a mistake is to be told, in their order; it is not in the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mdfeedd.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

SIM = "feeds: [{name: sim, vendor: synthetic}]\n"


def sim(options: str) -> str:
    return f"feeds:\n  - name: sim\n    vendor: synthetic\n    options: {{{options}}}\n"


def feed(vendor: str, *options: str) -> str:
    head = f"feeds:\n  - name: f\n    vendor: {vendor}\n    options:\n"
    return head + "".join(f"      {line}\n" for line in options)


def databento(*options: str) -> str:
    subscriptions = "subscriptions: [{schema: trades, symbols: [ESZ6]}]"
    return feed("databento", "dataset: GLBX.MDP3", subscriptions, *options)


def consumer(kind: str, *options: str, rings: str = "[sim]") -> str:
    head = f"{SIM}consumers:\n  - name: c\n    type: {kind}\n    rings: {rings}\n    options:\n"
    return head + "".join(f"      {line}\n" for line in options)


def sink(*options: str) -> str:
    return consumer("batch", "sink:", *(f"  {line}" for line in options))


TABLE = [
    # YAML
    ("§", ["the key 'feeds' is missing (what to run)"]),
    ("§[feeds]", ["the file: must be a mapping of keys to values, found a list"]),
    ("feeds:§\n", ["feeds: must be a list, found nothing"]),
    ("feeds: §[]\n", ["feeds: there must be at least one feed"]),
    (f"{SIM}log:\n§\tlevel: info\n", ["cannot start any token"]),
    (f"{SIM}log: {{level: info§", ["expected ',' or '}'"]),
    (f"{SIM}§feeds: []\n", ["duplicate key 'feeds' (first in line 1)"]),
    (f"{SIM}log: {{level: info, §level: debug}}\n", ["duplicate key 'level' (first in line 2)"]),
    (f"{SIM}log: §§!secret x\n", ["the tag !secret is not allowed", "log: must be a mapping"]),
    (f"{SIM}log: §*nobody\n", ["undefined alias"]),
    (f"{SIM}§---\nlog: {{}}\n", ["but found another document"]),
    (f"{SIM}log: {{§[a]: 1}}\n", ["a key must be a word"]),
    # the sections
    (f"{SIM}§consumer: []\n", ["unknown key 'consumer' (did you mean 'consumers'?)"]),
    (f"{SIM}§zzz: 1\n", ["unknown key 'zzz' (known: consumers, feeds, include, log, metrics, shm"]),
    (f"{SIM}shm_dir: §dev/shm\n", ["shm_dir: must be an absolute path, found 'dev/shm'"]),
    (f"{SIM}shm_dir: §1\n", ["shm_dir: must be a string, found 1 (put it in quotes)"]),
    (f"{SIM}metrics: {{port: §70000}}\n", ["metrics.port: must be less than or equal to 65535"]),
    (f"{SIM}metrics: {{§hots: x}}\n", ["unknown key 'hots' (did you mean 'host'?)"]),
    (f"{SIM}metrics: §9464\n", ["metrics: must be a mapping, found 9464"]),
    (f"{SIM}log: {{level: §inof}}\n", ["found 'inof' (did you mean 'info'?)"]),
    (f"{SIM}log: {{json: §yes}}\n", ["log.json: must be true or false, found 'yes' (YAML 1.2 knows"]),
    # children
    ("feeds: [{name: §a/b, vendor: synthetic}]\n", ["'a/b' must be 1 to 31 of A-Z a-z 0-9 . _ -"]),
    ("feeds: [{name: §x.depth, vendor: synthetic}]\n", ["'x.depth' must not end in .bars, .depth"]),
    ("feeds: [{name: §17, vendor: synthetic}]\n", ["must be a string, found 17 (put it in quotes)"]),
    ("feeds: [§{vendor: synthetic}]\n", ["the key 'name' is missing (names the feed, its process"]),
    ("feeds: [{name: f, vendor: §synthetik}]\n", ["(did you mean 'synthetic'?)"]),
    ("feeds: [{name: f, vendor: §'no.such:Feed'}]\n", ["there is no module no"]),
    ("feeds: [{name: f, vendor: §'os:getpid'}]\n", ["os has no class getpid"]),
    ("feeds: [{name: f, vendor: §'a b:c'}]\n", ["is not of the form package.module:Class"]),
    ("feeds: [{name: f, vendor: synthetic}, {name: §f, vendor: synthetic}]\n", ["the name 'f' is taken"]),
    ("feeds: [{name: f, vendor: synthetic, capacity: §1000}]\n", ["take 512 or 1024"]),
    ("feeds: [{name: f, vendor: synthetic, cpus: §[-1]}]\n", ["cpus: a CPU has a number from 0"]),
    ("feeds: [{name: f, vendor: synthetic, numa_node: §-1}]\n", ["must be greater than or equal to 0"]),
    ("feeds: [{name: f, vendor: synthetic, numa_node: §left}]\n", ["numa_node: must be a whole number, found 'left'"]),
    ("feeds: [{name: f, vendor: synthetic, huge_pages: §2MiB}]\n", ["huge_pages: must be true or false"]),
    ("feeds: [{name: f, vendor: synthetic, priority: §urgent}]\n", ["priority"]),
    (consumer("bars", rings="[§sin]"), ["there is no ring 'sin' (did you mean 'sim'?)"]),
    (consumer("bars", rings="[sim, §sim]"), ["the ring 'sim' is named twice"]),
    (consumer("bars", rings="§[]"), ["consumers[0].rings: "]),
    (consumer("bars", "ring: §sim"), ["the ring 'sim' is written by the feed 'sim'"]),
    (consumer("bars", "ring: x", rings="§[x]"), ["wait for each other's rings"]),
    # units
    ("feeds: [{name: f, vendor: synthetic, hang_s: §5 parsecs}]\n", ["'parsecs' is no unit of a duration: write us, ms, s, m, h or d, such as 5s; a number without a unit is in seconds"]),
    ("feeds: [{name: f, vendor: synthetic, hang_s: §5S}]\n", ["'S' is no unit of a duration"]),
    ("feeds: [{name: f, vendor: synthetic, hang_s: §-5s}]\n", ["must be greater than or equal to 0"]),
    ("feeds: [{name: f, vendor: synthetic, hang_s: §soon}]\n", ["must be a number, found 'soon'"]),
    (consumer("bars", "intervals_s: [1s, 1m, §250ms]"), ["must be a whole number of seconds, found '250ms'"]),
    (consumer("bars", "intervals_s: [§1x, §2y]"), ["'x' is no unit", "'y' is no unit"]),
    (databento("heartbeat_s: §1h"), ["heartbeat_s: must be 5 to 1800, not 3600"]),
    (databento("receive_buffer_bytes: §64M"), ["'M' is no unit of a size: write B, KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as 64MiB; a number without a unit is in bytes"]),
    (databento("receive_buffer_bytes: §1.5B"), ["must be a whole number of bytes, found '1.5B'"]),
    (databento("receive_buffer_bytes: §1KiB"), ["must be 65536 to 1073741824, not 1024"]),
    (databento("max_orders: §1MiB"), ["max_orders: must be a whole number, found '1MiB'"]),
    # secrets
    (databento("key: §db-0123456789"), ["key: a secret is not written here, only where it is: {credential: NAME}, {file: /PATH} or {env: NAME}"]),
    (databento("key: §{}"), ["key: must be one of {credential: NAME}"]),
    (databento("key: {§vault: x}"), ["key: unknown key 'vault' (known: credential, env, file)"]),
    (databento("key: §{env: A, file: /b}"), ["key: must be one of"]),
    (databento("key: {env: §db-0123456789}"), ["key.env: must be the name of an environment variable"]),
    (databento("key: {file: §here}"), ["key.file: must be an absolute path"]),
    (databento("key: {credential: §a/b}"), ["key.credential: must be the name of a systemd credential"]),
    (databento("§key: {env: A}", "key_file: /b"), ["key: and key_file say the same"]),
    (sink("type: postgres", "password: §hunter2"), ["password: a secret is not written here"]),
    (sink("type: postgres", "dsn: §postgres://me:hunter2@host/db"), ["dsn: must not hold a password"]),
    # vendors: all mistakes of one feed's options at once
    (sim("rate: §0, burstiness: §2, seed: §-1"), ["rate: must be above 0", "burstiness: must be 0 to 1", "seed: must be 0 to"]),
    (sim("rate: §fast, burstiness: §2"), ["options.rate: must be a number, found 'fast'", "burstiness"]),
    (sim("market: §futrues"), ["found 'futrues' (did you mean 'futures'?)"]),
    (sim("§rat: 5"), ["unknown key 'rat' (did you mean 'rate'?)"]),
    (feed("cme", "channels: §[310]"), ["channels: are looked up in config_xml, which is not given"]),
    (feed("cme", "config_xml: §/no/such.xml", "channels: [310]"), ["config_xml: /no/such.xml"]),
    (feed("cme", "lines:", "  - {channel: 310, feed: incremental, address: §224.0.31.300, port: §0}"), ["address: not an IPv4 address", "port: must be 1 to 65535"]),
    (feed("databento", "dataset: §globex", "subscriptions: §[]"), ["dataset: must be like GLBX.MDP3", "subscriptions: must be 1 to 64"]),
    (feed("databento", "dataset: GLBX.MDP3", "subscriptions:", "  - {schema: §tradez, symbols: §[]}"), ["not 'tradez' (did you mean 'trades'?)", "symbols: must be 1 to"]),
    (databento("recrod: here").replace("recrod", "§recrod"), ["unknown key 'recrod' (did you mean 'record'?)"]),
    (databento("renew_at: §24:00", "heartbeat_s: §3"), ["renew_at: must be HH:MM", "heartbeat_s: must be 5"]),
    (feed("bloomberg", "topics: §[]", "interval_s: §1ms"), ["topics: must be 1 to", "interval_s: must be 0 or 0.1"]),
    (feed("bloomberg", "topics: [{topic: X}]", "auth: §tokn"), ["(did you mean 'token'?)"]),
    (feed("replay", "paths: [x]", "speed: §0", "version: §4"), ["speed: must be max, or above 0", "version: must be 1 to 3"]),
    # consumers and sinks
    (consumer("batch", "§batch_size: 1"), ["options.sink: must be a mapping with a type ("]),
    (sink("type: §postgrez"), ["unknown sink type 'postgrez' (did you mean 'postgres'?)"]),
    (sink("type: postgres", "index: §tiem", "port: §70000"), ["(did you mean 'time'?)", "port: must be a whole number from 0 to 65535"]),
    (sink("type: redis", "modes: [ticks, §lats]"), ["(did you mean 'last'?)"]),
    (sink("type: redis", "modes: [stream]").replace("type: redis", "§type: redis"), ["stream_maxlen: must be given with the mode stream"]),
    (consumer("callbacks", "on_tick: §nothing", "start: §latest"), ["on_tick: must be module:function", "start: must be 'now', 'oldest' or 'resume'"]),
    (consumer("journal", "path: /j", "segment_bytes: §1KiB", "fsync: §always"), ["segment_bytes: must be a whole number from", "fsync: must be 'none'"]),
]  # fmt: skip


def places(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without §, and line and column of each."""
    found = []
    text = ""
    for part in marked.split("§")[:-1]:
        text += part
        found.append((text.count("\n") + 1, len(text) - text.rfind("\n")))
    return marked.replace("§", ""), found


def told(err: str, file: Path) -> list[tuple[int, int, str]]:
    lines = re.findall(rf"^{re.escape(str(file))}:(\d+):(\d+): error: (.*)$", err, re.MULTILINE)
    return [(int(line), int(column), sentence) for line, column, sentence in lines]


def test_table_is_long_enough() -> None:
    assert len({text for text, _ in TABLE}) >= 60


@pytest.mark.parametrize(("marked", "words"), TABLE)
def test_mistake_is_told_at_its_place_with_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], marked: str, words: list[str]
) -> None:
    text, marks = places(marked)
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    assert main(["check", "-c", str(file)]) == 78
    captured = capsys.readouterr()
    found = told(captured.err, file)
    assert [place[:2] for place in found] == marks, captured.err
    for (_, _, sentence), word in zip(found, words, strict=True):
        assert word in sentence
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert "hunter2" not in captured.err
    assert "0123456789" not in captured.err
    problems = f"{len(words)} problem{'s' if len(words) > 1 else ''}"
    assert captured.err.splitlines()[-1] == f"mdfeedd check: {file}: {problems}"


def test_run_refuses_the_same_with_the_same_status(tmp_path: Path, run: Run) -> None:
    text, marks = places(sim("rate: §0, burstiness: §2"))
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    ran = run("run", "-c", file)
    assert ran.status == 78
    assert [place[:2] for place in told(ran.err, file)] == marks


def test_mistake_is_shown_with_its_line_a_caret_and_the_meaning_of_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(sim("burstiness: 2"))
    assert main(["check", "-c", str(file)]) == 78
    assert capsys.readouterr().err == (
        f"{file}:4:27: error: feeds[0].options: burstiness: must be 0 to 1, not 2.0\n"
        "        options: {burstiness: 2}\n"
        "                              ^\n"
        "    burstiness: 0: evenly random; 1: calm and busy times, and bursts (default: 0.5)\n"
        f"mdfeedd check: {file}: 1 problem\n"
    )


# ------------------------------------------------------------------------------- credentials: 77

MISSING = [
    ("{env: MDFEEDD_NO_SUCH_VARIABLE}", "the environment variable MDFEEDD_NO_SUCH_VARIABLE"),
    ("{file: /no/such/file}", "cannot be read from /no/such/file: No such file or directory"),
    ("{credential: no-such}", "the credential no-such was not passed: LoadCredential= in the unit"),
]


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("MDFEEDD_NO_SUCH_VARIABLE", raising=False)


@pytest.mark.parametrize(("reference", "words"), MISSING)
def test_missing_key_of_a_feed_is_77(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reference: str, words: str
) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(databento(f"key: {reference}", "gateway: 127.0.0.1:1"))
    assert main(["check", "-c", str(file)]) == 0
    assert main(["check", "-c", str(file), "--connect"]) == 77
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("  feed f: credentials: ")
    assert words in line


@pytest.mark.parametrize(("reference", "words"), MISSING)
def test_missing_password_of_a_sink_is_77(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reference: str, words: str
) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(sink("type: postgres", f"password: {reference}"))
    assert main(["check", "-c", str(file)]) == 0
    assert main(["check", "-c", str(file), "--connect"]) == 77
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("  consumer c: credentials: ")
    assert words in line


def test_password_that_is_there_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    file = tmp_path / "good.yaml"
    file.write_text(sink("type: postgres", f"password: {{file: {tmp_path}/password}}"))
    assert main(["check", "-c", str(file), "--connect"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "  consumer c: its password is there"
    assert "hunter2" not in captured.out + captured.err


@pytest.mark.parametrize(("reference", "words"), MISSING)
def test_daemon_that_can_do_nothing_without_a_key_ends_with_77(
    tmp_path: Path, shm_dir: str, run: Run, reference: str, words: str
) -> None:
    file = tmp_path / "good.yaml"
    text = databento(f"key: {reference}", "gateway: 127.0.0.1:1")
    file.write_text(f"shm_dir: {shm_dir}\nmetrics: null\n{text}")
    ran = run("run", "-c", file)
    assert ran.status == 77
    assert words in ran.err
