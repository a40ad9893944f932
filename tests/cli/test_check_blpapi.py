"""``mdfeedd check --blpapi`` with the stand-in, with packages that are wrong in one way each, and with none."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mdfeedd.cli.check_blpapi import DIFFERS, check_blpapi
from mdfeedd.cli.trouble import Trouble
from mdfeedd.sim.bloomberg import path
from mdfeedd.sim.bloomberg.behaviour import FACTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Run

    Package = Callable[[str], str]

DOUBLE = Path(__file__).parents[1] / "feeds" / "bloomberg" / "native" / "double.c"
AS_IT_IS = "from mdfeedd.sim.bloomberg.stand_in.blpapi import *\n__version__ = '3.99.1'\n"
PATIENCE_S = 10.0
CONFIG = """\
metrics: null
feeds:
  - name: blp
    vendor: {vendor}
    options: {options}
"""


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """The stand-in with something changed, in a folder of its own."""

    def make(changes: str) -> str:
        folder = tmp_path / "packages"
        (folder / "blpapi").mkdir(parents=True)
        (folder / "blpapi" / "__init__.py").write_text(AS_IT_IS + changes)
        return str(folder)

    return make


def lines(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if line.split()[:1] == [word]]


def test_stand_in_agrees(run: Run) -> None:
    ran = run("check", "--blpapi", "--blpapi-path", path())
    assert (ran.status, ran.err) == (0, "")
    first, *_, last = ran.out.splitlines()
    assert first.startswith("blpapi 3.26.5.1 (the stand-in, not Bloomberg's own: ")
    assert [line.split(maxsplit=1)[1] for line in lines(ran.out, "ok")] == [f.name for f in FACTS]
    assert last == f"{len(FACTS)} of {len(FACTS)} facts agree"
    (native,) = lines(ran.out, "native")
    assert native.split(maxsplit=1)[1] == "no: the events of this blpapi give no handle"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ("SubscriptionList.add = lambda *a, **k: None", "add gives 0"),
        ("Session.openService = lambda *a: True", "no service opens before the start"),
        ("Session.subscribe = lambda *a, **k: None", "nobody subscribes before the start"),
        ("NotFoundException.__str__ = lambda e: e.args[0]", "errors print their code"),
    ],
)
def test_what_differs_is_told(
    package: Package, capsys: pytest.CaptureFixture[str], changes: str, name: str
) -> None:
    assert check_blpapi(package(changes)) == DIFFERS
    out = capsys.readouterr().out
    assert out.startswith("blpapi 3.99.1 (")
    told = lines(out, "differs")
    assert any(f"differs  {name}: " in line and ", wanted " in line for line in told)
    assert out.splitlines()[-1].startswith(f"{len(lines(out, 'ok'))} of {len(FACTS)} facts agree")


def test_what_is_only_documented_may_differ(
    package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_blpapi(package("SessionOptions.maxEventQueueSize = lambda _: 525")) == 0
    out = capsys.readouterr().out
    (told,) = lines(out, "differs")
    assert told.endswith("gives 525, wanted 10000 (only documented: nothing here relies on it)")
    assert out.splitlines()[-1] == "42 of 43 facts agree, 1 differ of those that are only documented"  # fmt: skip


def test_package_that_ends_the_process_stops_no_other_fact(
    package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    crash = (
        "import os, sys\ndef crash(*a):\n print('out of luck', file=sys.stderr)\n os.abort()\n"
        "Message.timeReceived = crash"
    )
    assert check_blpapi(package(crash)) == 0
    out = capsys.readouterr().out
    (told,) = lines(out, "untried")
    assert told == (
        "  untried  when it came nobody noted: cannot be tried here: the process was ended by SIGABRT: "
        "out of luck"
    )
    assert len(lines(out, "ok")) == len(FACTS) - 1
    assert out.count("blpapi 3.99.1") == 1
    assert lines(out, "native")


def test_package_that_hangs_stops_no_other_fact(
    package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    hang = "import time\nMessage.timeReceived = lambda _: time.sleep(3600)"
    assert check_blpapi(package(hang), PATIENCE_S) == 0
    out = capsys.readouterr().out
    assert "when it came nobody noted: cannot be tried here: nothing came of it for 10 s" in out
    assert "42 of 43 facts agree, 1 cannot be tried here" in out


def test_what_leads_up_to_a_fact_fails(
    package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        check_blpapi(package("def no(*a): raise RuntimeError('no')\nSubscriptionList = no"))
        == DIFFERS
    )
    out = capsys.readouterr().out
    told = lines(out, "untried")
    assert len(told) >= 5
    assert all("blpapi.SubscriptionList() raises RuntimeError: no" in line for line in told)
    (other,) = lines(out, "differs")
    assert "add gives 0: " in other
    assert len(told) + len(lines(out, "ok")) + 1 == len(FACTS)


def test_what_the_package_prints_is_not_taken_for_ours(
    package: Package, capfd: pytest.CaptureFixture[str]
) -> None:
    assert check_blpapi(package("import os\nos.write(1, b'{\"fact\": 5}\\n')\nprint('hello')")) == 0
    assert "hello" not in capfd.readouterr().out


# --------------------------------------------------------------------------------------- no package


def test_no_package_is_one_sentence_and_78(run: Run) -> None:
    code = "try:\n import blpapi\nexcept ImportError:\n raise SystemExit(5)"
    if subprocess.run([sys.executable, "-c", code], check=False).returncode != 5:
        pytest.skip("Bloomberg's own package, or the stand-in, can be imported here")
    ran = run("check", "--blpapi")
    assert (ran.status, ran.out) == (78, "")
    assert ran.sentence() == (
        "mdfeedd check: there is no package blpapi; Bloomberg hands it out itself: pip install "
        "--index-url=https://blpapi.bloomberg.com/repository/releases/python/simple/ blpapi"
    )


def test_package_without_its_library_is_one_sentence_and_78(package: Package, run: Run) -> None:
    folder = package("raise ImportError('libblpapi3_64.so: cannot open\\nand much more')")
    ran = run("check", "--blpapi", "--blpapi-path", folder)
    assert ran.status == 78
    assert "blpapi cannot be imported: libblpapi3_64.so: cannot open: pip install" in ran.sentence()


def test_package_that_is_too_old(package: Package, run: Run) -> None:
    ran = run("check", "--blpapi", "--blpapi-path", package("__version__ = '3.19.3'"))
    assert ran.status == 78
    assert "blpapi is 3.19.3, 3.24.10 is needed at least" in ran.sentence()


def test_package_that_ends_the_process_when_imported(package: Package) -> None:
    with pytest.raises(Trouble, match="cannot be imported: the process was ended by SIGKILL"):
        check_blpapi(package("import os\nos.kill(os.getpid(), 9)"))


# ------------------------------------------------------------------------------------ configuration


def test_configuration_says_where_the_package_is(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "c.yaml"
    options = f"{{topics: [{{topic: IBM US Equity}}], blpapi_path: {path()}}}"
    file.write_text(CONFIG.format(vendor="bloomberg", options=options))
    ran = run("check", "--blpapi", "-c", file)
    assert ran.status == 0
    assert path() in ran.out.splitlines()[0]


def test_configuration_without_such_a_feed(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG.format(vendor="synthetic", options="{}"))
    ran = run("check", "--blpapi", "-c", file)
    assert ran.status == 78
    assert "there is no feed of vendor bloomberg" in ran.sentence()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ((), 2, "-c FILE says what to check"),
        (("--connect",), 2, "-c FILE says what to check"),
        (("--blpapi-path", "/"), 2, "--blpapi-path is for --blpapi without -c"),
        (("--blpapi", "--blpapi-path", "/", "-c", "x"), 2, "--blpapi-path is for --blpapi"),
        (("--blpapi", "--blpapi-path", "/no/where"), 78, "/no/where: is not a folder"),
    ],
)
def test_arguments_that_do_not_go_together(
    run: Run, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    ran = run("check", *arguments)
    assert ran.status == status
    assert sentence in ran.err.splitlines()[-1]  # below how the command is used


# -------------------------------------------------------------------------------------- native path


def with_library(tmp_path: Path, messages: int, *flags: str) -> str:
    """What makes a package of one with a library beside it, in which every event has so many messages."""
    library = tmp_path / "libblpapi3_64.so"
    command = ["gcc", "-std=c11", "-O1", "-shared", "-fPIC", *flags, str(DOUBLE), "-o", str(library)]  # fmt: skip
    subprocess.run([*command, "-lm"], check=True)
    script = struct.pack("<I", messages) + struct.pack("<IIQII", 0, 2, 0, 0, 0) * messages
    return (
        f"import ctypes\nlibrary = ctypes.CDLL({str(library)!r})\n"
        "library.double_event.restype = ctypes.c_void_p\n"
        f"script = {script!r}\n"
        "Event._handle = lambda _: library.double_event(script, len(script))\n"
    )


@pytest.mark.parametrize(
    ("messages", "flags", "told"),
    [
        (1, (), "yes: {} has every symbol and goes through an event as the package does"),
        (3, (), "no: {}: finds 3 messages where the package finds 1"),
        (1, ("-DWITHOUT_CID",), "no: {}: it has no blpapi_Message_correlationId"),
    ],
)
def test_native_path(
    package: Package,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    messages: int,
    flags: tuple[str, ...],
    told: str,
) -> None:
    assert check_blpapi(package(with_library(tmp_path, messages, *flags))) == 0
    (line,) = lines(capsys.readouterr().out, "native")
    wanted = told.format(os.fspath(tmp_path / "libblpapi3_64.so"))
    assert line.split(maxsplit=1)[1] == wanted
