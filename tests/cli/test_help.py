"""What every command's help has: what it is for, its exit status, examples that can be typed."""

from __future__ import annotations

import re
import shlex

import pytest

from mdfeedd.cli.main import parser
from mdfeedd.cli.tree import Command, tree

ROOT = tree(parser())
EVERY = [command for command in ROOT.walk() if command is not ROOT]
PARENTS = {part.call: command for command in ROOT.walk() for part in command.parts}


def blocks(epilog: str, heading: str) -> list[str]:
    """The indented lines below a heading."""
    found = re.search(rf"^{heading}:\n((?:  .*\n?)+)", epilog, flags=re.MULTILINE)
    return found[1].splitlines() if found else []


def teaches(command: Command) -> Command:
    """The command whose help has the blocks: itself, or its parent, to which its help points."""
    if blocks(command.epilog, "examples"):
        return command
    parent = PARENTS[command.call]
    assert f"'{parent.call} --help' has the exit status and examples." in command.epilog
    return parent


@pytest.mark.parametrize("command", EVERY, ids=[command.call for command in EVERY])
def test_help_teaches(command: Command) -> None:
    assert command.purpose
    assert command.description.endswith(".")
    for what in (*command.options, *command.operands):
        assert what.help, what
    teacher = teaches(command)
    statuses = re.findall(r"(?:^|   ?)(\d+) \S", "\n".join(blocks(teacher.epilog, "exit status")))
    assert statuses[0] == "0"
    examples = blocks(teacher.epilog, "examples")
    assert any(re.search(rf"\b{command.call}\b", line) for line in examples), examples


@pytest.mark.parametrize("command", EVERY, ids=[command.call for command in EVERY])
def test_options_of_examples_exist(command: Command) -> None:
    """Of each example that calls mdfeedd: the command is there, and each of its options."""
    for line in blocks(command.epilog, "examples"):
        for call in re.findall(r"(?<![/_\w])mdfeedd (?:'[^']*'|\"[^\"]*\"|[^|&;>)#'\"])+", line):
            words = shlex.split(re.split(r"\s{3,}", call)[0])
            found = ROOT
            while len(words) > 1 and words[1] in {part.words[-1] for part in found.parts}:
                name = words.pop(1)
                found = next(part for part in found.parts if part.words[-1] == name)
            assert found is not ROOT or words[1].startswith("-"), line
            flags = {flag for option in found.options for flag in option.flags}
            given = {word.partition("=")[0] for word in words[1:] if re.match("--?[a-z]", word)}
            assert given <= flags, (line, given - flags)


def test_help_fits_a_terminal() -> None:
    wide = [
        (command.call, line)
        for command in ROOT.walk()
        for line in command.epilog.splitlines()
        if len(line) > 120
    ]
    assert not wide
