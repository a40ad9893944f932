"""``mdfeedd check``: every mistake of a configuration at once; and what feeds find outside, if that is asked for."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli.trouble import Trouble
from mdfeedd.feeds.protocol import ProbeLine, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
Plugins that the file names (package.module:Class) are imported to be checked; the functions of a callbacks consumer
are not, for that would run your code: whether they are there, 'run' finds out, and gives the consumer up if not.

With --connect each feed then tries its source, as far as it knows how to: addresses, credentials, entitlement,
symbols; of multicast, which lines bring packets (it listens for silence_s at most). That counts with the vendor as
a connection, and writes no ring. Of consumers and sinks it reads the secrets that they name.

With --blpapi Bloomberg's own package, which no test of this project has seen, is tried here: what is known of
it is a table of facts, none of which needs a server, and each is told as one line: ok, differs, or untried with
the reason; and whether market data can take the native path. -c tells it where the package is (blpapi_path),
as does --blpapi-path; without them it is the installed one.

exit status:
  0 nothing would keep it from starting   69 something outside is missing   77 credentials   78 configuration
  (of several the highest)
  of --blpapi: 0 all that could be tried agrees   1 something differs   78 there is no package

examples:
  mdfeedd check -c mdfeedd.yaml
  mdfeedd check -c mdfeedd.yaml --connect
  mdfeedd check -c mdfeedd.yaml && systemctl reload mdfeedd
  mdfeedd check --blpapi
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
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of the command's arguments."""
    parser.add_argument("-c", "--config", metavar="FILE", help="the YAML file to check")
    wants = parser.add_mutually_exclusive_group()
    wants.add_argument(
        "--connect", action="store_true", help="then have each feed try to reach its source"
    )
    wants.add_argument(
        "--blpapi",
        action="store_true",
        help="try Bloomberg's package: does it do what the feed relies on?",
    )
    parser.add_argument(
        "--blpapi-path", metavar="DIR", help="the folder that holds the package, for --blpapi"
    )
    parser.set_defaults(run=run, misused=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Check, and say what the file would start."""
    if arguments.blpapi_path and (arguments.config or not arguments.blpapi):
        arguments.misused("--blpapi-path is for --blpapi without -c")
    if arguments.blpapi:
        return _blpapi(arguments)
    if not arguments.config:
        arguments.misused("-c FILE says what to check (or --blpapi: Bloomberg's package)")
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
        told = f"metrics at {metrics.url(metrics.port)}metrics"
    else:
        told = f"metrics on a free port of {metrics.host}"
    print(f"  rings in {plan.shm_dir}, {told}")
    return connect(plan) if arguments.connect else 0


def _blpapi(arguments: argparse.Namespace) -> int:
    """Try Bloomberg's package, at each place where it is said to be; the worst of the statuses."""
    from mdfeedd.cli.check_blpapi import check_blpapi, folders

    places = [os.path.abspath(arguments.blpapi_path) if arguments.blpapi_path else ""]
    if arguments.config:
        places = folders(load(arguments.config))
        if not places:
            raise Trouble(f"{arguments.config}: there is no feed of vendor bloomberg", CONFIG)
    for place in places:
        if place and not os.path.isdir(place):
            raise Trouble(f"{place}: is not a folder, and should hold the package blpapi", CONFIG)
    return max(check_blpapi(place) for place in places)


def connect(plan: Plan) -> int:
    """Have each feed try its source, and print what it finds; the exit status of the worst."""
    logging.getLogger("mdfeedd").addHandler(logging.NullHandler())  # a probe's lines say all of it
    worst = Severity.OK
    for child in plan.feeds:
        for line in itertools.islice(_probe(child), MAX_LINES):
            word = "" if line.severity is Severity.OK else f"{line.severity.name.lower()}: "
            text = "".join(
                c if c.isprintable() else "?" for c in line.text
            )  # some of it is a vendor's
            print(f"  feed {child.name}: {word}{text}", flush=True)
            worst = max(worst, line.severity)
    for child in plan.consumers:
        for noun, refusal in secrets_of(child):
            told = f"credentials: {refusal}" if refusal else f"its {noun} is there"
            print(f"  consumer {child.name}: {told}", flush=True)
            worst = max(worst, Severity.CREDENTIALS if refusal else Severity.OK)
    for noun, refusal in _secrets_of_metrics(plan):
        told = f"credentials: {refusal}" if refusal else f"their {noun} is there"
        print(f"  metrics: {told}", flush=True)
        worst = max(worst, Severity.CREDENTIALS if refusal else Severity.OK)
    return STATUS[worst]


def _secrets_of_metrics(plan: Plan) -> Iterator[tuple[str, str]]:
    from mdfeedd.daemon.sections import MetricsSection

    if plan.metrics is not None:
        yield from _read_all(MetricsSection, dataclasses.asdict(plan.metrics))


def secrets_of(child: ChildPlan) -> Iterator[tuple[str, str]]:
    """The secrets of a consumer and of its sink: what each is, and why it cannot be read, if so."""
    from mdfeedd.daemon import plugins

    named = [(plugins.load(child.target).Options, child.options)]
    if kind := child.options.get("sink_type"):
        sink = plugins.load(plugins.resolve(plugins.SINKS, kind))
        named.append((sink.Options, child.options["sink_options"]))
    for cls, options in named:
        yield from _read_all(cls, options)


def _read_all(cls: Any, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from mdfeedd.daemon.references import references_in
    from mdfeedd.secret import SecretError, read

    for noun, reference in references_in(cls, options):
        try:
            read(reference, noun)
        except SecretError as error:
            yield noun, str(error)
        else:
            yield noun, ""


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
