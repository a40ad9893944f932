"""``mdfeedd check``: every mistake of a configuration at once."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from mdfeedd.daemon.plan import Plan

CONFIG: Final = 78

_EPILOG: Final = """\
Prints all problems in the order of the file, each with line, column, the line itself and a caret; then the
exit status is 78. Touches neither ports nor networks nor shared memory, so it may run beside the daemon.

examples:
  mdfeedd check -c mdfeedd.yaml
  mdfeedd check -c mdfeedd.yaml && systemctl reload mdfeedd
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "check",
        help="check a configuration file without starting anything",
        description="Check a configuration file without starting anything.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-c", "--config", required=True, metavar="FILE", help="the YAML file to check"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, and say what the file would start."""
    plan = load(arguments.config)
    print(f"{arguments.config}: ok")
    for child in (*plan.feeds, *plan.consumers):
        reads = f" reads {', '.join(child.rings)}" if child.rings else ""
        writes = f" writes {', '.join(child.writes)}" if child.writes else ""
        print(f"  {child.kind:8} {child.name} ({child.plugin}){reads}{writes}")
    metrics = plan.metrics
    if metrics is None:
        told = "no metrics"
    elif metrics.port:
        told = f"metrics at http://{metrics.host}:{metrics.port}/metrics"
    else:
        told = f"metrics on a free port of {metrics.host}"
    print(f"  rings in {plan.shm_dir}, {told}")
    return 0


def load(path: str) -> Plan:
    """The plan of a file; its problems go to standard error and end the command with 78."""
    from mdfeedd.daemon import config

    try:
        return config.load(path)
    except config.ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        found = len(error.problems)
        raise Trouble(f"{path}: {found} problem{'s' if found > 1 else ''}", CONFIG) from None
