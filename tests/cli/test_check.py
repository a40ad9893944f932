"""Configuration files from the command line."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mdfeedd.cli import main
from mdfeedd.cli.check import MAX_LINES, STATUS
from mdfeedd.feeds.protocol import ProbeLine, Severity
from mdfeedd.ring import Reader
from mdfeedd.ring.inspect import inspect

if TYPE_CHECKING:
    from tests.cli.conftest import Run, Start

GOOD = """\
shm_dir: {shm_dir}
metrics: null
feeds:
  - name: sim
    vendor: synthetic
    options: {{rate: 1000, instruments: [ESZ6, NQZ6]}}
"""
BAD = """\
metrics: null
feeds:
  - name: sim
    vendor: synthetik
  - name: sim
    vendor: synthetic
    options: {rate: -1, instrument: 3}
"""


def test_a_good_file_says_what_it_would_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(GOOD.format(shm_dir=tmp_path))
    assert main(["check", "-c", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{file}: ok\n")
    assert "sim (synthetic) writes sim" in out


def test_functions_of_callbacks_are_not_imported_but_run_gives_them_up(
    tmp_path: Path, start: Start, shm_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the help says: a check runs nobody's code."""
    file = tmp_path / "mdfeedd.yaml"
    (tmp_path / "users_code.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for function in ("users_code:f", "no_such_module:f"):
        consumer = f"{{name: c, type: callbacks, rings: [sim], options: {{on_tick: '{function}'}}}}"
        file.write_text(f"{GOOD.format(shm_dir=shm_dir)}consumers: [{consumer}]\n")
        assert main(["check", "-c", str(file)]) == 0
    daemon = start("run", "-c", file)
    assert daemon.stderr is not None
    while "given up" not in (line := daemon.stderr.readline()):
        assert line, "the daemon has ended"
    assert "consumer c: exit status 78 (config)" in line
    daemon.send_signal(signal.SIGTERM)
    daemon.communicate(timeout=60)


def test_all_problems_at_once_and_78(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(BAD)
    ran = run("check", "-c", file)
    assert ran.status == 78
    for part in ("'synthetik'", "unknown key 'instrument'", "the name 'sim' is taken"):
        assert part in ran.err
    assert ran.err.count(f"{file}:") >= 3
    assert run("run", "-c", file).status == 78


def test_a_missing_file_is_a_problem_too(tmp_path: Path, run: Run) -> None:
    ran = run("check", "-c", tmp_path / "nowhere.yaml")
    assert ran.status == 78
    assert "cannot be read: No such file" in ran.err


def test_run_serves_until_sigterm_and_leaves_a_closed_ring(
    tmp_path: Path, shm_dir: str, start: Start
) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(GOOD.format(shm_dir=shm_dir))
    process = start("run", "-c", file)
    with Reader("sim", wait=60, directory=shm_dir) as reader:
        assert len(reader.read(timeout=30))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert inspect("sim", shm_dir).state_text == "closed"


def test_ctrl_c_ends_run_with_130(tmp_path: Path, shm_dir: str, start: Start) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(GOOD.format(shm_dir=shm_dir))
    process = start("run", "-c", file)
    with Reader("sim", wait=60, directory=shm_dir) as reader:
        assert len(reader.read(timeout=30))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_no_folder_for_the_rings(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(GOOD.format(shm_dir=tmp_path / "nowhere"))
    ran = run("run", "-c", file)
    assert ran.status == 1
    assert "there is no directory" in ran.sentence()


# ---------------------------------------------------------------------------------------- --connect

PROBED = "tests.cli.probing_feeds:ProbedFeed"


def probed(name: str, *lines: tuple[str, str], then: str = "") -> dict[str, object]:
    return {"name": name, "vendor": PROBED, "options": {"lines": list(lines), "then": then}}


def written(tmp_path: Path, shm_dir: str, *feeds: dict[str, object]) -> Path:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(json.dumps({"shm_dir": shm_dir, "metrics": None, "feeds": feeds}))
    return file


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([], 0),
        (["ok"], 0),
        (["warning", "ok"], 0),
        (["unavailable"], 69),
        (["credentials", "unavailable", "ok"], 77),
        (["warning", "unavailable", "config", "credentials"], 78),
    ],
)
def test_worst_line_of_all_probes_is_the_status(
    tmp_path: Path, shm_dir: str, run: Run, found: list[str], status: int
) -> None:
    feeds = [probed(f"f{i}", (word, "so it is")) for i, word in enumerate(found)]
    file = written(tmp_path, shm_dir, *feeds, {"name": "sim", "vendor": "synthetic"})
    ran = run("check", "-c", file, "--connect")
    assert ran.status == status
    assert ran.out.startswith(f"{file}: ok\n")
    words = ["" if word == "ok" else f"{word}: " for word in found]
    lines = [f"  feed f{i}: {word}f{i}: so it is" for i, word in enumerate(words)]
    assert ran.out.splitlines()[-len(found) - 1 :] == [
        *lines,
        "  feed sim: nothing to connect to",
    ]
    assert not list(Path(shm_dir).iterdir())
    without = run("check", "-c", file)
    assert without.status == 0
    assert "nothing to connect to" not in without.out


def test_probe_that_cannot_connect_and_the_next_one(tmp_path: Path, shm_dir: str, run: Run) -> None:
    feeds = [probed("f", ("ok", "resolved"), then="unreachable"), probed("g", ("ok", "here"))]
    ran = run("check", "-c", written(tmp_path, shm_dir, *feeds), "--connect")
    assert ran.status == 69
    assert ran.out.splitlines()[-3:] == [
        "  feed f: f: resolved",
        "  feed f: unavailable: [Errno 111] Connection refused",
        "  feed g: g: here",
    ]


@pytest.mark.parametrize(
    ("then", "said"), [("crash", "RuntimeError: a bug"), ("exit", "SystemExit")]
)
def test_probe_that_crashes_hides_no_other(
    tmp_path: Path, shm_dir: str, start: Start, then: str, said: str
) -> None:
    file = written(tmp_path, shm_dir, probed("f", then=then), probed("g", ("credentials", "bad")))
    process = start("check", "-c", file, "--connect")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 77
    assert f"  feed f: unavailable: the probe crashed: {said}" in out
    assert out.splitlines()[-1] == "  feed g: credentials: g: bad"
    assert err.count("Traceback") == 1


def test_probe_without_end_is_cut(tmp_path: Path, shm_dir: str, run: Run) -> None:
    ran = run("check", "-c", written(tmp_path, shm_dir, probed("f", then="endless")), "--connect")
    assert ran.status == 0
    assert ran.out.count("and another") == MAX_LINES


def test_line_of_a_vendor_moves_no_cursor(tmp_path: Path, shm_dir: str, run: Run) -> None:
    file = written(tmp_path, shm_dir, probed("f", ("warning", "\x1b[2Jgone\nfeed g: ok")))
    ran = run("check", "-c", file, "--connect")
    assert ran.out.splitlines()[-1] == "  feed f: warning: f: ?[2Jgone?feed g: ok"


def test_secrets_of_consumers_and_of_the_metrics_are_read_and_not_shown(
    tmp_path: Path, shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("redis")
    password = tmp_path / "password"
    password.write_text("sesame")
    sink = {"type": "redis", "modes": ["last"], "password": {"file": str(password)}}
    consumer = {"name": "store", "type": "batch", "rings": ["f"], "options": {"sink": sink}}
    config = {
        "shm_dir": shm_dir,
        "metrics": {"token": {"file": str(tmp_path / "token")}},
        "feeds": [{"name": "f", "vendor": "synthetic"}],
        "consumers": [consumer],
    }
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(json.dumps(config))
    arguments = ["check", "-c", str(file), "--connect"]
    assert main(arguments) == 77
    out = capsys.readouterr().out
    assert "  consumer store: its password is there\n" in out
    assert f"  metrics: credentials: the token cannot be read from {tmp_path / 'token'}" in out
    (tmp_path / "token").write_text("open")
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "  metrics: their token is there\n" in out
    assert "sesame" not in out
    password.unlink()
    assert main(arguments) == 77
    assert "  consumer store: credentials: the password cannot be read" in capsys.readouterr().out


def test_bad_file_is_not_tried(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "mdfeedd.yaml"
    file.write_text(BAD)
    ran = run("check", "-c", file, "--connect")
    assert (ran.status, ran.out) == (78, "")


def test_ctrl_c_ends_a_probe(tmp_path: Path, shm_dir: str, start: Start) -> None:
    file = written(tmp_path, shm_dir, probed("f", ("ok", "trying"), then="hang"))
    process = start("check", "-c", file, "--connect")
    assert process.stdout is not None
    while "trying" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""


def test_each_severity_has_its_status_and_a_line_does_not_contradict_itself() -> None:
    assert STATUS.keys() == set(Severity)
    assert list(STATUS.values()) == sorted(STATUS.values())
    for severity in Severity:
        ok = severity <= Severity.WARNING
        assert ProbeLine(ok, "x", severity).ok is ok
        with pytest.raises(ValueError, match=severity.name):
            ProbeLine(not ok, "x", severity)
