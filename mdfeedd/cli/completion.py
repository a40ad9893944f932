"""``mdfeedd completion``: what the shell offers after TAB, made from the same parsers that read the command line.

    parsers ─► tree ─┬─► completion_bash ─┐
                     ├─► completion_zsh  ─┼─► standard output ─► a file of the shell
                     └─► completion_fish ─┘

The script is all there is: no process of ours is started at a TAB. What an option's value is completed with
follows from its metavar (`VALUES`); names of rings are those of the files in shared memory at that moment.
"""

from __future__ import annotations

import argparse
import enum
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.tree import Command, Operand, Option

SHELLS: Final = ("bash", "zsh", "fish")


class Value(enum.Enum):
    """What a value is completed with."""

    NOTHING = "nothing"
    FILE = "file"
    CONFIG = "config"
    """A YAML file."""
    FOLDER = "folder"
    RING = "ring"
    INTERFACE = "interface"
    """A network card of this machine."""
    WORD = "word"
    """One of the choices."""
    LIST = "list"
    """Some of the choices, with commas between."""


VALUES: Final = {
    "DBN": Value.FILE,
    "DIR": Value.FOLDER,
    "FILE": Value.FILE,
    "INTERFACE": Value.INTERFACE,
    "PATH": Value.FILE,
    "RING": Value.RING,
    "VENDORS": Value.LIST,
}
"""By metavar."""

_EPILOG: Final = """\
Prints a script for the shell. It completes commands, options and their choices, the names of rings in shared
memory (of --shm-dir, if that is given before), configuration files, folders and network cards.

exit status:
  0 done

examples:
  source <(mdfeedd completion bash)                                   bash, in this terminal
  mdfeedd completion bash > /etc/bash_completion.d/mdfeedd            bash, for everybody
  mdfeedd completion zsh > "${fpath[1]}/_mdfeedd"                     zsh, from its next start on
  mdfeedd completion fish > ~/.config/fish/completions/mdfeedd.fish   fish
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes this command line, for bash, zsh or fish",
        description="Print a script that completes this command line.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from mdfeedd.cli import completion_bash, completion_fish, completion_zsh
    from mdfeedd.cli.main import parser
    from mdfeedd.cli.tree import tree

    made = {
        "bash": completion_bash.script,
        "zsh": completion_zsh.script,
        "fish": completion_fish.script,
    }
    sys.stdout.write(made[arguments.shell](tree(parser())))
    return 0


def value_of(what: Option | Operand) -> Value:
    """What the value of an option, or an operand, is completed with."""
    if "--config" in getattr(what, "flags", ()):
        return Value.CONFIG
    if what.metavar in VALUES:
        return VALUES[what.metavar]
    return Value.WORD if what.choices else Value.NOTHING


def words_of(what: Option | Operand) -> tuple[str, ...]:
    """The words to choose from, for `Value.WORD` and `Value.LIST`."""
    if what.metavar != "VENDORS":
        return what.choices
    from mdfeedd.daemon import plugins

    return tuple(sorted(plugins.available(plugins.FEEDS)))


def with_values(command: Command) -> Iterator[Option]:
    """The options of a command that take a value."""
    return (option for option in command.options if option.metavar)


def calls(root: Command) -> list[str]:
    """What can be typed to come to each command below the root."""
    return [command.call for command in root.walk() if command is not root]
