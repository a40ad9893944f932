"""From the command line to the command, and from its errors to one sentence and a status."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from mdfeedd import __version__
from mdfeedd.cli.trouble import Trouble
from mdfeedd.options import closest

if TYPE_CHECKING:
    from collections.abc import Sequence

TROUBLE: Final = 1
INTERRUPTED: Final = 130

COMMANDS: Final = (
    "demo",
    "live",
    "replay",
    "run",
    "check",
    "config",
    "status",
    "top",
    "tail",
    "doctor",
    "query",
    "journal",
    "decode",
    "record",
    "sim",
    "install-service",
    "completion",
    "man",
)
"""In the order of the help; each is a module of this package."""

_EPILOG: Final = """\
start here:
  mdfeedd demo                        all vendors, simulated, through the whole system: no account, no network
  mdfeedd replay day.dbn.zst --out ticks --bars 60
                                      a recording into Parquet files and one-minute bars
  mdfeedd live --vendors databento --symbols ESZ6,NQZ6
                                      a vendor's ticks and bars, without a configuration
  mdfeedd check -c mdfeedd.yaml && mdfeedd run -c mdfeedd.yaml
                                      the daemon

while something runs:
  mdfeedd status                      whether all is well
  mdfeedd top                         feeds, readers and processes, live
  mdfeedd doctor                      which rings there are, who writes and who reads them
  mdfeedd tail RING                   what flows through one

without a command:
  mdfeedd --demo ...                  the same as mdfeedd demo ...
  mdfeedd --vendors V,V ...           the same as mdfeedd live --vendors V,V ...

'mdfeedd COMMAND --help' says more about each, with its exit status and examples.
"""


class _Parser(argparse.ArgumentParser):
    """One whose command tells what it does not know, with its own usage and what may have been meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            near = closest(unknown[0].partition("=")[0], flags)
            meant = f" (did you mean {near}?)" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return found, unknown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (by default that of the process) names; its exit status."""
    _make_writable()
    try:
        arguments = _with_command(list(sys.argv[1:] if argv is None else argv))
        named = [word for word in arguments[:1] if word in COMMANDS] or COMMANDS
        chosen = parser(named).parse_args(arguments)
        status: int = chosen.run(chosen)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _be_silent_about(sys.stdout.flush)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _be_silent_about(sys.stdout.flush)
        print(f"mdfeedd: {_cannot_write(error)}", file=sys.stderr)
        return TROUBLE
    except Trouble as trouble:
        _be_silent_about(sys.stdout.flush)
        print(f"mdfeedd {chosen.command}: {trouble}", file=sys.stderr)
        return trouble.status
    return status


def parser(named: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands; of all, it is what completion and the manual page are made from.

    A command is imported here: to import all of them takes longer than most commands run.
    """
    made = _Parser(
        prog="mdfeedd",
        description="Market data feeds into a shared-memory ring of 64-byte ticks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"mdfeedd {__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in named:
        importlib.import_module(f"mdfeedd.cli.{name.replace('-', '_')}").add(commands)
    return made


def _make_writable() -> None:
    """Output that is closed goes nowhere, and what it has no letters for is written with question marks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _with_command(arguments: list[str]) -> list[str]:
    """``--demo`` and ``--vendors`` name a command by themselves where none is named."""
    if not arguments or not arguments[0].startswith("--"):
        return arguments
    given = {word.partition("=")[0] for word in arguments}
    if "--demo" not in given:
        return ["live", *arguments] if given & {"--vendors", "--symbols"} else arguments
    for option in ("--vendors", "--symbols"):
        if option in given:
            parser().error(f"{option}: the demo has its own: leave this out, or --demo")
    return ["demo", *(word for word in arguments if word != "--demo")]


def _cannot_write(error: OSError) -> str:
    """Of a full disk, where no command has said so itself: mostly that behind standard output."""
    where = error.filename or "the output"
    return f"{where} cannot be written: {os.strerror(error.errno or 0)}"


def _be_silent_about(flush: object) -> None:
    try:
        flush()  # type: ignore[operator]
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
