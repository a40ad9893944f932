"""The completion script for zsh: a file of `fpath`, or to be sourced after `compinit`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from mdfeedd import __version__
from mdfeedd.cli.completion import Value, calls, value_of, with_values, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.tree import Command, Operand, Option

_HEAD: Final = """\
#compdef mdfeedd
# zsh completion of mdfeedd {version}; made by: mdfeedd completion zsh

_mdfeedd_fill() {{ # kind words...
    local kind=$1
    local -a found
    shift
    found=("$@")
    case $kind in
    (file) _files ;;
    (config) _files -g '*.(yaml|yml)' ;;
    (folder) _files -/ ;;
    (ring)
        found=($shm/mdfeedd.*~*.(readers|new|resume)(N:t))
        found=(${{found#mdfeedd.}})
        _wanted rings expl ring compadd -a found
        ;;
    (interface)
        found=(/sys/class/net/*(N:t))
        _wanted interfaces expl 'network card' compadd -a found
        ;;
    (word) _wanted words expl value compadd -a found ;;
    (list)
        compset -P '*,'
        _wanted words expl value compadd -q -S , -a found
        ;;
    esac
}}

_mdfeedd() {{
    emulate -L zsh
    setopt extended_glob
    local at=mdfeedd shm=/dev/shm prev=$words[CURRENT-1] operand expl i
    local -a options parts
    for ((i = 2; i < CURRENT; i++)); do
        case "$at $words[i]" in
        ({calls}) at="$at $words[i]" ;;
        esac
        [[ $words[i] == --shm-dir ]] && shm=$words[i+1]
        [[ $words[i] == --shm-dir=* ]] && shm=${{words[i]#*=}}
    done
    if [[ $PREFIX == --*=* ]]; then
        prev=${{PREFIX%%=*}}
        compset -P '*='
    fi
    case "$at $prev" in
"""

_TAIL: Final = """\
    esac
    if [[ $PREFIX == -* ]]; then
        _describe -o option options
    elif (( $#parts )); then
        _describe command parts
    else
        _mdfeedd_fill ${(z)operand}
    fi
}

if [[ $funcstack[1] == _mdfeedd ]]; then
    _mdfeedd "$@"
else
    compdef _mdfeedd mdfeedd
fi
"""


def script(root: Command) -> str:
    """The whole script."""
    called = "|".join(shlex.quote(call) for call in calls(root))
    lines = [_HEAD.format(version=__version__, calls=called).rstrip("\n")]
    for command in root.walk():
        lines += _values(command)
    lines += ["    esac", "    case $at in"]
    for command in root.walk():
        lines += _at(command)
    return "\n".join(lines) + "\n" + _TAIL


def _values(command: Command) -> Iterator[str]:
    """What follows an option that takes a value."""
    for option in with_values(command):
        pattern = "|".join(shlex.quote(f"{command.call} {flag}") for flag in option.flags)
        yield f"    ({pattern}) _mdfeedd_fill {_filled(option)}; return ;;"


def _at(command: Command) -> Iterator[str]:
    """What may come next at a command: its parts, or its options and operands."""
    yield f"    ({shlex.quote(command.call)})"
    described = [(flag, option.help) for option in command.options for flag in option.flags]
    yield f"        options=({' '.join(_described(*one) for one in described)})"
    if command.parts:
        parts = (_described(part.words[-1], part.purpose) for part in command.parts)
        yield f"        parts=({' '.join(parts)})"
    elif command.operands:
        yield f"        operand={shlex.quote(_filled(command.operands[0]))}"
    yield "        ;;"


def _described(word: str, text: str) -> str:
    """``word:what it is for``, as `_describe` takes it."""
    shown = text.replace("%%", "%").replace("\\", "\\\\").replace(":", "\\:")
    return shlex.quote(f"{word}:{shown}")


def _filled(what: Option | Operand) -> str:
    value = value_of(what)
    listed = value in {Value.WORD, Value.LIST}
    return " ".join([value.value, *map(shlex.quote, words_of(what) if listed else ())])
