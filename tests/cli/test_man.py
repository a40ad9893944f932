"""`mdfeedd man`: the page is clean roff, and has every command and option."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from mdfeedd import __version__
from mdfeedd.cli import main
from mdfeedd.cli.main import parser
from mdfeedd.cli.man import manual, page
from mdfeedd.cli.tree import Command, tree

ROOT = tree(parser())


def rendered(text: str, program: str = "groff") -> str:
    """The page as a terminal shows it, without emphasis; a warning fails."""
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    command = {
        "groff": ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=120n"],
        "man": ["man", "--warnings=w", "-E", "UTF-8", "-l", "-"],
    }[program]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(".\b", "", done.stdout)


def test_page_is_printed_as_it_is(capsys):
    assert main(["man"]) == 0
    out = capsys.readouterr().out
    assert out == manual()
    assert f'.TH MDFEEDD 1 "" "mdfeedd {__version__}"' in out


@pytest.mark.parametrize("program", ["groff", "man"])
def test_page_has_all_that_help_has(program):
    shown = rendered(manual(), program)
    flat = " ".join(shown.split())
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXIT STATUS", "FILES"):
        assert re.search(rf"^{heading}$", shown, flags=re.MULTILINE), heading
    for command in ROOT.walk():
        assert command.call in flat
        for option in command.options:
            if option.flags != ("-h", "--help"):
                assert option.shown in flat, (command.call, option)
        for line in command.epilog.splitlines():
            assert " ".join(line.split()) in flat, (command.call, line)


def test_text_is_shown_as_typed():
    """What roff would take for requests, quotes or dashes."""
    text = r"""
.SH is no heading here, nor is 'this one' a request
'begins with a quote, \n[x] and "quotes" and `ticks` and ~/file and 2^63 and --option

examples:
  .hidden 'file' \0 | grep -v '^#'
""".strip("\n")
    made = page(Command(("x",), "", "Says.", "x [-h]", text, (), (), ()))
    shown = rendered(made)
    flat = " ".join(shown.split())
    for line in text.splitlines():
        assert " ".join(line.split()) in flat
    assert re.search(r"^ +\.hidden 'file' \\0 \| grep -v '\^#'$", shown, flags=re.MULTILINE)
