"""`mdfeedd completion`: what real shells offer after TAB."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mdfeedd.cli import completion, main
from mdfeedd.cli.completion import SHELLS, VALUES, Value, value_of
from mdfeedd.cli.main import parser
from mdfeedd.cli.tree import tree

LIMIT_S = 60
ROOT = tree(parser())
COMMANDS = [part.words[-1] for part in ROOT.parts]


def need(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell} here")
    return found


@pytest.fixture(params=SHELLS)
def shell(request) -> str:
    need(request.param)
    return request.param


@pytest.fixture
def script(tmp_path, capsys):
    """The script for a shell, as a file."""

    def made(shell: str) -> Path:
        assert main(["completion", shell]) == 0
        path = tmp_path / f"completion.{shell}"
        path.write_text(capsys.readouterr().out)
        return path

    return made


@pytest.fixture
def place(tmp_path, shm_dir) -> Path:
    """A folder with a configuration and a rest, and rings in shared memory, one with its files beside it."""
    folder = tmp_path / "place"
    (folder / "inner").mkdir(parents=True)
    (folder / "mdfeedd.yaml").touch()
    (folder / "notes.txt").touch()
    for name in ("cme", "cme.depth", "fx"):
        Path(shm_dir, f"mdfeedd.{name}").touch()
    Path(shm_dir, "mdfeedd.cme.readers").touch()
    Path(shm_dir, "mdfeedd.cme.resume").touch()
    return folder


def offered_by_bash(script: Path, line: str, cwd: Path) -> set[str]:
    """What the function of the script offers for a line; a word is begun unless the line ends with a space."""
    words = [part for word in line.split() for part in re.split("(=)", word) if part]
    words += [""] if line.endswith(" ") else []
    code = (
        f"source {shlex.quote(str(script))}; compopt() {{ :; }}; "
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; "
        '_mdfeedd; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", code],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.stderr == ""
    return set(filter(None, done.stdout.splitlines()))


def offered_by_fish(script: Path, line: str, cwd: Path) -> set[str]:
    code = f"source {shlex.quote(str(script))}; complete -C {shlex.quote(line)}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code],
        cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, check=False,
        env=os.environ | dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(script.parent)),
    )  # fmt: skip
    assert done.stderr == ""
    return {row.partition("\t")[0] for row in done.stdout.splitlines()}


class Terminal:
    """An interactive shell on a terminal of its own; `see` waits until the screen has a text."""

    def __init__(self, argv: list[str], cwd: Path) -> None:
        ours, theirs = pty.openpty()
        self.fd = ours
        self.screen = ""
        env = os.environ | {"HOME": str(cwd), "TERM": "dumb", "PS1": "> ", "ZDOTDIR": str(cwd)}
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env,
            start_new_session=True,
        )
        os.close(theirs)
        os.set_blocking(ours, False)

    def type(self, text: str) -> None:
        self.screen = ""
        os.write(self.fd, text.encode())

    def see(self, text: str) -> str:
        deadline = time.monotonic() + LIMIT_S
        while text not in self.screen:
            assert time.monotonic() < deadline, self.screen
            with contextlib.suppress(BlockingIOError):
                self.screen += os.read(self.fd, 65_536).decode(errors="replace")
            time.sleep(0.01)
        return self.screen

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


@pytest.fixture
def terminal():
    started = []

    def start(argv: list[str], cwd: Path) -> Terminal:
        started.append(Terminal(argv, cwd))
        return started[-1]

    yield start
    for one in started:
        one.close()


def cases(shm_dir: str) -> list[tuple[str, set[str]]]:
    return [
        ("mdfeedd re", {"record", "replay"}),
        ("mdfeedd journal ve", {"verify"}),
        ("mdfeedd sim ", {"cme", "databento"}),
        ("mdfeedd decode --format ", {"text", "json", "csv"}),
        ("mdfeedd completion z", {"zsh"}),
        (f"mdfeedd tail --shm-dir {shm_dir} ", {"cme", "cme.depth", "fx"}),
        (f"mdfeedd tail --shm-dir {shm_dir} c", {"cme", "cme.depth"}),
        (f"mdfeedd doctor --shm-dir {shm_dir} --remove f", {"fx"}),
        ("mdfeedd live --vendors databento,bl", {"databento,bloomberg"}),
        ("mdfeedd journal --he", {"--help"}),
        ("mdfeedd tail --no-f", {"--no-follow"}),
    ]


def test_bash_offers_what_fits(script, place, shm_dir):
    need("bash")
    made = script("bash")
    assert offered_by_bash(made, "mdfeedd ", place) == set(COMMANDS)
    for line, wanted in cases(shm_dir):
        assert offered_by_bash(made, line, place) == wanted, line
    for line in ("mdfeedd run -c ", "mdfeedd run --config ", "mdfeedd status --config="):
        assert offered_by_bash(made, line, place) == {"mdfeedd.yaml", "inner"}, line
    assert offered_by_bash(made, "mdfeedd replay ", place) == {"mdfeedd.yaml", "inner", "notes.txt"}
    assert offered_by_bash(made, "mdfeedd demo --out ", place) == {"inner"}
    assert offered_by_bash(made, "mdfeedd demo --rate ", place) == set()
    assert offered_by_bash(made, f"mdfeedd tail --shm-dir={shm_dir} f", place) == {"fx"}


def test_fish_offers_what_fits(script, place, shm_dir):
    need("fish")
    made = script("fish")
    assert offered_by_fish(made, "mdfeedd ", place) == set(COMMANDS)
    for line, wanted in cases(shm_dir):
        assert offered_by_fish(made, line, place) == wanted, line
    assert {"mdfeedd.yaml", "inner/"} <= offered_by_fish(made, "mdfeedd run -c ", place)
    assert "notes.txt" not in offered_by_fish(made, "mdfeedd run -c ", place)
    assert "notes.txt" in offered_by_fish(made, "mdfeedd replay ", place)
    assert offered_by_fish(made, "mdfeedd demo --out ", place) == {"inner/"}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_in_a_terminal(shell, script, place, shm_dir, terminal):
    need(shell)
    made = script(shell)
    if shell == "bash":
        screen = terminal(["bash", "--norc", "--noprofile", "-i"], place)
        start = f"source {made}; bind 'set bell-style none'"
    else:
        screen = terminal(["zsh", "-f", "-i"], place)
        start = f"autoload -U compinit; compinit -u -D; setopt no_beep; source {made}"
    screen.type(start + "; echo rea''dy\n")
    screen.see("ready")
    for typed, seen in (
        ("mdfeedd repl\t", "mdfeedd replay "),
        ("mdfeedd journal ver\t", "mdfeedd journal verify "),
        ("mdfeedd run --conf\t", "mdfeedd run --config"),
        ("mdfeedd run -c mdf\t", "mdfeedd run -c mdfeedd.yaml "),
        ("mdfeedd run --config=mdf\t", "mdfeedd run --config=mdfeedd.yaml "),
        ("mdfeedd decode --format js\t", "mdfeedd decode --format json "),
        (f"mdfeedd tail --shm-dir {shm_dir} f\t", f"mdfeedd tail --shm-dir {shm_dir} fx "),
        (f"mdfeedd tail --shm-dir={shm_dir} cme.\t", f"--shm-dir={shm_dir} cme.depth "),
        ("mdfeedd live --vendors synthetic,blo\t", "--vendors synthetic,bloomberg"),
        ("mdfeedd demo --out inn\t", "mdfeedd demo --out inner/"),
    ):
        screen.type(typed)
        screen.see(seen)
        screen.type("\x15")  # away with the line


def test_zsh_shows_what_each_command_is_for(script, place, terminal):
    need("zsh")
    screen = terminal(["zsh", "-f", "-i"], place)
    screen.type(f"autoload -U compinit; compinit -u -D; source {script('zsh')}; echo rea''dy\n")
    screen.see("ready")
    screen.type("mdfeedd re\t\t")
    screen.see("replay DBN files or captures")


def test_script_is_whole_for_its_shell(shell, script):
    """The shell reads it without a complaint."""
    made = script(shell)
    options = ["--no-config"] if shell == "fish" else []
    done = subprocess.run(
        [shell, *options, "-n", made], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_is_in_the_script(shell, script):
    text = script(shell).read_text()
    for command in ROOT.walk():
        for option in command.options:
            for flag in option.flags:
                fish = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                assert (fish if shell == "fish" else flag) in text, (command.call, flag)


def test_files_and_folders_are_completed_wherever_they_are_taken():
    """Whoever adds an option for a file calls its value FILE, or one of the names in the table."""
    used = set()
    for command in ROOT.walk():
        for what in (*command.options, *command.operands):
            used.add(what.metavar)
            if re.search(r"\bfile\b|\bfolder\b", what.help) and value_of(what) is Value.NOTHING:
                assert what.metavar in {"", "DATASET", "N", "S", "SHARE", "V"}, (command.call, what)
    assert set(VALUES) <= used, "a name that no option has"


def test_unknown_shell_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["completion", "tcsh"])
    assert ended.value.code == 2
    assert "bash" in capsys.readouterr().err


def test_names_of_vendors_are_those_that_are_installed(monkeypatch):
    from mdfeedd.daemon import plugins

    monkeypatch.setattr(plugins, "available", lambda _group: {"csv": "mdfeedd_csv:CsvFeed"})
    (live,) = (command for command in ROOT.parts if command.words[-1] == "live")
    (vendors,) = (option for option in live.options if "--vendors" in option.flags)
    assert completion.words_of(vendors) == ("csv",)
