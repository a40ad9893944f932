"""From the command line to the command, and from its errors to one sentence and a status."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from mdfeedd import __version__
from mdfeedd.cli import (
    check,
    config,
    decode,
    demo,
    doctor,
    install_service,
    journal,
    query,
    record,
    replay,
    run,
    sim,
    status,
    tail,
    top,
)
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

TROUBLE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

_EPILOG: Final = """\
start here:
  mdfeedd demo                        all vendors, simulated, through the whole system: no account, no network
  mdfeedd replay day.dbn.zst --out ticks --bars 60
                                      a recording into Parquet files and one-minute bars
  mdfeedd check -c mdfeedd.yaml && mdfeedd run -c mdfeedd.yaml
                                      the daemon

while something runs:
  mdfeedd status                      whether all is well
  mdfeedd top                         feeds, readers and processes, live
  mdfeedd doctor                      which rings there are, who writes and who reads them
  mdfeedd tail RING                   what flows through one

'mdfeedd COMMAND --help' says more about each.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (by default that of the process) names; its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    try:
        chosen = parser.parse_args(_with_demo_option(arguments, parser))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mdfeedd",
        description="Market data feeds into a shared-memory ring of 64-byte ticks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mdfeedd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (
        demo,
        replay,
        run,
        check,
        config,
        status,
        top,
        tail,
        doctor,
        query,
        journal,
        decode,
        record,
        sim,
        install_service,
    ):
        command.add(commands)
    return parser


def _with_demo_option(arguments: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """``--demo`` in place of a command, with its ``--aggregation-timeframe``, in today's words."""
    if not arguments or not arguments[0].startswith("--"):
        return arguments
    for option in ("--vendors", "--symbols"):
        if any(word == option or word.startswith(option + "=") for word in arguments):
            parser.error(
                f"{option}: vendors and symbols are said in a configuration file: "
                f"mdfeedd run -c FILE (see mdfeedd run --help)"
            )
    if "--demo" not in arguments:
        return arguments
    words = [word for word in arguments if word != "--demo"]
    old, new = "--aggregation-timeframe", "--bars"
    return ["demo", *(new + w[len(old) :] if w.partition("=")[0] == old else w for w in words)]


def _cannot_write(error: OSError) -> str:
    """Of a full disk, where no command has said so itself: mostly that behind standard output."""
    where = error.filename or "the output"
    return f"{where} cannot be written: {os.strerror(error.errno or 0)}"


def _be_silent_about(flush: object) -> None:
    try:
        flush()  # type: ignore[operator]
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
