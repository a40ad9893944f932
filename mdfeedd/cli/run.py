"""``mdfeedd run``: the daemon in the foreground, as a service manager wants it."""

from __future__ import annotations

import argparse
import faulthandler
import os
from typing import Any, Final

from mdfeedd.cli.check import load
from mdfeedd.cli.sighup import Sighup

_EPILOG: Final = """\
Starts one process per feed and consumer of the file, restarts what dies, serves /metrics, and logs to
standard error. SIGTERM or Ctrl-C stops it: feeds first, then the consumers when they have read everything
and their sinks have it. A second Ctrl-C does not wait.

SIGHUP has it read the file again. A file with mistakes changes nothing: they are logged, and the old
configuration goes on. Else only what differs is started, stopped or restarted; a feed that can take new
options while it runs is told of them. shm_dir stays as it was until the daemon is restarted.

What one host cannot carry, several share: a feed with `shard: 2/4` publishes the second of four parts of its
instruments, by symbol; daemons with 1/4 to 4/4 publish each of them once.

Under systemd (Type=notify, see mdfeedd install-service) it says when it is ready, how it is, and that it is
alive; a child that gives no sign of life for its hang_s is ended and started again.

exit status:
  0 stopped as asked   1 a child was given up, or it could not start   77 credentials   78 configuration
  130 Ctrl-C

examples:
  mdfeedd check -c mdfeedd.yaml && mdfeedd run -c mdfeedd.yaml
  curl -s localhost:9464/metrics | grep lost
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "run",
        help="run the feeds and consumers of a configuration file",
        description="Run the feeds and consumers of a configuration file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="the YAML file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until stopped, or until everything has ended for good."""
    faulthandler.enable()  # systemd's watchdog ends a daemon that hangs by SIGABRT: the log shows where it stood
    with Sighup(arguments.config) as sighup:
        plan = load(arguments.config)

        from mdfeedd.cli.supervised import Stopped, status_of_failures, supervise
        from mdfeedd.daemon import log
        from mdfeedd.daemon.notify import Notifier
        from mdfeedd.daemon.supervisor import Supervisor
        from mdfeedd.ring._ring import survive_cuts

        survive_cuts()
        log.setup(plan.log, "supervisor")
        notifier = Notifier.from_environment(os.environ)
        supervisor = Supervisor(plan, notifier=notifier)
        stopped = supervise(supervisor, sighup=sighup)
    if stopped is Stopped.BY_INTERRUPT:
        raise KeyboardInterrupt
    return 0 if stopped is Stopped.BY_SIGNAL else status_of_failures(supervisor)
