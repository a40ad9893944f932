"""The command line as data, for whatever is made from it: completion, the manual page, the reference.

    argparse.ArgumentParser ─► tree ─► Command ─┬─► options, operands
                                                └─► parts: Commands of the same shape

argparse is the one source; it has no public way to be read, so the private names are read here and nowhere else.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Command", "Operand", "Option", "tree"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option: ``-c FILE, --config FILE``. Without a metavar it takes no value."""

    flags: tuple[str, ...]
    metavar: str
    help: str
    choices: tuple[str, ...] = ()
    required: bool = False

    @property
    def shown(self) -> str:
        """As help shows it: ``-c, --config FILE``."""
        return ", ".join(self.flags) + (f" {self.metavar}" if self.metavar else "")


@dataclass(frozen=True, slots=True)
class Operand:
    """What stands without a flag. `many`: once or more."""

    metavar: str
    help: str
    choices: tuple[str, ...] = ()
    many: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One parser. `words` call it: ``("mdfeedd", "journal", "ls")``; `purpose` is its line in its parent's help."""

    words: tuple[str, ...]
    purpose: str
    description: str
    usage: str
    epilog: str
    options: tuple[Option, ...]
    operands: tuple[Operand, ...]
    parts: tuple[Command, ...]

    @property
    def call(self) -> str:
        """The words as they are typed."""
        return " ".join(self.words)

    def walk(self) -> Iterator[Command]:
        """Itself and all below it, in the order of help."""
        yield self
        for part in self.parts:
            yield from part.walk()


def tree(parser: argparse.ArgumentParser, purpose: str = "") -> Command:
    """What the parser knows. Its `prog` says by which words it is called."""
    options: list[Option] = []
    operands: list[Operand] = []
    parts: tuple[Command, ...] = ()
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            parts = tuple(_parts(action))
        elif action.help is argparse.SUPPRESS:
            continue
        elif action.option_strings:
            options.append(_option(action))
        else:
            metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
            many = action.nargs in {argparse.ONE_OR_MORE, argparse.ZERO_OR_MORE}
            operands.append(Operand(metavar, action.help or "", _choices(action), many))
    return Command(
        words=tuple(parser.prog.split()),
        purpose=purpose,
        description=parser.description or "",
        usage=" ".join(parser.format_usage().split()).removeprefix("usage: "),
        epilog=(parser.epilog or "").strip("\n"),
        options=tuple(options),
        operands=tuple(operands),
        parts=parts,
    )


def _parts(action: argparse._SubParsersAction[Any]) -> Iterator[Command]:
    purposes = {one.dest: one.help or "" for one in action._choices_actions}  # noqa: SLF001
    for name, parser in action.choices.items():
        yield tree(parser, purposes.get(name, ""))


def _option(action: argparse.Action) -> Option:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if action.nargs != 0 and not metavar:
        metavar = "|".join(_choices(action)) or action.dest.upper()
    flags = tuple(action.option_strings)
    return Option(flags, metavar, action.help or "", _choices(action), action.required)


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(map(str, action.choices or ()))
