"""The completion script for fish (3.1 and later)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd import __version__
from mdfeedd.cli.completion import Value, calls, value_of, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.tree import Command, Operand, Option

_HEAD: Final = """\
# fish completion of mdfeedd {version}; made by: mdfeedd completion fish

function __mdfeedd_at --description 'Is the command line at this command?'
    set -l at mdfeedd
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
            case {calls}
                set at "$at $word"
        end
    end
    test "$at" = "$argv[1]"
end

function __mdfeedd_rings --description 'Names of the rings in shared memory'
    set -l shm /dev/shm
    set -l before
    for word in (commandline -opc)
        if test "$before" = --shm-dir
            set shm $word
        end
        set before $word
    end
    for file in $shm/mdfeedd.*
        string match --quiet --regex '[.](readers|new|resume)$' $file
        or string replace --regex '.*/mdfeedd[.]' '' $file
    end
end

function __mdfeedd_configs --description 'YAML files, and folders on the way to them'
    set -l token (commandline -ct)
    for file in $token*.yaml $token*.yml $token*/
        echo $file
    end
end

function __mdfeedd_list --description 'Some of these words, with commas between'
    set -l head (string match --regex '.*,' -- (commandline -ct))
    for word in $argv
        echo "$head$word"
    end
end

complete -c mdfeedd -f
"""

_COMPLETED: Final = {
    Value.NOTHING: "-x",
    Value.FILE: "-r -F",
    Value.CONFIG: "-x -a '(__mdfeedd_configs)'",
    Value.FOLDER: "-x -a '(__fish_complete_directories)'",
    Value.RING: "-x -a '(__mdfeedd_rings)'",
    Value.INTERFACE: "-x -a '(command ls /sys/class/net 2>/dev/null)'",
}


def script(root: Command) -> str:
    """The whole script."""
    called = " ".join(_quoted(call) for call in calls(root))
    lines = [_HEAD.format(version=__version__, calls=called).rstrip("\n")]
    for command in root.walk():
        lines += _lines(command)
    return "\n".join(lines) + "\n"


def _lines(command: Command) -> Iterator[str]:
    inner = f'__mdfeedd_at "{command.call}"'
    start = f"complete -c mdfeedd -n {_quoted(inner)}"
    for option in command.options:
        flags = " ".join(
            f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
        )
        value = f" {_filled(option)}" if option.metavar else ""
        yield f"{start} {flags}{value} -d {_help(option.help)}"
    for part in command.parts:
        yield f"{start} -a {_quoted(part.words[-1])} -d {_help(part.purpose)}"
    for operand in command.operands[:1]:
        value = _filled(operand).removeprefix("-x ").removeprefix("-r ")
        if value != "-x":
            yield f"{start} {value} -d {_help(operand.help)}"


def _filled(what: Option | Operand) -> str:
    value = value_of(what)
    if value is Value.WORD:
        return f"-x -a {_quoted(' '.join(words_of(what)))}"
    if value is Value.LIST:
        words = f"(__mdfeedd_list {' '.join(words_of(what))})"
        return f"-x -a {_quoted(words)}"
    return _COMPLETED[value]


def _help(text: str) -> str:
    return _quoted(text.replace("%%", "%"))


def _quoted(text: str) -> str:
    """In single quotes, of which fish knows two escapes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
