"""``mdfeedd doctor``: the rings of this host, who writes and reads them, what the machine is like, and what is wrong."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble

if TYPE_CHECKING:
    from mdfeedd.cli.doctor_host import Finding
    from mdfeedd.daemon.plan import Plan
    from mdfeedd.ring.inspect import ConsumerInfo, RingInfo

HUNG_S: Final = 5.0  # a living writer or consumer that has not moved for so long
_KINDS: Final = {"tick": "ticks", "bar": "bars", "depth": "depth", "order": "orders"}
LEAST_FREE: Final = 16 << 20  # bytes: a few rings of the default capacity

_EPILOG: Final = """\
Reads shared memory and registers nowhere, so it may be run at any time. What it finds wrong:
a writer that died without a word, a process that hangs, a living reader that lost records or is about to,
a file that is no ring, a file system that is nearly full. Each line of it says what to do.

Then the machine: shared memory, receive buffers, clock, CPU governor, pinning, limits, network cards. Each line says
what was found, what is wanted, what it costs as it is, and a command that mends it. Advice is no trouble; with
-c FILE what that configuration asks for and the machine does not give is. Limits and capabilities are those of
mdfeedd.service where it is installed, else those of this process.

A ring stays after its writer, so that readers can finish and the next writer can go on in the same sequence.
'--remove' takes away one that nobody writes; readers that are attached keep what they have.

exit status:
  0 nothing is wrong, or the rings are removed   1 something is, or one could not be removed   78 configuration

examples:
  mdfeedd doctor
  mdfeedd doctor -c /etc/mdfeedd/mdfeedd.yaml
  mdfeedd doctor --json | jq '.host[] | select(.severity != "ok")'
  mdfeedd doctor --remove demo-futures
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "doctor",
        help="list the rings, their writers and readers, look at the machine, and say what is wrong",
        description="List the rings of this host, their writers and readers, look at the machine, and say what is wrong.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--remove",
        action="append",
        metavar="RING",
        help="remove a ring that nobody writes (may be given again)",
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="judge the machine by what this file asks for"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    units.add_shm_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look, tell, and say by the status whether there is trouble; or remove."""
    if arguments.remove:
        return _remove(arguments.remove, arguments.shm_dir)
    plan = None
    directory = arguments.shm_dir
    if arguments.config:
        from mdfeedd.cli.check import load

        plan = load(arguments.config)
        directory = plan.shm_dir if directory == units.SHM_DIR else directory
    report = examine(directory)
    findings = examine_host(directory, plan)
    report.troubles += [_sentence(f) for f in findings if f.severity.value == "trouble"]
    if arguments.json:
        print(json.dumps(_as_json(directory, report, findings), ensure_ascii=False, indent=2))
    else:
        told = [*report.lines, "", *_host_lines(findings), ""]
        told += [f"trouble: {trouble}" for trouble in report.troubles] or ["no trouble"]
        print("\n".join(map(units.printable, told)))
    return 1 if report.troubles else 0


def examine_host(directory: str, plan: Plan | None = None) -> list[Finding]:
    """Look at the machine, by what a configuration asks of it, if there is one."""
    from mdfeedd.cli.doctor_facts import gather, wants_of
    from mdfeedd.cli.doctor_host import Wants, judge

    wants = Wants() if plan is None else wants_of(plan)
    return judge(gather(directory, wants), wants)


def _host_lines(findings: list[Finding]) -> list[str]:
    """One line each; of what is not well, also what it costs and how to mend it."""
    lines = ["the machine:"]
    for finding in findings:
        wanted = f"; wanted: {finding.wanted}" if finding.wanted else ""
        lines.append(f"  {finding.severity.value:8}{finding.check}: {finding.found}{wanted}")
        lines += [f"          costs: {finding.costs}"] if finding.costs else []
        lines += [f"          mend:  {finding.mend}"] if finding.mend else []
    return lines


def _sentence(finding: Finding) -> str:
    mend = f"; mend it: {finding.mend}" if finding.mend else ""
    return f"{finding.check}: {finding.found}, wanted {finding.wanted}: {finding.costs}{mend}"


def _as_json(directory: str, report: Report, findings: list[Finding]) -> dict[str, Any]:
    host = [{**dataclasses.asdict(f), "severity": f.severity.value} for f in findings]
    return {"shm_dir": directory, "rings": report.rings, "host": host, "troubles": report.troubles}


@dataclass(slots=True)
class Report:
    """What `examine` found: lines to show, the rings as JSON values, and what is wrong, each one sentence."""

    lines: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    rings: list[dict[str, Any]] = field(default_factory=list)


def examine(directory: str) -> Report:
    """Look at all rings of a folder. Raises `Trouble` if there is no such folder."""
    from mdfeedd.ring import RingError, list_rings
    from mdfeedd.ring.inspect import inspect

    report = Report()
    try:
        names = list_rings(directory)
    except RingError as error:
        raise Trouble(str(error)) from None
    _space(directory, report)
    if not names:
        report.lines.append(f"no rings in {directory}: 'mdfeedd demo' makes some")
    for name in names:
        report.lines.append("")
        try:
            info = inspect(name, directory)
        except (RingError, ValueError) as error:
            report.lines.append(f"{name}: cannot be read")
            advice = f"; 'mdfeedd doctor --remove {name}' removes the file"
            report.troubles.append(f"{error}{'' if _denied(error) else advice}")
            continue
        _ring(info, report)
        shown = dataclasses.asdict(info) | {"state": info.state_text, "ring_id": info.ring_id.hex()}
        report.rings.append(shown)
    return report


def _denied(error: Exception) -> bool:
    """Is it another user's, and perhaps in good order?"""
    from mdfeedd.ring import RingDenied

    number = error.errno if isinstance(error, OSError) else None
    return isinstance(error, RingDenied) or number in {errno.EACCES, errno.EPERM}


def _space(directory: str, report: Report) -> None:
    stat = os.statvfs(directory)
    free, total = stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize
    report.lines.append(f"{directory}: {units.size(free)} free of {units.size(total)}")
    if free < LEAST_FREE:
        report.troubles.append(
            f"{directory} has {units.size(free)} left, and a ring of 65,536 ticks takes 4.2 MB: remove "
            f"rings that nobody needs, or make it larger (mount -o remount,size=1g {directory}; in "
            f"Docker --shm-size=1g)"
        )


def _ring(info: RingInfo, report: Report) -> None:
    kind = _KINDS.get(info.layout.partition(":")[0], "records")
    state = info.state_text
    writer = f"writer pid {info.pid}" if info.writer_alive else f"writer {state}"
    if info.writer_alive:
        writer += f", last seen {units.duration(max(0, info.heartbeat_age_ns))} ago"
    report.lines.append(f"{info.name}: {kind} of {info.feed or 'no feed'}, {state}")
    report.lines.append(
        f"  {writer}; epoch {info.epoch}; {units.count(info.published)} published, room for "
        f"{units.count(info.capacity)}; {units.of(info.instruments_count, 'instrument')}; "
        f"{units.size(info.total_size)}"
    )
    told = {name: n for name, n in info.counters.items() if n}
    if told:
        report.lines.append("  " + ", ".join(_count(n, v) for n, v in told.items()))
    if state == "dead":
        report.troubles.append(
            f"the writer of {info.name} (pid {info.pid}) died without closing it: start it again and "
            f"it goes on after record {info.tail}, or 'mdfeedd doctor --remove {info.name}'"
        )
    elif info.writer_alive and info.heartbeat_age_ns > HUNG_S * 1e9:
        report.troubles.append(
            f"the writer of {info.name} (pid {info.pid}) is alive but was last seen "
            f"{units.duration(info.heartbeat_age_ns)} ago: is it stopped or hanging?"
        )
    for consumer in info.consumers:
        _consumer(info, consumer, report)


def _count(name: str, value: int) -> str:
    """A counter, and the few that are times in words."""
    from mdfeedd.ring.counters import TIMES

    if name in TIMES:
        return f"{name.removesuffix('_ns')} {units.iso_time(value)}"
    if name.endswith("_ns"):
        return f"{name.removesuffix('_ns')} {units.duration(value)}"
    return f"{name} {units.count(value)}"


def _consumer(info: RingInfo, consumer: ConsumerInfo, report: Report) -> None:
    if not consumer.same_ring:
        return  # of a ring that had the name before
    alive = f"pid {consumer.pid}" if consumer.alive else "gone"
    report.lines.append(
        f"    {consumer.name:24} {alive:12} read {units.count(consumer.records)}, "
        f"lag {units.count(consumer.lag)}, lost {units.count(consumer.lost)}"
    )
    if not consumer.alive:
        return
    who = f"{consumer.name} (pid {consumer.pid}) on {info.name}"
    if consumer.lost:
        report.troubles.append(
            f"{who} has lost {units.of(consumer.lost, 'record')} in {units.of(consumer.overruns, 'episode')}: it "
            f"is too slow, or the ring too small (capacity {units.count(info.capacity)})"
        )
    elif consumer.lag > info.capacity // 2:
        report.troubles.append(
            f"{who} is {units.count(consumer.lag)} records behind, of {units.count(info.capacity)} "
            f"that the ring holds: it is about to lose some"
        )


def _remove(names: list[str], directory: str) -> int:
    from mdfeedd.ring import RingError, remove

    failed = []
    for name in names:
        try:
            remove(name, directory)
        except (RingError, ValueError) as error:
            failed.append(str(error))
        else:
            print(f"removed {name}")
    if failed:
        raise Trouble("; ".join(failed))
    return 0
