"""The completion script for bash (4.4 and later), which needs no other package."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from mdfeedd import __version__
from mdfeedd.cli.completion import Value, calls, value_of, with_values, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.tree import Command, Operand, Option

_HEAD: Final = """\
# bash completion of mdfeedd {version}; made by: mdfeedd completion bash

_mdfeedd_rings() {{
    local file name
    for file in "$shm"/mdfeedd.*; do
        name=${{file##*/mdfeedd.}}
        case $name in
        '*' | *.readers | *.new | *.resume) ;;
        "$cur"*) COMPREPLY+=("$name") ;;
        esac
    done
}}

_mdfeedd_fill() {{ # kind words
    local head=${{cur%"${{cur##*,}}"}}
    case $1 in
    file)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    config)
        compopt -o filenames
        mapfile -t COMPREPLY < <(
            compgen -d -- "$cur"
            compgen -f -X '!*.yaml' -- "$cur"
            compgen -f -X '!*.yml' -- "$cur"
        )
        ;;
    folder)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        ;;
    ring) _mdfeedd_rings ;;
    interface) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$cur") ;;
    word) mapfile -t COMPREPLY < <(compgen -W "$2" -- "$cur") ;;
    list)
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W "$2" -P "$head" -- "${{cur##*,}}")
        ;;
    esac
}}

_mdfeedd() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    local at=mdfeedd shm=/dev/shm options operand words word i
    COMPREPLY=()
    if [[ $cur == = ]]; then # --option=value comes as three words
        cur=
    elif [[ $prev == = ]]; then
        prev=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case "$at $word" in
        {calls}) at="$at $word" ;;
        esac
        if [[ $word == --shm-dir ]]; then
            shm=${{COMP_WORDS[i + 1]}}
            [[ $shm == = ]] && shm=${{COMP_WORDS[i + 2]}}
        fi
    done
    case "$at $prev" in
"""

_TAIL: Final = """\
    esac
    if [[ $cur == -* ]]; then
        _mdfeedd_fill word "$options"
    else
        _mdfeedd_fill "$operand" "$words"
    fi
}

complete -F _mdfeedd mdfeedd
"""


def script(root: Command) -> str:
    """The whole script."""
    called = " | ".join(shlex.quote(call) for call in calls(root))
    lines = [_HEAD.format(version=__version__, calls=called).rstrip("\n")]
    for command in root.walk():
        lines += _values(command)
    lines += ["    esac", "    case $at in"]
    lines += [_at(command) for command in root.walk()]
    return "\n".join(lines) + "\n" + _TAIL


def _values(command: Command) -> Iterator[str]:
    """What follows an option that takes a value."""
    for option in with_values(command):
        pattern = " | ".join(shlex.quote(f"{command.call} {flag}") for flag in option.flags)
        yield f"    {pattern})"
        yield f"        _mdfeedd_fill {_filled(option)}"
        yield "        return"
        yield "        ;;"


def _at(command: Command) -> str:
    """What may come next at a command: its parts, or its options and operands."""
    options = " ".join(flag for option in command.options for flag in option.flags)
    operand = " operand=nothing"
    if command.parts:
        parts = " ".join(part.words[-1] for part in command.parts)
        operand = f" operand=word words={shlex.quote(parts)}"
    elif command.operands:
        first = command.operands[0]
        words = shlex.quote(" ".join(words_of(first)))
        operand = f" operand={value_of(first).value} words={words}"
    return f"    {shlex.quote(command.call)}) options={shlex.quote(options)}{operand} ;;"


def _filled(what: Option | Operand) -> str:
    value = value_of(what)
    listed = value in {Value.WORD, Value.LIST}
    return f"{value.value} {shlex.quote(' '.join(words_of(what)))}" if listed else value.value
