"""The reference of the command line, from the parsers themselves.

    mdfeedd.cli ─► tree ─► page()

Nothing is said here that a parser does not say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.cli.main import parser
from mdfeedd.cli.tree import tree
from mdfeedd.docs.markdown import code, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.cli.tree import Command

_HEAD: Final = """# Commands

Written from the command line itself by `python -m mdfeedd.docs`; a test compares them. `mdfeedd COMMAND --help` says the
same, `mdfeedd man | man -l -` shows it as a manual page.
"""


def page() -> str:
    """The whole page, Markdown."""
    root, *commands = tree(parser()).walk()
    parts = [_HEAD, _told(root.epilog)]
    parts += ["\n".join(_section(command)) for command in commands]
    return "\n".join(parts)


def _section(command: Command) -> Iterator[str]:
    yield f"{'#' * len(command.words)} `{command.call}`\n"
    if command.description:
        yield f"{_plain(command.description)}\n"
    yield f"    {_usage(command)}\n"
    rows = [[code(operand.metavar), _plain(operand.help)] for operand in command.operands]
    for option in command.options:
        if option.flags[-1] != "--help":
            needed = " (must be given)" if option.required else ""
            rows.append([code(option.shown) + needed, _plain(option.help)])
    if rows:
        yield table(["argument", "what it does"], rows)
    yield _told(command.epilog)


def _usage(command: Command) -> str:
    """Written here, because argparse lays it out differently in each version of Python."""
    optional = [o for o in command.options if not o.required and o.flags[-1] != "--help"]
    words = [command.call, "[OPTION ...]"] if optional else [command.call]
    words += [f"{o.flags[0]} {o.metavar}".strip() for o in command.options if o.required]
    words += [o.metavar + (" ..." if o.many else "") for o in command.operands]
    return " ".join([*words, "COMMAND"] if command.parts else words)


def _plain(text: str) -> str:
    """Help as argparse shows it."""
    return text.strip().replace("%%", "%")


def _told(epilog: str) -> str:
    return f"```\n{_plain(epilog)}\n```\n" if epilog else ""
