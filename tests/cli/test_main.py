"""The front door: help, usage, the words of other days, and what is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mdfeedd import __version__
from mdfeedd.cli import main

if TYPE_CHECKING:
    from tests.cli.conftest import Run

COMMANDS = ("demo", "live", "replay", "run", "check", "tail", "doctor", "decode", "sim", "man")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mdfeedd {__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(f"\n    {command}" in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_examples_of_itself(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    examples = capsys.readouterr().out.partition("examples:")[2]
    assert f"mdfeedd {command}" in examples


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bogus"],
        ["tail"],
        ["replay"],
        ["check"],
        ["run"],
        ["demo", "--seconds", "0"],
        ["demo", "--rate", "nan"],
        ["demo", "--bars", "1.5"],
        ["replay", "x.dbn", "--speed", "fast"],
        ["tail", "x", "-n", "0"],
        ["--demo", "--symbols", "ESZ4"],
        ["--vendors=databento", "--demo"],
        ["--symbols=ESZ4,NQZ4"],
    ],
)
def test_wrong_usage_is_status_2_and_one_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.count("error:") == 1
    assert all(err.partition("error:")[2].count(word) <= 1 for word in ("--seconds", "--speed"))
    if "--speed" in arguments:
        assert "must be max, or above 0" in err
    if "--demo" in arguments:
        assert "the demo has its own" in err


@pytest.mark.parametrize(
    ("arguments", "usage", "meant"),
    [
        (["demo", "--secnds", "3"], "usage: mdfeedd demo ", " (did you mean --seconds?)"),
        (
            ["journal", "cat", "x", "--symbl=A"],
            "usage: mdfeedd journal cat ",
            " (did you mean --symbol?)",
        ),
        (["status", "--quux=1"], "usage: mdfeedd status ", ""),
    ],
)
def test_unknown_option_is_told_by_its_command(
    arguments: list[str], usage: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    err = capsys.readouterr().err
    assert err.startswith(usage)
    unknown = " ".join(word for word in arguments if word.startswith("--"))
    rest = " 3" if "3" in arguments else ""
    assert err.endswith(f"error: unrecognized arguments: {unknown}{rest}{meant}\n")


@pytest.mark.parametrize("moment", ["mdfeedd.cli.main", "mdfeedd.cli.demo", "numpy"])
def test_ctrl_c_while_the_commands_are_imported(run: Run, moment: str) -> None:
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == '{moment}': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from mdfeedd.cli import main\n"
        "sys.exit(main(['demo']))"
    )
    ran = run(code=code)
    assert (ran.status, ran.err) == (130, "")


def test_nothing_heavy_is_imported_before_a_command_needs_it(run: Run) -> None:
    ran = run(
        code="import sys\n"
        "from mdfeedd.cli.main import parser\n"
        "parser()\n"
        "print(sorted({'pydantic', 'yaml', 'rich', 'pyarrow', 'asyncio', 'zstandard', "
        "'prometheus_client'} & set(sys.modules)))"
    )
    assert ran.out.strip() == "[]"


def test_of_the_commands_only_the_one_that_runs_is_imported(run: Run) -> None:
    ran = run(
        code="import sys\n"
        "from mdfeedd.cli import main\n"
        "from mdfeedd.cli.main import COMMANDS\n"
        "try:\n"
        "    main(['completion', '--help'])\n"
        "finally:\n"
        "    modules = {name: 'mdfeedd.cli.' + name.replace('-', '_') for name in COMMANDS}\n"
        "    print([name for name in COMMANDS if modules[name] in sys.modules])"
    )
    assert ran.out.splitlines()[-1] == "['completion']"


def test_a_full_disk_behind_the_output_is_one_sentence(run: Run, shm_dir: str) -> None:
    code = (
        "import sys\n"
        "sys.stdout = open('/dev/full', 'w')\n"
        "from mdfeedd.cli import main\n"
        f"sys.exit(main(['doctor', '--shm-dir', {shm_dir!r}]))"
    )
    ran = run(code=code)
    assert ran.status == 1
    assert ran.sentence() == "mdfeedd: the output cannot be written: No space left on device"
