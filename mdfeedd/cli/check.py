"""``mdfeedd check``: every mistake of a configuration at once."""

from __future__ import annotations

import argparse
import itertools
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli.trouble import Trouble
from mdfeedd.feeds.protocol import ProbeLine, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.daemon.plan import ChildPlan, Plan

CONFIG: Final = 78
STATUS: Final = {
    Severity.OK: 0,
    Severity.WARNING: 0,
    Severity.UNAVAILABLE: 69,
    Severity.CREDENTIALS: 77,
    Severity.CONFIG: CONFIG,
}
MAX_LINES: Final = 10_000
"""Of one feed's probe; a vendor may have something to say of each symbol."""

_EPILOG: Final = """\
Prints all problems in the order of the file, each with line, column, the line itself and a caret; then the
exit status is 78. Touches neither ports nor networks nor shared memory, so it may run beside the daemon.

With --connect each feed then tries its source, as far as it knows how to: addresses, credentials, entitlement,
symbols. That counts with the vendor as a connection, and writes no ring.

exit status, the highest that applies:
  0 nothing would keep it from starting   69 something outside is missing   77 credentials   78 configuration

examples:
  mdfeedd check -c mdfeedd.yaml
  mdfeedd check -c mdfeedd.yaml --connect
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
    parser.add_argument(
        "--connect", action="store_true", help="then have each feed try to reach its source"
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
    return connect(plan) if arguments.connect else 0


def connect(plan: Plan) -> int:
    """Have each feed try its source, and print what it finds; the exit status of the worst."""
    worst = Severity.OK
    for child in plan.feeds:
        for line in itertools.islice(_probe(child), MAX_LINES):
            word = "" if line.severity is Severity.OK else f"{line.severity.name.lower()}: "
            text = "".join(
                c if c.isprintable() else "?" for c in line.text
            )  # some of it is a vendor's
            print(f"  feed {child.name}: {word}{text}", flush=True)
            worst = max(worst, line.severity)
    return STATUS[worst]


def _probe(child: ChildPlan) -> Iterator[ProbeLine]:
    """The lines of one feed; a probe that ends in an error ends with a line."""
    from mdfeedd.daemon import plugins
    from mdfeedd.daemon.plan import revive

    cls: Any = plugins.load(child.target)
    probe = getattr(cls, "probe", None)
    if probe is None:
        yield ProbeLine(True, "nothing to connect to")
        return
    try:
        yield from probe(child.name, revive(cls.Options, child.options))
    except OSError as error:
        yield ProbeLine(False, str(error), Severity.UNAVAILABLE)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a bug must not hide what the others find
        traceback.print_exc()
        text = f"the probe crashed: {type(error).__name__}: {error}"
        yield ProbeLine(False, text, Severity.UNAVAILABLE)


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
