"""``mdfeedd man``: the manual page, made from the same parsers that read the command line.

    parsers ─► tree ─► page ─► standard output, or a file of `install-service`

One page for all commands. An epilog is taken as it is written for help: paragraphs of running text are filled,
indented lines keep their shape, and a line that ends in a colon above them is their heading.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from mdfeedd import __version__
from mdfeedd.cli import units
from mdfeedd.cli.tree import tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.tree import Command

_EPILOG: Final = """\
Prints the manual page of all commands in the language of man(1). 'mdfeedd install-service' puts it in its place.

exit status:
  0 done

examples:
  mdfeedd man | man -l -                                            read it
  mdfeedd man | sudo tee /usr/local/share/man/man1/mdfeedd.1 >/dev/null
                                                                    from then on: man mdfeedd
"""

_SHELL: Final = {
    "\\": "\\e",
    "-": "\\-",
    "'": "\\(aq",
    "`": "\\(ga",
    "^": "\\(ha",
    "~": "\\(ti",
    '"': "\\(dq",
}
"""What roff would typeset, though it is meant as typed."""

_STATUSES: Final = (
    ("0", "Done. Of 'status' and 'doctor': and all is well."),
    ("1", "Trouble, told in a sentence or a list of them."),
    ("2", "The command line was wrong."),
    ("3", "Of 'status': no daemon runs."),
    ("65", "Of 'journal', and of 'replay' of one: records are damaged or gone."),
    ("69", "Something outside is missing, such as a server."),
    ("77", "Credentials: missing, refused, or not entitled."),
    ("78", "Configuration: a mistake in a file or in what was asked for."),
    ("129", "A finite command was cut short by SIGHUP: its terminal was closed."),
    ("130", "Ended by Ctrl-C."),
    ("143", "A finite command was cut short by SIGTERM."),
)
_ENVIRONMENT: Final = (
    ("DATABENTO_API_KEY", "The key of Databento feeds whose options do not say where theirs is."),
    (
        "MDFEEDD_DATABENTO_GATEWAY",
        "host:port that 'live' connects to in place of Databento's own gateway.",
    ),
    (
        "MDFEEDD_BLPAPI_PATH",
        "Folder with the package blpapi for 'live', where it is not installed; 'simulated': without Bloomberg.",
    ),
)
_FILES: Final = (
    (f"{units.SHM_DIR}/mdfeedd.*", "The rings."),
    ("/etc/mdfeedd/mdfeedd.yaml", "The configuration of the service."),
    ("/etc/mdfeedd/cred/", "Its secrets, a file each."),
)


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "man",
        help="print the manual page",
        description="Print the manual page.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Print the page."""
    sys.stdout.write(manual())
    return 0


def manual() -> str:
    """The page of this command line."""
    from mdfeedd.cli.main import parser

    return page(tree(parser()))


def page(root: Command) -> str:
    """The page of a command and all below it."""
    purpose = root.description.rstrip(".")
    lines = [
        f'.TH {root.call.upper()} 1 "" "{root.call} {__version__}" "User Commands"',
        ".nr HY 0",  # no hyphenation, and no adjustment: what is typed stays as it is
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{root.call} \\- {_text(purpose[0].lower() + purpose[1:])}",
        ".SH SYNOPSIS",
        f".B {root.call}",
        ".I COMMAND",
        "[\\fIargument\\fR ...]",
        ".br",
        f".B {root.call} COMMAND \\-\\-help",
        ".SH DESCRIPTION",
        *_prose(root.epilog),
        ".SH COMMANDS",
    ]
    for command in root.walk():
        if command is not root:
            lines += _command(command)
    for title, items in (
        ("EXIT STATUS", _STATUSES),
        ("ENVIRONMENT", _ENVIRONMENT),
        ("FILES", _FILES),
    ):
        lines.append(f".SH {title}")
        for name, meaning in items:
            lines += [".TP", f".B {_text(name)}", _text(meaning)]
    return "\n".join(lines) + "\n"


def _command(command: Command) -> Iterator[str]:
    yield f'.SS "{_text(command.call)}"'
    yield _text(command.description or command.purpose)
    yield ".PP"
    yield f"\\fB{_text(command.usage)}\\fR"
    for operand in command.operands:
        yield from (".TP", f".I {_text(operand.metavar)}", _text(operand.help))
    for option in command.options:
        if option.flags != ("-h", "--help"):
            yield from (".TP", f".B {_text(option.shown)}", _text(option.help))
    yield from _prose(command.epilog)


def _prose(epilog: str) -> Iterator[str]:
    """Text as it is written for help."""
    for paragraph in epilog.split("\n\n"):
        yield ".PP"
        shaped = False
        for line in paragraph.splitlines():
            if line.startswith("  ") != shaped:
                shaped = not shaped
                yield ".EX" if shaped else ".EE"
            if not shaped and line.endswith(":") and line == paragraph.partition("\n")[0]:
                yield f"\\fB{_text(line)}\\fR"
            else:
                yield _text(line)
        if shaped:
            yield ".EE"


def _text(text: str) -> str:
    """Text of ours as roff: nothing in it is a request, and every character is shown as it is."""
    shown = "".join(_SHELL.get(character, character) for character in text.replace("%%", "%"))
    return f"\\&{shown}" if shown.startswith(".") else shown
