"""The one command knows every benchmark, says what cannot run and leaves it as it was, and ends what takes too long."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCH = REPOSITORY / "bench"


@pytest.fixture
def every(monkeypatch):
    """The module bench/all.py, with a path of its own."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = importlib.util.spec_from_file_location("bench_all", BENCH / "all.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, found.name, module)
    found.loader.exec_module(module)
    monkeypatch.setattr(module, "SETTLE_S", 0.0)
    return module


def test_benchmark_that_keeps_a_result_is_not_among_them(every) -> None:
    keeps = {path.stem for path in BENCH.glob("*.py") if '"--save"' in path.read_text()} - {"all"}
    assert keeps - {benchmark.name for benchmark in every.BENCHMARKS} == {"stalled_sink"}
    for benchmark in every.BENCHMARKS:
        text = (BENCH / f"{benchmark.name}.py").read_text()
        assert '"--quick"' in text, benchmark.name
        assert '"--save"' in text, benchmark.name
    kept = {path.stem for path in (BENCH / "results").glob("*.json")}
    assert kept <= keeps


def test_what_is_not_there_is_told(every) -> None:
    Benchmark = every.Benchmark  # noqa: N806
    assert Benchmark("x", 1).missing() is None
    assert Benchmark("x", 1, ("no-such-package",)).missing() == "no Python package no-such-package"
    assert (
        Benchmark("x", 1, programs=("no-such-program",)).missing() == "no program no-such-program"
    )
    assert Benchmark("x", 1, more=lambda: "no server").missing() == "no server"


def script(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(
        f"import json, sys, time\nfrom pathlib import Path\n{text}\n"
    )


@pytest.fixture
def tried(every, tmp_path, monkeypatch, capfd):
    """Run the command over scripts of our own: its status, and what it said at the end, by name."""
    monkeypatch.setattr(every, "HERE", tmp_path)
    monkeypatch.setattr(every, "ROOT", tmp_path)

    def run(
        scripts: dict[str, str], *arguments: str, **needs: tuple[str, ...]
    ) -> tuple[int, dict[str, str]]:
        for name, text in scripts.items():
            script(tmp_path, name, text)
        made = [every.Benchmark(name, 2, needs.get(name, ())) for name in scripts]
        monkeypatch.setattr(every, "BENCHMARKS", tuple(made))
        monkeypatch.setattr(sys, "argv", ["all.py", *arguments])
        status = every.main()
        lines = (line.split(maxsplit=1) for line in capfd.readouterr().err.splitlines())
        return status, {
            words[0]: words[1] for words in lines if len(words) > 1 and words[0] in scripts
        }

    return run


TELL = "Path(__file__).with_suffix('.json').write_text(json.dumps(sys.argv[1:]))"


def test_all_run_with_the_flags_that_were_given(tried, tmp_path) -> None:
    status, told = tried({"one": TELL, "two": TELL, "three": TELL}, "--quick", "--only", "one,two")
    assert status == 0
    assert set(told) == {"one", "two"}
    assert json.loads((tmp_path / "one.json").read_text()) == ["--quick"]
    assert not (tmp_path / "three.json").exists()


def test_what_cannot_run_or_fails_is_left_as_it_was_and_the_others_run(tried, tmp_path) -> None:
    scripts = {"absent": TELL, "fails": "sys.exit(3)", "last": TELL}
    status, told = tried(scripts, absent=("no-such-package",))
    assert status == 1
    assert told["absent"] == "left as it was: no Python package no-such-package"
    assert told["fails"] == "left as it was: ended with status 3"
    assert told["last"].endswith(" s")
    assert not (tmp_path / "absent.json").exists()


def test_what_takes_too_long_is_ended_with_its_children(tried, tmp_path) -> None:
    child = "import subprocess as s; c = s.Popen(['sleep', '1000']); Path('pid').write_text(str(c.pid)); time.sleep(1000)"
    status, told = tried({"hangs": child})
    assert status == 1
    assert told["hangs"] == "left as it was: took more than 2 s"
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")


def test_short_run_is_not_kept(tried) -> None:
    with pytest.raises(SystemExit):
        tried({"one": TELL}, "--quick", "--save")


def test_list_runs_nothing(tried, tmp_path) -> None:
    status, told = tried({"one": TELL, "two": TELL}, "--list", two=("no-such-package",))
    assert status == 0
    assert told == {"one": "can run", "two": "left as it was: no Python package no-such-package"}
    assert not (tmp_path / "one.json").exists()
